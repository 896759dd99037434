//! Modules in real, locked-down child processes of the runner's own executable.
#![allow(clippy::panic, clippy::unwrap_used, reason = "a test fails by panicking")]

use std::time::{Duration, Instant};

use manyhands_abi as abi;
use manyhands_model::{Digest, Fuel, Limits, Verdict};
use manyhands_protocol::Entry;
use manyhands_runner::cache::Cache;
use manyhands_runner::engine::{Executed, Execution, Infrastructure, Wasm};
use manyhands_runner::sandbox::lockdown::Wall;
use manyhands_runner::sandbox::{Compiled, Program, Slot, compile, parent};

const CHILD: &str = env!("CARGO_BIN_EXE_manyhands-runner");

fn program() -> Program {
    Program::at(CHILD)
}

const IMPORTS: &str = r#"
    (import "manyhands_v1" "input_len" (func $input_len (result i32)))
    (import "manyhands_v1" "input_read" (func $input_read (param i32 i32 i32)))
    (import "manyhands_v1" "seed_read" (func $seed_read (param i32)))
    (import "manyhands_v1" "output_write" (func $output_write (param i32 i32)))
    (import "manyhands_v1" "log" (func $log (param i32 i32 i32)))
    (import "manyhands_v1" "progress" (func $progress (param i32)))
    (import "manyhands_v1" "abort" (func $abort (param i32 i32 i32)))"#;

/// A compiled job: its memory, other fields, and the body of its function.
async fn job_of(memory: &str, fields: &str, run: &str) -> Compiled {
    job_granted(64 << 20, memory, fields, run).await
}

/// The same, whose manifest asks for so much memory.
async fn job_granted(memory_bytes: u64, memory: &str, fields: &str, run: &str) -> Compiled {
    let text = format!(
        r#"(module {IMPORTS} (memory (export "memory") {memory}) {fields}
             (func $run (export "manyhands_run") {run})
             (@custom "manyhands.manifest" "{{\"name\":\"test\",\"version\":\"1.0.0\",\"abi\":1,\"limits\":{{\"memory_bytes\":{memory_bytes}}}}}"))"#
    );
    let module = wat::parse_str(text).expect("the test's own text is WebAssembly");
    let module = manyhands_sealer::seal(&module).unwrap_or_else(|refusal| panic!("{refusal}")).bytes;
    let digest = Digest::of(&module);
    let code = compile(&program(), module).await.expect("compiles");
    Compiled { module: digest, code: code.into() }
}

async fn job_with(fields: &str, run: &str) -> Compiled {
    job_of("1", fields, run).await
}

async fn job(run: &str) -> Compiled {
    job_with("", run).await
}

fn unit(input: &[u8]) -> Execution {
    Execution { entry: Entry::Run, step: 0, input: input.to_vec().into(), seed: [7; 32], limits: Limits::default() }
}

/// With other limits than the usual ones.
fn limited(change: impl FnOnce(&mut Limits)) -> Execution {
    let mut execution = unit(b"");
    change(&mut execution.limits);
    execution
}

async fn once(slot: &mut Slot, job: &Compiled, execution: Execution) -> Result<Executed, Infrastructure> {
    slot.execute(job, execution, &mut |_| ()).await
}

/// Executes in two fresh processes, which agree.
async fn execute(job: &Compiled, execution: Execution) -> Executed {
    let first = once(&mut Slot::new(program()), job, execution.clone()).await.expect("executes");
    let second = once(&mut Slot::new(program()), job, execution).await.expect("executes");
    assert_eq!((&first.outcome, &first.output), (&second.outcome, &second.output), "two processes, one answer");
    first
}

const ECHO: &str = "(call $input_read (i32.const 0) (i32.const 0) (call $input_len))
                    (call $output_write (i32.const 0) (call $input_len))";

/// That the slot still does what it is for.
async fn works(slot: &mut Slot) {
    let executed = once(slot, &job(ECHO).await, unit(b"still here")).await.expect("the slot works");
    assert_eq!(executed.output, b"still here");
}

#[tokio::test]
async fn what_a_job_writes_is_its_output() {
    let executed = execute(&job(ECHO).await, unit(b"many hands")).await;
    assert_eq!(executed.output, b"many hands");
    let verdict = Verdict::Ok { output: Digest::of(b"many hands"), output_bytes: 10 };
    assert_eq!(executed.outcome.verdict, verdict);
    assert!(executed.outcome.fuel > Fuel(0));
}

