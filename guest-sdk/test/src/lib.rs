//! Runs a job's ordinary `#[test]` functions inside the sandbox.
//!
//! The compiler expands `#[test]` to a table of `test::TestDescAndFn` and a call of `test::test_main_static`, and
//! finds the crate `test` among the dependencies before it looks for its own. So a job that has this crate as
//! a dependency under that name, for WebAssembly only, has it as the harness there. Rust's own would print to a
//! standard output that does not exist, and end with the first test that panics.
//!
//! `manyhands test` executes the module once without an input, which lists the tests, and then in a fresh
//! instance for each: the input is its number. What the compiler writes into the table is the compiler's own affair
//! and may change with a release; then this crate does not compile, and says where.
#![cfg(target_family = "wasm")]

mod desc;
mod result;

use manyhands_abi::{ABORT_ERROR, parts};

pub use crate::desc::*;
pub use crate::result::{TestResult, assert_test_result};

/// What the tests' `main` calls.
pub fn test_main_static(tests: &[&TestDescAndFn]) {
    manyhands::__private::report_panics();
    let input = manyhands::__private::host::input();
    let Ok(number) = <[u8; 4]>::try_from(input.as_slice()) else {
        return manyhands::__private::host::output(&list(tests));
    };
    let Some(test) = tests.get(u32::from_le_bytes(number) as usize) else { return };
    let StaticTestFn(function) = test.testfn;
    if let Err(message) = function() {
        manyhands::__private::host::abort(ABORT_ERROR, &message);
    }
}

/// Four parts for each test: its name, where it stands, why it is left out (after an exclamation mark, so that no
/// reason is one too), and what it must panic with (the same).
fn list(tests: &[&TestDescAndFn]) -> Vec<u8> {
    let fields = tests.iter().flat_map(|TestDescAndFn { desc, .. }| {
        let StaticTestName(name) = desc.name;
        let ignored = desc.ignore.then(|| format!("!{}", desc.ignore_message.unwrap_or_default()));
        let panics = match desc.should_panic {
            ShouldPanic::No => String::new(),
            ShouldPanic::Yes => "!".to_owned(),
            ShouldPanic::YesWithMessage(message) => format!("!{message}"),
        };
        [name.to_owned(), format!("{}:{}", desc.source_file, desc.start_line), ignored.unwrap_or_default(), panics]
    });
    let fields: Vec<String> = fields.collect();
    parts::encode(fields.iter().map(String::as_bytes))
}
