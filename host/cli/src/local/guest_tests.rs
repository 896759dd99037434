//! `manyhands test`: a job's own tests, each in a fresh instance of its sealed module.
//!
//! Cargo builds the tests for WebAssembly and calls [`run`] where it would start a program. Their harness (the
//! SDK's `manyhands-test`) lists them when it has no input and runs the one whose number is the input. A panic is
//! an abort with place and message, so `#[should_panic]` works too.

use std::path::Path;
use std::sync::Arc;

use futures::StreamExt as _;
use futures::stream::FuturesOrdered;
use manyhands_abi::{ABORT_ERROR, ABORT_PANIC, MEMORY, RUN, parts};
use manyhands_model::{Codec, Limits, Manifest, Verdict, Version};
use manyhands_protocol::Entry;
use wasm_encoder::{Encode as _, ExportKind, ExportSection, Function, Module, RawSection};
use wasmparser::{ExternalKind, Parser, Payload};

use super::replicas::{Answer, Job};
use crate::args::{Test, TestRunner};
use crate::build;
use crate::fault::{Fault, Result};
use crate::screen::{Screen, grouped, printable};

/// What a test may use: as much as any job, and time enough for a slow machine.
const LIMITS: Limits = Limits { wall_ms: 300_000, ..Limits::MAX };

/// Runs cargo with this program as the one that executes tests.
///
/// # Errors
/// Cargo is missing, or says that something failed.
pub fn test(args: &Test, screen: Screen) -> Result<()> {
    let program = std::env::current_exe().map_err(|error| Fault::bug(format!("cannot find this program: {error}")))?;
    let program = program.to_str().ok_or_else(|| Fault::usage("the path of this program is not UTF-8"))?;
    build::add_target_if_missing(Path::new("."), screen)?;
    let runner = toml::Value::from(vec![program, "test-runner"]);
    let status = build::cargo()
        .args(["test", "--target", build::TARGET, "--config"])
        .arg(format!("target.{}.runner={runner}", build::TARGET))
        // Without any, functions have more locals than the sealer takes, and use ten times the fuel.
        .args(["--config", "profile.test.opt-level=1"])
        .args(&args.cargo)
        .arg("--")
        .args(&args.tests)
        .status()
        .map_err(|error| build::missing_cargo(&error))?;
    if status.success() { Ok(()) } else { Err(Fault::job("not all tests passed; the lines above say why")) }
}

/// Executes the tests of a module as cargo asks.
///
/// # Errors
/// The module is no module of tests, or one of them fails.
pub async fn run(args: &TestRunner, screen: Screen) -> Result<()> {
    let raw = std::fs::read(&args.module).map_err(|error| Fault::file("read", &args.module, &error))?;
    let manifest = Manifest {
        name: "tests".parse().map_err(|error| Fault::bug(format!("{error}")))?,
        version: Version::new(0, 0, 0),
        abi: manyhands_abi::VERSION,
        description: String::new(),
        codec: Codec::Raw,
        limits: LIMITS,
        sensitive: Default::default(),
        verbs: Default::default(),
        record_bytes: 0,
    };
    let (_, sealed) = build::pack(&callable(&raw)?, &manifest)?;
    let job = Arc::new(Job::open(sealed, 1).await?);

    let listed = job.execute(Entry::Run, Vec::new(), [0; 32]).await?;
    let Some(tests) = listed.output().and_then(tests) else { return alone(&raw, &listed, screen) };
    let (chosen, others): (Vec<_>, Vec<_>) = tests.into_iter().partition(|test| args.wants(test));
    if args.list {
        for test in &chosen {
            screen.line(format_args!("{}: test", test.name))?;
        }
        return screen.line(format_args!("\n{} tests, 0 benchmarks", chosen.len()));
    }
    screen.line(format_args!("\nrunning {} {}", chosen.len(), if chosen.len() == 1 { "test" } else { "tests" }))?;

    let mut waiting = chosen.into_iter();
    let mut tally = Tally { filtered: others.len(), ..Tally::default() };
    let mut started = FuturesOrdered::new();
    loop {
        while started.len() < job.units_at_once() {
            let Some(test) = waiting.next() else { break };
            let (job, runs) = (Arc::clone(&job), args.runs(&test));
            started.push_back(async move {
                let answer = match runs {
                    true => Some(job.execute(Entry::Run, test.number.to_le_bytes().to_vec(), [0; 32]).await?),
                    false => None,
                };
                Result::Ok((test, answer))
            });
        }
        let Some(ended) = started.next().await else { break };
        let (test, answer) = ended?;
        tally.count(&test, answer.as_ref(), args, screen)?;
    }
    tally.end(screen)
}

