//! What a job writes: the next record of its client, and what the client is told.

use manyhands_placeholder::{Exposed, Places, Values, stays_hidden, token};
use serde::Deserialize;
use serde_json::value::RawValue;

/// Why what a job wrote is no answer. The job's to mend.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unusable {
    /// It is something else.
    #[error("the job's output is no {{\"record\": …, \"output\": …}}: {0}")]
    Other(String),
    /// Somebody else's token, or one that it made up.
    #[error("the job wrote a token that stands for none of its values")]
    Token,
    /// The record is longer than clients keep it.
    #[error("the job wrote a record of {bytes} bytes; its manifest says {most} (`record_bytes`)")]
    Long {
        /// Its length.
        bytes: usize,
        /// The longest that the manifest allows.
        most: u32,
    },
    /// Workers would see more of the record than its values' tokens.
    #[error("the job wrote a record that cannot be handed in again: {0}")]
    Exposed(#[from] Exposed),
}

/// A job's output, as it has to be.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Written {
    /// What the client is to keep.
    pub record: Box<RawValue>,
    /// What it is told.
    pub output: Box<RawValue>,
}

impl Written {
    /// Reads an output.
    ///
    /// # Errors
    /// [`Unusable::Other`].
    pub fn read(output: &[u8]) -> Result<Self, Unusable> {
        serde_json::from_slice(output).map_err(|error| Unusable::Other(error.to_string()))
    }

    /// Reads an output with values in the place of tokens, as the client gets it.
    ///
    /// # Errors
    /// [`Unusable`].
    pub fn restored(output: &[u8], record_bytes: u32) -> Result<Self, Unusable> {
        if token::find(output).next().is_some() {
            return Err(Unusable::Token);
        }
        let written = Self::read(output)?;
        let bytes = written.record.get().len();
        if bytes > record_bytes as usize {
            return Err(Unusable::Long { bytes, most: record_bytes });
        }
        Ok(written)
    }

    /// The record as it comes in again, as part of an input.
    pub fn again(&self) -> Vec<u8> {
        format!("{{\"record\":{},\"input\":null}}", self.record.get()).into_bytes()
    }
}

/// Goes on if workers would see no value in a record that they did not see before, once it is handed in again: `canonical` is the output with tokens,
/// `values` is what they stand for, and `places` are those that the manifest declares.
///
/// # Errors
/// [`Unusable::Other`] and [`Unusable::Exposed`].
pub fn hides(canonical: &[u8], values: &Values, places: &Places) -> Result<(), Unusable> {
    Ok(stays_hidden(&Written::read(canonical)?.again(), values, places)?)
}
