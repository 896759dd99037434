//! Every command line that `manyhands` understands.

use core::str::FromStr;
use core::time::Duration;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum, ValueHint};
use manyhands_addresses::Origin;
use manyhands_credit::Amount;
use manyhands_engines::Kind;
use manyhands_model::sensitive::BadSensitive;
use manyhands_model::{
    Class, Codec, Digest, IntentId, JobName, Manifest, Name, Place, RunId, Sensitive, SensitiveFields, Timestamp,
    Version, WorkerId,
};
use manyhands_signing::Fingerprint;

use crate::fault::Fault;

/// The coordinator on this machine, as it starts without any configuration.
pub const DEFAULT_SERVER: &str = "http://127.0.0.1:6174";

const EXIT_CODES: &str = "\
Exit codes:
   0  all went well
   1  the job is at fault: does not build, is refused, failed on an input
   2  the command line or a file that it names is at fault
   3  replicas disagree
   4  timed out
   5  the coordinator cannot be reached
   6  not allowed with this token
  69  a program that is needed is missing
  70  a bug in manyhands

Data goes to stdout, everything else to stderr. The server is --server, else $MANYHANDS_SERVER, else that of
`manyhands login`, else http://127.0.0.1:6174; the token is --token-file, else $MANYHANDS_TOKEN, else that of
`manyhands login` if it was for the same server.";

/// Many hands make light work: write a job, run it on machines that you need not trust.
#[derive(Debug, Parser)]
#[command(name = "manyhands", version, after_help = EXIT_CODES, propagate_version = true, max_term_width = 110)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
    /// What all commands share.
    #[command(flatten)]
    pub global: Global,
}

/// What all commands share.
#[derive(Clone, Debug, Args)]
pub struct Global {
    /// Data as JSON
    #[arg(long, global = true)]
    pub json: bool,
    /// Nothing on stderr but errors
    #[arg(short, long, global = true)]
    pub quiet: bool,
    /// Address of the coordinator
    #[arg(long, global = true, value_name = "URL", env = "MANYHANDS_SERVER", value_hint = ValueHint::Url)]
    pub server: Option<String>,
    /// File with the bearer token; `-` for stdin
    #[arg(long, global = true, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub token_file: Option<PathBuf>,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Write a new job's crate
    New(New),
    /// Compile a job to one file that can be published
    Build(Build),
    /// Say what a module is, or why no coordinator would take it
    Check(Check),
    /// Execute a module here, without a coordinator, in several replicas that are compared
    Run(Run),
    /// Run a crate's tests as they would run in the sandbox: `cargo test`, each test in a sealed module of its own
    Test(Test),
    /// What cargo calls with a module of tests
    #[command(hide = true)]
    TestRunner(TestRunner),
    /// Remember a coordinator and its token
    Login(Login),
    /// Sign a module and publish it
    Publish(Publish),
    /// Submit a run: one job over one or many inputs
    Submit(Submit),
    /// Follow a run until it ends
    Watch(Watch),
    /// Get a run's results; follows the run until it ends
    Results(Results),
    /// Say why a run, or one of its units, has no answer yet
    Why(Why),
    /// List runs, newest first
    Runs(Runs),
    /// List published jobs
    Jobs,
    /// List workers, show one with what it earned, saw and got wrong, say which are the operator's own, or pardon one
    Workers(Workers),
    /// List the results of a run that are not what they were, since somebody was caught lying
    Changed(RunOnly),
    /// How verification stands: the usual rule, and the operator's own machines
    Verification,
    /// Cancel a run
    Cancel(RunOnly),
    /// Try a run's failed units again
    Retry(RunOnly),
    /// Have the sensitive values of a run that has ended removed: its results show tokens from then on
    Forget(RunOnly),
    /// Show which fields of a run's inputs workers do not see, and what they see instead
    Sensitive(RunOnly),
    /// Get one verified answer: an input in, its output out
    Invoke(Invoke),
    /// Show every call that a job could ever make, approve it, or take that back
    Plan(Plan),
    /// Keep secrets for calls, such as keys of APIs
    #[command(subcommand)]
    Secret(Secret),
    /// List calls of which nobody knows whether they were made, or say what became of one
    Calls(Calls),
    /// Create, list and revoke tokens
    #[command(subcommand)]
    Token(Token),
    /// Export whom the coordinator has banned, signed, and let other coordinators' lists count
    #[command(subcommand)]
    Blocklist(Blocklist),
    /// Create, list and revoke invitations, by which workers join
    #[command(subcommand)]
    Invite(Invite),
    /// Show or rotate the coordinator's keys
    #[command(subcommand)]
    Keys(Keys),
    /// Export and verify the coordinator's audit log
    #[command(subcommand)]
    Audit(Audit),
    /// Show what workers have earned and requesters have used up, deposit, export and verify
    Credit(Credit),
    /// List the calls that a dry run would have sent
    Unsent(RunOnly),
    /// Write a run to a file, from which it can be replayed
    Record(Record),
    /// Execute a recorded run here again, and compare
    Replay(Replay),
    /// Print completions for a shell
    Completions(Completions),
}

