//! The table's types, with the names and fields that the compiler fills in.

pub use self::TestFn::*;
pub use self::TestName::*;

/// A test.
pub struct TestDescAndFn {
    /// What is known about it.
    pub desc: TestDesc,
    /// How it is run.
    pub testfn: TestFn,
}

/// What is known about a test.
pub struct TestDesc {
    /// Its path in the crate.
    pub name: TestName,
    /// Whether it runs only when asked for.
    pub ignore: bool,
    /// Why.
    pub ignore_message: Option<&'static str>,
    /// Its source file.
    pub source_file: &'static str,
    /// Its first line.
    pub start_line: usize,
    /// Its first column.
    pub start_col: usize,
    /// Its last line.
    pub end_line: usize,
    /// Its last column.
    pub end_col: usize,
    /// Whether a panic is what it is about.
    pub should_panic: ShouldPanic,
    /// Of documentation only.
    pub compile_fail: bool,
    /// Of documentation only.
    pub no_run: bool,
    /// Where it stands.
    pub test_type: TestType,
}

/// A test's name.
pub enum TestName {
    /// As the compiler writes it.
    StaticTestName(&'static str),
}

/// How a test is run.
pub enum TestFn {
    /// By a call.
    StaticTestFn(fn() -> Result<(), String>),
}

/// Whether a panic is what a test is about.
pub enum ShouldPanic {
    /// It must not.
    No,
    /// It must.
    Yes,
    /// It must, with this in its message.
    YesWithMessage(&'static str),
}

/// Where a test stands.
pub enum TestType {
    /// In the crate.
    UnitTest,
    /// Beside it.
    IntegrationTest,
    /// Somewhere.
    Unknown,
}
