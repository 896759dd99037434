//! What can be said on the command line.

use std::path::PathBuf;

use clap::{Parser, Subcommand};
use manyhands_api::Role;
use manyhands_coordinator::settings::Flags;
use manyhands_model::Version;

/// Gives work to computers that nobody needs to trust, and checks every answer.
///
/// Without any option it listens at 127.0.0.1:6174 and keeps its state in the user's data directory.
#[derive(Parser)]
#[command(version, after_help = crate::exit::HELP)]
pub(crate) struct Arguments {
    #[command(flatten)]
    pub(crate) flags: Flags,
    #[command(subcommand)]
    pub(crate) command: Option<Command>,
}

#[derive(Subcommand)]
pub(crate) enum Command {
    /// Show or check the configuration
    #[command(subcommand)]
    Config(ConfigCommand),
    /// Create, list and revoke bearer tokens of the running coordinator
    #[command(subcommand)]
    Token(TokenCommand),
    /// Print a link that opens the operator's page in a browser, once and within ten minutes
    Console,
    /// Show or rotate the keys of the running coordinator
    #[command(subcommand)]
    Keys(KeysCommand),
    /// Rotate the keys of the vault, or go on with data that was put back from a copy
    #[command(subcommand)]
    Vault(VaultCommand),
    /// Revoke jobs at the running coordinator
    #[command(subcommand)]
    Jobs(JobsCommand),
    /// Make a backup, restore it to verify it, and print its path; whether the coordinator runs or not
    Backup {
        /// The directory of backups [default: the setting backup.dir]
        #[arg(long, value_name = "DIR")]
        to: Option<PathBuf>,
        /// Leave the keys and the operator's token out
        #[arg(long)]
        without_keys: bool,
    },
    /// List backups, oldest first
    Backups {
        /// The directory of backups [default: the setting backup.dir]
        dir: Option<PathBuf>,
    },
    /// Restore a backup into an empty data directory; nothing is touched before it is verified
    Restore {
        /// One of those that `backups` lists
        backup: PathBuf,
    },
    /// Read every record, every blob and the keys, and say what is wrong; whether the coordinator runs or not
    Check,
    /// Give back room: rewrite the state and remove blobs that nothing names; whether the coordinator runs or not
    Compact,
    /// Print the link that volunteers give to their runner
    Join,
    /// Say whether the running coordinator takes work
    Health,
    /// Print the OpenAPI document
    Openapi,
}

#[derive(Subcommand)]
pub(crate) enum ConfigCommand {
    /// Print every setting with its value and where that came from
    Show,
    /// Say whether the configuration can be used
    Check,
    /// Print a configuration file with every setting, its meaning and its default
    Sample,
}

#[derive(Subcommand)]
pub(crate) enum TokenCommand {
    /// Create a token; it is printed this once
    Create {
        /// Whose it is; shown as the owner of runs
        #[arg(long)]
        name: String,
        /// requester, developer or operator
        #[arg(long, value_parser = role)]
        role: Role,
    },
    /// List tokens, without their secrets
    List,
    /// Revoke a token at once
    Revoke {
        /// Its id, from `token list`
        id: String,
    },
}

#[derive(Subcommand)]
pub(crate) enum KeysCommand {
    /// Show the keys' fingerprints
    Show,
    /// Replace the signing key at once
    Rotate,
}

#[derive(Subcommand)]
pub(crate) enum VaultCommand {
    /// Seal values under a new key, at the running coordinator, and throw the old one away as soon as nothing needs it
    Rotate,
    /// Go on with data that is older than the vault's keys, because a backup was restored. The coordinator must not run. Calls
    /// that the data may have forgotten and that must not be made twice are listed as unknown instead of made
    AcceptOlderData,
}

#[derive(Subcommand)]
pub(crate) enum JobsCommand {
    /// Revoke one version of a job for good: no worker executes it any more, its active runs are cancelled
    Revoke {
        /// The job's name
        name: String,
        /// Its version, such as 1.2.0
        version: Version,
    },
}

fn role(text: &str) -> Result<Role, String> {
    match text {
        "requester" => Ok(Role::Requester),
        "developer" => Ok(Role::Developer),
        "operator" => Ok(Role::Operator),
        other => Err(format!("`{other}` is none of requester, developer, operator")),
    }
}