/// A test, as the harness lists it.
struct Listed {
    number: u32,
    name: String,
    /// Where it stands.
    place: String,
    /// Why it runs only when asked for.
    ignored: Option<String>,
    /// What it has to panic with.
    panics: Option<String>,
}

/// What a harness's output lists; none where it is another's.
fn tests(output: &[u8]) -> Option<Vec<Listed>> {
    let fields: Option<Vec<&str>> =
        parts::decode(output).ok()?.into_iter().map(|part| str::from_utf8(part).ok()).collect();
    let (rows, rest) = fields.as_ref()?.as_chunks::<4>();
    let marked = |text: &str| text.strip_prefix('!').map(str::to_owned);
    rest.is_empty().then(|| {
        let listed = |(number, [name, place, ignored, panics]): (usize, &[&str; 4])| Listed {
            number: number as u32,
            name: (*name).to_owned(),
            place: (*place).to_owned(),
            ignored: marked(ignored),
            panics: marked(panics),
        };
        rows.iter().enumerate().map(listed).collect()
    })
}

impl TestRunner {
    fn wants(&self, test: &Listed) -> bool {
        let name = &test.name;
        let fits = |pattern: &String| if self.exact { name == pattern } else { name.contains(pattern.as_str()) };
        (!self.ignored || test.ignored.is_some())
            && (self.filters.is_empty() || self.filters.iter().any(fits))
            && !self.skip.iter().any(fits)
    }

    fn runs(&self, test: &Listed) -> bool {
        self.ignored || self.include_ignored || test.ignored.is_none()
    }
}

/// How the tests ended.
#[derive(Default)]
struct Tally {
    passed: usize,
    ignored: usize,
    filtered: usize,
    fuel: u64,
    /// Names, and what there is to say about each.
    failures: Vec<(String, String)>,
}

impl Tally {
    fn count(&mut self, test: &Listed, answer: Option<&Answer>, args: &TestRunner, screen: Screen) -> Result<()> {
        let should = if test.panics.is_some() { " - should panic" } else { "" };
        let name = format!("{}{should}", test.name);
        let Some(answer) = answer else {
            self.ignored += 1;
            let why = test.ignored.as_deref().filter(|why| !why.is_empty()).map(|why| format!(", {why}"));
            return screen.line(format_args!("test {name} ... ignored{}", why.unwrap_or_default()));
        };
        let mut logs: Vec<String> =
            answer.logs().map(|(level, text)| format!("{level}: {}", printable(text))).collect();
        self.fuel = self.fuel.saturating_add(answer.fuel());
        let fuel = grouped(answer.fuel());
        match judge(test, answer) {
            Ok(()) => {
                self.passed += 1;
                screen.line(format_args!("test {name} ... ok ({fuel} fuel)"))?;
                if args.nocapture || args.show_output {
                    logs.iter().try_for_each(|line| screen.line(format_args!("    {line}")))?;
                }
            }
            Err(why) => {
                screen.line(format_args!("test {name} ... FAILED ({fuel} fuel)"))?;
                logs.push(printable(&why));
                self.failures.push((test.name.clone(), logs.join("\n")));
            }
        }
        Ok(())
    }

    fn end(self, screen: Screen) -> Result<()> {
        let Self { passed, ignored, filtered, fuel, failures } = self;
        if !failures.is_empty() {
            screen.line("\nfailures:")?;
            for (name, why) in &failures {
                screen.line(format_args!("\n---- {name} ----\n{why}"))?;
            }
            screen.line("\nfailures:")?;
            failures.iter().try_for_each(|(name, _)| screen.line(format_args!("    {name}")))?;
        }
        let (word, failed, fuel) = (if failures.is_empty() { "ok" } else { "FAILED" }, failures.len(), grouped(fuel));
        screen.line(format_args!(
            "\ntest result: {word}. {passed} passed; {failed} failed; {ignored} ignored; 0 measured; {filtered} filtered out; {fuel} fuel\n"
        ))?;
        if failed == 0 { Ok(()) } else { Err(Fault::job(format!("{failed} of {} tests failed", passed + failed))) }
    }
}

