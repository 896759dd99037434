//! `manyhands check`: what a module is, or why no coordinator would take it.

use std::collections::BTreeMap;

use manyhands_engines::spent::spent;
use manyhands_engines::{Failure, Kind, Unit};
use manyhands_model::{Digest, Manifest};
use manyhands_protocol::Entry;
use manyhands_sealer::{Sealed, names};
use manyhands_verifier::frame;
use rustc_demangle::demangle;
use serde::Serialize;

use crate::args::Check;
use crate::fault::{Fault, Result};
use crate::inputs;
use crate::local::unit_seed;
use crate::samples::{self, Looked};
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
    /// Where the fuel of one execution went, if one was asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub profile: Option<Profile>,
    /// Which samples were looked at.
    pub samples: Looked,
}

/// Where the fuel of one execution went.
#[derive(Debug, Serialize)]
pub struct Profile {
    /// How it ended.
    pub verdict: &'static str,
    /// What it used.
    pub fuel: u64,
    /// By function, the dearest first; their own fuel adds up to all of it. Only an execution that returns tells.
    pub functions: Vec<Used>,
}

/// What one function used.
#[derive(Debug, Default, PartialEq, Eq, Serialize)]
pub struct Used {
    /// Its index in the file, imports first.
    pub index: u32,
    /// Its name, if the file has names.
    pub name: String,
    /// How often it was called.
    pub calls: u64,
    /// Fuel that it paid, also for the functions that their callers pay for.
    pub own: u64,
    /// That, and what those paid whom it called.
    pub all: u64,
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
/// The file cannot be read, the sealer refuses it, or what [`samples::check`] finds.
pub async fn check(args: &Check, screen: Screen) -> Result<()> {
    let source = std::fs::read(&args.module).map_err(|error| Fault::file("read", &args.module, &error))?;
    let sealed = manyhands_sealer::seal(&source).map_err(|refusal| Fault::refused(&refusal))?;
    let mut report = report(&source, &sealed);
    if let Some(input) = &args.input {
        let entry = if args.reduce { Entry::Reduce } else { Entry::Run };
        report.profile = Some(profile(&source, &sealed, entry, &inputs::read_whole(input)?)?);
    }
    report.samples = samples::check(&args.samples, &args.module, &sealed, screen).await?;
    screen.show(&report, text)
}

/// Executes a job once and counts what each function used.
///
/// # Errors
/// The job has no reduce step, or this machine cannot execute it.
pub fn profile(source: &[u8], sealed: &Sealed, entry: Entry, input: &[u8]) -> Result<Profile> {
    if entry == Entry::Reduce && !sealed.reduces {
        return Err(Fault::usage(format!("`{}` has no reduce step", sealed.manifest.name)));
    }
    let free: Vec<bool> = sealed.metered.iter().map(|metered| metered.free).collect();
    let seed = unit_seed(&Digest::of(&sealed.bytes), 0);
    let unit = Unit { entry, step: 0, input, seed, limits: sealed.manifest.limits };
    let bug = |failure: Failure| Fault::bug(format!("this machine could not execute the job: {failure}"));
    let mut engine = Kind::Cranelift.open().map_err(bug)?;
    let (executed, spent) = spent(engine.as_mut(), &sealed.bytes, &free, &unit).map_err(bug)?;
    let names = names::all(source);
    let mut functions: BTreeMap<u32, Used> = BTreeMap::new();
    for (metered, spent) in sealed.metered.iter().zip(spent.iter().flatten()).filter(|(metered, _)| !metered.free) {
        // A function that was split in two is one again.
        let used = functions.entry(metered.function).or_insert_with(|| Used {
            index: metered.function,
            name: names.get(&metered.function).map_or_else(String::new, |name| format!("{:#}", demangle(name))),
            ..Used::default()
        });
        used.own += spent.own;
        (used.all, used.calls) = (used.all.max(spent.all), used.calls.max(spent.calls));
    }
    let mut functions: Vec<Used> = functions.into_values().filter(|used| used.calls > 0).collect();
    functions.sort_by_key(|used| core::cmp::Reverse((used.own, used.all)));
    let outcome = executed.outcome;
    Ok(Profile { verdict: outcome.verdict.word(), fuel: outcome.fuel.0, functions })
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
        profile: None,
        samples: Looked::default(),
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
    if let Some(profile) = &report.profile {
        lines.extend([String::new(), used(profile)]);
    }
    lines.join("\n")
}

/// The dearest functions, in a table.
fn used(profile: &Profile) -> String {
    /// More are in `--json`.
    const SHOWN: usize = 20;
    let Profile { verdict, fuel, functions } = profile;
    let summary = format!("one execution: {verdict}, {} fuel", grouped(*fuel));
    if functions.is_empty() {
        return format!("{summary}; only one that ends as ok tells which function used it");
    }
    let rows: Vec<[String; 5]> = functions
        .iter()
        .take(SHOWN)
        .map(|used| {
            let share = used.own as f64 / (*fuel).max(1) as f64 * 100.0;
            [
                format!("{share:4.1} %"),
                format!("{:>14}", grouped(used.own)),
                format!("{:>14}", grouped(used.all)),
                format!("{:>10}", grouped(used.calls)),
                match used.name.as_str() {
                    "" => format!("function {}", used.index),
                    name => end_of(&printable(name), 28),
                },
            ]
        })
        .collect();
    let more = match functions.len().saturating_sub(SHOWN) {
        0 => String::new(),
        more => format!("\n… and {} more; all are in --json", grouped(more as u64)),
    };
    let head = [
        "share",
        &format!("{:>14}", "fuel"),
        &format!("{:>14}", "with callees"),
        &format!("{:>10}", "calls"),
        "function",
    ];
    let note = "of small functions their callers pay what they cost, and it is counted there";
    format!("{summary}\n{note}\n{}{more}", table(head, &rows))
}

/// A name that fits: of a path its end says most.
fn end_of(name: &str, most: usize) -> String {
    let length = name.chars().count();
    if length <= most {
        name.to_owned()
    } else {
        format!("…{}", name.chars().skip(length - most + 1).collect::<String>())
    }
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

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::fault::Exit;
    use crate::{build, foreign};

    #[test]
    fn own_fuel_adds_up_to_all_of_it() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
        for (file, inputs) in [
            ("jobs/primes/primes.wat", vec!["[0,1000000]", "[999999000000,999999001000]"]),
            ("jobs/align/align.c", vec!["ACGTACGTTAGC\nACGTCGTTAGGC\n"]),
        ] {
            let (module, manifest) = match foreign::module(&root.join(file)) {
                Err(fault) if fault.exit == Exit::MissingTool => {
                    eprintln!("LEFT OUT: {fault}");
                    continue;
                }
                found => found.expect("a module"),
            };
            let (source, sealed) = build::pack(&module, &manifest).expect("it is sealed");
            for input in inputs {
                let entries = if sealed.reduces { vec![Entry::Run, Entry::Reduce] } else { vec![Entry::Run] };
                for entry in entries {
                    let profile = profile(&source, &sealed, entry, input.as_bytes()).expect("it is executed");
                    let own: u64 = profile.functions.iter().map(|used| used.own).sum();
                    let whole = if profile.verdict == "ok" { profile.fuel } else { 0 };
                    assert_eq!(own, whole, "{file}: {profile:?}");
                    // Whoever was called first used all there was, with those whom it called.
                    let most = profile.functions.iter().map(|used| used.all).max().unwrap_or(0);
                    assert_eq!(most, whole, "{file}: {profile:?}");
                    assert!(profile.functions.iter().all(|used| used.own <= used.all), "{file}: {profile:?}");
                }
            }
        }
    }

