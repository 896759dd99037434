//! What stands in the parentheses: `codec = "postcard", reduce = merge`.

use proc_macro2::Span;
use syn::parse::{Parse, ParseStream};
use syn::{Ident, LitStr, Path, Token};

/// How inputs and outputs are written down.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Codec {
    #[default]
    Json,
    Postcard,
    Raw,
}

impl Codec {
    /// The word in the attribute, in the module's section, and the name of the SDK's module for it.
    pub(crate) const fn word(self) -> &'static str {
        match self {
            Self::Json => "json",
            Self::Postcard => "postcard",
            Self::Raw => "raw",
        }
    }
}

/// Options of `job`, and those of `reduce`, which has no `reduce`.
#[derive(Default)]
pub(crate) struct Options {
    pub(crate) codec: Option<Codec>,
    pub(crate) reduce: Option<Path>,
}

impl Parse for Options {
    fn parse(input: ParseStream<'_>) -> syn::Result<Self> {
        let mut options = Self::default();
        while !input.is_empty() {
            let key: Ident = input.parse()?;
            let _: Token![=] = input.parse()?;
            let twice =
                |there: bool| if there { Err(error(key.span(), format!("`{key}` is given twice"))) } else { Ok(()) };
            if key == "codec" {
                twice(options.codec.is_some())?;
                options.codec = Some(codec(&input.parse()?)?);
            } else if key == "reduce" {
                twice(options.reduce.is_some())?;
                options.reduce = Some(input.parse()?);
            } else {
                return Err(error(key.span(), format!("unknown option `{key}`; known are `codec` and `reduce`")));
            }
            if !input.is_empty() {
                let _: Token![,] = input.parse()?;
            }
        }
        Ok(options)
    }
}

fn codec(literal: &LitStr) -> syn::Result<Codec> {
    const ALL: [Codec; 3] = [Codec::Json, Codec::Postcard, Codec::Raw];
    let word = literal.value();
    ALL.into_iter().find(|codec| codec.word() == word).ok_or_else(|| {
        let message = match nearest(&word, ALL.map(Codec::word)) {
            Some(codec) => format!("unknown codec `{word}`; did you mean \"{codec}\"?"),
            None => format!("unknown codec `{word}`; use \"json\", \"postcard\" or \"raw\""),
        };
        error(literal.span(), message)
    })
}

/// The known word that was probably meant.
pub(crate) fn nearest<const N: usize>(word: &str, known: [&'static str; N]) -> Option<&'static str> {
    let likeness = |known: &str| strsim::jaro_winkler(&word.to_lowercase(), known);
    let nearest = known.into_iter().max_by(|a, b| likeness(a).total_cmp(&likeness(b)));
    // Below 0.75 the words have little in common, and a wrong guess is worse than the list.
    nearest.filter(|known| likeness(known) > 0.75)
}

fn error(span: Span, message: String) -> syn::Error {
    syn::Error::new(span, message)
}
