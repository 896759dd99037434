//! `manyhands check`: what a module is, or why no coordinator would take it.

use manyhands_model::{Digest, Manifest};
use manyhands_sealer::{Sealed, names};
use manyhands_verifier::frame;
use rustc_demangle::demangle;
use serde::Serialize;

use crate::args::Check;
use crate::fault::{Fault, Result};
use crate::screen::{Screen, bytes, grouped, printable, table};

/// What a module is.
#[derive(Debug, Serialize)]
pub struct Report {
    /// What the job declares.
    pub manifest: Manifest,
    /// Whether it has a reduce step.
    pub reduces: bool,
    /// What it imports from the runtime.
    pub imports: Vec<String>,
    /// How many functions it defines.
    pub functions: u32,
    /// Bytes of their code.
    pub code_bytes: u64,
    /// Bytes of linear memory that it starts with.
    pub memory_bytes: u64,
    /// SHA-256 of the file.
    pub source: Digest,
    /// Length of the file.
    pub source_bytes: u64,
    /// SHA-256 of the sealed module: what is executed.
    pub module: Digest,
    /// Its length.
    pub module_bytes: u64,
    /// What sealing does to each function, the largest first.
    pub sealing: Vec<Function>,
}

/// What sealing does to one function.
#[derive(Debug, Serialize)]
pub struct Function {
    /// Its index in the file, imports first.
    pub index: u32,
    /// Its name, if the file has names.
    pub name: String,
    /// Bytes of its code before fuel and stack are written into it; NaNs are settled by then.
    pub bytes: u32,
    /// Bytes of its code in the sealed module.
    pub sealed_bytes: u32,
    /// Fuel that a call takes at once. Loops and what is behind branches take more.
    pub fuel: u64,
    /// Loops, each of which takes fuel for each iteration.
    pub loops: u32,
    /// Places behind branches that take fuel for themselves.
    pub places: u32,
    /// Whether it takes none itself, since whoever calls it pays for it.
    pub paid_by_caller: bool,
    /// Stack that it counts for the calls that begin with it, in bytes, if calls may go round through it.
    pub stack_bytes: u64,
}

/// Seals the module and prints what it is.
///
/// # Errors
/// The file cannot be read, or the sealer refuses it.
pub fn check(args: &Check, screen: Screen) -> Result<()> {
    let source = std::fs::read(&args.module).map_err(|error| Fault::file("read", &args.module, &error))?;
    let sealed = manyhands_sealer::seal(&source).map_err(|refusal| Fault::refused(&refusal))?;
    screen.show(&report(&source, &sealed), text)
}

/// What there is to say about a sealed module.
pub fn report(source: &[u8], sealed: &Sealed) -> Report {
    let names = names::all(source);
    let mut sealing: Vec<Function> = sealed
        .metered
        .iter()
        .map(|metered| Function {
            index: metered.function,
            name: names.get(&metered.function).map_or_else(String::new, |name| format!("{:#}", demangle(name))),
            bytes: metered.before,
            sealed_bytes: metered.after,
            fuel: metered.entry,
            loops: metered.heads,
            places: metered.others,
            paid_by_caller: metered.free,
            stack_bytes: metered.stack * frame::UNIT_BYTES,
        })
        .collect();
    sealing.sort_by_key(|function| core::cmp::Reverse(function.sealed_bytes));
    Report {
        manifest: sealed.manifest.clone(),
        reduces: sealed.reduces,
        imports: sealed.report.imports.clone(),
        functions: sealed.report.functions,
        code_bytes: sealed.report.code_bytes,
        memory_bytes: sealed.report.memory_bytes,
        source: Digest::of(source),
        source_bytes: source.len() as u64,
        module: Digest::of(&sealed.bytes),
        module_bytes: sealed.bytes.len() as u64,
        sealing,
    }
}

fn text(report: &Report) -> String {
    let Report { manifest, reduces, imports, functions, source, source_bytes, module, module_bytes, .. } = report;
    let limits = &manifest.limits;
    let mut lines = vec![format!("job       {} {}", manifest.name, manifest.version)];
    if !manifest.description.is_empty() {
        lines.push(format!("          {}", printable(&manifest.description)));
    }
    lines.extend([
        format!("steps     {}", if *reduces { "map, then reduce" } else { "map" }),
        format!("codec     {}", format!("{:?}", manifest.codec).to_lowercase()),
        format!(
            "limits    {} fuel, {} of memory, {} of output, {} s",
            grouped(limits.fuel.0),
            bytes(limits.memory_bytes),
            bytes(limits.output_bytes),
            limits.wall().as_secs_f64()
        ),
        format!("imports   {}", if imports.is_empty() { "nothing".to_owned() } else { imports.join(", ") }),
        format!(
            "code      {} functions, {}; starts with {} of memory",
            grouped(u64::from(*functions)),
            bytes(report.code_bytes),
            bytes(report.memory_bytes)
        ),
        format!("file      {}, sha256 {}", bytes(*source_bytes), source.short()),
        format!("sealed    {}, sha256 {}", bytes(*module_bytes), module.short()),
        "verdict   a coordinator takes it".to_owned(),
    ]);
    lines.push(String::new());
    lines.push(sealing(&report.sealing));
    lines.join("\n")
}

/// The largest functions, in a table.
fn sealing(functions: &[Function]) -> String {
    /// More are in `--json`.
    const SHOWN: usize = 12;
    let paid = functions.iter().filter(|function| function.paid_by_caller).count();
    let counting = functions.iter().filter(|function| function.stack_bytes > 0).count();
    let loops: u64 = functions.iter().map(|function| u64::from(function.loops)).sum();
    let summary = format!(
        "{} loops look whether fuel is left; {paid} functions are paid for by their callers; {counting} count stack",
        grouped(loops)
    );
    let rows: Vec<[String; 6]> = functions
        .iter()
        .take(SHOWN)
        .map(|function| {
            [
                format!("{} → {}", grouped(function.bytes.into()), grouped(function.sealed_bytes.into())),
                if function.paid_by_caller { "caller's".to_owned() } else { grouped(function.fuel) },
                grouped(function.loops.into()),
                grouped(function.places.into()),
                if function.stack_bytes == 0 { String::new() } else { grouped(function.stack_bytes) },
                match function.name.as_str() {
                    "" => format!("function {}", function.index),
                    name => printable(name).chars().take(60).collect(),
                },
            ]
        })
        .collect();
    let more = match functions.len().saturating_sub(SHOWN) {
        0 => String::new(),
        more => format!("\n… and {} more; all are in --json", grouped(more as u64)),
    };
    format!("{summary}\n{}{more}", table(["bytes", "fuel", "loops", "places", "stack", "function"], &rows))
}
