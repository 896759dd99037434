//! `#[manyhands::job]`, `#[manyhands::reduce]` and `#[derive(manyhands::Sensitive)]`.
//!
//! The compiler's types end on this page: everything else works on `proc_macro2`, so that output and
//! errors are ordinary values in tests. Start at `expand`; `sensitive` is the derive.

mod expand;
mod options;
mod sensitive;

use proc_macro::TokenStream;

/// Makes a function the job of its crate: it is executed once for each input.
///
/// It takes one argument, the input, and returns the output or a `Result` whose error is `Display`. It
/// stays an ordinary function that tests can call.
///
/// - `codec = "json"` (default), `"postcard"`: how inputs and outputs are written down, by serde.
///   `codec = "raw"`: they are bytes, `Vec<u8>` or `&[u8]`.
/// - `reduce = function`: a function that combines outputs, `fn(Vec<U>) -> U` or a `Result` of it. It
///   runs over neighbouring outputs, its own included, until one is left.
///
/// An input that cannot be read is the failure `input: …`, a returned error is a failure with its text, and
/// a panic one with its source line; all are verified facts like any output.
#[proc_macro_attribute]
pub fn job(options: TokenStream, function: TokenStream) -> TokenStream {
    expand::job(options.into(), function.into()).unwrap_or_else(syn::Error::into_compile_error).into()
}

/// Makes a function the reduce step of its crate's job, as `#[manyhands::job(reduce = …)]` does, for those
/// who like the mark on the function itself.
///
/// `codec` is that of the job; give both or neither.
#[proc_macro_attribute]
pub fn reduce(options: TokenStream, function: TokenStream) -> TokenStream {
    expand::reduce(options.into(), function.into()).unwrap_or_else(syn::Error::into_compile_error).into()
}

/// Says which values of an input are sensitive, so that workers get tokens in their place: the manifest's list follows from the type of
/// the job's argument, its fields, and theirs.
///
/// What is sensitive is said by a field's type, `Token<Email>`, `Joinable<Email>` or `Revealed<Email, Domain>`, or above it:
///
/// - `#[sensitive(email)]`: the field is a `String` that is read from a token. `#[sensitive(email, joinable)]`: and equal values have
///   equal tokens.
/// - `#[sensitive(card, surrogate)]`: the field is read from a value that passes for one of its class and is nobody's.
/// - `#[sensitive(none)]`: nothing in it is, for types that do not say.
///
/// Names are those that serde reads: `rename`, `rename_all`, `alias`, `flatten`, `tag` and the like are understood, and what would make
/// them unsure (`from`, `with`) is refused.
#[proc_macro_derive(Sensitive, attributes(sensitive))]
pub fn sensitive(item: TokenStream) -> TokenStream {
    sensitive::derive(item.into()).unwrap_or_else(syn::Error::into_compile_error).into()
}
