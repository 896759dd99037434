//! From a type to what is sensitive in it, by the names that serde reads.
//!
//! serde's own reader of its attributes says what a field is called, so places cannot differ from what is read.

use std::collections::BTreeSet;

use proc_macro2::TokenStream;
use quote::{quote, quote_spanned};
use serde_derive_internals::ast::{Container, Data, Field, Style, Variant};
use serde_derive_internals::attr::TagType;
use serde_derive_internals::{Ctxt, Derive};
use syn::spanned::Spanned as _;
use syn::{Attribute, DeriveInput, Error, GenericParam, Ident, parse_quote};

use crate::options::nearest;

/// What `#[derive(Sensitive)]` adds to a type.
///
/// # Errors
/// At the token that is to blame.
pub(crate) fn derive(item: TokenStream) -> syn::Result<TokenStream> {
    let item: DeriveInput = syn::parse2(item)?;
    if let Some(attribute) = said(&item.attrs) {
        return Err(Error::new_spanned(attribute, "this stands above a field; a type says which of its fields it is"));
    }
    let context = Ctxt::new();
    let container = Container::from_ast(&context, &item, Derive::Deserialize);
    context.check()?;
    // None only with an error, which the line above returned.
    let Some(container) = container else { return Ok(TokenStream::new()) };
    if container.attrs.type_from().is_some() || container.attrs.type_try_from().is_some() {
        return Err(refuse(&item.ident, "it is read as another type, by `from` or `try_from`"));
    }
    let shape = inner(container_steps(&container)?);

    let name = &item.ident;
    let mut generics = item.generics.clone();
    for parameter in &mut generics.params {
        if let GenericParam::Type(parameter) = parameter {
            parameter.bounds.push(parse_quote!(::manyhands::Sensitive));
        }
    }
    let (impl_generics, type_generics, where_clause) = generics.split_for_impl();
    Ok(quote! {
        #[automatically_derived]
        impl #impl_generics ::manyhands::Sensitive for #name #type_generics #where_clause {
            const SHAPE: ::manyhands::__private::Shape = #shape;
        }
    })
}

fn refuse(at: &Ident, why: &str) -> Error {
    let cure = "declare its fields in Cargo.toml, and write `#[sensitive(none)]` where the type is used";
    Error::new_spanned(at, format!("`{at}` cannot say where its sensitive values stand: {why}; {cure}"))
}

/// Steps of a JSONPath, each with the shape of what it leads to.
type Steps = Vec<(String, TokenStream)>;

