//! Makes the files that browsers fetch: the mind with its glue, the pool, the slot, and the element that people embed.
//!
//! No bundler and no npm: scripts are put one after the other, comments left out, names made of digests. Everything goes
//! into one file that the coordinator embeds, and beside it into a folder, to be looked at and to be packed.

mod bind;

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use clap::Parser;
use data_encoding::HEXLOWER;
use serde::Serialize;
use serde_json::json;
use sha2::{Digest as _, Sha256, Sha384};

use crate::bind::bind;

/// Makes the files that browsers fetch.
#[derive(Parser)]
struct Arguments {
    /// The runtime, as rustc wrote it
    runtime: PathBuf,
    /// Ed25519 for browsers that have none, as rustc wrote it
    curve: PathBuf,
    /// Where the scripts are
    web: PathBuf,
    /// Where everything goes
    out: PathBuf,
}

/// One file, as the coordinator serves it; `host/coordinator/src/assets.rs` reads these.
#[derive(Serialize)]
struct Asset {
    path: String,
    kind: &'static str,
    integrity: String,
    body: Vec<u8>,
    brotli: Vec<u8>,
}

impl Asset {
    fn new(path: String, kind: &'static str, body: Vec<u8>) -> anyhow::Result<Self> {
        let integrity = format!("sha384-{}", BASE64_STANDARD.encode(Sha384::digest(&body)));
        let mut brotli = Vec::new();
        // Its best, with a window that any browser has.
        let options = brotli::enc::BrotliEncoderParams { quality: 11, lgwin: 22, ..Default::default() };
        brotli::BrotliCompress(&mut body.as_slice(), &mut brotli, &options)?;
        Ok(Self { path, kind, integrity, body, brotli })
    }

    /// One whose name changes with its content, so it can be kept for ever.
    fn named(stem: &str, extension: &str, kind: &'static str, body: Vec<u8>) -> anyhow::Result<Self> {
        let digest = HEXLOWER.encode(&Sha256::digest(&body)[..8]);
        Self::new(format!("/assets/{stem}-{digest}.{extension}"), kind, body)
    }

    fn reference(&self) -> serde_json::Value {
        json!({ "path": self.path, "integrity": self.integrity })
    }
}

/// What a browser fetches after the click, in brotli, at most. It only grows by itself; whoever raises it says what for. It was 64,000 until
/// the second table of costs, whose rows are less alike, and the words about faults that are seldom.
const FETCHED_BYTES_MAX: usize = 64 << 10;
/// The element, in brotli, at most: with the coordinator's page around it and the card, a visitor has fetched 15,000 bytes.
const ELEMENT_BYTES_MAX: usize = 14_100;

const SCRIPT: &str = "text/javascript; charset=utf-8";