    #[test]
    fn a_recursion_is_counted_once_and_a_function_of_two_kinds_is_one() {
        let manifest = r#"(@custom "manyhands.manifest" "{\"name\":\"t\",\"version\":\"1.0.0\",\"abi\":1}")"#;
        let source = wat::parse_str(format!(
            r#"(module (memory (export "memory") 1) (table 1 funcref) (elem (i32.const 0) $down)
                 (func $down (param $left i32)
                   (if (local.get $left) (then
                     (call $down (i32.sub (local.get $left) (i32.const 1)))
                     (call_indirect (param i32) (i32.const 0) (i32.const 0)))))
                 (func $spin (param $left i32)
                   (loop $again (br_if $again (local.tee $left (i32.sub (local.get $left) (i32.const 1))))))
                 (func (export "manyhands_run") (call $down (i32.const 9)) (call $spin (i32.const 500)))
                 {manifest})"#
        ));
        let source = source.expect("a module");
        let sealed = manyhands_sealer::seal(&source).expect("it is sealed");
        let profile = profile(&source, &sealed, Entry::Run, b"").expect("it is executed");
        let of = |name: &str| profile.functions.iter().find(|used| used.name == name).expect("it was called");
        assert_eq!(profile.functions.iter().map(|used| used.own).sum::<u64>(), profile.fuel);
        assert_eq!(of("down").calls, 10 + 9, "by name from ten places, of which nine call through the table");
        assert_eq!((of("spin").calls, of("spin").own), (1, of("spin").all));
        assert!(of("down").all + of("spin").all <= profile.fuel, "{profile:?}");
        let text = used(&profile);
        assert!(text.lines().all(|line| line.chars().count() <= 80), "{text}");
    }
}
