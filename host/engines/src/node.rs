//! Node: frames over its stdin and stdout, each after its length.

use std::io::{self, Read as _, Write as _};
use std::process::{ChildStdin, ChildStdout, Command, Stdio};
use std::sync::mpsc::channel;

use crate::talk::{Process, Remote, Talk, find};
use crate::{Failure, script};

/// Node with flags for V8.
pub(crate) fn open(flags: &'static [&'static str]) -> Result<Remote, Failure> {
    Remote::new(move || {
        let missing = Failure::Missing { name: "Node", cure: "get version 20 or later, `apt install nodejs`" };
        let program = find(&["node", "nodejs"]).ok_or(missing)?;
        let mut command = Command::new(program);
        command.args(flags).args(["--input-type=module", "--eval", &script()]);
        // What it complains of is on this terminal.
        let mut process = Process::start(command.stdin(Stdio::piped()).stdout(Stdio::piped()))?;
        let pipes = process.child().stdin.take().zip(process.child().stdout.take());
        let (stdin, stdout) = pipes.ok_or_else(|| Failure::Gone("it has no pipes".into()))?;
        let (requests, asked) = channel::<Vec<u8>>();
        let (answer, replies) = channel();
        // A pipe blocks for as long as the other end does what it wants, so somebody else waits for it.
        std::thread::spawn(move || {
            let mut pipes = Pipes { stdin, stdout };
            for request in asked {
                let reply = pipes.turn(&request);
                let last = reply.is_err();
                if answer.send(reply).is_err() || last {
                    return;
                }
            }
        });
        Ok(Talk { requests, replies, process, _keep: Box::new(()) })
    })
}

struct Pipes {
    stdin: ChildStdin,
    stdout: ChildStdout,
}

impl Pipes {
    fn turn(&mut self, request: &[u8]) -> io::Result<Vec<u8>> {
        let length = u32::try_from(request.len()).map_err(io::Error::other)?;
        self.stdin.write_all(&[&length.to_le_bytes(), request].concat())?;
        let mut length = [0; 4];
        self.stdout.read_exact(&mut length)?;
        let mut reply = Vec::new();
        let length = u64::from(u32::from_le_bytes(length));
        self.stdout.by_ref().take(length).read_to_end(&mut reply)?;
        if reply.len() as u64 == length { Ok(reply) } else { Err(io::ErrorKind::UnexpectedEof.into()) }
    }
}
