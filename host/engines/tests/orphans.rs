//! What was started for an engine ends with whoever started it, also when that is killed.

#![cfg(target_os = "linux")]
#![allow(clippy::panic, reason = "a test that cannot go on says why and ends")]

use std::collections::BTreeSet;
use std::fs;
use std::io::{BufRead as _, BufReader};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use manyhands_engines::{Failure, Kind, Unit};
use manyhands_model::Limits;
use manyhands_protocol::Entry;
use rustix::process::{Pid, Signal, kill_process};

/// Names the engine that this very test holds open in a process of its own.
const HOLD: &str = "MANYHANDS_TEST_HOLD";
/// No sealed module can do this. Who does it does not notice that nobody listens any more.
const ENDLESS: &str = r#"
(module
  (memory (export "memory") 1)
  (global (export "manyhands_meter") (mut i64) (i64.const 16000))
  (global (export "manyhands_cause") (mut i32) (i32.const 0))
  (func (export "manyhands_run") (loop $for_ever (br $for_ever))))
"#;
/// Far more than a browser needs to end.
const PATIENCE: Duration = Duration::from_secs(60);

#[test]
fn node_ends_with_who_started_it() {
    ends_with_who_started_it(Kind::Node, "node_ends_with_who_started_it");
}

#[test]
#[ignore = "starts a browser"]
fn chromium_ends_with_who_started_it() {
    ends_with_who_started_it(Kind::Chromium, "chromium_ends_with_who_started_it");
}

#[test]
#[ignore = "starts a browser"]
fn firefox_ends_with_who_started_it() {
    ends_with_who_started_it(Kind::Firefox, "firefox_ends_with_who_started_it");
}

fn ends_with_who_started_it(kind: Kind, test: &str) {
    if std::env::var_os(HOLD).is_some() {
        return hold(kind);
    }
    // Who is killed leaves its browser's profile behind.
    let profiles = tempfile::tempdir().expect("a folder");
    let mut holder = Command::new(std::env::current_exe().expect("this test has a path"));
    holder.args(["--exact", test, "--include-ignored", "--nocapture"]).env(HOLD, "1").env("TMPDIR", profiles.path());
    holder.stdin(Stdio::null()).stdout(Stdio::piped());
    let mut holder = holder.spawn().expect("this test starts again");
    let said = BufReader::new(holder.stdout.take().expect("a pipe")).lines().map_while(Result::ok);
    let words = ["holding it", "LEFT OUT"];
    let said = said.into_iter().find(|line| words.iter().any(|word| line.contains(word))).expect("it says something");
    if said.contains("LEFT OUT") {
        holder.wait().expect("it ends");
        return eprintln!("{said}");
    }
    let offspring = descendants(holder.id());
    assert!(!offspring.is_empty(), "{kind} is a process");
    holder.kill().expect("it is there");
    holder.wait().expect("it ends");
    let deadline = Instant::now() + PATIENCE;
    loop {
        let left: Vec<_> = processes().into_iter().filter(|process| offspring.contains(&process.id)).collect();
        if left.is_empty() {
            return;
        }
        if Instant::now() > deadline {
            for number in left.iter().filter_map(|process| Pid::from_raw(process.id.0.cast_signed())) {
                let _gone = kill_process(number, Signal::KILL);
            }
            panic!("{kind} left {left:?}");
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Opens an engine, says so and keeps it busy, until this process is killed.
#[expect(clippy::print_stdout, reason = "the other process reads it")]
fn hold(kind: Kind) {
    let mut engine = match kind.open() {
        Err(missing @ Failure::Missing { .. }) => return println!("LEFT OUT: {missing}"),
        engine => engine.expect("it starts"),
    };
    engine.load(&wat::parse_str(ENDLESS).expect("a module")).expect("it loads");
    println!("holding it");
    let limits = Limits { wall_ms: 600_000, ..Limits::MAX };
    let ended = engine.execute(&Unit { entry: Entry::Run, step: 0, input: b"", seed: [0; 32], limits });
    panic!("it ended: {ended:?}");
}

/// A process and when it began, since numbers are used again.
type Id = (u32, u64);

#[derive(Debug)]
struct Running {
    id: Id,
    parent: u32,
}

/// All that run; what has ended and was not reaped does not.
fn processes() -> Vec<Running> {
    let numbers = fs::read_dir("/proc").expect("Linux has it").flatten();
    let stats = numbers.filter_map(|entry| fs::read_to_string(entry.path().join("stat")).ok());
    stats.filter_map(|stat| running(&stat)).collect()
}

/// What `/proc/PID/stat` says. The name stands in parentheses and may have some of its own.
fn running(stat: &str) -> Option<Running> {
    let (head, tail) = stat.rsplit_once(')')?;
    let fields: Vec<&str> = tail.split_ascii_whitespace().collect();
    let id = (head.split(' ').next()?.parse().ok()?, fields.get(19)?.parse().ok()?);
    (*fields.first()? != "Z").then_some(Running { id, parent: fields.get(1)?.parse().ok()? })
}

fn descendants(of: u32) -> BTreeSet<Id> {
    let all = processes();
    let (mut found, mut parents) = (BTreeSet::new(), vec![of]);
    while let Some(parent) = parents.pop() {
        for child in all.iter().filter(|process| process.parent == parent) {
            found.insert(child.id);
            parents.push(child.id.0);
        }
    }
    found
}
