//! From a parsed command line to the function that does it.

use clap::CommandFactory as _;

use crate::args::{Audit, Blocklist, Cli, Command, Credit, CreditCommand, Plan, PlanOf};
use crate::client::Client;
use crate::fault::{Fault, Result};
use crate::profile::Access;
use crate::screen::Screen;
use crate::{audit, blocklist, build, calls, check, credit, invite, local, profile, remote, scaffold};

/// Does what the command line says.
///
/// # Errors
/// The command's fault, with its exit code.
pub fn dispatch(cli: &Cli) -> Result<()> {
    let screen = Screen { json: cli.global.json, quiet: cli.global.quiet };
    match &cli.command {
        Command::New(args) => scaffold::new(args, screen),
        Command::Build(args) => build::build(args, screen),
        Command::Check(args) => asynchronous(check::check(args, screen)),
        Command::Plan(Plan { of: Some(PlanOf::File(module)), declared, .. }) => {
            calls::plan_of_module(module, declared, screen)
        }
        Command::Run(args) => asynchronous(local::run(args, screen)),
        Command::Test(args) => local::guest_tests::test(args, screen),
        Command::TestRunner(args) => asynchronous(local::guest_tests::run(args, screen)),
        Command::Audit(Audit::Verify(args)) => audit::verify(args, screen),
        Command::Blocklist(Blocklist::Verify { file, root }) => blocklist::verify(file, *root, screen),
        Command::Credit(Credit { command: Some(CreditCommand::Verify(args)) }) => credit::verify(args, screen),
        Command::Replay(args) => asynchronous(local::replay::replay(args, screen)),
        Command::Completions(args) => {
            // Into memory first: clap_complete panics where stdout has gone away.
            let mut script = Vec::new();
            clap_complete::generate(args.shell, &mut Cli::command(), "manyhands", &mut script);
            screen.bytes(&script)
        }
        Command::Login(args) => asynchronous(profile::login(args, &cli.global, screen)),
        _ => asynchronous(with_coordinator(cli, screen)),
    }
}

async fn with_coordinator(cli: &Cli, screen: Screen) -> Result<()> {
    let client = Client::new(&Access::resolve(&cli.global)?)?;
    match &cli.command {
        Command::Publish(args) => remote::publish(&client, args, screen).await,
        Command::Submit(args) => remote::submit(&client, args, screen).await,
        Command::Watch(args) => remote::watch(&client, args, screen).await,
        Command::Results(args) => remote::results(&client, args, screen).await,
        Command::Why(args) => remote::why(&client, args, screen).await,
        Command::Runs(args) => remote::runs(&client, args, screen).await,
        Command::Jobs => remote::jobs(&client, screen).await,
        Command::Workers(args) => remote::workers(&client, args, screen).await,
        Command::Changed(args) => remote::changed(&client, args, screen).await,
        Command::Verification => remote::verification(&client, screen).await,
        Command::Cancel(args) => remote::change(&client, args, "cancel", screen).await,
        Command::Retry(args) => remote::change(&client, args, "retry", screen).await,
        Command::Forget(args) => remote::forget(&client, args, screen).await,
        Command::Sensitive(args) => remote::sensitive(&client, args, screen).await,
        Command::Invoke(args) => remote::invoke(&client, args, screen).await,
        Command::Plan(Plan { of: Some(PlanOf::Job(job)), declared, .. }) => {
            calls::plan(&client, job, declared, screen).await
        }
        Command::Plan(Plan { command: Some(command), .. }) => calls::decide(&client, command, screen).await,
        Command::Secret(command) => calls::secret(&client, command, cli.global.token_file.as_deref(), screen).await,
        Command::Calls(args) => calls::calls(&client, args, screen).await,
        Command::Token(command) => remote::token(&client, command, screen).await,
        Command::Blocklist(command) => blocklist::blocklist(&client, command, screen).await,
        Command::Invite(command) => invite::invite(&client, command, screen).await,
        Command::Keys(command) => remote::keys(&client, command, screen).await,
        Command::Audit(Audit::Export(args)) => audit::export(&client, args, screen).await,
        Command::Audit(Audit::Head(args)) => audit::head(&client, args, screen).await,
        Command::Credit(Credit { command: None }) => credit::list(&client, screen).await,
        Command::Credit(Credit { command: Some(CreditCommand::Statement(args)) }) => {
            credit::statement(&client, args, screen).await
        }
        Command::Credit(Credit { command: Some(CreditCommand::Deposit(args)) }) => {
            credit::deposit(&client, args, screen).await
        }
        Command::Credit(Credit { command: Some(CreditCommand::Export(args)) }) => {
            credit::export(&client, args, screen).await
        }
        Command::Unsent(args) => remote::unsent(&client, args, screen).await,
        Command::Record(args) => remote::record(&client, args, screen).await,
        Command::Audit(Audit::Verify(_))
        | Command::Credit(Credit { command: Some(CreditCommand::Verify(_)) })
        | Command::Replay(_)
        | Command::New(_)
        | Command::Build(_)
        | Command::Check(_)
        | Command::Plan(_)
        | Command::Run(_)
        | Command::Test(_)
        | Command::TestRunner(_)
        | Command::Login(_)
        | Command::Completions(_) => Ok(()), // Done without a coordinator, in `dispatch`.
    }
}

fn asynchronous(work: impl Future<Output = Result<()>>) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(|error| Fault::bug(format!("cannot start the runtime: {error}")))?;
    let done = runtime.block_on(work);
    // Whatever still blocks (a read from a terminal) must not keep the process alive.
    runtime.shutdown_background();
    done
}
