//! From the bytes of an input to the bytes of an output: what the macros' output calls.
//!
//! All of it is the same natively, so it is checked and tested there; only [`execute`] needs a sandbox.

use core::fmt::Display;
use core::marker::PhantomData;

use manyhands_abi::ABORT_ERROR;

/// Why there is no output.
#[derive(Debug, PartialEq, Eq)]
pub struct Failure {
    /// Code for `abort`.
    pub code: u32,
    /// In the job's words, or the codec's.
    pub message: String,
}

impl Failure {
    fn error(message: String) -> Self {
        Self { code: ABORT_ERROR, message }
    }
}

/// Bytes of JSON text (RFC 8259).
pub mod json {
    use serde::{Deserialize, Serialize};

    /// Reads one value and nothing after it.
    ///
    /// # Errors
    /// With line and column.
    pub fn decode<'a, T: Deserialize<'a>>(bytes: &'a [u8]) -> Result<T, impl core::fmt::Display> {
        #[cfg(feature = "small")]
        return crate::json::read(bytes);
        #[cfg(not(feature = "small"))]
        serde_json::from_slice(bytes)
    }

    /// Writes one value.
    ///
    /// # Errors
    /// A value that the format has no way to write.
    pub fn encode<T: Serialize>(value: T) -> Result<Vec<u8>, impl core::fmt::Display> {
        #[cfg(feature = "small")]
        return crate::json::write(&value);
        #[cfg(not(feature = "small"))]
        serde_json::to_vec(&value)
    }
}

/// Postcard 1.0 bytes.
pub mod postcard {
    use serde::{Deserialize, Serialize};

    /// Reads one value and nothing after it.
    ///
    /// # Errors
    /// In postcard's words.
    pub fn decode<'a, T: Deserialize<'a>>(bytes: &'a [u8]) -> Result<T, impl core::fmt::Display> {
        match postcard::take_from_bytes(bytes) {
            Ok((value, [])) => Ok(value),
            Ok((_, rest)) => Err(format!("{} bytes are left over", rest.len())),
            Err(error) => Err(error.to_string()),
        }
    }

    /// Writes one value.
    ///
    /// # Errors
    /// A value that the format has no way to write.
    pub fn encode<T: Serialize>(value: T) -> Result<Vec<u8>, impl core::fmt::Display> {
        postcard::to_allocvec(&value)
    }
}

/// Bytes as they are: `Vec<u8>`, `&[u8]`, `[u8; N]` and what else converts.
pub mod raw {
    /// Converts from a slice.
    ///
    /// # Errors
    /// Those of the conversion.
    pub fn decode<'a, T>(bytes: &'a [u8]) -> Result<T, impl core::fmt::Display>
    where
        T: TryFrom<&'a [u8], Error: core::fmt::Display>,
    {
        T::try_from(bytes)
    }

    /// Converts into bytes.
    ///
    /// # Errors
    /// None.
    pub fn encode<T: Into<Vec<u8>>>(value: T) -> Result<Vec<u8>, core::convert::Infallible> {
        Ok(value.into())
    }
}

/// Says whose fault it is when an input cannot be read.
///
/// # Errors
/// The reader's, after `input: `.
pub fn input<T>(decoded: Result<T, impl Display>) -> Result<T, Failure> {
    decoded.map_err(|error| Failure::error(format!("input: {error}")))
}

/// Takes the input of a reduce step apart and reads each part with `decode`.
///
/// # Errors
/// The first part that cannot be read, by its number.
pub fn parts<'a, T, E: Display>(frame: &'a [u8], decode: impl Fn(&'a [u8]) -> Result<T, E>) -> Result<Vec<T>, Failure> {
    let parts = input(manyhands_abi::parts::decode(frame))?;
    let read = |(index, part)| decode(part).map_err(|error| Failure::error(format!("part {index}: {error}")));
    parts.into_iter().enumerate().map(read).collect()
}

/// Says whose fault it is when an output cannot be written down.
///
/// # Errors
/// The writer's, after `output: `.
pub fn output(encoded: Result<Vec<u8>, impl Display>) -> Result<Vec<u8>, Failure> {
    encoded.map_err(|error| Failure::error(format!("output: {error}")))
}

/// The type that a job returned, told apart by which `settle` it has: a `Result` the method below, all
/// others that of [`Plain`], since methods of a type win over those of a trait. A macro sees only tokens
/// and could not tell that `Answer` is an alias of a `Result`.
pub struct Returned<T>(PhantomData<T>);

impl<T> Returned<T> {
    /// The type of a value.
    pub fn of(_: &T) -> Self {
        Self(PhantomData)
    }
}

impl<U, E> Returned<Result<U, E>> {
    /// The value, or the job's own error.
    ///
    /// # Errors
    /// The job's.
    // The bound stands here and not above, so that an error that is not `Display` is a compile error
    // instead of a fall back to `Plain`.
    pub fn settle(self, answer: Result<U, E>) -> Result<U, Failure>
    where
        E: Display,
    {
        // The alternate form has the causes too, where an error type can show them.
        answer.map_err(|error| Failure::error(format!("{error:#}")))
    }
}

