//! Jobs as their authors write them, tested as their authors test them.

use serde::{Deserialize, Serialize};

#[derive(Deserialize)]
struct Borrowed<'a> {
    name: &'a str,
}

/// Input types may borrow from the input.
#[manyhands::job(codec = "postcard", reduce = steps::longest)]
fn shout(input: Borrowed<'_>) -> String {
    manyhands::info!("shouting {} bytes", input.name.len());
    manyhands::progress(1, 2);
    input.name.to_uppercase()
}

mod steps {
    pub(super) fn longest(parts: Vec<String>) -> Result<String, &'static str> {
        parts.into_iter().max_by_key(String::len).ok_or("no parts")
    }
}

mod raw {
    /// Bytes in, bytes out; what cannot be is a `Result`, here behind an alias.
    pub(crate) type Answer = Result<Vec<u8>, std::num::ParseIntError>;

    #[manyhands::job(codec = "raw")]
    pub(crate) fn increment(input: &[u8]) -> Answer {
        let number: u64 = String::from_utf8_lossy(input).trim().parse()?;
        Ok((number + 1).to_string().into_bytes())
    }

    #[manyhands::reduce(codec = "raw")]
    fn join(parts: Vec<Vec<u8>>) -> Vec<u8> {
        parts.concat()
    }
}

mod none {
    /// A job may have nothing to say but that it succeeded.
    #[manyhands::job]
    fn check(input: u32) {
        assert!(input < 10);
    }
}

#[derive(Serialize)]
struct Dice(u8);

mod dice {
    #[manyhands::job]
    pub(super) fn throw(sides: u8) -> Result<super::Dice, String> {
        let remainder = manyhands::seed()[0].checked_rem(sides).ok_or("dice have sides")?;
        Ok(super::Dice(remainder + 1))
    }
}

#[test]
fn a_job_is_a_plain_function() {
    assert_eq!(shout(Borrowed { name: "ada" }), "ADA");
    assert_eq!(raw::increment(b"41\n"), Ok(b"42".to_vec()));
    assert_eq!(steps::longest(vec!["a".to_owned(), "bcd".to_owned()]), Ok("bcd".to_owned()));
    assert!(dice::throw(0).is_err());
}

#[test]
fn a_test_chooses_the_seed_and_only_its_own() {
    assert_eq!(manyhands::seed(), [0; 32]);
    manyhands::testing::with_seed([7; 32], || {
        assert_eq!(manyhands::seed(), [7; 32]);
        assert_eq!(dice::throw(6).expect("throws").0, 2);
    });
    assert_eq!(manyhands::seed(), [0; 32]);
}

#[test]
#[should_panic(expected = "code 16: enough")]
fn giving_up_is_a_panic_natively() {
    manyhands::abort(16, "enough");
}

#[test]
#[should_panic(expected = "reserved")]
fn codes_with_a_meaning_are_not_for_authors() {
    manyhands::abort(2, "pretending to have panicked");
}

/// Compiler output below `ui/`; `TRYBUILD=overwrite` writes it anew.
#[test]
fn mistakes_are_underlined_where_they_are() {
    trybuild::TestCases::new().compile_fail("tests/ui/*.rs");
}