#[tokio::test]
async fn the_seed_is_all_the_randomness_there_is() {
    let job = job("(call $seed_read (i32.const 64)) (call $output_write (i32.const 64) (i32.const 32))").await;
    assert_eq!(execute(&job, unit(b"")).await.output, [7; 32]);
}

#[tokio::test]
async fn a_reduce_step_has_its_own_door() {
    let reduce = r#"(data (i32.const 0) "reduced") (func (export "manyhands_reduce")
                      (call $output_write (i32.const 0) (i32.const 7)))"#;
    let executed = execute(&job_with(reduce, ECHO).await, Execution { entry: Entry::Reduce, ..unit(b"") }).await;
    assert_eq!(executed.output, b"reduced");
}

#[tokio::test]
async fn what_a_job_says_before_it_gives_up_arrives() {
    let data = r#"(data (i32.const 0) "src/lib.rs:42:13: oh no\ff")"#;
    let run = "(call $output_write (i32.const 0) (i32.const 9))
               (call $abort (i32.const 2) (i32.const 0) (i32.const 24))
               unreachable";
    let executed = execute(&job_with(data, run).await, unit(b"")).await;
    let Verdict::Aborted { code: abi::ABORT_PANIC, message } = executed.outcome.verdict else { panic!("{executed:?}") };
    assert!(message.starts_with("src/lib.rs:42:13: oh no"), "{message}");
    assert_eq!(executed.output, b"", "a job that gave up has no output");
}