/// `manyhands new`
#[derive(Debug, Args)]
pub struct New {
    /// The job's name, and that of its folder
    pub name: JobName,
    /// What to start from
    #[arg(long, value_enum, default_value_t)]
    pub template: Template,
    /// Depend on the SDK in this folder instead of a published version
    #[arg(long, value_name = "PATH", value_hint = ValueHint::DirPath)]
    pub sdk_path: Option<PathBuf>,
}

/// What a new job starts from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Template {
    /// One function from an input to an output
    #[default]
    Hello,
    /// The same, and a function that combines outputs into one
    MapReduce,
}

/// `manyhands build`
#[derive(Debug, Args)]
pub struct Build {
    /// A job that is no Rust: C, WebAssembly text, or a module that something else has built. Its manifest lies beside
    /// it, in FILE.json
    #[arg(value_name = "FILE.c|FILE.wat|FILE.wasm", value_hint = ValueHint::FilePath, conflicts_with_all = ["manifest_path", "package"])]
    pub source: Option<PathBuf>,
    /// The crate's Cargo.toml
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub manifest_path: Option<PathBuf>,
    /// Which package of the workspace
    #[arg(short, long)]
    pub package: Option<String>,
}

/// `manyhands check`
#[derive(Debug, Args)]
#[command(override_usage = "manyhands check <FILE.wasm> [OPTIONS]")]
pub struct Check {
    /// The module
    #[arg(value_name = "FILE.wasm", value_hint = ValueHint::FilePath)]
    pub module: PathBuf,
    /// Execute it once with this input, outside of the sandbox, and show which function used how much fuel; `-` is stdin
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub input: Option<PathBuf>,
    /// With --input: the reduce step
    #[arg(long, requires = "input")]
    pub reduce: bool,
    /// What is looked at before anybody else gets it.
    #[command(flatten)]
    pub samples: Samples,
}

/// What is looked at before anybody else gets it.
#[derive(Clone, Debug, Default, Args)]
pub struct Samples {
    /// Inputs like those to come, in which nothing sensitive may stand undeclared; of a `.jsonl`, each line is one [default:
    /// `inputs.jsonl`, or what is in `samples/`, of the module's folder or project]
    #[arg(long = "sample", value_name = "FILE", num_args = 1.., value_hint = ValueHint::FilePath)]
    pub files: Vec<PathBuf>,
    /// Workers may see what stands there, whatever it looks like: a JSON Pointer or JSONPath; may be repeated
    #[arg(long, value_name = "PLACE")]
    pub allow_undeclared: Vec<Place>,
}

/// What workers must not see, besides what the job's manifest declares.
#[derive(Clone, Debug, Default, Args)]
pub struct Declared {
    /// A field of the inputs that workers must not see, besides those of the job's manifest: a JSON Pointer or JSONPath and what stands
    /// there, such as `/customer/email=email`; may be repeated. What workers may see of it all the same comes behind colons:
    /// `email:domain`, `phone:country`, `iban:last4:joinable`, `card:surrogate`
    #[arg(long, value_name = "PLACE=CLASS", value_parser = sensitive)]
    pub sensitive: Vec<Sensitive>,
}

impl Declared {
    /// The list, if it is one.
    ///
    /// # Errors
    /// [`BadSensitive`].
    pub fn fields(&self) -> Result<SensitiveFields, BadSensitive> {
        SensitiveFields::try_from(self.sensitive.clone())
    }

    /// The list, if a job's inputs can have such fields.
    ///
    /// # Errors
    /// It is no list, or the inputs are not JSON.
    pub fn of(&self, manifest: &Manifest) -> Result<SensitiveFields, Fault> {
        let own = self.fields().map_err(|why| Fault::usage(why.to_string()))?;
        if !own.is_empty() && manifest.codec != Codec::Json {
            let message = format!("inputs of `{}` are not JSON, so nothing in them has a place", manifest.name);
            return Err(Fault::usage(message));
        }
        Ok(own)
    }
}

