//! `manyhands-coordinator`: see `--help`.

mod args;
mod client;
mod exit;
mod operate;

use std::io::Write as _;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context as _;
use clap::Parser as _;
use manyhands_api::{ConsoleLink, CreatedToken, KeysView, NewToken, RevokedView, RotatedVault, TokenList};
use manyhands_coordinator::settings::Settings;
use manyhands_coordinator::{log, roots, start};
use manyhands_model::Version;
use sd_notify::NotifyState;

use crate::args::{Arguments, Command, ConfigCommand, JobsCommand, KeysCommand, TokenCommand, VaultCommand};
use crate::client::Client;
use crate::exit::Exit;

/// The system's allocator keeps hundreds of MiB after a flood, or needs a quarter more time for each unit. How this one is
/// tuned is said in `.cargo/config.toml`.
#[cfg(not(target_env = "msvc"))]
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

/// One that answers later does not take work in time.
const HEALTH_TIMEOUT: Duration = Duration::from_secs(5);

fn main() -> ExitCode {
    let Arguments { flags, command } = Arguments::parse();
    let settings = match Settings::load(&flags) {
        Ok(settings) => settings,
        Err(error) => return fail(Exit::Usage, &error),
    };
    let runtime = match tokio::runtime::Runtime::new() {
        Ok(runtime) => runtime,
        Err(error) => return fail(Exit::Unavailable, &error),
    };
    let result = match command {
        None => return runtime.block_on(serve(settings)),
        Some(Command::Config(ConfigCommand::Check)) => roots::read(&settings.calls.roots)
            .map_err(Into::into)
            .and_then(|_usable| say("the configuration is usable")),
        Some(Command::Config(ConfigCommand::Sample)) => say(settings.sample().trim_end()),
        Some(Command::Config(ConfigCommand::Show)) => settings.explain().iter().try_for_each(|setting| {
            say(&format!(
                "{:<40} {:<28} {:<32} {}",
                setting.key,
                setting.value,
                setting.origin.to_string(),
                setting.about
            ))
        }),
        Some(Command::Join) => std::fs::read_to_string(settings.data_dir.join("join"))
            .context("there is no join link yet; start the coordinator once")
            .and_then(|join| say(join.trim_end())),
        Some(Command::Health) => runtime.block_on(health(&settings)),
        Some(Command::Openapi) => {
            manyhands_coordinator::api::document().to_pretty_json().context("the document").and_then(|text| say(&text))
        }
        Some(Command::Token(command)) => runtime.block_on(token(&settings, command)),
        Some(Command::Console) => runtime.block_on(console(&settings)),
        Some(Command::Keys(command)) => runtime.block_on(keys(&settings, &command)),
        Some(Command::Vault(VaultCommand::Rotate)) => runtime.block_on(rotate_vault(&settings)),
        Some(Command::Vault(VaultCommand::AcceptOlderData)) => operate::accept_older_data(&settings),
        Some(Command::Jobs(JobsCommand::Revoke { name, version })) => {
            runtime.block_on(revoke_job(&settings, &name, &version))
        }
        Some(Command::Backup { to, without_keys }) => operate::backup(&settings, to, without_keys, &runtime),
        Some(Command::Backups { dir }) => operate::backups(&settings, dir),
        Some(Command::Restore { backup }) => operate::restore(&settings, &backup),
        Some(Command::Check) => operate::check(&settings, &runtime),
        Some(Command::Compact) => operate::compact(&settings, &runtime),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => fail(exit::of(&*error), &format!("{error:#}")),
    }
}

async fn serve(settings: Settings) -> ExitCode {
    log::init(&settings.log);
    let running = match start(settings).await {
        Ok(running) => running,
        Err(error) => return fail(exit::of(&error), &error),
    };
    tracing::info!(address = %running.address, "serving");
    tell_service_manager(NotifyState::Ready);
    tracing::info!("volunteers join with: manyhands-runner '{}'", running.join);
    let stop = running.stop.clone();
    tokio::spawn(async move {
        stop_asked().await;
        tracing::info!("stopping; runs go on when it starts again");
        tell_service_manager(NotifyState::Stopping);
        stop.cancel();
    });
    match running.ended().await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => fail(Exit::Io, &error),
    }
}

