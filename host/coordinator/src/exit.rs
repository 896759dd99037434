//! The exit codes, after sysexits.h, but for 1 and 2, which every program gives this meaning.

use std::fmt;
use std::io::{self, ErrorKind};

use manyhands_coordinator::StartError;
use manyhands_coordinator::backup::{BackupError, FileError};
use manyhands_coordinator::keys::KeysError;
use manyhands_coordinator::private_file::PrivateFileError;
use manyhands_coordinator::roots::RootsError;
use manyhands_coordinator::upkeep::UpkeepError;
use manyhands_coordinator::vault::VaultError;
use manyhands_state::ReadError;
use manyhands_store::{BlobError, OpenError};

use crate::client::ClientError;

/// For `--help`.
pub(crate) const HELP: &str = "\
Exit codes:
   0  done, or stopped as asked
   1  `check` found damage
   2  wrong usage or configuration
  65  data, a key or a backup is damaged
  66  what was named is not there
  69  the coordinator does not run, does not answer, or cannot start
  70  the fault is in the coordinator
  73  there is something in the way where a file or directory should go
  74  the disk failed, or is full
  75  somebody else is at it; try again later
  77  the operator's token or the permissions of a file do not allow it";

/// What a command's end means to a script.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Exit {
    Damage = 1,
    Usage = 2,
    Data = 65,
    NoInput = 66,
    Unavailable = 69,
    Software = 70,
    CannotCreate = 73,
    Io = 74,
    TryAgain = 75,
    NotPermitted = 77,
}

/// A fault that no other type speaks of.
#[derive(Debug)]
pub(crate) struct Fault {
    pub(crate) exit: Exit,
    pub(crate) message: String,
}

impl Fault {
    pub(crate) fn new(exit: Exit, message: impl Into<String>) -> Self {
        Self { exit, message: message.into() }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Fault {}

/// The exit code of an error: that of the first cause that has one.
pub(crate) fn of(error: &(dyn std::error::Error + 'static)) -> Exit {
    std::iter::successors(Some(error), |&cause| cause.source()).find_map(of_cause).unwrap_or(Exit::Software)
}

fn of_cause(error: &(dyn std::error::Error + 'static)) -> Option<Exit> {
    if let Some(fault) = error.downcast_ref::<Fault>() {
        return Some(fault.exit);
    }
    if let Some(error) = error.downcast_ref::<BackupError>() {
        return Some(match error {
            BackupError::File(FileError { error, .. }) => of_io(error),
            BackupError::Open(error) => of_open(error),
            BackupError::Read(error) => of_read(error),
            BackupError::Blob(error) => of_blob(error),
            BackupError::Keys(error) => of_keys(error),
            BackupError::Record(_) | BackupError::Damaged { .. } | BackupError::Newer { .. } => Exit::Data,
            BackupError::NotABackup { .. } => Exit::NoInput,
            BackupError::Busy(_) | BackupError::Stopped => Exit::TryAgain,
            BackupError::Inside(_) | BackupError::NotEmpty { .. } => Exit::CannotCreate,
        });
    }
    if let Some(error) = error.downcast_ref::<UpkeepError>() {
        return Some(match error {
            UpkeepError::Read(error) => of_read(error),
            UpkeepError::Blob(error) => of_blob(error),
            UpkeepError::Unreadable(_) => Exit::Data,
        });
    }
    if let Some(error) = error.downcast_ref::<StartError>() {
        return Some(match error {
            StartError::Store(error) => of_open(error),
            StartError::Blobs(error) => of_blob(error),
            StartError::Keys(error) => of_keys(error),
            StartError::Restoring { .. } | StartError::Records(_) | StartError::Tokens(_) => Exit::Data,
            StartError::Vault(error) => of_vault(error),
            StartError::Roots(error) => of_roots(error),
            StartError::Egress(_) => Exit::Data,
            StartError::DataDir { .. } => Exit::CannotCreate,
            StartError::Listen { .. } | StartError::Random(_) => Exit::Unavailable,
        });
    }
    if let Some(error) = error.downcast_ref::<VaultError>() {
        return Some(of_vault(error));
    }
    if let Some(error) = error.downcast_ref::<RootsError>() {
        return Some(of_roots(error));
    }
    let open = error.downcast_ref::<OpenError>().map(of_open);
    open.or_else(|| error.downcast_ref::<BlobError>().map(of_blob))
        .or_else(|| error.downcast_ref::<ClientError>().map(ClientError::exit))
        .or_else(|| error.downcast_ref::<io::Error>().map(of_io))
}

fn of_open(error: &OpenError) -> Exit {
    match error {
        OpenError::InUse { .. } => Exit::Unavailable,
        OpenError::Damaged { .. } | OpenError::Newer { .. } => Exit::Data,
        OpenError::Io { error, .. } => of_io(error),
        OpenError::Index { .. } => Exit::Io,
    }
}

fn of_read(error: &ReadError) -> Exit {
    match error {
        ReadError::Corrupt { .. } => Exit::Data,
        ReadError::Storage(_) => Exit::Io,
    }
}

fn of_blob(error: &BlobError) -> Exit {
    match error {
        BlobError::Missing(_) | BlobError::Corrupt { .. } => Exit::Data,
        BlobError::Directory { .. } | BlobError::Store { .. } | BlobError::List(_) => Exit::Io,
    }
}

fn of_keys(error: &KeysError) -> Exit {
    match error {
        KeysError::File(error) => of_private_file(error),
        KeysError::Damaged { .. } => Exit::Data,
        KeysError::Random(_) => Exit::Unavailable,
    }
}

fn of_vault(error: &VaultError) -> Exit {
    match error {
        VaultError::File(error) => of_private_file(error),
        VaultError::Records(_) => Exit::Io,
        VaultError::Random(_) => Exit::Unavailable,
        VaultError::NoKeys(_) | VaultError::Lost(_) | VaultError::OlderData(_) | VaultError::Sealed => Exit::Data,
    }
}

fn of_roots(error: &RootsError) -> Exit {
    match error {
        RootsError::Unreadable { error, .. } => of_io(error),
        RootsError::Empty { .. } | RootsError::Other { .. } | RootsError::Cut { .. } | RootsError::Unusable { .. } => {
            Exit::Data
        }
    }
}

fn of_private_file(error: &PrivateFileError) -> Exit {
    match error {
        PrivateFileError::Exposed { .. } => Exit::NotPermitted,
        PrivateFileError::Io { why, .. } => of_io(why),
    }
}

fn of_io(error: &io::Error) -> Exit {
    match error.kind() {
        ErrorKind::NotFound => Exit::NoInput,
        ErrorKind::PermissionDenied | ErrorKind::ReadOnlyFilesystem => Exit::NotPermitted,
        ErrorKind::AlreadyExists | ErrorKind::NotADirectory => Exit::CannotCreate,
        _ => Exit::Io,
    }
}