/// Reads `PLACE=CLASS:SHOWN:…`. A place may hold any character, and what stands behind it neither of these two.
fn sensitive(text: &str) -> Result<Sensitive, String> {
    let list = |words: &mut dyn Iterator<Item = &'static str>| words.collect::<Vec<_>>().join(", ");
    let (at, rest) = text.rsplit_once('=').ok_or("write it as PLACE=CLASS, such as /customer/email=email")?;
    let at: Place = at.parse().map_err(|error| format!("{error}"))?;
    let mut words = rest.split(':');
    let word = words.next().unwrap_or_default();
    let class = Class::ALL.into_iter().find(|class| class.word() == word);
    let class = class
        .ok_or_else(|| format!("`{word}` is no class; there are {}", list(&mut Class::ALL.iter().map(|c| c.word()))))?;
    let mut field = Sensitive { at, class, reveal: None, surrogate: false, joinable: false };
    for word in words {
        match (word, class.reveals().iter().find(|reveal| reveal.word() == word)) {
            ("surrogate", _) if !field.surrogate => field.surrogate = true,
            ("joinable", _) if !field.joinable => field.joinable = true,
            (_, Some(reveal)) if field.reveal.is_none() => field.reveal = Some(*reveal),
            _ => {
                let mut known = class.reveals().iter().map(|reveal| reveal.word()).chain(["joinable", "surrogate"]);
                return Err(format!("behind `{class}` may stand, once, {}; not `{word}`", list(&mut known)));
            }
        }
    }
    Ok(field)
}

/// Where the inputs come from.
#[derive(Clone, Debug, Args)]
#[group(required = true, multiple = false)]
pub struct Inputs {
    /// Each file is one input; `-` is stdin
    #[arg(long, value_name = "FILE", num_args = 1.., value_hint = ValueHint::FilePath)]
    pub input: Vec<PathBuf>,
    /// Each line of the file is one input; `-` is stdin
    #[arg(long, value_name = "FILE.jsonl", value_hint = ValueHint::FilePath)]
    pub inputs: Option<PathBuf>,
}

/// `manyhands run`
#[derive(Debug, Args)]
#[command(override_usage = "manyhands run <FILE.wasm> (--input <FILE>... | --inputs <FILE.jsonl>) [OPTIONS]")]
pub struct Run {
    /// The module
    #[arg(value_name = "FILE.wasm", value_hint = ValueHint::FilePath)]
    pub module: PathBuf,
    /// Where the inputs come from.
    #[command(flatten)]
    pub inputs: Inputs,
    /// Write outputs as frames: for each a little-endian u32 length, then its bytes
    #[arg(long, conflicts_with = "json")]
    pub frames: bool,
    /// How often each input is executed, each time in a process of its own
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u8).range(1..=16), value_name = "N")]
    pub replicas: u8,
    /// Execute each input on all of these engines, outside of the sandbox, and compare: wasmtime, node, chromium,
    /// firefox, node-liftoff, node-turbofan. Outputs are not combined
    #[arg(long, value_delimiter = ',', value_name = "NAMES", conflicts_with_all = ["frames", "replicas", "reduce"])]
    pub engines: Vec<EngineName>,
    /// Combine the outputs; the default for jobs that can
    #[arg(long, overrides_with = "no_reduce")]
    pub reduce: bool,
    /// Do not combine the outputs
    #[arg(long)]
    pub no_reduce: bool,
    /// What the job must not see.
    #[command(flatten)]
    pub declared: Declared,
    /// Give the job sensitive values as they are. Else it sees tokens, as it does with a coordinator
    #[arg(long, conflicts_with = "sensitive")]
    pub plain: bool,
}

/// `manyhands test`
#[derive(Debug, Args)]
#[command(override_usage = "manyhands test [OPTIONS OF cargo test] [-- FILTERS AND OPTIONS OF TESTS]")]
pub struct Test {
    /// Passed on to `cargo test`
    #[arg(value_name = "OPTIONS", allow_hyphen_values = true)]
    pub cargo: Vec<String>,
    /// Passed on to the tests
    #[arg(value_name = "FILTERS", last = true)]
    pub tests: Vec<String>,
}

/// `manyhands test-runner`, with the options of Rust's own harness that have a meaning here.
#[derive(Debug, Args)]
pub struct TestRunner {
    /// The module of tests
    #[arg(value_name = "FILE.wasm", value_hint = ValueHint::FilePath)]
    pub module: PathBuf,
    /// Only tests with one of these in their names
    #[arg(value_name = "FILTER")]
    pub filters: Vec<String>,
    /// Names must be equal to the filter
    #[arg(long)]
    pub exact: bool,
    /// No tests with this in their names
    #[arg(long, value_name = "FILTER")]
    pub skip: Vec<String>,
    /// Only tests that are otherwise ignored
    #[arg(long)]
    pub ignored: bool,
    /// These as well
    #[arg(long)]
    pub include_ignored: bool,
    /// Show names and run nothing
    #[arg(long)]
    pub list: bool,
    /// Show what passing tests log
    #[arg(long)]
    pub nocapture: bool,
    /// The same
    #[arg(long)]
    pub show_output: bool,
    /// Accepted; as many tests run at once as there are processors
    #[arg(long, value_name = "N", hide = true)]
    pub test_threads: Option<u32>,
    /// Accepted; there are no colours
    #[arg(long, value_name = "WHEN", hide = true)]
    pub color: Option<String>,
}

/// An engine that a job can be executed on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EngineName {
    /// The one that volunteers have, with its sandbox.
    Wasmtime,
    /// Another one.
    Other(Kind),
}