/// Whether a test passed, and why not.
fn judge(test: &Listed, answer: &Answer) -> Result<(), String> {
    let verdict = match answer {
        Answer::Agreed { executed, .. } => &executed.outcome.verdict,
        Answer::Disagreed { sentence } | Answer::Overtime { sentence } => return Err(sentence.clone()),
    };
    match (verdict, &test.panics) {
        (Verdict::Ok { .. }, None) => Ok(()),
        (Verdict::Ok { .. }, Some(_)) => Err(format!("{}: it did not panic as it should", test.place)),
        (Verdict::Aborted { code: ABORT_PANIC, message }, Some(expected)) => {
            // The place comes first, and is no part of what the panic said.
            let said = message.split_once(": ").map_or(message.as_str(), |(_, said)| said);
            if said.contains(expected) {
                Ok(())
            } else {
                Err(format!("{message}\n  it panicked, but not with {expected:?}"))
            }
        }
        (Verdict::Aborted { code: ABORT_PANIC | ABORT_ERROR, message }, _) => Err(message.clone()),
        (verdict, _) => Err(format!("{}: {verdict}", test.place)),
    }
}

/// A program without our harness: an example of the documentation, which passes when it ends well, or tests with
/// Rust's own harness, which has nowhere to say what it finds.
fn alone(raw: &[u8], answer: &Answer, screen: Screen) -> Result<()> {
    // What Rust's harness says where it is used in another way.
    const RUSTS_HARNESS: &[u8] = b"passed to test::test_main_static";
    if raw.windows(RUSTS_HARNESS.len()).any(|bytes| bytes == RUSTS_HARNESS) {
        return Err(Fault::usage("these tests have Rust's own harness, which cannot say anything in a sandbox").help(
            "Cargo.toml needs:  [target.'cfg(target_family = \"wasm\")'.dev-dependencies] test = { package = \"manyhands-test\", version = \"0.1\" }",
        ));
    }
    let main = Listed { number: 0, name: "main".to_owned(), place: "main".to_owned(), ignored: None, panics: None };
    match judge(&main, answer) {
        Ok(()) => screen.line(format_args!("main: ok ({} fuel)", grouped(answer.fuel()))),
        Err(why) => Err(Fault::job(printable(&why))),
    }
}

/// The module with its `main` behind the name of the function that a runtime calls, and no other exports but the
/// memory. Custom sections are left out: with debug information they are most of the module.
fn callable(raw: &[u8]) -> Result<Vec<u8>> {
    let broken = |error: wasmparser::BinaryReaderError| Fault::job(format!("cargo built what is no module: {error}"));
    let payloads: core::result::Result<Vec<Payload<'_>>, _> = Parser::new(0).parse_all(raw).collect();
    let payloads = payloads.map_err(broken)?;
    let (mut types, mut functions, mut main) = (0, 0, None);
    for payload in &payloads {
        match payload {
            Payload::TypeSection(section) => types = section.count(),
            Payload::ImportSection(section) => functions += section.clone().into_imports().count() as u32,
            Payload::FunctionSection(section) => functions += section.count(),
            Payload::ExportSection(section) => {
                let mut exports = section.clone().into_iter().flatten();
                main = exports.find(|export| export.name == "main" && export.kind == ExternalKind::Func);
            }
            _ => {}
        }
    }
    let main = main.ok_or_else(|| {
        Fault::usage("the module has no `main`")
            .help("`manyhands test` builds modules of tests and calls this for each")
    })?;
    // `main(0, 0)` without its result, at the end, so that no index changes.
    let mut call = Function::new([]);
    call.instructions().i32_const(0).i32_const(0).call(main.index).drop().end();
    let item = |encode: &dyn Fn(&mut Vec<u8>)| {
        let mut bytes = Vec::new();
        encode(&mut bytes);
        bytes
    };
    let mut out = Module::new();
    for payload in &payloads {
        let Some((id, range)) = payload.as_section() else { continue };
        let contents = &raw[range];
        match payload {
            Payload::TypeSection(_) => {
                out.section(&RawSection { id, data: &longer(contents, types, &[0x60, 0, 0]) });
            }
            Payload::FunctionSection(section) => {
                let ty = item(&|bytes| types.encode(bytes));
                out.section(&RawSection { id, data: &longer(contents, section.count(), &ty) });
            }
            Payload::CodeSectionStart { count, .. } => {
                let body = item(&|bytes| call.encode(bytes));
                out.section(&RawSection { id, data: &longer(contents, *count, &body) });
            }
            Payload::ExportSection(_) => {
                let mut exports = ExportSection::new();
                exports.export(MEMORY, ExportKind::Memory, 0).export(RUN, ExportKind::Func, functions);
                out.section(&exports);
            }
            Payload::CustomSection(_) => {}
            _ => {
                out.section(&RawSection { id, data: contents });
            }
        }
    }
    Ok(out.finish())
}

