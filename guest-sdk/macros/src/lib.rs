//! `#[manyhands::job]` and `#[manyhands::reduce]`.
//!
//! The compiler's types end on this page: everything else works on `proc_macro2`, so that output and
//! errors are ordinary values in tests. Start at `expand`.

mod expand;
mod options;

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