impl EngineName {
    /// The name that people type.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Wasmtime => "wasmtime",
            Self::Other(kind) => kind.name(),
        }
    }
}

impl FromStr for EngineName {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        if name == Self::Wasmtime.word() {
            return Ok(Self::Wasmtime);
        }
        name.parse().map(Self::Other).map_err(|unknown| {
            let known: Vec<_> = Kind::ALL.iter().map(|kind| kind.name()).collect();
            format!("{unknown}; there are {}, {}", Self::Wasmtime.word(), known.join(", "))
        })
    }
}

/// `manyhands login`
#[derive(Debug, Args)]
pub struct Login {
    /// Address of the coordinator
    #[arg(value_hint = ValueHint::Url)]
    pub url: String,
}

/// `manyhands publish`
#[derive(Debug, Args)]
#[command(override_usage = "manyhands publish <FILE.wasm> [OPTIONS]")]
pub struct Publish {
    /// The module
    #[arg(value_name = "FILE.wasm", value_hint = ValueHint::FilePath)]
    pub module: PathBuf,
    /// The publisher's key; created where it does not exist [default: in the user's data folder]
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub key: Option<PathBuf>,
    /// Makes it safe to try again: a second request with the same key does nothing new
    #[arg(long, value_name = "KEY")]
    pub idempotency_key: Option<String>,
    /// What is looked at before anybody else gets it.
    #[command(flatten)]
    pub samples: Samples,
}

/// `manyhands submit`
#[derive(Debug, Args)]
#[command(override_usage = "manyhands submit <JOB> (--input <FILE>... | --inputs <FILE.jsonl>) [OPTIONS]")]
pub struct Submit {
    /// The job: NAME or NAME@VERSION
    pub job: JobRef,
    /// Where the inputs come from.
    #[command(flatten)]
    pub inputs: Inputs,
    /// When an outcome counts: `adaptive:1e-4` or `full:1e-6`, with the share of the answers that may be wrong; `audited`, by the
    /// operator's own machine; or `2of4`, two equal outcomes of at most four
    #[arg(long, value_name = "RULE", conflicts_with_all = ["replicas", "replicas_max"])]
    pub verify: Option<String>,
    /// Equal outcomes that make an answer
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u8).range(1..))]
    pub replicas: Option<u8>,
    /// Outcomes after which a unit without an answer fails
    #[arg(long, value_name = "M", value_parser = clap::value_parser!(u8).range(1..))]
    pub replicas_max: Option<u8>,
    /// Higher goes first among your own runs
    #[arg(long, value_name = "P", allow_negative_numbers = true)]
    pub priority: Option<i8>,
    /// Do not combine the outputs
    #[arg(long)]
    pub no_reduce: bool,
    /// Do everything but send the calls that the job asks for; `manyhands unsent` lists them
    #[arg(long)]
    pub dry_run: bool,
    /// What workers must not see.
    #[command(flatten)]
    pub declared: Declared,
    /// Follow the run until it ends
    #[arg(long)]
    pub wait: bool,
    /// With --wait: for at most so many seconds; the run goes on
    #[arg(long, value_name = "SECONDS", requires = "wait", value_parser = seconds)]
    pub timeout: Option<Duration>,
    /// Makes it safe to try again: a second request with the same key does nothing new
    #[arg(long, value_name = "KEY")]
    pub idempotency_key: Option<String>,
}

/// `manyhands watch`
#[derive(Debug, Args)]
pub struct Watch {
    /// The run's id, or `last`
    pub run: RunRef,
    /// For at most so many seconds; the run goes on
    #[arg(long, value_name = "SECONDS", value_parser = seconds)]
    pub timeout: Option<Duration>,
}

/// `manyhands results`
#[derive(Debug, Args)]
pub struct Results {
    /// The run's id, or `last`
    pub run: RunRef,
    /// In the order of the inputs, or as answers are accepted
    #[arg(long, value_enum, default_value_t)]
    pub order: Order,
    /// Write to this file, which appears when it is complete
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub out: Option<PathBuf>,
    /// One JSON object a line, or bare outputs as frames
    #[arg(long, value_enum, default_value_t)]
    pub format: Format,
    /// The outputs of the inputs, or the one they were combined into [default: the latter where there is one]
    #[arg(long, value_enum)]
    pub which: Option<Which>,
}

/// In what order results come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Order {
    /// The order of the inputs
    #[default]
    Input,
    /// The order in which answers were accepted
    Accepted,
}

/// How results are written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// One JSON object a line
    #[default]
    Ndjson,
    /// For each output a little-endian u32 length, then its bytes
    Frames,
}

/// Which results.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Which {
    /// One for each input
    Inputs,
    /// The one they were combined into
    Reduced,
}

/// `manyhands why`
#[derive(Debug, Args)]
pub struct Why {
    /// The run's id, or `last`
    pub run: RunRef,
    /// The number of one of its units
    pub unit: Option<u32>,
}

