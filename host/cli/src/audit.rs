//! `manyhands audit`: the coordinator's audit log as a file, and whether such a file is what was written.

use std::path::Path;

use manyhands_audit::{Broken, Report, SignedHead, Verifier};
use reqwest::Method;

use crate::args::{AuditExport, AuditHead, AuditVerify};
use crate::client::Client;
use crate::fault::{Fault, Result};
use crate::inputs::each_line;
use crate::remote::{Sink, ago, now};
use crate::screen::{Screen, grouped};

/// Entries that are asked for at once.
const PAGE: u64 = 1_000;

/// `manyhands audit head`
///
/// # Errors
/// Any [`Client`] fault, or a file that cannot be written.
pub async fn head(client: &Client, args: &AuditHead, screen: Screen) -> Result<()> {
    let (_, line) = newest(client).await?;
    let mut sink = Sink::open(args.out.as_deref(), screen)?;
    sink.write(&line)?;
    sink.write(b"\n")?;
    sink.finish("the head is")
}

/// `manyhands audit export`
///
/// # Errors
/// Any [`Client`] fault, a file that cannot be written, or a log that is not what was written; then the file is there all the same.
pub async fn export(client: &Client, args: &AuditExport, screen: Screen) -> Result<()> {
    let (head, last) = newest(client).await?;
    let entries = head.said().tail.entries;
    let mut sink = Sink::open(Some(&args.file), screen)?;
    let mut verifier = Verifier::of(head);
    let mut broken = Ok(());
    let mut line = |line: &[u8]| {
        if broken.is_ok() {
            broken = verifier.line(line);
        }
        sink.write(line)?;
        sink.write(b"\n")
    };
    let mut after = 0;
    while after < entries {
        let query = [("after", after.to_string()), ("limit", PAGE.min(entries - after).to_string())];
        let page = client.send(client.request(Method::GET, &["v1", "audit"], &query)).await?;
        let page = page.bytes().await.map_err(|error| client.broken(&error))?;
        if page.is_empty() {
            break;
        }
        for one in page.split(|byte| *byte == b'\n').filter(|one| !one.is_empty()) {
            after += u64::from(!SignedHead::is_one(one));
            line(one)?;
        }
    }
    line(&last)?;
    sink.finish("the log is")?;
    let report = broken.and_then(|()| verifier.end());
    tell(&report.map_err(|broken| fault(&args.file, &broken))?, screen)
}

/// `manyhands audit verify`
///
/// # Errors
/// A file that cannot be read, or where the log is not what was written.
pub fn verify(args: &AuditVerify, screen: Screen) -> Result<()> {
    let mut verifier = match &args.head {
        None => Verifier::new(args.root),
        Some(path) => {
            let line = std::fs::read(path).map_err(|error| Fault::file("read", path, &error))?;
            let kept = SignedHead::read(line.trim_ascii_end(), args.root);
            Verifier::of(kept.map_err(|why| Fault::usage(format!("`{}`: {why}", path.display())))?)
        }
    };
    each_line(&args.file, |line| verifier.line(line).map_err(|broken| fault(&args.file, &broken)))?;
    let report = verifier.end().map_err(|broken| fault(&args.file, &broken))?;
    tell(&report, screen)?;
    if args.root.is_none() && args.head.is_none() {
        screen.note(
            "whose log it is, you have to see: compare the key with the join link, or name it with --root; \
             that nothing is cut off, only a head that you kept can say (--head)",
        );
    }
    Ok(())
}

/// Where the coordinator says that its log ends, and the line with which it says so.
async fn newest(client: &Client) -> Result<(SignedHead, Vec<u8>)> {
    let answer = client.send(client.request(Method::GET, &["v1", "audit", "head"], &[])).await?;
    let line = answer.bytes().await.map_err(|error| client.broken(&error))?;
    let head = SignedHead::read(&line, None).map_err(|why| Fault::bug(format!("the coordinator's answer: {why}")))?;
    Ok((head, line.to_vec()))
}

fn fault(file: &Path, broken: &Broken) -> Fault {
    let fault = Fault::usage(format!("`{}` is not the log that was written: {broken}", file.display()));
    match broken.entry() {
        0 | 1 => fault,
        entry => fault.help(format!("entries before {entry} are as they were written")),
    }
}

fn tell(report: &Report, screen: Screen) -> Result<()> {
    let Report { entries, root, signed_at } = report;
    if screen.json {
        return screen.json(&serde_json::json!({ "entries": entries, "root": root, "signed_at": signed_at }));
    }
    let when = ago(*signed_at, now());
    screen.line(format_args!("{} entries, unbroken; signed {when} under the root key {root}", grouped(*entries)))
}
