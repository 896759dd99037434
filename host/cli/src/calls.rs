//! What operators decide about calls: which plans are approved, which secrets are sent where, and what became of calls of which nobody knows.

use std::io::{BufRead as _, IsTerminal as _, Read as _};
use std::path::Path;

use manyhands_api::{CallView, FoundOut, NewSecret, PlanView, SecretList, SettledCall, UnknownCalls};
use manyhands_intents::Plan;
use manyhands_model::{Digest, Name};
use reqwest::Method;
use serde::Serialize;
use zeroize::Zeroizing;

use crate::args::{Calls, CallsCommand, Declared, JobRef, PlanCommand, Secret};
use crate::client::Client;
use crate::fault::{Exit, Fault, Result};
use crate::inputs::open_file;
use crate::screen::{Screen, grouped, printable, table};

/// The longest secret that a coordinator keeps.
const SECRET_BYTES_MAX: usize = 4_096;

/// What `manyhands plan` prints of a module with `--json`.
#[derive(Serialize)]
struct OfModule {
    digest: Digest,
    page: String,
}

/// `manyhands plan FILE.wasm`: what an operator would be asked to approve, or what a run with more sensitive fields would show.
///
/// # Errors
/// The file cannot be read, the sealer refuses it, or the fields do not fit to the job.
pub fn plan_of_module(module: &Path, declared: &Declared, screen: Screen) -> Result<()> {
    let source = std::fs::read(module).map_err(|error| Fault::file("read", module, &error))?;
    let sealed = manyhands_sealer::seal(&source).map_err(|refusal| Fault::refused(&refusal))?;
    let plan = Plan::of(&sealed.manifest).map_err(|error| Fault::job(error.to_string()))?;
    let plan = plan.with(declared.of(&sealed.manifest)?).map_err(|why| Fault::usage(why.to_string()))?;
    if !declared.sensitive.is_empty() {
        screen.note("with the fields of a run; what an operator approves is the job's plan without them");
    }
    screen.show(&OfModule { digest: plan.digest(), page: plan.to_string() }, |plan| page(&plan.page))
}

/// `manyhands plan JOB`
///
/// # Errors
/// Any [`Client`] fault, or fields of a run: the coordinator tells nobody's but its own.
pub async fn plan(client: &Client, job: &JobRef, declared: &Declared, screen: Screen) -> Result<()> {
    if !declared.sensitive.is_empty() {
        let message =
            format!("`{}` is published: its plan is what an operator approved, whatever a run declares", named(job));
        return Err(Fault::usage(message).help("with --sensitive, name the module's file"));
    }
    let plan = fetch(client, job).await?;
    screen.show(&plan, |plan| page(&plan.page))?;
    match plan.approved {
        true => screen.note("approved: its calls are made"),
        false => screen
            .note(format_args!("not approved: its calls are refused until `manyhands plan approve {}`", named(job))),
    }
    Ok(())
}

/// `manyhands plan approve` and `manyhands plan revoke`
///
/// # Errors
/// Nobody said yes, the plan is another one than was read, or any [`Client`] fault.
pub async fn decide(client: &Client, command: &PlanCommand, screen: Screen) -> Result<()> {
    match command {
        PlanCommand::Approve { job, yes, digest } => {
            let plan = fetch(client, job).await?;
            if let Some(read) = digest
                && *read != plan.digest
            {
                let message =
                    format!("the plan of `{}` is {} now, not {read}; nothing was approved", named(job), plan.digest);
                return Err(Fault::usage(message).help(format!("read it again: `manyhands plan {}`", named(job))));
            }
            if !screen.json {
                screen.line(page(&plan.page))?;
            }
            if !yes {
                ask(job, &plan, screen)?;
            }
            // What was shown is approved, whatever was published meanwhile.
            client.send(client.request(Method::PUT, &["v1", "plans", &plan.digest.to_string()], &[])).await?;
            screen.note(format_args!("approved: plan {}", plan.digest));
            if screen.json { screen.json(&PlanView { approved: true, ..plan }) } else { Ok(()) }
        }
        PlanCommand::Revoke { job } => {
            let plan = fetch(client, job).await?;
            client.send(client.request(Method::DELETE, &["v1", "plans", &plan.digest.to_string()], &[])).await?;
            screen.note(format_args!("no call of plan {} is begun any more", plan.digest));
            if screen.json { screen.json(&PlanView { approved: false, ..plan }) } else { Ok(()) }
        }
    }
}