/// `manyhands runs`
#[derive(Debug, Args)]
pub struct Runs {
    /// At most so many
    #[arg(long, default_value_t = 20, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub limit: u32,
}

/// A command about one run.
#[derive(Debug, Args)]
pub struct RunOnly {
    /// The run's id, or `last`
    pub run: RunRef,
}

/// `manyhands workers`
#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true)]
pub struct Workers {
    /// One worker's id
    #[arg(value_name = "WORKER")]
    pub worker: Option<WorkerId>,
    /// What to do but listing them.
    #[command(subcommand)]
    pub command: Option<WorkersCommand>,
}

/// What operators decide about workers.
#[derive(Debug, Subcommand)]
pub enum WorkersCommand {
    /// From now on this runner is the operator's own: it executes audits and nothing else, and what it says is so
    Trust {
        /// Its id, from `manyhands-runner fingerprint`
        worker: WorkerId,
    },
    /// Forget a worker's faults: it may work again, and earns a record from nothing if it was banned; what it signed stays listed
    Pardon {
        /// Its id
        worker: WorkerId,
        /// Why, for the audit log
        #[arg(long, value_name = "TEXT")]
        reason: Option<String>,
    },
    /// From now on it is a runner like any other
    Distrust {
        /// Its id
        worker: WorkerId,
    },
}

/// `manyhands invoke`
#[derive(Debug, Args)]
pub struct Invoke {
    /// The job: NAME or NAME@VERSION
    pub job: JobRef,
    /// The input; `-` is stdin
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub input: PathBuf,
    /// When an outcome counts: `adaptive:1e-4`, `full:1e-6`, `audited` or `2of4`
    #[arg(long, value_name = "RULE", conflicts_with = "replicas")]
    pub verify: Option<String>,
    /// Equal outcomes that make an answer
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u8).range(1..))]
    pub replicas: Option<u8>,
    /// Wait at most so many seconds for the answer
    #[arg(long, value_name = "SECONDS", default_value = "30", value_parser = seconds)]
    pub timeout: Duration,
    /// The client on whose record the job works: a name of your choice
    #[arg(long, value_name = "NAME", requires = "record", conflicts_with = "sensitive")]
    pub client: Option<String>,
    /// Where this client keeps its record; a file that is not there yet is a client that has none
    #[arg(long, value_name = "FILE", requires = "client", value_hint = ValueHint::FilePath)]
    pub record: Option<PathBuf>,
    /// What workers must not see.
    #[command(flatten)]
    pub declared: Declared,
}

/// `manyhands plan`
#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true, subcommand_negates_reqs = true)]
pub struct Plan {
    /// A published job, NAME or NAME@VERSION, or a module's file, for which no coordinator is needed
    #[arg(value_name = "JOB|FILE.wasm", required = true, value_hint = ValueHint::FilePath)]
    pub of: Option<PlanOf>,
    /// With a module's file: the same in a run with these fields.
    #[command(flatten)]
    pub declared: Declared,
    /// What to do but showing it.
    #[command(subcommand)]
    pub command: Option<PlanCommand>,
}

/// What to do with a plan but showing it.
#[derive(Debug, Subcommand)]
pub enum PlanCommand {
    /// Show a job's plan, and let jobs with exactly this plan make its calls
    Approve {
        /// The job: NAME or NAME@VERSION
        job: JobRef,
        /// Do not ask
        #[arg(short, long)]
        yes: bool,
        /// Only if the plan is this one, which somebody has read before
        #[arg(long, value_name = "DIGEST")]
        digest: Option<Digest>,
    },
    /// Take the approval of a job's plan back: none of its calls is begun any more
    Revoke {
        /// The job: NAME or NAME@VERSION
        job: JobRef,
    },
}

/// Whose plan.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PlanOf {
    /// That of a published job.
    Job(JobRef),
    /// That of a module in a file.
    File(PathBuf),
}

impl FromStr for PlanOf {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        // No job's name has a dot or a slash, a version no slash.
        if text.ends_with(".wasm") || text.contains('/') {
            return Ok(Self::File(text.into()));
        }
        text.parse().map(Self::Job)
    }
}

/// `manyhands secret`
#[derive(Debug, Subcommand)]
pub enum Secret {
    /// Set a secret, over what there was. It is read from a file or from stdin, and sent to its origin only
    Set {
        /// Its name, as `{secret:NAME}` in verbs
        name: Name,
        /// Where alone it is sent, such as `https://api.example.com`
        #[arg(long, value_name = "URL", value_hint = ValueHint::Url)]
        origin: Origin,
        /// The file that holds it; `-` is stdin. A line break at its end does not count
        #[arg(long, value_name = "FILE", default_value = "-", value_hint = ValueHint::FilePath)]
        file: PathBuf,
    },
    /// List names and origins; never the secrets
    List,
    /// Remove a secret; calls with it are refused from now on
    Remove {
        /// Its name
        name: Name,
    },
}

