//! `manyhands blocklist`: whom a coordinator has banned, for others, and whose lists count.

use std::path::Path;

use manyhands_api::{BlocklistList, BlocklistView};
use manyhands_blocklist::{Broken, List, read};
use manyhands_signing::Fingerprint;
use reqwest::Method;
use reqwest::header::CONTENT_TYPE;
use serde_json::json;

use crate::args::Blocklist;
use crate::client::Client;
use crate::fault::{Fault, Result};
use crate::inputs::read_whole;
use crate::remote::{DAY_MS, Sink, ago, now};
use crate::screen::{Screen, printable, table};

/// `manyhands blocklist`, but for `verify`
///
/// # Errors
/// Any [`Client`] fault, or a list that is not what was signed.
pub async fn blocklist(client: &Client, command: &Blocklist, screen: Screen) -> Result<()> {
    match command {
        Blocklist::Export { file, days, evidence } => {
            let mut query = vec![("evidence", evidence.to_string())];
            query.extend(days.map(|days| ("days", days.to_string())));
            let answer = client.send(client.request(Method::GET, &["v1", "blocklists", "export"], &query)).await?;
            let text = answer.bytes().await.map_err(|error| client.broken(&error))?;
            let list = read(&text, None).map_err(|broken| fault(file, &broken))?;
            let mut sink = Sink::open(Some(file), screen)?;
            sink.write(&text)?;
            sink.finish("the block list is")?;
            tell(&list, screen)
        }
        Blocklist::Subscribe { key, file, name } => {
            let text = read_whole(file)?;
            // What it will say as well, but without sending it anywhere.
            read(&text, Some(*key)).map_err(|broken| fault(file, &broken))?;
            let query: Vec<_> = name.iter().map(|name| ("name", name.clone())).collect();
            let request = client.request(Method::PUT, &["v1", "blocklists", &key.to_string()], &query);
            let view: BlocklistView =
                client.json(request.header(CONTENT_TYPE, manyhands_api::NDJSON).body(text)).await?;
            screen.show(&view, |view| {
                let (name, days) = (printable(&view.name), days_left(view));
                format!("{name}: list {} counts for {days} d; {} workers are refused", view.serial, view.workers)
            })
        }
        Blocklist::Unsubscribe { key } => {
            client.send(client.request(Method::DELETE, &["v1", "blocklists", &key.to_string()], &[])).await?;
            screen.note(format_args!("lists of {key} count no more"));
            Ok(())
        }
        Blocklist::List => {
            let list: BlocklistList = client.get(&["v1", "blocklists"], &[]).await?;
            screen.show(&list, |list| {
                let rows: Vec<_> = list.lists.iter().map(row).collect();
                table(["BLOCK LIST", "KEY", "SERIAL", "MADE", "COUNTS", "WORKERS", "PROVEN"], &rows)
            })
        }
        Blocklist::Verify { file, root } => verify(file, *root, screen),
    }
}

/// `manyhands blocklist verify`
///
/// # Errors
/// A file that cannot be read, or is not what was signed.
pub fn verify(file: &Path, root: Option<Fingerprint>, screen: Screen) -> Result<()> {
    let list = read(&read_whole(file)?, root).map_err(|broken| fault(file, &broken))?;
    tell(&list, screen)?;
    if root.is_none() {
        screen.note("whose list it is, you have to see: compare the key with the join link, or name it with --root");
    }
    Ok(())
}

fn row(view: &BlocklistView) -> [String; 7] {
    let counts = if view.holds { format!("for {} d", days_left(view)) } else { "no more".to_owned() };
    let (made, serial) = (ago(view.issued_at, now()), view.serial.to_string());
    let (workers, proven) = (view.workers.to_string(), view.proven.to_string());
    [printable(&view.name), view.root.to_string(), serial, made, counts, workers, proven]
}

fn days_left(view: &BlocklistView) -> u64 {
    view.expires_at.0.saturating_sub(now().0).div_ceil(DAY_MS)
}

fn fault(file: &Path, broken: &Broken) -> Fault {
    Fault::usage(format!("`{}` is not the block list that was signed: {broken}", file.display()))
}

fn tell(List { root, seal, trust_version: _, entries }: &List, screen: Screen) -> Result<()> {
    let proven = entries.iter().filter(|entry| entry.is_proven()).count();
    if screen.json {
        return screen.json(&json!({
            "root": root, "serial": seal.serial, "issued_at": seal.validity.issued_at,
            "expires_at": seal.validity.expires_at, "workers": entries.len(), "proven": proven,
        }));
    }
    let (when, workers) = (ago(seal.validity.issued_at, now()), entries.len());
    let days = seal.validity.expires_at.0.saturating_sub(now().0).div_ceil(DAY_MS);
    screen.line(format_args!(
        "list {}, signed {when} under the root key {root}, for {days} d more: {workers} workers, {proven} of them with their own signature \
         under a wrong answer",
        seal.serial
    ))
}