/// An answer that is no `Result`.
pub trait Plain<T> {
    /// The value.
    ///
    /// # Errors
    /// None.
    fn settle(self, answer: T) -> Result<T, Failure>;
}

impl<T> Plain<T> for Returned<T> {
    fn settle(self, answer: T) -> Result<T, Failure> {
        Ok(answer)
    }
}

/// The type of a part, which is that of the output too.
pub struct Part<T>(PhantomData<T>);

impl<T> Part<T> {
    /// The type of some parts.
    pub fn of(_: &Vec<T>) -> Self {
        Self(PhantomData)
    }

    /// The answer, of the same type.
    pub fn same(self, answer: T) -> T {
        answer
    }
}

/// Executes one unit: reads the input, writes the output, or ends with the reason why there is none.
#[cfg(target_arch = "wasm32")]
pub fn execute(entry: fn(&[u8]) -> Result<Vec<u8>, Failure>) {
    use crate::host;
    report_panics();
    match entry(&host::input()) {
        Ok(output) => host::output(&output),
        Err(failure) => host::abort(failure.code, &failure.message),
    }
}

/// Makes a panic the failure that it is, with its place and message.
#[cfg(target_arch = "wasm32")]
pub fn report_panics() {
    use crate::host;
    std::panic::set_hook(Box::new(|panic| host::abort(manyhands_abi::ABORT_PANIC, &panic_message(panic))));
}

/// `src/lib.rs:42:13: message`
#[cfg(any(target_arch = "wasm32", test))]
fn panic_message(panic: &std::panic::PanicHookInfo<'_>) -> String {
    let message = panic.payload_as_str().unwrap_or("panicked with something that is no text");
    let mut text = String::new();
    if let Some(location) = panic.location() {
        text.push_str(location.file());
        // By hand: the formatting of numbers would be a third of a small module.
        for number in [location.line(), location.column()] {
            text.push(':');
            push_number(&mut text, number.into());
        }
        text.push_str(": ");
    }
    text.push_str(message);
    text
}

#[cfg(any(target_arch = "wasm32", feature = "small", test))]
pub(crate) fn push_number(text: &mut String, number: u64) {
    if number >= 10 {
        push_number(text, number / 10);
    }
    text.push(char::from(b'0' + (number % 10) as u8));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_input_that_does_not_parse_says_where() {
        let read = input(json::decode::<Vec<u32>>(b"[1, x]")).expect_err("no JSON");
        assert_eq!(read, Failure { code: 1, message: "input: expected value at line 1 column 5".to_owned() });
        assert!(input(postcard::decode::<u32>(&[0xFF])).is_err());
        let read = input(postcard::decode::<u8>(&[1, 2])).expect_err("too long");
        assert_eq!(read.message, "input: 1 bytes are left over");
        assert!(input(raw::decode::<[u8; 4]>(&[1, 2])).is_err());
    }

    #[test]
    fn a_bad_part_is_named_by_its_number() {
        let frame = |parts: &[&[u8]]| manyhands_abi::parts::encode(parts.iter().copied());
        assert_eq!(parts(&frame(&[b"1", b"2"]), json::decode::<u32>), Ok(vec![1, 2]));
        let bad = parts(&frame(&[b"1", b"?"]), json::decode::<u32>).expect_err("no JSON");
        assert_eq!(bad.message, "part 1: expected value at line 1 column 1");
        let bad = parts(b"?", json::decode::<u32>).expect_err("no frame");
        assert_eq!(bad.message, "input: not a frame of parts: lengths and bytes do not fit");
    }

    #[test]
    fn results_are_told_from_other_answers_even_behind_an_alias() {
        type Answer = Result<u32, String>;
        let settle = |answer: Answer| Returned::of(&answer).settle(answer);
        assert_eq!(settle(Ok(1)), Ok(1));
        assert_eq!(settle(Err("no".to_owned())), Err(Failure { code: 1, message: "no".to_owned() }));
        assert_eq!(Returned::of(&Some(1)).settle(Some(1)), Ok(Some(1)));
    }

    #[test]
    fn an_output_that_json_cannot_hold_is_the_jobs_error() {
        let pairs = std::collections::BTreeMap::from([((1, 2), 3)]);
        assert_eq!(output(json::encode(pairs)).expect_err("no text").message, "output: key must be a string");
        assert_eq!(output(raw::encode("text")), Ok(b"text".to_vec()));
    }

    #[test]
    fn a_panic_is_told_with_its_line() {
        use std::sync::{Arc, Mutex};
        let told = Arc::new(Mutex::new(String::new()));
        let teller = Arc::clone(&told);
        let old = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |panic| *teller.lock().expect("lock") = panic_message(panic)));
        let caught = std::thread::spawn(|| assert_eq!(1 + 1, 3, "arithmetic")).join();
        std::panic::set_hook(old);
        assert!(caught.is_err());
        let told = told.lock().expect("lock");
        assert!(told.contains("src/entry.rs:") && told.contains("arithmetic"), "{told}");
        let mut digits = String::new();
        [0, 9, 10, 4_294_967_295].into_iter().for_each(|number| push_number(&mut digits, number));
        assert_eq!(digits, "09104294967295");
    }
}