/// A section's contents with one item more.
fn longer(contents: &[u8], count: u32, item: &[u8]) -> Vec<u8> {
    // The count in front ends with the first byte whose highest bit is clear.
    let end = contents.iter().position(|byte| byte & 0x80 == 0).map_or(0, |last| last + 1);
    let mut longer = Vec::with_capacity(contents.len() + item.len() + 1);
    (count + 1).encode(&mut longer);
    longer.extend_from_slice(&contents[end..]);
    longer.extend_from_slice(item);
    longer
}

#[cfg(test)]
mod tests {
    use manyhands_model::{Digest, Fuel, Outcome};
    use manyhands_runner::engine::Executed;

    use super::*;

    fn test(panics: Option<&str>) -> Listed {
        let panics = panics.map(str::to_owned);
        Listed { number: 0, name: "tests::a".into(), place: "src/lib.rs:7".into(), ignored: None, panics }
    }

    fn ended(verdict: Verdict) -> Answer {
        let outcome = Outcome { verdict, fuel: Fuel(1) };
        Answer::Agreed { executed: Executed { outcome, output: vec![], logs: vec![], wall_us: 0 }, replicas: 1 }
    }

    #[test]
    fn a_panic_is_judged_by_its_words_and_not_by_its_place() {
        let ok = || ended(Verdict::Ok { output: Digest::of(b""), output_bytes: 0 });
        let panicked = || ended(Verdict::Aborted { code: ABORT_PANIC, message: "src/lib.rs:7:9: too many".into() });
        assert_eq!(judge(&test(None), &ok()), Ok(()));
        assert_eq!(judge(&test(Some("many")), &panicked()), Ok(()));
        assert_eq!(judge(&test(Some("")), &panicked()), Ok(()));
        assert_eq!(judge(&test(None), &panicked()), Err("src/lib.rs:7:9: too many".into()));
        assert!(judge(&test(Some("lib")), &panicked()).expect_err("fails").contains("not with \"lib\""));
        assert!(judge(&test(Some("")), &ok()).expect_err("fails").contains("did not panic"));
        assert!(judge(&test(Some("")), &ended(Verdict::Trap)).expect_err("fails").starts_with("src/lib.rs:7: "));
    }

    #[test]
    fn what_the_harness_lists_is_read_and_nothing_else() {
        let frame = |fields: &[&str]| parts::encode(fields.iter().map(|field| field.as_bytes()));
        let listed = super::tests(&frame(&["a", "x:1", "", "", "b", "x:2", "!", "!no"])).expect("a list");
        let [a, b] = listed.as_slice() else { panic!("two") };
        assert_eq!((a.name.as_str(), &a.ignored, &a.panics), ("a", &None, &None));
        assert_eq!((b.number, b.ignored.as_deref(), b.panics.as_deref()), (1, Some(""), Some("no")));
        assert!(super::tests(b"").is_none() && super::tests(&frame(&["a"])).is_none());
    }

    #[test]
    fn main_is_called_under_the_name_that_runtimes_know() {
        let module = wat::parse_str(
            r#"(module (import "manyhands_v1" "abort" (func (param i32 i32 i32))) (memory (export "memory") 1)
                 (func (export "main") (param i32 i32) (result i32) i32.const 0) (func (export "manyhands_run"))
                 (@custom ".debug_info" "long"))"#,
        );
        let module = callable(&module.expect("parses")).expect("callable");
        let manifest = r#"{"name":"a","version":"0.1.0","abi":1}"#;
        let (packed, _) = build::pack(&module, &serde_json::from_str(manifest).expect("a manifest")).expect("sealable");
        assert_eq!(crate::section::read(&packed, ".debug_info").expect("a module"), Vec::<&[u8]>::new());
        assert!(callable(b"\0asm\x01\0\0\0").expect_err("refused").message.contains("no `main`"));
    }
}
