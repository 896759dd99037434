//! What every runtime can be held to: jobs with inputs and the outcomes that these must have.
//!
//! [`corpus`] reads `corpus.json`, a line for each case, and builds and seals the modules that it names. Verdicts and
//! outputs are written by hand or computed by other means; only fuel is filled in, by the program `bless`, and
//! only where the module's bytes do not depend on a compiler's version. Start reading at [`Case`].

mod source;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use manyhands_abi::parts;
use manyhands_model::{Digest, Fuel, Limits, Manifest, Outcome, Verdict};
use manyhands_protocol::Entry;
use manyhands_runner::engine::{Executed, Execution};
use manyhands_sealer::Sealed;
use serde::{Deserialize, Serialize};

/// One line of the corpus. Keys that are not there are not asked.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Case {
    /// What it is about.
    pub name: String,
    /// The module's source, from the repository's root; after `#` the language of a page's example.
    pub module: String,
    /// Which function; `run` where nothing is said.
    #[serde(default = "run", skip_serializing_if = "is_run")]
    pub entry: Entry,
    /// The input as text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub input: Option<String>,
    /// The input as bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub input_hex: Option<String>,
    /// The input of a reduce step, part by part.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parts: Option<Vec<String>>,
    /// The answers to its requests for calls.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub answers: Vec<String>,
    /// The seed; zeros where nothing is said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seed: Option<String>,
    /// The word for the verdict.
    pub verdict: String,
    /// The abort's code.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub code: Option<u32>,
    /// The abort's message.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
    /// SHA-256 of an abort's message that is too long to be shown.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message_sha256: Option<Digest>,
    /// The output as text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub output: Option<String>,
    /// The output as bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub output_hex: Option<String>,
    /// The fuel that it uses.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fuel: Option<Fuel>,
}

fn run() -> Entry {
    Entry::Run
}

fn is_run(entry: &Entry) -> bool {
    *entry == Entry::Run
}

/// Why the corpus, or one of its cases, is not as it should be.
#[derive(Debug, thiserror::Error)]
pub enum Wrong {
    /// A file cannot be read.
    #[error("cannot read `{0}`: {1}")]
    File(PathBuf, std::io::Error),
    /// The corpus is not what it should be.
    #[error("corpus.json: {0}")]
    Corpus(String),
    /// A module cannot be built or sealed.
    #[error("{module}: {reason}")]
    Module {
        /// Its source.
        module: String,
        /// Why.
        reason: String,
    },
    /// A compiler is missing.
    #[error("{0}")]
    MissingTool(String),
}

/// The cases, and for each module that they name the sealed one, or why it could not be built here.
pub struct Corpus {
    /// In the order of the file.
    pub cases: Vec<Case>,
    /// By the words of [`Case::module`]. The error is [`Wrong::MissingTool`].
    pub modules: BTreeMap<String, Result<Sealed, Wrong>>,
}

/// The repository's root.
pub fn root() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../.."))
}

/// Where the cases stand.
pub fn corpus_file() -> PathBuf {
    root().join("tests/conformance/corpus.json")
}

/// Reads the cases alone.
///
/// # Errors
/// [`Wrong`].
pub fn cases() -> Result<Vec<Case>, Wrong> {
    let path = corpus_file();
    let text = std::fs::read_to_string(&path).map_err(|error| Wrong::File(path, error))?;
    serde_json::from_str(&text).map_err(|error| Wrong::Corpus(error.to_string()))
}

/// Builds a module that a case names: as a compiler leaves it, and its manifest.
///
/// # Errors
/// [`Wrong`].
pub fn built(module: &str) -> Result<(Vec<u8>, Manifest), Wrong> {
    source::built(module)
}

/// Reads the cases, and builds and seals their modules.
///
/// # Errors
/// [`Wrong`], but not for a compiler that is missing: what can be built is tested all the same.
pub fn corpus() -> Result<Corpus, Wrong> {
    let cases = cases()?;
    let mut modules = BTreeMap::new();
    for case in &cases {
        if !modules.contains_key(&case.module) {
            let sealed = match source::sealed(&case.module) {
                Err(wrong) if !matches!(wrong, Wrong::MissingTool(_)) => return Err(wrong),
                sealed => sealed,
            };
            modules.insert(case.module.clone(), sealed);
        }
    }
    Ok(Corpus { cases, modules })
}