async fn fetch(client: &Client, job: &JobRef) -> Result<PlanView> {
    let version = job.version.as_ref().map(|version| ("version", version.to_string()));
    client.get(&["v1", "jobs", job.name.as_str(), "plan"], version.as_slice()).await
}

fn named(job: &JobRef) -> String {
    job.version.as_ref().map_or_else(|| job.name.to_string(), |version| format!("{}@{version}", job.name))
}

fn page(page: &str) -> String {
    printable(page.trim_end())
}

/// Asks the person at the terminal, who sees the plan.
fn ask(job: &JobRef, plan: &PlanView, screen: Screen) -> Result<()> {
    let stdin = std::io::stdin();
    if !stdin.is_terminal() {
        let digest = "`--digest DIGEST --yes` approves exactly what was read";
        return Err(Fault::usage("nobody is there to say yes; nothing was approved").help(digest));
    }
    // Not notes: a question is asked even of those who asked for quiet, and the plan stands above it even where stdout is for JSON.
    let terminal = Screen::default();
    if screen.json {
        terminal.note(page(&plan.page));
    }
    let job = named(job);
    terminal.note(format_args!("may jobs with exactly this plan make these calls? `yes` approves it for `{job}`"));
    let mut answer = String::new();
    stdin.lock().read_line(&mut answer).map_err(|error| Fault::usage(format!("cannot read the answer: {error}")))?;
    match answer.trim() {
        "yes" => Ok(()),
        _ => Err(Fault::new(Exit::Usage, "nothing was approved")),
    }
}

/// `manyhands secret`
///
/// # Errors
/// What is no secret, or any [`Client`] fault.
pub async fn secret(client: &Client, command: &Secret, token_file: Option<&Path>, screen: Screen) -> Result<()> {
    match command {
        Secret::Set { name, origin, file } => {
            if file == Path::new("-") && token_file == Some(file) {
                return Err(
                    Fault::usage("stdin cannot hold both the token and the secret").help("give one of them as a file")
                );
            }
            let secret = read_secret(file)?;
            if let Some(server) = client.in_clear() {
                screen.note(format_args!(
                    "warning: {server} is not encrypted; whoever is on the way can read the secret"
                ));
            }
            let new = NewSecret { origin: origin.to_string(), secret: secret.to_string() };
            let request = client.request(Method::PUT, &["v1", "secrets", name.as_str()], &[]).json(&new);
            client.send(request).await?;
            screen.note(format_args!("`{name}` is set, and sent to {origin} only"));
            Ok(())
        }
        Secret::List => {
            let list: SecretList = client.get(&["v1", "secrets"], &[]).await?;
            screen.show(&list, |list| {
                let row = |secret: &manyhands_api::SecretView| [printable(&secret.name), printable(&secret.origin)];
                table(["SECRET", "SENT TO"], &list.secrets.iter().map(row).collect::<Vec<_>>())
            })
        }
        Secret::Remove { name } => remove(client, name, screen).await,
    }
}

async fn remove(client: &Client, name: &Name, screen: Screen) -> Result<()> {
    let list: SecretList = client.get(&["v1", "secrets"], &[]).await?;
    if !list.secrets.iter().any(|secret| secret.name == name.as_str()) {
        return Err(Fault::usage(format!("there is no secret `{name}`"))
            .help("`manyhands secret list` shows those that there are"));
    }
    client.send(client.request(Method::DELETE, &["v1", "secrets", name.as_str()], &[])).await?;
    screen.note(format_args!("`{name}` is removed; calls with it are refused from now on"));
    Ok(())
}