fn inner(steps: Steps) -> TokenStream {
    let steps = steps.into_iter().map(|(step, shape)| quote!((#step, #shape)));
    quote!(::manyhands::__private::Shape::Inner(&[#(#steps),*]))
}

fn container_steps(container: &Container<'_>) -> syn::Result<Steps> {
    match &container.data {
        Data::Struct(style, fields) => steps(*style, fields),
        Data::Enum(variants) => {
            let mut all = Vec::new();
            for variant in variants.iter().filter(|variant| !variant.attrs.skip_deserializing()) {
                if let Some(attribute) = said(&variant.original.attrs) {
                    return Err(Error::new_spanned(attribute, "this stands above a field, not above a variant"));
                }
                if variant.attrs.deserialize_with().is_some() {
                    return Err(refuse(&variant.ident, "it is read by a function, with `with` or `deserialize_with`"));
                }
                let content = steps(variant.style, &variant.fields)?;
                all.extend(tagged(container.attrs.tag(), variant, content));
            }
            Ok(all)
        }
    }
}

/// Where the content of a variant stands.
fn tagged(tag: &TagType, variant: &Variant<'_>, content: Steps) -> Steps {
    let names = match tag {
        _ if variant.attrs.untagged() => return content,
        TagType::None | TagType::Internal { .. } => return content,
        TagType::Adjacent { content, .. } => BTreeSet::from([content.to_string()]),
        TagType::External => {
            let aliases = variant.attrs.aliases().iter().map(ToString::to_string);
            aliases.chain([variant.attrs.name().deserialize_name().to_string()]).collect()
        }
    };
    if content.is_empty() {
        return content;
    }
    let content = inner(content);
    names.iter().map(|name| (step(name), content.clone())).collect()
}

fn steps(style: Style, fields: &[Field<'_>]) -> syn::Result<Steps> {
    let mut all = Vec::new();
    let read = fields.iter().filter(|field| !field.attrs.skip_deserializing());
    for (index, field) in read.enumerate() {
        let Some(shape) = shape(field)? else { continue };
        if field.attrs.flatten() || field.attrs.transparent() || matches!(style, Style::Newtype) {
            all.push((String::new(), shape));
        } else if matches!(style, Style::Tuple) {
            all.push((format!("[{index}]"), shape));
        } else {
            let aliases = field.attrs.aliases().iter().map(ToString::to_string);
            let names: BTreeSet<String> = aliases.chain([field.attrs.name().deserialize_name().to_string()]).collect();
            all.extend(names.iter().map(|name| (step(name), shape.clone())));
        }
    }
    Ok(all)
}

/// What is sensitive in a field; none if it says that nothing is.
fn shape(field: &Field<'_>) -> syn::Result<Option<TokenStream>> {
    let ty = field.ty;
    let span = ty.span();
    if let Some(attribute) = said(&field.original.attrs) {
        if field.attrs.flatten() {
            return Err(Error::new_spanned(attribute, "a flattened field has no value of its own"));
        }
        return Ok(match attribute.parse_args_with(Said::parse)? {
            Said::Nothing => None,
            Said::Text(class) => Some(quote_spanned!(span=> ::manyhands::__private::text::<#ty>(#class))),
            Said::Joinable(class) => Some(quote_spanned!(span=> ::manyhands::__private::joinable::<#ty>(#class))),
            Said::Surrogate(class) => Some(quote_spanned!(span=> ::manyhands::__private::surrogate::<#ty>(#class))),
        });
    }
    if field.attrs.deserialize_with().is_some() {
        let message = "a function reads this field, with `with` or `deserialize_with`, so its type does not say what is sensitive in it; \
                       say its class, `#[sensitive(email)]`, or `#[sensitive(none)]`";
        return Err(Error::new_spanned(field.original, message));
    }
    Ok(Some(quote_spanned!(span=> <#ty as ::manyhands::Sensitive>::SHAPE)))
}

/// The attribute, wherever it stands.
fn said(attributes: &[Attribute]) -> Option<&Attribute> {
    attributes.iter().find(|attribute| attribute.path().is_ident("sensitive"))
}

/// What stands in its parentheses.
enum Said {
    /// `none`
    Nothing,
    /// A class: a token is in the value's place.
    Text(&'static str),
    /// A class, and `joinable`.
    Joinable(&'static str),
    /// A class, and `surrogate`.
    Surrogate(&'static str),
}

/// The words of the classes; a test of the SDK's compares them with its types.
const CLASSES: [&str; 10] = ["email", "phone", "card", "iban", "name", "address", "date", "number", "text", "secret"];

impl Said {
    fn parse(input: syn::parse::ParseStream<'_>) -> syn::Result<Self> {
        let word: Ident = input.parse()?;
        if word == "none" {
            return Ok(Self::Nothing);
        }
        let text = word.to_string();
        let class = CLASSES.into_iter().find(|class| *class == text).ok_or_else(|| {
            let cure = match nearest(&text, CLASSES) {
                Some(near) => format!("did you mean `{near}`?"),
                None => format!("use {} or none", CLASSES.join(", ")),
            };
            Error::new(word.span(), format!("unknown class `{word}`; {cure}"))
        })?;
        if input.is_empty() {
            return Ok(Self::Text(class));
        }
        let _: syn::Token![,] = input.parse()?;
        let option: Ident = input.parse()?;
        match option.to_string().as_str() {
            "joinable" => Ok(Self::Joinable(class)),
            "surrogate" => Ok(Self::Surrogate(class)),
            "reveal" => Err(Error::new(
                option.span(),
                "what is revealed changes what is read: use the type `manyhands::token::Revealed`",
            )),
            _ => Err(Error::new(
                option.span(),
                format!("unknown option `{option}`; known are `joinable` and `surrogate`"),
            )),
        }
    }
}

/// The step of a JSONPath (RFC 9535) to a member, as it is written inside a JSON string.
fn step(name: &str) -> String {
    let plain = |(at, c): (usize, char)| c.is_ascii_alphabetic() || c == '_' || (at > 0 && c.is_ascii_digit());
    if !name.is_empty() && name.char_indices().all(plain) {
        return format!(".{name}");
    }
    let mut quoted = String::from("['");
    for c in name.chars() {
        match c {
            // A backslash for the path, and one for JSON before each.
            '\'' => quoted.push_str(r"\\'"),
            '\\' => quoted.push_str(r"\\\\"),
            '"' => quoted.push_str("\\\""),
            c if u32::from(c) < 0x20 => quoted.push_str(&format!(r"\\u{:04x}", u32::from(c))),
            c => quoted.push(c),
        }
    }
    quoted.push_str("']");
    quoted
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The steps that a type's shape has, each before what it leads to.
    fn shape_of(item: &str) -> String {
        let output = derive(item.parse().expect("tokens")).expect("expands");
        let output: syn::File = syn::parse2(output).expect("Rust");
        let syn::Item::Impl(item) = &output.items[0] else { panic!("an impl") };
        let syn::ImplItem::Const(shape) = &item.items[0] else { panic!("a constant") };
        let expression = &shape.expr;
        let text = quote!(#expression).to_string();
        text.replace(":: manyhands :: __private :: Shape :: Inner", "")
            .replace(":: manyhands :: __private :: ", "")
            .replace(' ', "")
    }

    fn refused(item: &str, at: &str, message: &str) {
        let error = derive(item.parse().expect("tokens")).expect_err("refused");
        assert!(error.to_string().contains(message), "{error}");
        assert_eq!(error.span().source_text().as_deref(), Some(at), "{error}");
    }

    const OF: &str = "as::manyhands::Sensitive>::SHAPE";

    #[test]
    fn a_field_is_called_what_serde_calls_it() {
        let shape = shape_of(
            r#"#[serde(rename_all = "camelCase")]
               struct Customer { first_name: A, #[serde(rename = "e-mail", alias = "mail")] email: B, #[serde(skip)] rest: C,
               #[serde(flatten)] more: D, #[serde(default)] r#type: E }"#,
        );
        let steps = [(".firstName", "A"), ("['e-mail']", "B"), (".mail", "B"), ("", "D"), (".type", "E")];
        let expected: Vec<String> = steps.iter().map(|(step, ty)| format!("(\"{step}\",<{ty}{OF})")).collect();
        assert_eq!(shape, format!("(&[{}])", expected.join(",")));
        assert_eq!(shape_of("struct Two(A, #[serde(skip)] B, C);"), format!("(&[(\"[0]\",<A{OF}),(\"[1]\",<C{OF})])"));
        assert_eq!(shape_of("struct One(A);"), format!("(&[(\"\",<A{OF})])"));
        assert_eq!(shape_of("#[serde(transparent)] struct One { a: A }"), format!("(&[(\"\",<A{OF})])"));
        assert_eq!(shape_of("struct Unit;"), "(&[])");
    }

    #[test]
    fn a_variant_stands_where_its_tag_says() {
        let variants = "enum Payment { Card { number: A }, #[serde(rename = \"sepa\")] Iban(B), Both(C, D), Cash }";
        let [a, b, c, d] = ["A", "B", "C", "D"].map(|ty| format!("<{ty}{OF}"));
        let (struct_, newtype, tuple) =
            (format!("(\".number\",{a})"), format!("(\"\",{b})"), format!("(\"[0]\",{c}),(\"[1]\",{d})"));
        assert_eq!(
            shape_of(variants),
            format!("(&[(\".Card\",(&[{struct_}])),(\".sepa\",(&[{newtype}])),(\".Both\",(&[{tuple}]))])")
        );
        assert_eq!(shape_of(&format!("#[serde(untagged)] {variants}")), format!("(&[{struct_},{newtype},{tuple}])"));
        assert_eq!(
            shape_of("#[serde(tag = \"kind\")] enum E { Card { number: A }, Iban(B) }"),
            format!("(&[{struct_},{newtype}])")
        );
        assert_eq!(
            shape_of("#[serde(tag = \"kind\", content = \"it\")] enum E { Card { number: A }, Cash }"),
            format!("(&[(\".it\",(&[{struct_}]))])")
        );
    }

    #[test]
    fn what_is_said_of_a_field_comes_before_what_its_type_says() {
        let shape = shape_of(
            "struct S { #[sensitive(email)] a: String, #[sensitive(card, surrogate)] b: String, #[sensitive(text, joinable)] c: String, #[sensitive(none)] d: D }",
        );
        assert_eq!(
            shape,
            r#"(&[(".a",text::<String>("email")),(".b",surrogate::<String>("card")),(".c",joinable::<String>("text"))])"#
        );
    }

    #[test]
    fn what_makes_places_unsure_is_refused() {
        refused("#[serde(from = \"A\")] struct S { a: A }", "S", "it is read as another type");
        refused(
            "struct S { #[serde(with = \"m\")] a: A }",
            "#[serde(with = \"m\")] a: A",
            "a function reads this field",
        );
        refused("enum E { #[serde(with = \"m\")] V(A) }", "V", "it is read by a function");
        refused("struct S { #[sensitive(emial)] a: A }", "emial", "did you mean `email`?");
        refused("struct S { #[sensitive(xyz)] a: A }", "xyz", "use email, phone");
        refused("struct S { #[sensitive(email, hidden)] a: A }", "hidden", "unknown option `hidden`");
        refused("struct S { #[sensitive(email, reveal)] a: A }", "reveal", "Revealed");
        refused("#[sensitive(email)] struct S { a: A }", "#[sensitive(email)]", "above a field");
        refused("enum E { #[sensitive(email)] V(A) }", "#[sensitive(email)]", "not above a variant");
        refused("struct S { #[serde(flatten)] #[sensitive(email)] a: A }", "#[sensitive(email)]", "flattened");
    }

    #[test]
    fn a_name_of_any_characters_is_one_step() {
        for (name, expected) in [
            ("a_1", ".a_1"),
            ("1a", "['1a']"),
            ("", "['']"),
            ("e-mail", "['e-mail']"),
            ("it's", r"['it\\'s']"),
            ("a\\b\"c", r#"['a\\\\b\"c']"#),
            ("\n", r"['\\u000a']"),
            ("straße", "['straße']"),
        ] {
            assert_eq!(step(name), expected);
        }
    }
}