impl Case {
    /// What a runtime is asked to execute.
    ///
    /// # Errors
    /// [`Wrong::Corpus`].
    pub fn execution(&self, sealed: &Sealed) -> Result<Execution, Wrong> {
        self.execution_within(sealed.manifest.limits)
    }

    /// The same of a module whose manifest has these limits.
    ///
    /// # Errors
    /// [`Wrong::Corpus`].
    pub fn execution_within(&self, limits: Limits) -> Result<Execution, Wrong> {
        let input = match (&self.input, &self.input_hex, &self.parts) {
            (Some(text), None, None) => text.clone().into_bytes(),
            (None, Some(hex), None) => bytes(hex)?,
            (None, None, Some(list)) => parts::encode(list.iter().map(String::as_bytes)),
            _ => return Err(self.wrong("it needs one of `input`, `input_hex` and `parts`")),
        };
        let (step, input) = match u32::try_from(self.answers.len()).unwrap_or(u32::MAX) {
            0 => (0, input),
            step => {
                let answers = self.answers.iter().map(String::as_bytes);
                let parts: Vec<&[u8]> = std::iter::once(&input[..]).chain(answers).collect();
                (step, parts::encode(parts.into_iter()))
            }
        };
        let seed = match &self.seed {
            Some(hex) => bytes(hex)?.try_into().map_err(|_| self.wrong("a seed has 32 bytes"))?,
            None => [0; 32],
        };
        Ok(Execution { entry: self.entry, step, input: input.into(), seed, limits })
    }

    /// Whether its fuel is the same with every compiler.
    pub fn has_known_fuel(&self) -> bool {
        source::is_text(&self.module)
    }

    /// Everything in which an execution differs from what this case says.
    ///
    /// # Errors
    /// [`Wrong::Corpus`].
    pub fn differences(&self, executed: &Executed) -> Result<Vec<String>, Wrong> {
        let Executed { outcome: Outcome { verdict, fuel }, output, .. } = executed;
        let mut differences = Vec::new();
        let mut expect = |what: &str, same: bool, is: &dyn std::fmt::Debug, expected: &dyn std::fmt::Debug| {
            if !same {
                differences.push(format!("{}: {what} is {is:?} instead of {expected:?}", self.name));
            }
        };
        expect("the verdict", verdict.word() == self.verdict, verdict, &self.verdict);
        if let Verdict::Aborted { code, message } = verdict {
            expect("the code", Some(*code) == self.code, code, &self.code);
            match &self.message_sha256 {
                Some(digest) => expect("the message", Digest::of(message.as_bytes()) == *digest, message, digest),
                None => expect("the message", Some(message) == self.message.as_ref(), message, &self.message),
            }
        }
        let expected = match (&self.output, &self.output_hex) {
            (Some(text), None) => text.clone().into_bytes(),
            (None, Some(hex)) => bytes(hex)?,
            (None, None) => Vec::new(),
            (Some(_), Some(_)) => return Err(self.wrong("it has both `output` and `output_hex`")),
        };
        expect("the output", *output == expected, &Shown(output), &Shown(&expected));
        if let Some(expected) = self.fuel {
            expect("fuel", *fuel == expected, fuel, &expected);
        } else if self.has_known_fuel() {
            return Err(self.wrong("it has no fuel yet; `cargo run -p manyhands-conformance --bin bless` fills it in"));
        }
        Ok(differences)
    }

    fn wrong(&self, why: &str) -> Wrong {
        Wrong::Corpus(format!("{}: {why}", self.name))
    }
}

/// Bytes as the corpus has them.
struct Shown<'a>(&'a [u8]);

impl std::fmt::Debug for Shown<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match std::str::from_utf8(self.0) {
            Ok(text) if !text.contains('\0') => write!(f, "{text:?}"),
            _ => f.write_str(&data_encoding::HEXLOWER.encode(self.0)),
        }
    }
}

fn bytes(hex: &str) -> Result<Vec<u8>, Wrong> {
    data_encoding::HEXLOWER.decode(hex.as_bytes()).map_err(|error| Wrong::Corpus(format!("`{hex}`: {error}")))
}