/// `manyhands calls`
#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true)]
pub struct Calls {
    /// What to do but listing them.
    #[command(subcommand)]
    pub command: Option<CallsCommand>,
}

/// What to do with a call of which nobody knows whether it was made.
#[derive(Debug, Subcommand)]
pub enum CallsCommand {
    /// Say what you found out at the other end
    Settle {
        /// Its id, from `manyhands calls`
        id: IntentId,
        /// What you found out.
        #[command(flatten)]
        found: Found,
    },
}

/// What an operator found out.
#[derive(Clone, Copy, Debug, Args)]
#[group(required = true, multiple = false)]
pub struct Found {
    /// The call was not made: make it
    #[arg(long)]
    pub not_made: bool,
    /// It was made, or nobody will ever know: the job hears `unknown`
    #[arg(long)]
    pub let_go: bool,
}

/// `manyhands token`
#[derive(Debug, Subcommand)]
pub enum Token {
    /// Create a token; its secret is shown this once, on stdout
    Create {
        /// Whose it is, shown as the owner of runs
        name: String,
        /// What it permits
        #[arg(long, value_enum, default_value_t)]
        role: RoleArg,
    },
    /// List tokens, without their secrets
    List,
    /// Revoke a token
    Revoke {
        /// Its id, from `token list`
        id: String,
    },
}

/// `manyhands blocklist`
#[derive(Debug, Subcommand)]
pub enum Blocklist {
    /// Write whom the coordinator has banned and not pardoned to a file, signed, for other coordinators
    Export {
        /// Where to, a line of JSON for each worker
        #[arg(value_name = "FILE", value_hint = ValueHint::FilePath)]
        file: PathBuf,
        /// For how many days it may be acted upon [default: 30]
        #[arg(long, value_name = "D", value_parser = clap::value_parser!(u32).range(1..=365))]
        days: Option<u32>,
        /// Show workers' signed reports as well, in which the digests of your requesters' inputs and outputs stand
        #[arg(long)]
        evidence: bool,
    },
    /// Let a list of that coordinator's count: the workers on it are refused
    Subscribe {
        /// Fingerprint of its root key, as it ends its join link
        key: Fingerprint,
        /// The list, as its `export` wrote it; it has to be later than the last; `-` is stdin
        #[arg(value_name = "FILE", value_hint = ValueHint::FilePath)]
        file: PathBuf,
        /// What those who are refused are told that it is called
        #[arg(long, value_name = "NAME")]
        name: Option<String>,
    },
    /// Let lists of that coordinator's count no more
    Unsubscribe {
        /// Fingerprint of its root key
        key: Fingerprint,
    },
    /// List whose lists count
    List,
    /// See whether a list is what was signed; needs no coordinator
    Verify {
        /// The list; `-` is stdin
        #[arg(value_name = "FILE", value_hint = ValueHint::FilePath)]
        file: PathBuf,
        /// Fingerprint of the coordinator's root key, as it ends the join link
        #[arg(long, value_name = "KEY")]
        root: Option<Fingerprint>,
    },
}

/// `manyhands invite`
#[derive(Debug, Subcommand)]
pub enum Invite {
    /// Create an invitation; it is shown this once, on stdout
    Create {
        /// Whose workers come with it; all workers of one owner are one voice
        #[arg(long, value_name = "NAME")]
        owner: Option<String>,
        /// How many workers may come with it
        #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=10_000))]
        uses: Option<u32>,
        /// For how many days they may; for ever, if nothing is said
        #[arg(long, value_name = "D", value_parser = clap::value_parser!(u32).range(1..=3_650))]
        days: Option<u32>,
    },
    /// List invitations, without their secrets
    List,
    /// Revoke an invitation: nobody comes with it any more, and where workers need one, those that did are sent away
    Revoke {
        /// Its id, from `invite list`
        id: String,
    },
}

/// What a token permits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum RoleArg {
    /// Submit runs and read their results
    #[default]
    Requester,
    /// That, and publish jobs
    Developer,
    /// Everything
    Operator,
}

/// `manyhands keys`
#[derive(Debug, Subcommand)]
pub enum Keys {
    /// Show the coordinator's keys and the join link for volunteers
    Show,
    /// Sign with a new key from now on
    Rotate,
}

/// `manyhands audit`
#[derive(Debug, Subcommand)]
pub enum Audit {
    /// Write the whole log to a file, with a head that is signed now
    Export(AuditExport),
    /// Get a signed head; kept elsewhere, it proves later that nothing before it was changed or cut off
    Head(AuditHead),
    /// Check an exported log, without a coordinator; says the first entry that is not to be believed
    Verify(AuditVerify),
}

/// `manyhands audit export`
#[derive(Debug, Args)]
pub struct AuditExport {
    /// Where to, a line of JSON for each entry
    #[arg(value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub file: PathBuf,
}

