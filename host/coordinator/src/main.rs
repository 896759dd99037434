//! `manyhands-coordinator`: see `--help`.

use std::io::Write as _;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context as _;
use clap::{Parser, Subcommand};
use manyhands_api::{CreatedToken, IDEMPOTENCY_HEADER, KeysView, NewToken, Problem, Role, TokenList};
use manyhands_coordinator::settings::{Flags, Settings};
use manyhands_coordinator::{log, start};
use sd_notify::NotifyState;

/// One that answers later does not take work in time.
const HEALTH_TIMEOUT: Duration = Duration::from_secs(5);

/// Gives work to computers that nobody needs to trust, and checks every answer.
///
/// Without any option it listens at 127.0.0.1:6174 and keeps its state in the user's data directory.
#[derive(Parser)]
#[command(version, after_help = "Exit codes: 0 stopped as asked, 2 wrong usage, 69 cannot start, 74 the disk failed.")]
struct Arguments {
    #[command(flatten)]
    flags: Flags,
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Subcommand)]
enum Command {
    /// Show or check the configuration
    #[command(subcommand)]
    Config(ConfigCommand),
    /// Create, list and revoke bearer tokens of the running coordinator
    #[command(subcommand)]
    Token(TokenCommand),
    /// Show or rotate the keys of the running coordinator
    #[command(subcommand)]
    Keys(KeysCommand),
    /// Print the link that volunteers give to their runner
    Join,
    /// Say whether the running coordinator takes work
    Health,
    /// Print the OpenAPI document
    Openapi,
}

#[derive(Subcommand)]
enum ConfigCommand {
    /// Print every setting with its value and where that came from
    Show,
    /// Say whether the configuration can be used
    Check,
    /// Print a configuration file with every setting, its meaning and its default
    Sample,
}

#[derive(Subcommand)]
enum TokenCommand {
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
enum KeysCommand {
    /// Show the keys' fingerprints
    Show,
    /// Replace the signing key at once
    Rotate,
}

fn role(text: &str) -> Result<Role, String> {
    match text {
        "requester" => Ok(Role::Requester),
        "developer" => Ok(Role::Developer),
        "operator" => Ok(Role::Operator),
        other => Err(format!("`{other}` is none of requester, developer, operator")),
    }
}

fn main() -> ExitCode {
    let Arguments { flags, command } = Arguments::parse();
    let settings = match Settings::load(&flags) {
        Ok(settings) => settings,
        Err(error) => return fail(2, &error),
    };
    let runtime = match tokio::runtime::Runtime::new() {
        Ok(runtime) => runtime,
        Err(error) => return fail(69, &error),
    };
    let result = match command {
        None => return runtime.block_on(serve(settings)),
        Some(Command::Config(ConfigCommand::Check)) => say("the configuration is usable"),
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
        Some(Command::Keys(command)) => runtime.block_on(keys(&settings, &command)),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => fail(69, &format!("{error:#}")),
    }
}

async fn serve(settings: Settings) -> ExitCode {
    log::init(&settings.log);
    let running = match start(settings).await {
        Ok(running) => running,
        Err(error) => return fail(69, &error),
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
        Err(error) => fail(74, &error),
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
        TokenCommand::Revoke { id } => client.delete(&format!("/v1/tokens/{id}")).await,
    }
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

/// Talks to the running coordinator with the operator's token, both found in the data directory.
struct Client {
    base: String,
    token: String,
    http: reqwest::Client,
}

impl Client {
    fn of(settings: &Settings) -> anyhow::Result<Self> {
        // A second call only says that the provider is there already.
        let _there = rustls::crypto::ring::default_provider().install_default();
        let read = |name: &str| {
            let path = settings.data_dir.join(name);
            let text = std::fs::read_to_string(&path).with_context(|| {
                format!("{}: cannot be read; is this the data directory of a running coordinator?", path.display())
            });
            text.map(|text| text.trim_end().to_owned())
        };
        let http = reqwest::Client::builder().no_proxy().build()?;
        Ok(Self { base: read("address")?, token: read("operator.token")?, http })
    }

    async fn get<T: serde::de::DeserializeOwned>(&self, path: &str) -> anyhow::Result<T> {
        Ok(self.send(self.http.get(format!("{}{path}", self.base))).await?.json().await?)
    }

    async fn post<T: serde::de::DeserializeOwned>(
        &self,
        path: &str,
        body: Option<&impl serde::Serialize>,
    ) -> anyhow::Result<T> {
        let mut key = [0; 16];
        getrandom::fill(&mut key)?;
        let request = self.http.post(format!("{}{path}", self.base));
        let request = request.header(IDEMPOTENCY_HEADER, data_encoding::HEXLOWER.encode(&key));
        let request = if let Some(body) = body { request.json(body) } else { request };
        Ok(self.send(request).await?.json().await?)
    }

    async fn delete(&self, path: &str) -> anyhow::Result<()> {
        self.send(self.http.delete(format!("{}{path}", self.base))).await.map(drop)
    }

    async fn send(&self, request: reqwest::RequestBuilder) -> anyhow::Result<reqwest::Response> {
        let response = request.bearer_auth(&self.token).send().await;
        let response =
            response.with_context(|| format!("{} does not answer; start the coordinator first", self.base))?;
        if response.status().is_success() {
            return Ok(response);
        }
        let status = response.status();
        match response.json::<Problem>().await {
            Ok(problem) => anyhow::bail!("{}", problem.detail),
            Err(_) => anyhow::bail!("the coordinator answered {status}"),
        }
    }
}

fn say(line: &str) -> anyhow::Result<()> {
    writeln!(std::io::stdout(), "{line}").context("standard output is closed")
}

fn fail(code: u8, error: &dyn std::fmt::Display) -> ExitCode {
    // Nobody left to tell if this fails.
    let _closed = writeln!(std::io::stderr(), "error: {error}");
    ExitCode::from(code)
}
