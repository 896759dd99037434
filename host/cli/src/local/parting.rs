//! Where two engines part, in the words of whoever wrote the job: function, source line, instruction.

use addr2line::Context;
use addr2line::gimli::{Dwarf, EndianSlice, LittleEndian};
use manyhands_engines::divergence::{Bits, Divergence, Event, find};
use manyhands_engines::weave::EventKind;
use manyhands_engines::{Failure, Kind, Unit};
use manyhands_sealer::{Sealed, names};
use rustc_demangle::demangle;
use wasmparser::{BinaryReaderError, Operator, Parser, Payload};

use crate::args::EngineName;
use crate::screen::grouped;

/// Executes the unit on both engines again, watched, and says where they part. `module` is what was sealed.
pub(super) fn describe(engines: [EngineName; 2], module: &[u8], sealed: &Sealed, unit: &Unit<'_>) -> String {
    let words = engines.map(EngineName::word);
    let found = (|| {
        let [mut ours, mut theirs] = [open(engines[0])?, open(engines[1])?];
        find([ours.as_mut(), theirs.as_mut()], &sealed.bytes, unit)
    })();
    match found {
        Ok(Some(found)) => told(words, &Job { module, sealed }, &found),
        Ok(None) => "where they part is not seen: watched, both do the same".to_owned(),
        Err(failure) => format!("where they part cannot be seen: {failure}"),
    }
}

/// The engine that is watched for one that people name: of wasmtime its compiler, without the sandbox, which takes no module
/// that tells what it does.
fn open(name: EngineName) -> Result<Box<dyn manyhands_engines::Engine>, Failure> {
    match name {
        EngineName::Wasmtime => Kind::Cranelift.open(),
        EngineName::Other(kind) => kind.open(),
    }
}

fn told(words: [&str; 2], job: &Job<'_>, found: &Divergence) -> String {
    let Divergence { function, call, same, events, made } = found;
    let width = words.map(str::len).into_iter().max().unwrap_or(0);
    let (name, call, same) = (job.name(*function), grouped(*call), grouped(*same));
    let place = made.and_then(|made| job.instruction(*function, made.instruction));
    let line = place.as_ref().and_then(|place| place.line.clone()).or_else(|| job.line_of(*function));
    let line = line.map_or_else(String::new, |line| format!(", {line}"));
    let mut lines = vec![format!("they part in call {call} of `{name}`{line}")];
    if let Some(made) = made {
        let instruction = place.map_or_else(|| format!("instruction {}", made.instruction), |place| place.instruction);
        lines.push(format!("  where {instruction} makes"));
        for (word, value) in words.iter().zip(made.values) {
            let value =
                value.map_or_else(|| "nothing: it comes to another instruction".to_owned(), |value| value.to_string());
            lines.push(format!("    {word:width$}  {value}"));
        }
    }
    lines.push(format!("  {same} calls, returns and stores before are the same; the next one is"));
    for (word, event) in words.iter().zip(events) {
        let event = event.as_ref().map_or_else(|| "none: it has ended".to_owned(), |event| job.event(event));
        lines.push(format!("    {word:width$}  {event}"));
    }
    lines.join("\n")
}

/// A job's module as it was given, and sealed.
struct Job<'a> {
    module: &'a [u8],
    sealed: &'a Sealed,
}

/// An instruction.
struct Place {
    /// As text, without what it works on.
    instruction: String,
    /// Its line in the source, if the module says so.
    line: Option<String>,
}