#[tokio::test]
async fn a_long_farewell_is_cut_between_two_characters() {
    // Each character takes three bytes, and 4096 is no multiple of three.
    let data = format!(r#"(data (i32.const 0) "{}")"#, "\\e2\\82\\ac".repeat(2000));
    let job = job_with(&data, "(call $abort (i32.const 1) (i32.const 0) (i32.const 6000))").await;
    let Verdict::Aborted { code: 1, message } = execute(&job, unit(b"")).await.outcome.verdict else {
        panic!("aborted")
    };
    assert_eq!(message, "€".repeat(1365));
}

#[tokio::test]
async fn a_trap_is_a_verdict_and_the_slot_goes_on() {
    let mut slot = Slot::new(program());
    for trap in [
        "unreachable",
        "(drop (i32.div_u (i32.const 1) (i32.const 0)))",
        "(drop (i32.load (i32.const 65533)))",
        "(drop (i32.load offset=4294967295 (i32.const -1)))",
        "(call $input_read (i32.const 65530) (i32.const 0) (i32.const 7))",
        "(call $input_read (i32.const 0) (i32.const 1) (i32.const 7))",
        "(call $input_read (i32.const -1) (i32.const -1) (i32.const -1))",
        "(call $output_write (i32.const -1) (i32.const 1))",
        "(call $seed_read (i32.const 65505))",
        "(call $log (i32.const 0) (i32.const 0) (i32.const -1))",
        "(call $abort (i32.const 1) (i32.const 65536) (i32.const 1))",
    ] {
        let executed = once(&mut slot, &job(trap).await, unit(b"1234567")).await.expect("executes");
        assert_eq!(executed.outcome.verdict, Verdict::Trap, "{trap}");
    }
    works(&mut slot).await;
}

#[tokio::test]
async fn calls_through_a_table_arrive_or_trap() {
    let fields = "(type $plain (func)) (table 3 3 funcref) (elem (i32.const 0) $good $other)
                  (func $good (call $output_write (i32.const 0) (i32.const 1))) (func $other (param i32))";
    let call = |entry: u32| format!("(call_indirect (type $plain) (i32.const {entry}))");
    assert_eq!(execute(&job_with(fields, &call(0)).await, unit(b"")).await.output, [0]);
    for (wrong, what) in [(1, "another type"), (2, "nothing there"), (3, "outside")] {
        let executed = execute(&job_with(fields, &call(wrong)).await, unit(b"")).await;
        assert_eq!(executed.outcome.verdict, Verdict::Trap, "{what}");
    }
}

#[tokio::test]
async fn every_way_to_run_for_ever_ends_with_the_fuel() {
    for endless in [
        "(loop (br 0))",
        "(loop (memory.fill (i32.const 0) (i32.const 0) (i32.const 65536)) (br 0))",
        "(loop (call $log (i32.const 0) (i32.const 0) (i32.const 65536)) (br 0))",
        "(loop (call $progress (i32.const 1)) (br 0))",
        "(loop (call $input_read (i32.const 0) (i32.const 0) (i32.const 0)) (br 0))",
    ] {
        let executed = execute(&job(endless).await, limited(|limits| limits.fuel = Fuel(1_000_000))).await;
        assert_eq!(executed.outcome.verdict, Verdict::OutOfFuel, "{endless}");
        assert_eq!(executed.outcome.fuel, Fuel(1_000_000), "{endless}");
    }
}

#[tokio::test]
async fn copies_by_the_host_cost_fuel_by_their_length() {
    let copying = |bytes: u32| format!("(call $output_write (i32.const 0) (i32.const {bytes}))");
    let short = execute(&job(&copying(0)).await, unit(b"")).await.outcome.fuel;
    let long = execute(&job(&copying(65536)).await, unit(b"")).await.outcome.fuel;
    assert_eq!(long.0 - short.0, 65536 / 2);
}

#[tokio::test]
async fn bottomless_recursion_is_a_verdict() {
    let deeper = "(func $deeper (param i32) (call $deeper (i32.add (local.get 0) (i32.const 1))))";
    let job = job_with(deeper, "(call $deeper (i32.const 0))").await;
    assert_eq!(execute(&job, unit(b"")).await.outcome.verdict, Verdict::OutOfStack);
}

/// Writes down what `memory.grow` answered to each of four requests.
const GROW: &str = "(i32.store (i32.const 0) (memory.grow (i32.const 1)))
                    (i32.store (i32.const 4) (memory.grow (i32.const 8)))
                    (i32.store (i32.const 8) (memory.grow (i32.const -1)))
                    (i32.store (i32.const 12) (memory.grow (i32.const 1)))
                    (call $output_write (i32.const 0) (i32.const 16))";

fn answers(executed: &Executed) -> Vec<i32> {
    assert!(executed.outcome.verdict.is_ok(), "{executed:?}");
    executed.output.chunks(4).map(|answer| i32::from_le_bytes(answer.try_into().unwrap())).collect()
}

#[tokio::test]
async fn memory_grows_up_to_the_jobs_limit_and_beyond_it_the_job_decides() {
    let job = job_granted(3 << 16, "1", "", GROW).await;
    let granted = limited(|limits| limits.memory_bytes = 3 << 16);
    assert_eq!(answers(&execute(&job, granted).await), [1, -1, -1, 2]);
}

#[tokio::test]
async fn memory_that_the_job_may_have_and_the_machine_refuses_is_no_verdict() {
    let poor = limited(|limits| limits.memory_bytes = 2 << 16);
    let error = once(&mut Slot::new(program()), &job(GROW).await, poor).await.expect_err("it is the machine's fault");
    assert_eq!(error.to_string(), "this machine has no memory left that the job may use");
}

#[tokio::test]
async fn a_maximum_that_the_module_declares_is_no_fault_of_the_machine() {
    let job = job_of("1 3", "", GROW).await;
    assert_eq!(answers(&execute(&job, unit(b"")).await), [1, -1, -1, 2]);
}

#[tokio::test]
async fn an_output_over_the_limit_is_refused_with_the_cure() {
    let job = job("(loop (call $output_write (i32.const 0) (i32.const 1000)) (br 0))").await;
    let executed = execute(&job, limited(|limits| limits.output_bytes = 2500)).await;
    let message = "the output is longer than 2500 bytes; raise `limits.output_bytes` in the manifest".to_owned();
    assert_eq!(executed.outcome.verdict, Verdict::Aborted { code: abi::ABORT_OUTPUT, message });
    assert_eq!(executed.output, b"");
}

#[tokio::test]
async fn logs_are_kept_up_to_a_limit_and_change_nothing() {
    let data = r#"(data (i32.const 0) "hello")"#;
    let chatty = job_with(data, "(call $log (i32.const 2) (i32.const 0) (i32.const 5))").await;
    let executed = execute(&chatty, unit(b"")).await;
    assert_eq!(executed.logs.iter().map(|line| (line.level, line.text.as_str())).collect::<Vec<_>>(), [(2, "hello")]);

    let endless = job_with(data, "(loop (call $log (i32.const 9) (i32.const 0) (i32.const 5)) (br 0))").await;
    let executed = execute(&endless, limited(|limits| limits.fuel = Fuel(10_000_000))).await;
    let kept: usize = executed.logs.iter().map(|line| line.text.len()).sum();
    assert!(kept <= abi::LOG_BYTES_MAX && kept > abi::LOG_BYTES_MAX / 2, "{kept}");
    assert!(executed.logs.iter().all(|line| line.level == 4));
}

#[tokio::test]
async fn progress_is_heard_while_the_job_runs_and_at_most_a_hundred_times() {
    let again = |below: u32| {
        format!("(br_if 0 (i32.lt_u (local.tee $i (i32.add (local.get $i) (i32.const 1))) (i32.const {below})))")
    };
    let climb = format!("(loop (call $progress (local.get $i)) {})", again(5000));
    let swing = format!("(loop (call $progress (i32.const 0)) (call $progress (i32.const 900)) {})", again(9000));
    let job = job(&format!("(local $i i32) {climb} {swing}")).await;
    let mut heard = Vec::new();
    Slot::new(program()).execute(&job, unit(b""), &mut |permille| heard.push(permille)).await.expect("executes");
    assert!(heard.is_sorted() && heard.len() <= 100 && heard.last() == Some(&1000), "{heard:?}");
}

/// Nothing passes from one unit to the next, or the next one's fuel would depend on who came before.
#[tokio::test]
async fn every_unit_gets_a_fresh_instance() {
    let run = "(global.set $count (i32.add (global.get $count) (i32.const 1)))
               (i32.store (i32.const 0) (i32.add (i32.load (i32.const 0)) (global.get $count)))
               (drop (memory.grow (i32.const 1)))
               (i32.store (i32.const 4) (memory.size))
               (call $output_write (i32.const 0) (i32.const 8))";
    let job = job_with("(global $count (mut i32) (i32.const 0))", run).await;
    let mut slot = Slot::new(program());
    let first = once(&mut slot, &job, unit(b"")).await.expect("executes");
    assert_eq!(first.output, [1, 0, 0, 0, 2, 0, 0, 0]);
    for _ in 0..5 {
        let next = once(&mut slot, &job, unit(b"")).await.expect("executes");
        assert_eq!((&next.outcome, &next.output), (&first.outcome, &first.output));
    }
}

/// What a unit of the next test finds, and leaves in another state.
const DIRTY: &str = r#"
    (global $count (mut i64) (i64.const 7))
    (type $word (func (result i32)))
    (table $table 10 20 funcref) (elem (table $table) (i32.const 3) func $one)
    (func $one (result i32) (i32.const 1)) (func $two (result i32) (i32.const 2))
    (elem $second func $two)
    (data (i32.const 70000) "data of the first kind")
    (data (i32.const 1000000) "and far away")
    (data $passive "passive")"#;

#[tokio::test]
async fn nothing_of_a_unit_is_left_for_the_next_one() {
    // The sum of all words of the memory, before every word is overwritten, the memory grown, and that written as well.
    let run = "(local $at i32) (local $sum i64)
        (loop
          (local.set $sum (i64.add (i64.rotl (local.get $sum) (i64.const 1)) (i64.load (local.get $at))))
          (i64.store (local.get $at) (i64.const -1))
          (local.set $at (i32.add (local.get $at) (i32.const 8)))
          (br_if 0 (i32.lt_u (local.get $at) (i32.shl (memory.size) (i32.const 16)))))
        (drop (memory.grow (i32.const 16)))
        (loop
          (local.set $sum (i64.add (local.get $sum) (i64.load (local.get $at))))
          (i64.store (local.get $at) (i64.const -1))
          (local.set $at (i32.add (local.get $at) (i32.const 4096)))
          (br_if 0 (i32.lt_u (local.get $at) (i32.shl (memory.size) (i32.const 16)))))
        (memory.init $passive (i32.const 40) (i32.const 0) (i32.const 7))
        (i64.store (i32.const 0) (local.get $sum))
        (i64.store (i32.const 8) (global.get $count))
        (i32.store (i32.const 16) (call_indirect $table (type $word) (i32.const 3)))
        (i64.store (i32.const 24) (i64.const 0))
        (global.set $count (i64.const -1))
        (table.init $table $second (i32.const 3) (i32.const 0) (i32.const 1))
        (i32.store (i32.const 20) (call_indirect $table (type $word) (i32.const 3)))
        (data.drop $passive) (elem.drop $second)
        (call $output_write (i32.const 0) (i32.const 48))";
    // Few pages, which are overwritten, and more than are kept.
    for pages in [17, 200] {
        let job = job_of(&pages.to_string(), DIRTY, run).await;
        let mut slot = Slot::new(program());
        let first = once(&mut slot, &job, unit(b"")).await.expect("executes");
        assert!(first.outcome.verdict.is_ok(), "{first:?}");
        assert_eq!(first.output[8..24], [7, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 2, 0, 0, 0]);
        assert_ne!(first.output[..8], [0; 8], "the data was there");
        // Another module's data is as little to be seen as one's own.
        let other = job_of("17", r#"(data (i32.const 500000) "another")"#, ECHO).await;
        for round in 0..4 {
            let next = once(&mut slot, &job, unit(b"")).await.expect("executes");
            assert_eq!((&next.outcome, &next.output), (&first.outcome, &first.output), "{pages} pages, round {round}");
            once(&mut slot, &other, unit(b"in between")).await.expect("executes");
        }
        // The same without walls, where memory is set back page by page if the kernel can tell which, and where it is not.
        for wasm in [Wasm::new(), Wasm::with_pagemap(None)].map(|wasm| wasm.expect("starts")) {
            let [job, other] = [&job, &other].map(|job| wasm.prepare(&job.code).expect("can be used"));
            for _ in 0..3 {
                let next = wasm.execute(&job, unit(b""), Box::new(|_| ())).expect("executes");
                assert_eq!((&next.outcome, &next.output), (&first.outcome, &first.output), "{}", wasm.knows_pages());
                wasm.execute(&other, unit(b"in between"), Box::new(|_| ())).expect("executes");
            }
        }
    }
}

/// A kernel that is too old cannot tell, and what there is to fall back to is the engine's own test.
#[cfg(target_os = "linux")]
#[tokio::test]
async fn a_locked_down_slot_still_knows_which_of_its_pages_were_touched() {
    let (_, knows_pages) = parent::probe(&program()).await.expect("answers");
    let outside = Wasm::new().expect("starts");
    assert_eq!(knows_pages, outside.knows_pages());
}

#[tokio::test]
async fn a_nan_has_the_same_bits_everywhere() {
    let run = "(local $zero f64)
               (f64.store (i32.const 0) (f64.div (local.get $zero) (local.get $zero)))
               (v128.store (i32.const 8) (f32x4.div (v128.const i64x2 0 0) (v128.const i64x2 0 0)))
               (call $output_write (i32.const 0) (i32.const 12))";
    let expected = [&0x7ff8_0000_0000_0000_u64.to_le_bytes()[..], &0x7fc0_0000_u32.to_le_bytes()].concat();
    assert_eq!(execute(&job(run).await, unit(b"")).await.output, expected);
}

#[tokio::test]
async fn more_modules_than_a_slot_keeps_are_no_trouble() {
    let mut slot = Slot::new(program());
    let mut jobs = Vec::new();
    for number in 0..20 {
        let run =
            format!("(i32.store (i32.const 0) (i32.const {number})) (call $output_write (i32.const 0) (i32.const 1))");
        jobs.push(job(&run).await);
    }
    for (number, job) in (0..).zip(&jobs).chain((0..).zip(&jobs)) {
        assert_eq!(once(&mut slot, job, unit(b"")).await.expect("executes").output, [number]);
    }
}

#[tokio::test]
async fn a_job_that_exceeds_its_wall_time_is_killed_and_that_is_no_verdict() {
    let endless = job("(loop (br 0))").await;
    let mut slot = Slot::new(program());
    let execution = limited(|limits| (limits.fuel, limits.wall_ms) = (Limits::MAX.fuel, 200));
    let started = Instant::now();
    let error = once(&mut slot, &endless, execution).await.expect_err("it is killed");
    assert_eq!(error.to_string(), "the job ran for longer than its wall time of 200 ms on this machine");
    assert!(started.elapsed() < Duration::from_secs(30));
    works(&mut slot).await;
}

#[tokio::test]
async fn an_execution_that_nobody_waits_for_ends_and_the_slot_works_again() {
    let endless = job("(loop (br 0))").await;
    let mut slot = Slot::new(program());
    let waiting = once(&mut slot, &endless, limited(|limits| limits.fuel = Limits::MAX.fuel));
    assert!(tokio::time::timeout(Duration::from_millis(300), waiting).await.is_err());
    works(&mut slot).await;
}

#[tokio::test]
async fn what_is_no_machine_code_of_this_engine_is_refused() {
    let good = job(ECHO).await;
    let mut slot = Slot::new(program());
    for code in [&b"garbage"[..], &good.code[..good.code.len() / 2], b""] {
        let bad = Compiled { module: Digest::of(code), code: code.into() };
        let error = once(&mut slot, &bad, unit(b"")).await.expect_err("refused").to_string();
        assert!(error.starts_with("compiled code cannot be used: "), "{error}");
    }
    let error = compile(&program(), b"\0asm nonsense".to_vec()).await.expect_err("refused").to_string();
    assert!(error.starts_with("cannot be compiled: "), "{error}");
    works(&mut slot).await;
}

#[tokio::test]
async fn a_module_that_does_not_pay_is_not_compiled_whoever_signed_it() {
    let text = format!(
        r#"(module {IMPORTS} (memory (export "memory") 1)
             (global (export "manyhands_cause") (mut i32) (i32.const 0))
             (global (export "manyhands_cost_table") i32 (i32.const 2))
             (global (export "manyhands_meter") (mut i64) (i64.const 1000))
             (func (export "manyhands_run") (loop (br 0))))"#
    );
    let module = wat::parse_str(text).expect("the test's own text is WebAssembly");
    let error = compile(&program(), module).await.expect_err("refused").to_string();
    let expected =
        "cannot be compiled: not a well-sealed module: function 7, offset 0x145: a loop whose meter is not at hand";
    assert_eq!(error, expected);
}

#[tokio::test]
async fn a_program_that_is_no_sandbox_is_noticed() {
    for other in ["/bin/true", "/nowhere/at/all"] {
        let error = parent::survey(&Program::at(other)).await.expect_err("refused").to_string();
        assert!(error.starts_with("the sandbox process does not start: "), "{error}");
    }
}

/// The probe runs in a real slot, after the lock-down, with everything that the process has.
#[tokio::test]
async fn a_child_opens_no_file_and_no_socket_and_starts_nothing() {
    let (lockdown, _) = parent::survey(&program()).await.expect("starts");
    let (possible, _) = parent::probe(&program()).await.expect("answers");
    if lockdown.seccomp == Wall::Enforced {
        assert_eq!(possible, Vec::<String>::new(), "{lockdown}");
    }
    // A kernel may lack Landlock. On these processors none lacks seccomp.
    if cfg!(all(target_os = "linux", any(target_arch = "x86_64", target_arch = "aarch64"))) {
        assert_eq!(lockdown.seccomp, Wall::Enforced, "{lockdown}");
    }
}

#[tokio::test]
async fn what_was_cached_executes_and_what_was_changed_on_disk_does_not() {
    let dir = tempfile::tempdir().unwrap();
    let (_, fingerprint) = parent::survey(&program()).await.expect("starts");
    let cache = Cache::open(dir.path(), [3; 32], fingerprint).unwrap();
    let compiled = job(ECHO).await;
    cache.put(compiled.module, &compiled.code).unwrap();
    let cached = Compiled { module: compiled.module, code: cache.get(compiled.module).expect("kept").into() };
    assert_eq!(execute(&cached, unit(b"from disk")).await.output, b"from disk");

    let entry = std::fs::read_dir(dir.path()).unwrap().next().unwrap().unwrap().path();
    let mut bytes = std::fs::read(&entry).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(&entry, bytes).unwrap();
    assert_eq!(cache.get(compiled.module), None, "one bit of machine code was changed");
}

/// The runner's own parent may have left a descriptor open, such as a lock or a socket. Here it is the
/// writing end of a pipe: reading comes to its end while the child lives, so the child has closed it.
#[cfg(target_os = "linux")]
#[tokio::test]
async fn a_child_keeps_no_descriptor_that_it_inherited() {
    use std::os::unix::fs::PermissionsExt as _;
    let dir = tempfile::tempdir().unwrap();
    let (pipe, script) = (dir.path().join("pipe"), dir.path().join("start"));
    assert!(std::process::Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    std::fs::write(&script, format!("#!/bin/sh\nexec 9>'{}'\nexec '{CHILD}' \"$@\"\n", pipe.display())).unwrap();
    std::fs::set_permissions(&script, std::fs::Permissions::from_mode(0o755)).unwrap();
    let (done, ended) = tokio::sync::oneshot::channel();
    std::thread::spawn(move || done.send(std::fs::read(pipe).map(|read| read.len()).ok()));

    let mut slot = Slot::new(Program::at(script));
    works(&mut slot).await;
    let ended = tokio::time::timeout(Duration::from_secs(10), ended).await;
    assert_eq!(ended.expect("the child closed the pipe"), Ok(Some(0)));
    works(&mut slot).await;
}
