//! `manyhands check`: what a module is, or why no coordinator would take it.

use manyhands_model::{Digest, Manifest};
use manyhands_sealer::Sealed;
use serde::Serialize;
use wasmparser::{Parser, Payload};

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
    let sealed = manyhands_sealer::seal(&source).map_err(|refusal| Fault::job(printable(&refusal.to_string())))?;
    screen.show(&report(&source, &sealed), text)
}

/// What there is to say about a sealed module.
pub fn report(source: &[u8], sealed: &Sealed) -> Report {
    Report {
        manifest: sealed.manifest.clone(),
        reduces: sealed.reduces,
        imports: imports(&sealed.bytes),
        source: Digest::of(source),
        source_bytes: source.len() as u64,
        module: Digest::of(&sealed.bytes),
        module_bytes: sealed.bytes.len() as u64,
    }
}

fn imports(module: &[u8]) -> Vec<String> {
    let mut names = Vec::new();
    for payload in Parser::new(0).parse_all(module).flatten() {
        if let Payload::ImportSection(section) = payload {
            names.extend(section.into_imports().flatten().map(|import| import.name.to_owned()));
        }
    }
    names
}

fn text(report: &Report) -> String {
    let Report { manifest, reduces, imports, source, source_bytes, module, module_bytes } = report;
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
        format!("file      {}, sha256 {}", bytes(*source_bytes), source.short()),
        format!("sealed    {}, sha256 {}", bytes(*module_bytes), module.short()),
        "verdict   a coordinator takes it".to_owned(),
    ]);
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn imports_are_listed_by_name() {
        let module = wat::parse_str(
            r#"(module (import "manyhands_v1" "input_len" (func (result i32))) (import "manyhands_v1" "log" (func)))"#,
        );
        assert_eq!(imports(&module.expect("parses")), ["input_len", "log"]);
    }
}