/// A secret from a file or stdin, without the line break at its end. It is never shown, not even a wrong one.
fn read_secret(file: &Path) -> Result<Zeroizing<String>> {
    let is_stdin = file == Path::new("-");
    if is_stdin && std::io::stdin().is_terminal() {
        return Err(Fault::usage("a secret that is typed could be read on the screen").help(
            "give it as a file, --file FILE, or let a password manager write it to stdin: `… | manyhands secret set …`",
        ));
    }
    let source = if is_stdin { "stdin".to_owned() } else { format!("`{}`", file.display()) };
    let wrong = |what: &str| Fault::usage(format!("{source} {what}"));
    // With room for all that is read, so that no copy is left behind by growing.
    let mut bytes = Zeroizing::new(Vec::with_capacity(SECRET_BYTES_MAX + 4));
    let limit = SECRET_BYTES_MAX as u64 + 3;
    open_file(file)?.take(limit).read_to_end(&mut bytes).map_err(|error| Fault::file("read", file, &error))?;
    let text = core::str::from_utf8(&bytes).map_err(|_| wrong("is no text"))?;
    let text = text.strip_suffix('\n').map_or(text, |text| text.strip_suffix('\r').unwrap_or(text));
    if text.is_empty() {
        return Err(wrong("holds no secret: it is empty"));
    }
    if text.len() > SECRET_BYTES_MAX {
        return Err(wrong(&format!("is longer than {SECRET_BYTES_MAX} bytes, the most that a secret has")));
    }
    if text.chars().any(char::is_control) {
        return Err(wrong("has several lines or control characters, which no request could carry"));
    }
    Ok(Zeroizing::new(text.to_owned()))
}

/// `manyhands calls`
///
/// # Errors
/// Any [`Client`] fault.
pub async fn calls(client: &Client, args: &Calls, screen: Screen) -> Result<()> {
    match &args.command {
        None => {
            let mut unknown: UnknownCalls = client.get(&["v1", "calls", "unknown"], &[]).await?;
            while let Some(after) = unknown.next.take() {
                let more: UnknownCalls = client.get(&["v1", "calls", "unknown"], &[("after", after)]).await?;
                unknown.calls.extend(more.calls);
                unknown.next = more.next;
            }
            if unknown.calls.is_empty() {
                screen.note("of every call it is known whether it was made");
            } else {
                screen.note(WHAT_TO_DO);
            }
            if screen.json {
                screen.json(&unknown)
            } else {
                unknown.calls.iter().try_for_each(|call| screen.line(call_text(call)))
            }
        }
        Some(CallsCommand::Settle { id, found }) => {
            let found = if found.not_made { FoundOut::NotMade } else { FoundOut::LetGo };
            let request = client.request(Method::PUT, &["v1", "calls", &id.to_string()], &[]);
            client.send(request.json(&SettledCall { found })).await?;
            screen.note(match found {
                FoundOut::NotMade => format!("{id} is made now"),
                FoundOut::LetGo => format!("{id} is let go; the job hears that nobody knows"),
            });
            Ok(())
        }
    }
}

const WHAT_TO_DO: &str = "\
nobody knows whether these calls were made: the connection broke, or the coordinator was killed. Look at the other end, then
  manyhands calls settle ID --not-made   it was not made, and is made now
  manyhands calls settle ID --let-go     it was made, or nobody will ever know; the job hears `unknown`, as after calls.unknown_ms";

fn call_text(call: &CallView) -> String {
    let CallView { id, run, unit, step, verb, canonical } = call;
    let (unit, step) = (grouped(u64::from(*unit)), u64::from(*step) + 1);
    let lines = [
        printable(id),
        format!("  {run}, unit {unit}, request {step}: {}", printable(verb)),
        format!("  {}", printable(canonical)),
    ];
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_one_line_and_never_shown() {
        let folder = tempfile::tempdir().expect("a folder");
        let read = |contents: &[u8]| {
            let path = folder.path().join("secret");
            std::fs::write(&path, contents).expect("written");
            read_secret(&path)
        };
        for (contents, expected) in [("hunter2", "hunter2"), ("hunter2\n", "hunter2"), ("a b \r\n", "a b ")] {
            assert_eq!(read(contents.as_bytes()).expect("a secret").as_str(), expected);
        }
        assert_eq!(read(&[b'a'; SECRET_BYTES_MAX]).expect("a secret").len(), SECRET_BYTES_MAX);
        for bad in [&b""[..], b"\n", b"hunter2\nhunter3\n", b"hunter2\0", b"hunter2\xff", &[b'h'; SECRET_BYTES_MAX + 1]]
        {
            let fault = read(bad).expect_err("refused");
            assert_eq!(fault.exit, Exit::Usage);
            assert!(!fault.to_string().contains("hunter") && !fault.to_string().contains("hhh"), "{fault}");
        }
        let missing = read_secret(&folder.path().join("nowhere")).expect_err("refused");
        assert!(missing.message.contains("nowhere"), "{missing}");
    }
}