/// `manyhands audit head`
#[derive(Debug, Args)]
pub struct AuditHead {
    /// Write to this file, which appears when it is complete
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub out: Option<PathBuf>,
}

/// `manyhands audit verify`
#[derive(Debug, Args)]
pub struct AuditVerify {
    /// The log; `-` is stdin
    #[arg(value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub file: PathBuf,
    /// A head that was kept: the log has to have had it
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub head: Option<PathBuf>,
    /// Fingerprint of the coordinator's root key, as it ends the join link
    #[arg(long, value_name = "KEY")]
    pub root: Option<Fingerprint>,
}

/// `manyhands credit`
#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true)]
pub struct Credit {
    /// What to do but listing accounts.
    #[command(subcommand)]
    pub command: Option<CreditCommand>,
}

/// What to do with the ledger of fuel.
#[derive(Debug, Subcommand)]
pub enum CreditCommand {
    /// Show what a worker or a requester got and gave, hour by hour
    Statement(CreditStatement),
    /// Deposit fuel for a requester; from then on its runs stop when nothing is left
    Deposit(CreditDeposit),
    /// Write what happened in hours that are over to a file, signed, for others to settle from
    Export(CreditExport),
    /// Check an export, without a coordinator: that it is what was written, and balanced
    Verify(CreditVerify),
}

/// `manyhands credit statement`
#[derive(Debug, Args)]
pub struct CreditStatement {
    /// A worker's id, or the name of a requester's token
    #[arg(value_name = "WORKER|NAME")]
    pub account: String,
    /// From this hour on, in UTC, such as 2026-03-01 or 2026-03-01T15:00:00Z
    #[arg(long, value_name = "DATE", value_parser = crate::credit::moment)]
    pub from: Option<Timestamp>,
}

/// `manyhands credit deposit`
#[derive(Debug, Args)]
pub struct CreditDeposit {
    /// Name of the requester's token
    pub requester: String,
    /// How much; with a minus before it, so much is taken back
    #[arg(allow_negative_numbers = true)]
    pub fuel: Amount,
}

/// `manyhands credit export`
#[derive(Debug, Args)]
pub struct CreditExport {
    /// Where to, a line of JSON for each line of the ledger
    #[arg(value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub file: PathBuf,
    /// From this hour on, in UTC, such as 2026-03-01 or 2026-03-01T15:00:00Z
    #[arg(long, value_name = "DATE", value_parser = crate::credit::moment)]
    pub from: Option<Timestamp>,
    /// Up to this hour, which is left out; up to the present one if nothing is said
    #[arg(long, value_name = "DATE", value_parser = crate::credit::moment)]
    pub to: Option<Timestamp>,
}

/// `manyhands credit verify`
#[derive(Debug, Args)]
pub struct CreditVerify {
    /// The export; `-` is stdin
    #[arg(value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub file: PathBuf,
    /// Fingerprint of the coordinator's root key, as it ends the join link
    #[arg(long, value_name = "KEY")]
    pub root: Option<Fingerprint>,
}

/// `manyhands record`
#[derive(Debug, Args)]
pub struct Record {
    /// The run's id, or `last`; it has to have ended
    pub run: RunRef,
    /// Where to, a line of JSON for each unit
    #[arg(value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub file: PathBuf,
}

/// `manyhands replay`
#[derive(Debug, Args)]
pub struct Replay {
    /// The recording; `-` is stdin
    #[arg(value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub file: PathBuf,
}

/// `manyhands completions`
#[derive(Debug, Args)]
pub struct Completions {
    /// The shell
    #[arg(value_enum)]
    pub shell: clap_complete::Shell,
}

/// A run, as people name it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RunRef {
    /// The newest that the token may see.
    Last,
    /// This one.
    Id(RunId),
}

impl FromStr for RunRef {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "last" => Ok(Self::Last),
            id => id.parse().map(Self::Id).map_err(|error| format!("{error}; or `last` for the newest run")),
        }
    }
}

/// A job, as people name it: `NAME` or `NAME@VERSION`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JobRef {
    /// Its name.
    pub name: JobName,
    /// Its version; without one, the newest.
    pub version: Option<Version>,
}

impl FromStr for JobRef {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (name, version) = match text.split_once('@') {
            Some((name, version)) => (name, Some(version)),
            None => (text, None),
        };
        let version = version.map(|text| text.parse().map_err(|error| format!("`{text}` is not a version: {error}")));
        Ok(Self { name: name.parse().map_err(|error| format!("{error}"))?, version: version.transpose()? })
    }
}

