//! What went wrong, in the words of the person at the terminal, and the exit code that says it to a script.

use core::fmt;
use std::path::Path;
use std::process::ExitCode;

use manyhands_sealer::Refusal;

use crate::screen::printable;

/// The exit codes of `manyhands`. They never change their meaning.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Exit {
    /// All went well.
    Ok = 0,
    /// The job is at fault: it does not build, is refused, returned an error, or units of a run failed.
    JobFailed = 1,
    /// The command line or a file that it names is at fault.
    Usage = 2,
    /// Replicas gave different answers and no quorum was found.
    Disagree = 3,
    /// It took longer than allowed.
    TimedOut = 4,
    /// The coordinator cannot be reached, or is too busy.
    Unreachable = 5,
    /// The coordinator does not allow this with this token.
    NotAllowed = 6,
    /// A program that is needed is not installed.
    MissingTool = 69,
    /// The fault is in Manyhands.
    Bug = 70,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}

/// A command's failure.
#[derive(Debug, PartialEq, Eq)]
pub struct Fault {
    /// Whose fault it is.
    pub exit: Exit,
    /// What happened. One sentence or a few lines.
    pub message: String,
    /// What would help, where more can be said than the message does.
    pub help: Option<String>,
}

/// What every command returns.
pub type Result<T, E = Fault> = core::result::Result<T, E>;

impl Fault {
    /// A fault without further help.
    pub fn new(exit: Exit, message: impl Into<String>) -> Self {
        Self { exit, message: message.into(), help: None }
    }

    /// The command line, or a file that it names, is at fault.
    pub fn usage(message: impl Into<String>) -> Self {
        Self::new(Exit::Usage, message)
    }

    /// The job is at fault.
    pub fn job(message: impl Into<String>) -> Self {
        Self::new(Exit::JobFailed, message)
    }

    /// Manyhands is at fault.
    pub fn bug(message: impl Into<String>) -> Self {
        Self::new(Exit::Bug, message)
    }

    /// A file could not be read or written.
    pub fn file(verb: &str, path: &Path, error: &std::io::Error) -> Self {
        Self::usage(format!("cannot {verb} `{}`: {error}", path.display()))
    }

    /// The sealer refuses the job's module.
    pub fn refused(refusal: &Refusal) -> Self {
        // Names in a module are the module's; they must not steer the terminal.
        let message = printable(&format!("{}: {}", refusal.place, refusal.reason));
        Self::job(message).help(refusal.cure)
    }

    /// Adds what would help.
    #[must_use]
    pub fn help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "error: {}", self.message)?;
        match &self.help {
            Some(help) => write!(f, "\n  {help}"),
            None => Ok(()),
        }
    }
}

/// Writing to stdout failed. A reader that went away (`| head`) is not worth a message.
pub fn stdout(error: &std::io::Error) -> Fault {
    if error.kind() == std::io::ErrorKind::BrokenPipe {
        Fault::new(Exit::Ok, "")
    } else {
        Fault::usage(format!("cannot write to stdout: {error}"))
    }
}
