//! The way from a whole text to a value in it.

use manyhands_placeholder::Str;

/// One step of it.
#[derive(Clone, Debug)]
pub(crate) enum Step {
    /// To the member of this name.
    Name(Str),
    /// To a member whose name is itself sensitive, and therefore not shown.
    Hidden,
    /// To the element of this index, from 0.
    Element(u64),
}

/// A name as it reads.
pub(crate) fn read(text: &str, name: &Str) -> String {
    let mut read = String::new();
    name.text(text, &mut read);
    read
}

/// Exactly this value: a JSON Pointer (RFC 6901), with `*` for names that are not shown.
pub(crate) fn pointer(text: &str, way: &[Step]) -> String {
    way.iter().fold(String::new(), |mut pointer, step| {
        pointer.push('/');
        match step {
            Step::Name(name) => pointer += &read(text, name).replace('~', "~0").replace('/', "~1"),
            Step::Hidden => pointer.push('*'),
            Step::Element(index) => pointer += &index.to_string(),
        }
        pointer
    })
}

/// What a manifest declares for this value and those beside it: a JSON Pointer, or where the way leads through arrays a JSONPath (RFC 9535) with
/// `[*]`.
pub(crate) fn place(text: &str, way: &[Step]) -> String {
    if way.iter().all(|step| matches!(step, Step::Name(_))) {
        return pointer(text, way);
    }
    way.iter().fold("$".to_owned(), |mut place, step| {
        match step {
            Step::Element(_) => place += "[*]",
            Step::Hidden => place += ".*",
            Step::Name(name) => {
                let name = read(text, name);
                if is_shorthand(&name) {
                    place.push('.');
                    place += &name;
                } else {
                    place += &quoted(&name);
                }
            }
        }
        place
    })
}

/// Whether a name needs no quotes (RFC 9535, section 2.5.1.1).
fn is_shorthand(name: &str) -> bool {
    let first = |c: char| c.is_ascii_alphabetic() || c == '_' || !c.is_ascii();
    name.starts_with(first) && name.chars().all(|c| first(c) || c.is_ascii_digit())
}

fn quoted(name: &str) -> String {
    let mut quoted = "['".to_owned();
    for c in name.chars() {
        match c {
            '\'' | '\\' => quoted.extend(['\\', c]),
            '\0'..' ' => quoted += &format!("\\u{:04x}", u32::from(c)),
            plain => quoted.push(plain),
        }
    }
    quoted + "']"
}