impl Job<'_> {
    /// The function of the given module that became this one of the sealed module.
    fn origin(&self, function: u32) -> Option<u32> {
        let defined = (function as usize).checked_sub(self.sealed.report.imports.len())?;
        self.sealed.metered.get(defined).map(|metered| metered.function)
    }

    fn name(&self, function: u32) -> String {
        let Some(origin) = self.origin(function) else { return format!("function {function}") };
        let name = names::all(self.module).remove(&origin);
        name.map_or_else(|| format!("function {origin}"), |name| format!("{:#}", demangle(&name)))
    }

    fn event(&self, event: &Event) -> String {
        let values: Vec<String> = event.values.iter().map(Bits::to_string).collect();
        let (name, values) = (self.name(event.function), values.join(", "));
        let fuel = event.meter.map_or_else(String::new, |meter| format!("; meter {meter}"));
        match event.kind {
            EventKind::Call => format!("a call of `{name}` with ({values}){fuel}"),
            EventKind::Return => format!("the return of `{name}` with ({values}){fuel}"),
            EventKind::Store | EventKind::Value => format!("a store by `{name}` of {values}"),
        }
    }

    /// Sealing writes instructions between those that were there and changes none that works with floats or memory. So one is
    /// the same as the one that has as many of its kind before it, if there are equally many in both.
    fn instruction(&self, function: u32, number: usize) -> Option<Place> {
        let sealed = operators(&self.sealed.bytes, function).ok()?;
        let instruction = sealed.get(number)?.0.clone();
        let of_kind = |all: &[(String, usize)]| all.iter().filter(|(name, _)| *name == instruction).count();
        let origin = self.origin(function).and_then(|origin| operators(self.module, origin).ok()).unwrap_or_default();
        let nth = of_kind(&sealed[..number]);
        let same = (of_kind(&sealed) == of_kind(&origin))
            .then(|| origin.iter().filter(|(name, _)| *name == instruction).nth(nth));
        let line = same.flatten().and_then(|(_, offset)| line(self.module, *offset));
        Some(Place { instruction, line })
    }

    /// The line with which a function begins.
    fn line_of(&self, function: u32) -> Option<String> {
        let operators = operators(self.module, self.origin(function)?).ok()?;
        operators.iter().find_map(|(_, offset)| line(self.module, *offset))
    }
}

/// The instructions of a function, and where each begins.
fn operators(module: &[u8], function: u32) -> Result<Vec<(String, usize)>, BinaryReaderError> {
    let mut index = 0;
    for payload in Parser::new(0).parse_all(module) {
        match payload? {
            Payload::ImportSection(section) => index += section.into_imports().count() as u32,
            Payload::CodeSectionEntry(body) => {
                if index == function {
                    let operators = body.get_operators_reader()?.into_iter_with_offsets();
                    return operators.map(|operator| operator.map(|(operator, at)| (text(&operator), at))).collect();
                }
                index += 1;
            }
            _ => {}
        }
    }
    Ok(Vec::new())
}

/// The name of an instruction as the text format writes it: `F64Div` is `f64.div`.
fn text(operator: &Operator<'_>) -> String {
    let debug = format!("{operator:?}");
    let name = debug.split([' ', '{']).next().unwrap_or_default();
    let mut words: Vec<String> = Vec::new();
    for letter in name.chars() {
        match words.last_mut() {
            Some(word) if !letter.is_uppercase() => word.push(letter),
            _ => words.push(letter.to_lowercase().to_string()),
        }
    }
    let dotted = matches!(words[..], [ref first, _, ..] if !matches!(first.as_str(), "call" | "br"));
    if dotted { format!("{}.{}", words[0], words[1..].join("_")) } else { words.join("_") }
}

