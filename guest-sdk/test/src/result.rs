//! What a test function may return.

use core::fmt::Debug;

/// What a test function may return. Not `std::process::Termination`, whose errors go to a standard error that
/// does not exist.
pub trait TestResult {
    /// Nothing, or what went wrong.
    ///
    /// # Errors
    /// The test's own.
    fn outcome(self) -> Result<(), String>;
}

impl TestResult for () {
    fn outcome(self) -> Result<(), String> {
        Ok(())
    }
}

impl<T: TestResult, E: Debug> TestResult for Result<T, E> {
    fn outcome(self) -> Result<(), String> {
        match self {
            Ok(value) => value.outcome(),
            Err(error) => Err(format!("Error: {error:?}")),
        }
    }
}

impl TestResult for std::process::ExitCode {
    fn outcome(self) -> Result<(), String> {
        if self == Self::SUCCESS { Ok(()) } else { Err("the test returned a code for failure".to_owned()) }
    }
}

/// Wraps each test function.
///
/// # Errors
/// The test's own.
pub fn assert_test_result<T: TestResult>(result: T) -> Result<(), String> {
    result.outcome()
}
