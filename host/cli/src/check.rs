//! `manyhands check`: what a module is, or why no coordinator would take it.

use manyhands_model::{Digest, Manifest};
use manyhands_sealer::Sealed;
use serde::Serialize;

use crate::args::Check;
use crate::fault::{Fault, Result};
use crate::screen::{Screen, bytes, grouped, printable};

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
    lines.join("\n")
}