/// Tells systemd, where it asked to be told. Whoever else started this has its own way to find out.
fn tell_service_manager(state: NotifyState<'_>) {
    if let Err(error) = sd_notify::notify(&[state]) {
        tracing::warn!(%error, "systemd cannot be told");
    }
}

async fn health(settings: &Settings) -> anyhow::Result<()> {
    let client = Client::of(settings)?;
    client.send(client.http.get(format!("{}/readyz", client.base)).timeout(HEALTH_TIMEOUT)).await?;
    say("it takes work")
}

async fn stop_asked() {
    use tokio::signal::unix::{SignalKind, signal};
    match signal(SignalKind::terminate()) {
        Ok(mut terminate) => tokio::select! {
            _ = terminate.recv() => {}
            _ = tokio::signal::ctrl_c() => {}
        },
        Err(_) => drop(tokio::signal::ctrl_c().await),
    }
}

async fn token(settings: &Settings, command: TokenCommand) -> anyhow::Result<()> {
    let client = Client::of(settings)?;
    match command {
        TokenCommand::Create { name, role } => {
            let created: CreatedToken = client.post("/v1/tokens", Some(&NewToken { name, role })).await?;
            say(&created.token)
        }
        TokenCommand::List => {
            let list: TokenList = client.get("/v1/tokens").await?;
            list.tokens.iter().try_for_each(|token| {
                say(&format!("{}  {:<10} {}", token.id, format!("{:?}", token.role).to_lowercase(), token.name))
            })
        }
        TokenCommand::Revoke { id } => Ok(client.delete(&format!("/v1/tokens/{id}")).await?),
    }
}

async fn console(settings: &Settings) -> anyhow::Result<()> {
    let made: ConsoleLink = Client::of(settings)?.post("/v1/console-links", None::<&()>).await?;
    remark(&format!("opens the operator's page once, within {} minutes; whoever has it can", made.seconds / 60));
    say(&made.link)
}

async fn keys(settings: &Settings, command: &KeysCommand) -> anyhow::Result<()> {
    let client = Client::of(settings)?;
    let keys: KeysView = match command {
        KeysCommand::Show => client.get("/v1/keys").await?,
        KeysCommand::Rotate => client.post("/v1/keys/rotate", None::<&()>).await?,
    };
    say(&format!("root     {}", keys.root))?;
    say(&format!("signing  {}", keys.current))?;
    keys.revoked.iter().try_for_each(|key| say(&format!("revoked  {key}")))?;
    say(&format!("join     {}", keys.join))
}

async fn rotate_vault(settings: &Settings) -> anyhow::Result<()> {
    let RotatedVault { key, sealed, gone, kept } = Client::of(settings)?.post("/v1/vault/rotate", None::<&()>).await?;
    say(&format!("values are sealed under key {key} now; {sealed} were sealed anew"))?;
    say(&match kept {
        1 => format!("earlier keys are thrown away ({gone})"),
        more => format!("{} earlier keys are kept for what is still on its way, and looked at every hour", more - 1),
    })?;
    remark("Copy the keys' file to where you keep a copy, over the one before.");
    Ok(())
}

async fn revoke_job(settings: &Settings, name: &str, version: &Version) -> anyhow::Result<()> {
    let client = Client::of(settings)?;
    let path = format!("/v1/jobs/{name}/revoke?version={}", version.to_string().replace('+', "%2B"));
    let RevokedView { name, version, module, runs_cancelled } = client.post(&path, None::<&()>).await?;
    say(&format!("{name} {version} is revoked, {runs_cancelled} active runs were cancelled"))?;
    say(&format!("module {module}"))
}

fn say(line: &str) -> anyhow::Result<()> {
    writeln!(std::io::stdout(), "{line}").context("standard output is closed")
}

/// Says something to the person at the terminal that no script reads.
fn remark(line: &str) {
    // Nobody left to tell if this fails.
    let _closed = writeln!(std::io::stderr(), "{line}");
}

fn fail(exit: Exit, error: &dyn std::fmt::Display) -> ExitCode {
    remark(&format!("error: {error}"));
    ExitCode::from(exit as u8)
}