fn seconds(text: &str) -> Result<Duration, String> {
    let seconds: f64 = text.trim_end_matches('s').parse().map_err(|_| "expected a number of seconds".to_owned())?;
    match Duration::try_from_secs_f64(seconds) {
        Ok(duration) if !duration.is_zero() => Ok(duration),
        _ => Err("expected a number of seconds above zero".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    fn parse(line: &str) -> Result<Cli, clap::Error> {
        Cli::try_parse_from(line.split(' '))
    }

    #[test]
    fn the_definitions_fit_together() {
        Cli::command().debug_assert();
    }

    #[test]
    fn runs_and_jobs_are_named_as_people_do() {
        assert_eq!("last".parse(), Ok(RunRef::Last));
        assert_eq!(RunId([7; 16]).to_string().parse(), Ok(RunRef::Id(RunId([7; 16]))));
        assert!("lst".parse::<RunRef>().expect_err("refused").contains("or `last`"));
        let job: JobRef = "mandelbrot@1.2.3".parse().expect("parses");
        assert_eq!((job.name.as_str(), job.version), ("mandelbrot", Some(Version::new(1, 2, 3))));
        assert!("mandelbrot@1".parse::<JobRef>().is_err());
    }

    #[test]
    fn inputs_come_from_one_place() {
        assert!(parse("manyhands run a.wasm --input a b c").is_ok());
        assert!(parse("manyhands run a.wasm --inputs a.jsonl").is_ok());
        assert!(parse("manyhands run a.wasm").is_err());
        assert!(parse("manyhands run a.wasm --input a --inputs b").is_err());
        assert!(parse("manyhands submit a --inputs - --priority -3 --wait --timeout 2.5").is_ok());
    }

    #[test]
    fn plans_secrets_and_calls_are_named_as_people_do() {
        let plan = |line: &str| match parse(line).map(|cli| cli.command) {
            Ok(Command::Plan(plan)) => plan,
            other => panic!("{line}: {other:?}"),
        };
        let job: JobRef = "crm@1.2.3".parse().expect("parses");
        assert_eq!(plan("manyhands plan crm@1.2.3").of, Some(PlanOf::Job(job)));
        assert_eq!(plan("manyhands plan a.wasm").of, Some(PlanOf::File("a.wasm".into())));
        assert_eq!(plan("manyhands plan ./crm").of, Some(PlanOf::File("./crm".into())));
        assert!(matches!(
            plan("manyhands plan approve crm --yes").command,
            Some(PlanCommand::Approve { yes: true, .. })
        ));
        assert!(matches!(plan("manyhands plan revoke crm").command, Some(PlanCommand::Revoke { .. })));
        let id = IntentId([7; 32]);
        for good in ["secret set crm_key --origin https://a.example", "secret list", "secret remove crm_key", "calls"] {
            assert!(parse(&format!("manyhands {good}")).is_ok(), "{good}");
        }
        assert!(parse(&format!("manyhands calls settle {id} --not-made")).is_ok());
        // A secret is never an argument, and nobody settles a call without saying how.
        for bad in [
            "plan".to_owned(),
            "plan approve".to_owned(),
            "secret set crm_key hunter2 --origin https://a.example".to_owned(),
            "secret set crm_key".to_owned(),
            format!("calls settle {id}"),
            format!("calls settle {id} --not-made --let-go"),
        ] {
            assert!(parse(&format!("manyhands {bad}")).is_err(), "{bad}");
        }
    }

    #[test]
    fn sensitive_fields_are_declared_in_a_word() {
        let json = |text: &str| sensitive(text).map(|field| serde_json::to_string(&field).expect("JSON"));
        for (text, expected) in [
            ("/customer/email=email", r#"{"at":"/customer/email","class":"email"}"#),
            ("/a=b=email:domain", r#"{"at":"/a=b","class":"email","reveal":"domain"}"#),
            ("$..x[*]=iban:joinable:last4", r#"{"at":"$..x[*]","class":"iban","reveal":"last4","joinable":true}"#),
            ("=card:surrogate", r#"{"at":"","class":"card","surrogate":true}"#),
        ] {
            assert_eq!(json(text).as_deref(), Ok(expected));
        }
        for (text, reason) in [
            ("/a", "PLACE=CLASS"),
            ("a=email", "`a` is not a place: at character 1"),
            ("/a=mail", "`mail` is no class; there are email, phone"),
            ("/a=email:last4", "domain, joinable, surrogate; not `last4`"),
            ("/a=email:domain:domain", "once"),
            ("/a=email:", "not ``"),
        ] {
            assert!(json(text).expect_err(text).contains(reason), "{text}");
        }
        let good = "submit a --input b --sensitive /x=email --sensitive /y=name";
        assert!(parse(&format!("manyhands {good}")).is_ok());
        assert!(parse("manyhands run a.wasm --input b --sensitive /x=email --plain").is_err());
    }

    #[test]
    fn every_exit_code_is_documented() {
        use crate::fault::Exit::*;
        for code in [Ok, JobFailed, Usage, Disagree, TimedOut, Unreachable, NotAllowed, MissingTool, Bug] {
            assert!(EXIT_CODES.contains(&format!("\n  {:2}  ", code as u8)), "{code:?}");
        }
    }
}
