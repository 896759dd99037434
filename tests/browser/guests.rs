//! Guests that mean harm, through everything that stands between them and the page.

use manyhands_model::{Codec, Fuel, Limits, Manifest};
use manyhands_tests::browser::{Browser, Kind, Volunteer};
use manyhands_tests::{Coordinator, jobs, until};
use serde_json::Value;

use crate::{browser, in_each_browser};

in_each_browser! {
    the_page_answers_whatever_guests_do
    slots_that_are_gone_are_missed
}

/// Milliseconds that a page may take to answer.
const ANSWER_TIME: f64 = 1000.0;

/// What a guest does, by the first byte of its input.
const HARM: &str = r#"
    (import "manyhands_v1" "input_read" (func $input_read (param i32 i32 i32)))
    (import "manyhands_v1" "output_write" (func $output_write (param i32 i32)))
    (import "manyhands_v1" "log" (func $log (param i32 i32 i32)))
    (import "manyhands_v1" "progress" (func $progress (param i32)))
    (import "manyhands_v1" "abort" (func $abort (param i32 i32 i32)))
    (memory (export "memory") 2)
    (data (i32.const 0) " in the middle")
    (func $deep (param $left i32)
      (if (i32.eqz (local.get $left)) (then (call $abort (i32.const 20) (i32.const 0) (i32.const 14))))
      (call $deep (i32.sub (local.get $left) (i32.const 1)))
      (call $output_write (i32.const 0) (i32.const 1)))
    (func (export "manyhands_run") (local $word i32) (local $n i32)
      (call $input_read (i32.const 32) (i32.const 0) (i32.const 1))
      (local.set $word (i32.load8_u (i32.const 32)))
      ;; a: throws through a hundred of its own frames
      (if (i32.eq (local.get $word) (i32.const 97)) (then (call $deep (i32.const 100))))
      ;; e: never ends
      (if (i32.eq (local.get $word) (i32.const 101)) (then (loop $forever (br $forever))))
      ;; g: takes all the memory that it can get, and touches it
      (if (i32.eq (local.get $word) (i32.const 103)) (then
        (loop $more
          (local.set $n (memory.grow (i32.const 16)))
          (if (i32.ge_s (local.get $n) (i32.const 0)) (then
            (memory.fill (i32.shl (local.get $n) (i32.const 16)) (i32.const 7) (i32.const 1048576))
            (br $more))))
        (i32.store (i32.const 0) (memory.size))
        (call $output_write (i32.const 0) (i32.const 4))
        (return)))
      ;; l: logs a gigabyte
      (if (i32.eq (local.get $word) (i32.const 108)) (then
        (loop $more
          (call $log (i32.const 2) (i32.const 0) (i32.const 65536))
          (br_if $more (i32.lt_u (local.tee $n (i32.add (local.get $n) (i32.const 1))) (i32.const 16384))))
        (return)))
      ;; p: says ten million times how far it is
      (if (i32.eq (local.get $word) (i32.const 112)) (then
        (loop $more
          (call $progress (i32.rem_u (local.get $n) (i32.const 1000)))
          (br_if $more (i32.lt_u (local.tee $n (i32.add (local.get $n) (i32.const 1))) (i32.const 10000000))))
        (return)))
      ;; s: calls itself until there is no stack
      (if (i32.eq (local.get $word) (i32.const 115)) (then (call $deep (i32.const -1))))
      ;; w: writes a gigabyte
      (if (i32.eq (local.get $word) (i32.const 119)) (then
        (loop $more
          (call $output_write (i32.const 0) (i32.const 65536))
          (br_if $more (i32.lt_u (local.tee $n (i32.add (local.get $n) (i32.const 1))) (i32.const 16384))))))
      unreachable)"#;

fn manifest() -> Manifest {
    let limits = Limits { fuel: Fuel(5_000_000_000), memory_bytes: 256 << 20, ..Limits::default() };
    Manifest { limits, ..jobs::manifest("harm", Codec::Raw) }
}

/// The longest time in which the page did not come to its turn, in milliseconds, since this was asked last.
async fn longest_wait(browser: &Browser) -> f64 {
    let watch = "
        const longest = globalThis.gap ?? 0;
        globalThis.gap = 0;
        globalThis.last = performance.now();
        globalThis.watch ??= setInterval(() => {
            const now = performance.now();
            gap = Math.max(gap, now - last);
            last = now;
        }, 20);
        return longest;";
    browser.run(watch).await
}

async fn the_page_answers_whatever_guests_do(kind: Kind) {
    let Some(browser) = browser(kind).await else { return };
    let coordinator = Coordinator::start().await;
    let manifest = manifest();
    coordinator.publish(&jobs::assemble(&manifest, HARM), &manifest).await.expect("published");
    let page = Volunteer::open(&browser, &coordinator.url("/volunteer")).await;
    page.start().await;
    let _runner = coordinator.runners(1).await;
    longest_wait(&browser).await;
    let stories: [(&[u8], &str, &str); 8] = [
        (b"a", "aborted", " in the middle"),
        (b"e", "out_of_fuel", ""),
        (b"g", "ok", ""),
        (b"l", "ok", ""),
        (b"p", "ok", ""),
        (b"s", "out_of_stack", ""),
        (b"w", "aborted", "the output is longer than"),
        (b"x", "trap", ""),
    ];
    let inputs: Vec<Vec<u8>> = stories.iter().map(|(input, ..)| input.to_vec()).collect();
    let run = coordinator.submit("harm", &inputs).await.expect("submitted").id;
    let results = coordinator.results(run).await;
    for (result, (input, status, error)) in results.iter().zip(stories) {
        let said = result.error.clone().unwrap_or_default();
        let input = String::from_utf8_lossy(input);
        assert_eq!(result.status, status, "{input}: {said}");
        assert!(said.contains(error), "{input}: {said}");
        assert_eq!(result.replicas, 2, "{input}: both came to the same");
    }
    let wait = longest_wait(&browser).await;
    eprintln!("{kind:?}: the page waited {wait:.0} ms at most");
    assert!(wait < ANSWER_TIME, "the page did not answer for {wait} ms");
    until("the visitor reads of all", async || (page.stats().await.verified == 8).then_some(())).await;
    page.press().await;
    page.is("ready").await;
}

// A guest may take so much memory that the browser ends its process; a script of the page may remove the frame. Nobody
// is told of either.
async fn slots_that_are_gone_are_missed(kind: Kind) {
    let Some(browser) = browser(kind).await else { return };
    let coordinator = Coordinator::start().await;
    let job = jobs::spinner();
    coordinator.publish(&job.module, &job.manifest).await.expect("published");
    let page = Volunteer::open(&browser, &coordinator.url("/volunteer")).await;
    page.start().await;
    coordinator.submit("spinner", &[jobs::spin(200_000, 0).0]).await.expect("submitted");
    until("a slot computes", async || page.heard("unit").await.first().cloned()).await;
    let _removed: Value = browser.run("document.querySelector('iframe').remove()").await;
    page.says("What computes has ended unexpectedly.").await;
    page.is("failed").await;
    let free = async || coordinator.workers().await.iter().all(|worker| worker.leases == 0).then_some(());
    until("its units are free for others", free).await;
    // Whoever tries again computes again.
    page.press().await;
    until("a slot computes again", async || page.text().await.contains("computing").then_some(())).await;
    page.press().await;
    page.is("ready").await;
}
