//! From a function to the function and its entry points.

use manyhands_abi::{CODEC_SECTION, REDUCE, RUN, SENSITIVE_SECTION};
use proc_macro2::{Span, TokenStream};
use quote::{ToTokens, quote, quote_spanned};
use syn::spanned::Spanned as _;
use syn::{Error, FnArg, Ident, ItemFn, LitByteStr, ReturnType, Type};

use crate::options::{Codec, Options};

/// What `#[job]` turns a function into.
///
/// # Errors
/// At the token that is to blame.
pub(crate) fn job(options: TokenStream, function: TokenStream) -> syn::Result<TokenStream> {
    let options: Options = syn::parse2(options)?;
    let function: ItemFn = syn::parse2(function).map_err(|error| Error::new(error.span(), "a job is a function"))?;
    let input = only_argument(&function, "a job takes exactly one argument, its input")?;

    let codec = options.codec.unwrap_or_default();
    let module = Ident::new(codec.word(), Span::call_site());
    // The spans of the author's types, so that a missing `Deserialize` is reported where the type stands.
    let read = quote_spanned!(input.span()=> sdk::#module::decode(input));
    let run = entry(RUN, &function.sig.ident, &module, &quote!(sdk::input(#read)), answer_span(&function));
    let reduce = options.reduce.map(|path| {
        let parts = quote_spanned!(path.span()=> sdk::parts(input, sdk::#module::decode));
        entry(REDUCE, &path, &module, &parts, path.span())
    });
    let word = LitByteStr::new(codec.word().as_bytes(), Span::call_site());
    let bytes = codec.word().len();
    let sensitive = sensitive(input, codec);
    Ok(quote! {
        #function
        #run
        #reduce
        #sensitive
        #[cfg(target_arch = "wasm32")]
        const _: () = {
            #[used]
            #[unsafe(link_section = #CODEC_SECTION)]
            static CODEC: [u8; #bytes] = *#word;
        };
    })
}

/// The list of the input's sensitive fields, for `manyhands build`. It is made natively too, so that mistakes are found there.
fn sensitive(input: &Type, codec: Codec) -> TokenStream {
    let shape = quote_spanned!(input.span()=> sdk::Input::<#input>::SHAPE);
    let mut inner = Vec::new();
    types_inside(input, &mut inner);
    let message = "a type in here says what is sensitive, and the whole does not, so all of it would be seen: derive `Sensitive` for \
                   the other types as well, or put them into a structure of your own";
    let whole = (!inner.is_empty()).then(|| {
        quote_spanned! {input.span()=>
            const _: () = ::core::assert!(
                sdk::Input::<#input>::SAYS || !(false #(|| sdk::declares(sdk::Input::<#inner>::SHAPE))*),
                #message
            );
        }
    });
    let only_json = (codec != Codec::Json).then(|| {
        let message = "sensitive values are found in JSON only; leave out `codec`";
        quote_spanned!(input.span()=> const _: () = ::core::assert!(BYTES == 0, #message);)
    });
    quote! {
        const _: () = {
            use ::manyhands::__private as sdk;
            #[allow(unused_imports)]
            use sdk::Unsaid as _;

            const SHAPE: sdk::Shape = #shape;
            const BYTES: usize = sdk::list::<0>(SHAPE).bytes;
            #only_json
            #whole
            #[cfg_attr(target_arch = "wasm32", used, unsafe(link_section = #SENSITIVE_SECTION))]
            #[allow(dead_code)]
            static SENSITIVE: [u8; BYTES] = sdk::list::<BYTES>(SHAPE).text;
        };
    }
}

/// The types that a type names: of its elements, and those in angle brackets.
fn types_inside<'a>(ty: &'a Type, all: &mut Vec<&'a Type>) {
    let inside: Vec<&Type> = match ty {
        Type::Tuple(tuple) => tuple.elems.iter().collect(),
        Type::Array(array) => vec![&array.elem],
        Type::Slice(slice) => vec![&slice.elem],
        Type::Reference(reference) => vec![&reference.elem],
        Type::Group(group) => vec![&group.elem],
        Type::Paren(paren) => vec![&paren.elem],
        Type::Path(path) => {
            let named = path.path.segments.iter().filter_map(|segment| match &segment.arguments {
                syn::PathArguments::AngleBracketed(named) => Some(&named.args),
                _ => None,
            });
            let types = named.flatten().filter_map(|argument| match argument {
                syn::GenericArgument::Type(ty) => Some(ty),
                _ => None,
            });
            types.collect()
        }
        _ => Vec::new(),
    };
    for ty in inside {
        all.push(ty);
        types_inside(ty, all);
    }
}

/// What `#[reduce]` turns a function into.
///
/// # Errors
/// At the token that is to blame.
pub(crate) fn reduce(options: TokenStream, function: TokenStream) -> syn::Result<TokenStream> {
    let options: Options = syn::parse2(options)?;
    if let Some(path) = options.reduce {
        return Err(Error::new(path.span(), "`reduce` is an option of #[manyhands::job]"));
    }
    let function: ItemFn =
        syn::parse2(function).map_err(|error| Error::new(error.span(), "a reduce step is a function"))?;
    let input = only_argument(&function, "a reduce step takes exactly one argument, the outputs: `Vec<Output>`")?;

    let module = Ident::new(options.codec.unwrap_or_default().word(), Span::call_site());
    let parts = quote_spanned!(input.span()=> sdk::parts(input, sdk::#module::decode));
    let reduce = entry(REDUCE, &function.sig.ident, &module, &parts, answer_span(&function));
    Ok(quote!(#function #reduce))
}

/// An entry point: bytes to bytes on every target, so that types are checked natively too, and the
/// export around it in a module.
fn entry(export: &str, function: &impl ToTokens, codec: &Ident, argument: &TokenStream, answer: Span) -> TokenStream {
    let settle = quote_spanned!(answer=> sdk::Returned::of(&answer).settle(answer));
    let write = quote_spanned!(answer=> sdk::#codec::encode(answer));
    // A reduce step's output is a part of the next one. Without this check a mistake shows only in runs
    // of so many inputs that there is a next one.
    let (remember, compare) = if export == REDUCE {
        let same = quote_spanned!(answer=> part.same(answer));
        (quote!(let part = sdk::Part::of(&input);), quote!(let answer = #same;))
    } else {
        Default::default()
    };
    quote! {
        const _: () = {
            use ::manyhands::__private as sdk;

            // Answers may be `()`.
            #[allow(dead_code, clippy::let_unit_value, clippy::unit_arg)]
            fn entry(input: &[u8]) -> ::core::result::Result<::std::vec::Vec<u8>, sdk::Failure> {
                #[allow(unused_imports)]
                use sdk::Plain as _;
                let input = #argument?;
                #remember
                let answer = #function(input);
                let answer = #settle?;
                #compare
                sdk::output(#write)
            }

            #[cfg(target_arch = "wasm32")]
            #[unsafe(export_name = #export)]
            extern "C" fn export() {
                sdk::execute(entry);
            }
        };
    }
}

/// The type of the one argument of a function that an entry point can call.
fn only_argument<'a>(function: &'a ItemFn, wrong_count: &str) -> syn::Result<&'a Type> {
    let signature = &function.sig;
    let refuse = |at: &dyn ToTokens, why: &str| Err(Error::new_spanned(at.to_token_stream(), why));
    if let Some(token) = &signature.asyncness {
        return refuse(token, "there is nothing to wait for in a sandbox; remove `async`");
    }
    if let Some(token) = &signature.unsafety {
        return refuse(token, "the runtime knows of no conditions to keep; remove `unsafe`");
    }
    if let Some(token) = &signature.abi {
        return refuse(token, "the entry point is generated around this function; remove `extern`");
    }
    if !signature.generics.params.is_empty() {
        return refuse(&signature.generics, "the input's type must be known; remove the generic parameters");
    }
    match (signature.inputs.len(), signature.inputs.first()) {
        (1, Some(FnArg::Typed(argument))) => Ok(&argument.ty),
        (_, Some(FnArg::Receiver(receiver))) => refuse(receiver, "use a function, not a method"),
        (0, _) => Err(Error::new(signature.paren_token.span.join(), wrong_count)),
        _ => refuse(&signature.inputs, wrong_count),
    }
}

fn answer_span(function: &ItemFn) -> Span {
    match &function.sig.output {
        ReturnType::Type(_, ty) => ty.span(),
        ReturnType::Default => function.sig.ident.span(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    type Expand = fn(TokenStream, TokenStream) -> syn::Result<TokenStream>;

    /// Checks that `item` is refused with `message`, and that the error underlines `at`.
    fn refused(expand: Expand, options: &str, item: &str, at: &str, message: &str) {
        let parse = |text: &str| text.parse().expect("tokens");
        let error = expand(parse(options), parse(item)).expect_err("refused");
        assert_eq!(error.to_string(), message);
        assert_eq!(error.span().source_text().as_deref(), Some(at), "{message}");
    }

    fn expanded(expand: Expand, options: &str, item: &str) -> String {
        let parse = |text: &str| text.parse().expect("tokens");
        let output = expand(parse(options), parse(item)).expect("expands");
        syn::parse2::<syn::File>(output.clone()).expect("Rust");
        output.to_string()
    }

    #[test]
    fn the_function_stays_as_it_was() {
        let source = "/// Doc.\npub fn double(n: u32) -> u32 { n * 2 }";
        let original: TokenStream = source.parse().expect("tokens");
        assert!(expanded(job, "", source).starts_with(&original.to_string()));
    }

    #[test]
    fn the_codec_decides_what_reads_and_writes() {
        for word in ["json", "postcard", "raw"] {
            let text = expanded(job, &format!("codec = \"{word}\""), "fn f(n: u32) -> u32 { n }");
            assert!(text.contains(&format!("sdk :: {word} :: decode")), "{text}");
            assert!(text.contains(&format!("sdk :: {word} :: encode")), "{text}");
            assert!(text.contains(&format!("b\"{word}\"")), "{text}");
        }
        let text = expanded(job, "", "fn f(n: u32) -> u32 { n }");
        assert!(text.contains("b\"json\"") && !text.contains(REDUCE), "{text}");
    }

    #[test]
    fn a_reduce_step_is_exported_by_either_way_of_naming_it() {
        let named = expanded(job, "reduce = steps::merge,", "fn f(n: u32) -> u32 { n }");
        assert!(named.contains("manyhands_run") && named.contains("manyhands_reduce"), "{named}");
        let marked = expanded(reduce, "", "fn merge(n: Vec<u32>) -> u32 { 0 }");
        assert!(!marked.contains("manyhands_run") && marked.contains("manyhands_reduce"), "{marked}");
        assert!(!marked.contains(CODEC_SECTION), "the codec is noted once, by the job");
    }

    #[test]
    fn wrong_options_are_underlined() {
        let f = "fn f(n: u32) -> u32 { n }";
        refused(job, "codec = \"xml\"", f, "\"xml\"", "unknown codec `xml`; use \"json\", \"postcard\" or \"raw\"");
        let near = |word, meant| format!("unknown codec `{word}`; did you mean \"{meant}\"?");
        refused(job, "codec = \"JSON\"", f, "\"JSON\"", &near("JSON", "json"));
        refused(job, "codec = \"postcrad\"", f, "\"postcrad\"", &near("postcrad", "postcard"));
        refused(job, "kodec = \"raw\"", f, "kodec", "unknown option `kodec`; known are `codec` and `reduce`");
        refused(job, "reduce = a, reduce = b", f, "reduce", "`reduce` is given twice");
        refused(reduce, "reduce = merge", f, "merge", "`reduce` is an option of #[manyhands::job]");
    }

    #[test]
    fn what_cannot_be_called_with_an_input_is_underlined() {
        let one = "a job takes exactly one argument, its input";
        refused(job, "", "fn f() {}", "()", one);
        refused(job, "", "async fn f(n: u8) {}", "async", "there is nothing to wait for in a sandbox; remove `async`");
        refused(
            job,
            "",
            "unsafe fn f(n: u8) {}",
            "unsafe",
            "the runtime knows of no conditions to keep; remove `unsafe`",
        );
        refused(job, "", "struct S;", "struct", "a job is a function");
        // Outside the compiler a span of several tokens is that of its first.
        refused(job, "", "fn f(a: u8, b: u8) {}", "a: u8, b: u8", one);
        refused(job, "", "fn f(self) {}", "self", "use a function, not a method");
        let generic = "the input's type must be known; remove the generic parameters";
        refused(job, "", "fn f<T>(n: T) {}", "<T>", generic);
    }
}