/// The source line of the instruction at an offset of the module, if the module has DWARF.
fn line(module: &[u8], offset: usize) -> Option<String> {
    let mut sections = Vec::new();
    let mut code = None;
    for payload in Parser::new(0).parse_all(module) {
        match payload.ok()? {
            Payload::CustomSection(section) => sections.push((section.name(), section.data())),
            // DWARF counts from the beginning of the code.
            Payload::CodeSectionStart { range, .. } => code = Some(range.start),
            _ => {}
        }
    }
    let load = |id: addr2line::gimli::SectionId| {
        let data = sections.iter().find(|(name, _)| *name == id.name()).map_or(&[][..], |(_, data)| data);
        Ok::<_, addr2line::gimli::Error>(EndianSlice::new(data, LittleEndian))
    };
    let context = Context::from_dwarf(Dwarf::load(load).ok()?).ok()?;
    let location = context.find_location((offset - code?) as u64).ok()??;
    Some(format!("{}:{}", location.file?, location.line?))
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use manyhands_model::Limits;
    use manyhands_protocol::Entry;
    use manyhands_sealer::{Passes, rewrite, seal};
    use wasm_encoder::{CustomSection, Section as _};

    use super::*;

    const MANIFEST: &str = r#"{"name":"t","version":"1.0.0","abi":1,"codec":"raw"}"#;

    fn with_manifest(mut module: Vec<u8>) -> Vec<u8> {
        let section = CustomSection { name: "manyhands.manifest".into(), data: MANIFEST.as_bytes().into() };
        section.append_to(&mut module);
        module
    }

    #[test]
    fn who_differs_is_told_function_and_instruction() {
        if let Err(missing @ Failure::Missing { .. }) = Kind::Node.open() {
            return eprintln!("LEFT OUT: {missing}");
        }
        let module = with_manifest(
            wat::parse_str(
                r#"(module (import "manyhands_v1" "output_write" (func $write (param i32 i32)))
                     (memory (export "memory") 1)
                     (func $fraction (result f64) (f64.div (f64.const 0) (f64.const 0)))
                     (func (export "manyhands_run")
                       (f64.store (i32.const 8) (call $fraction)) (call $write (i32.const 8) (i32.const 8))))"#,
            )
            .expect("a module"),
        );
        // Sealed but for its NaNs, on which the compilers of V8 differ.
        let mut sealed = seal(&module).expect("it is sealed");
        let limits = Limits::default();
        sealed.bytes = rewrite(&module, limits.memory_bytes, &Passes { nan: false, ..Passes::ALL }).expect("rewritten");
        let engines = [Kind::NodeLiftoff, Kind::NodeTurbofan].map(EngineName::Other);
        let unit = Unit { entry: Entry::Run, step: 0, input: b"", seed: [0; 32], limits };
        let text = describe(engines, &module, &sealed, &unit);
        assert!(text.starts_with("they part in call 1 of `fraction`\n  where f64.div makes\n"), "{text}");
        assert!(
            text.contains("node-liftoff   f64 NaN (0x") && text.contains("the return of `fraction` with (f64 NaN"),
            "{text}"
        );
        sealed.bytes = seal(&module).expect("it is sealed").bytes;
        assert_eq!(
            describe(engines, &module, &sealed, &unit),
            "where they part is not seen: watched, both do the same"
        );
    }

    #[test]
    fn an_instruction_has_the_line_that_it_was_compiled_from() {
        let folder = tempfile::tempdir().expect("a folder");
        let (source, module) = (folder.path().join("job.rs"), folder.path().join("job.wasm"));
        std::fs::write(
            &source,
            "#![no_std]
#[panic_handler]
fn panic(_: &core::panic::PanicInfo) -> ! { loop {} }
#[inline(never)]
fn fraction(of: f64, by: f64) -> f64 {
    let root = of * 3.5;
    root / by
}
#[unsafe(no_mangle)]
pub extern \"C\" fn manyhands_run() {
    unsafe { core::ptr::write_volatile(8 as *mut f64, fraction(core::ptr::read_volatile(16 as *const f64), 3.0)) }
}
",
        )
        .expect("written");
        let mut rustc = Command::new(std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into()));
        rustc.args(["--edition=2024", "--target=wasm32-unknown-unknown", "--crate-type=cdylib", "-g", "-O", "-o"]);
        assert!(rustc.arg(&module).arg(&source).status().expect("rustc").success());
        let module = with_manifest(std::fs::read(module).expect("a module"));
        let sealed = seal(&module).expect("it is sealed");
        let job = Job { module: &module, sealed: &sealed };
        let imported = sealed.report.imports.len() as u32;
        let (function, _) = (imported..)
            .zip(&sealed.metered)
            .find(|(function, _)| job.name(*function).contains("fraction"))
            .expect("the function is there");
        let all = operators(&sealed.bytes, function).expect("readable");
        let line = |name: &str| {
            let number = all.iter().position(|(instruction, _)| instruction == name).expect("it is there");
            job.instruction(function, number).and_then(|place| place.line).expect("a line")
        };
        assert!(line("f64.div").ends_with("job.rs:7"), "{}", line("f64.div"));
        assert!(line("f64.mul").ends_with("job.rs:6"), "{}", line("f64.mul"));
    }

    #[test]
    fn instructions_are_written_as_in_the_text_format() {
        let zero = Operator::I32TruncSatF64S;
        assert_eq!(text(&zero), "i32.trunc_sat_f64_s");
        assert_eq!(text(&Operator::F32x4Mul), "f32x4.mul");
        assert_eq!(text(&Operator::Call { function_index: 3 }), "call");
        assert_eq!(text(&Operator::CallIndirect { type_index: 0, table_index: 0 }), "call_indirect");
    }
}