fn main() -> anyhow::Result<()> {
    let Arguments { runtime, curve, web, out } = Arguments::parse();
    let read = |name: &str| {
        let path = web.join(name);
        fs::read_to_string(&path).with_context(|| format!("{} cannot be read", path.display()))
    };
    let (runtime, runtime_glue) = bind(&runtime)?;
    let (curve, curve_glue) = bind(&curve)?;
    let runtime = Asset::named("runtime", "wasm", "application/wasm", runtime)?;
    // One file, since whoever needs it waits for it: what base64 adds, brotli takes away.
    let code = format!("const CODE = \"{}\";", BASE64_STANDARD.encode(curve));
    let curve = script(&[&curve_glue, &replace(&read("curve.js")?, "const CODE = \"\";", &code)?]);
    let curve = Asset::named("curve", "js", SCRIPT, curve)?;
    let mind = replace(&read("mind.js")?, "const CURVE = null;", &format!("const CURVE = {};", curve.reference()))?;
    let mind = Asset::named("mind", "js", SCRIPT, script(&[&runtime_glue, &read("store.js")?, &mind]))?;
    let slot = script(&[manyhands_javascript::SCRIPT, &read("slot.js")?]);
    let slot = Asset::named("slot", "js", SCRIPT, slot)?;
    let pool = Asset::named("pool", "js", SCRIPT, script(&[&read("pool.js")?]))?;
    let fetched: usize = [&runtime, &mind, &pool, &slot].iter().map(|asset| asset.brotli.len()).sum();
    at_most(FETCHED_BYTES_MAX, fetched, "after the click")?;

    let assets = json!({
        "mind": mind.reference(), "pool": pool.reference(), "slot": slot.reference(), "runtime": runtime.reference(),
    });
    let element = read("volunteer.js")?;
    let element = replace(&element, "const ASSETS = null;", &format!("const ASSETS = {assets};"))?;
    let element_style = serde_json::to_string(&style(&read("volunteer.css")?))?;
    let element = replace(&element, "const STYLE = \"\";", &format!("const STYLE = {element_style};"))?;
    let embed = script(&[&read("words.js")?, &read("store.js")?, &read("held.js")?, &element]);
    let embed = Asset::new("/embed.js".to_owned(), SCRIPT, embed)?;
    at_most(ELEMENT_BYTES_MAX, embed.brotli.len(), "of the element before it")?;

    let records = script(&[&read("store.js")?, &read("held.js")?, &read("records.js")?]);
    let records = Asset::new("/records.js".to_owned(), SCRIPT, records)?;

    let page = Asset::named("page", "css", "text/css; charset=utf-8", style(&read("page.css")?).into_bytes())?;
    let icon = Asset::named("icon", "svg", "image/svg+xml", read("icon.svg")?.into_bytes())?;

    let all = [embed, records, mind, pool, slot, runtime, curve, page, icon];
    write(&out, &web, &all)
}

fn at_most(most: usize, bytes: usize, when: &str) -> anyhow::Result<()> {
    if bytes > most {
        bail!("a browser would fetch {bytes} bytes {when}, and {most} are the most it may");
    }
    Ok(())
}

fn replace(text: &str, what: &str, with: &str) -> anyhow::Result<String> {
    match text.matches(what).count() {
        1 => Ok(text.replace(what, with)),
        count => bail!("`{what}` is to be there once, and is there {count} times"),
    }
}

fn script(parts: &[&str]) -> Vec<u8> {
    squeeze(&parts.join("\n"), "//").into_bytes()
}

/// Without lines that are only comments, and without indentation: what a browser does not need.
fn squeeze(text: &str, comment: &str) -> String {
    let lines = text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with(comment));
    lines.fold(String::new(), |all, line| all + line + "\n")
}

/// A stylesheet without what separates its parts for people. None of ours has such signs in a text.
fn style(text: &str) -> String {
    let mut style = squeeze(text, "/*").replace('\n', "");
    for sign in ["{", "}", ";", ":", ","] {
        style = style.replace(&format!("{sign} "), sign);
    }
    style.replace(" {", "{").replace(" }", "}").replace(";}", "}")
}

fn write(out: &Path, web: &Path, assets: &[Asset]) -> anyhow::Result<()> {
    let folder = out.join("files");
    if folder.exists() {
        fs::remove_dir_all(&folder)?;
    }
    for asset in assets {
        let path = folder.join(asset.path.trim_start_matches('/'));
        fs::create_dir_all(path.parent().unwrap_or(&folder))?;
        fs::write(&path, &asset.body)?;
        eprintln!("{:>9} bytes, {:>7} in brotli  {}", asset.body.len(), asset.brotli.len(), asset.path);
    }
    package(&out.join("package"), web, assets)?;
    // Last: whoever finds it finds everything.
    fs::write(out.join("assets"), postcard::to_allocvec(assets)?)?;
    Ok(())
}

/// The folder that `npm pack` takes: the element and the client's side of records, as modules.
fn package(folder: &Path, web: &Path, assets: &[Asset]) -> anyhow::Result<()> {
    if folder.exists() {
        fs::remove_dir_all(folder)?;
    }
    fs::create_dir_all(folder)?;
    for file in fs::read_dir(web.join("package"))? {
        let file = file?;
        fs::copy(file.path(), folder.join(file.file_name()))?;
    }
    for (name, path) in [("index.js", "/embed.js"), ("records.js", "/records.js")] {
        let script = assets.iter().find(|asset| asset.path == path).with_context(|| format!("there is no {path}"))?;
        fs::write(folder.join(name), &script.body)?;
    }
    Ok(())
}
