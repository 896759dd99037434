//! Finds canaries, whatever they are written in.

use std::collections::BTreeSet;

use aho_corasick::AhoCorasick;
use data_encoding::{BASE32_NOPAD, BASE64, BASE64_NOPAD, BASE64URL_NOPAD, HEXLOWER, HEXUPPER};

/// Bytes that a coding needs to have of a canary to be looked for: shorter ones are met by chance.
pub(crate) const BYTES_MIN: usize = 8;

/// Everything that a canary may look like.
pub struct Detector {
    forms: AhoCorasick,
    names: Vec<(usize, &'static str)>,
}

impl Detector {
    /// For these canaries.
    ///
    /// # Panics
    /// When there are too many for a machine's memory.
    pub fn of(canaries: &[String]) -> Self {
        let (mut forms, mut names) = (Vec::new(), Vec::new());
        for (number, canary) in canaries.iter().enumerate() {
            // Many codings leave letters and digits as they are.
            let mut known = BTreeSet::new();
            for (name, form) in all_forms(canary) {
                if form.len() >= BYTES_MIN && known.insert(form.clone()) {
                    forms.push(form);
                    names.push((number, name));
                }
            }
        }
        let forms = AhoCorasick::builder().ascii_case_insensitive(true).build(forms);
        Self { forms: forms.expect("a few hundred short texts"), names }
    }

    /// Which canary stands in these bytes, and in which form.
    pub fn find(&self, bytes: &[u8]) -> Option<(usize, &'static str)> {
        self.forms.find(bytes).and_then(|found| self.names.get(found.pattern().as_usize())).copied()
    }
}

/// A coding of some bytes that do not begin where its digits do: those digits that do not depend on what stands before or after.
fn inside(coding: &data_encoding::Encoding, bits: usize, bytes: &[u8], before: usize) -> Vec<u8> {
    let text = coding.encode(&[&vec![0; before][..], bytes].concat());
    let (first, last) = ((before * 8).div_ceil(bits), (before + bytes.len()) * 8 / bits);
    text.as_bytes().get(first..last).unwrap_or_default().to_vec()
}

/// A canary in every coding that is looked for, by its name. Case does not count, so there is no form for it.
pub fn all_forms(canary: &str) -> Vec<(&'static str, Vec<u8>)> {
    let bytes = canary.as_bytes();
    let each = |one: &dyn Fn(char) -> String| canary.chars().map(one).collect::<String>().into_bytes();
    let percent = |keeps: &dyn Fn(u8) -> bool| -> Vec<u8> {
        let one = |&byte: &u8| if keeps(byte) { char::from(byte).to_string() } else { format!("%{byte:02x}") };
        bytes.iter().map(one).collect::<String>().into_bytes()
    };
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.~".contains(&byte);
    let json = serde_json::to_string(canary).unwrap_or_default();
    let json = json.trim_matches('"').to_owned();
    let mut forms = vec![
        ("as it is", bytes.to_vec()),
        ("backwards", canary.chars().rev().collect::<String>().into_bytes()),
        ("in JSON", json.clone().into_bytes()),
        ("in JSON, slashes escaped", json.replace('/', "\\/").into_bytes()),
        ("in JSON in JSON", serde_json::to_string(&json).unwrap_or_default().trim_matches('"').as_bytes().to_vec()),
        ("in escapes", each(&|c| c.encode_utf16(&mut [0; 2]).iter().map(|unit| format!("\\u{unit:04x}")).collect())),
        ("in entities", each(&|c| format!("&#{};", c as u32))),
        ("in hexadecimal entities", each(&|c| format!("&#x{:x};", c as u32))),
        ("percent", percent(&plain)),
        ("percent, slashes kept", percent(&|byte| plain(byte) || byte == b'/')),
        ("percent, all", percent(&|_| false)),
        ("percent, twice", String::from_utf8_lossy(&percent(&plain)).replace('%', "%25").into_bytes()),
        ("form", String::from_utf8_lossy(&percent(&plain)).replace("%20", "+").into_bytes()),
        ("hexadecimal", HEXLOWER.encode(bytes).into_bytes()),
        ("UTF-16", canary.encode_utf16().flat_map(u16::to_le_bytes).collect()),
        ("UTF-16, big-endian", canary.encode_utf16().flat_map(u16::to_be_bytes).collect()),
        ("split by a line", split(canary, "\n")),
        ("split by a joiner", split(canary, "\u{200d}")),
        ("bytes as numbers", bytes.iter().map(u8::to_string).collect::<Vec<_>>().join(",").into_bytes()),
    ];
    for before in 0..3 {
        forms.push(("base64", inside(&BASE64_NOPAD, 6, bytes, before)));
        forms.push(("base64url", inside(&BASE64URL_NOPAD, 6, bytes, before)));
    }
    for before in 0..5 {
        forms.push(("base32", inside(&BASE32_NOPAD, 5, bytes, before)));
    }
    forms
}

/// What an API might say that repeats a text: the codings of the detector, written by others than the detector where there are any.
pub(crate) fn echo(canary: &str, how: u32) -> String {
    let forms = all_forms(canary);
    match how % 8 {
        0 => canary.to_owned(),
        1 => BASE64.encode(canary.as_bytes()),
        2 => BASE64URL_NOPAD.encode(format!("user:{canary}").as_bytes()),
        3 => HEXUPPER.encode(canary.as_bytes()),
        4 => format!("before {canary} after"),
        _ => {
            let at = how as usize / 8 % forms.len();
            forms.get(at).map(|(_, form)| form.iter().map(|byte| char::from(*byte)).collect()).unwrap_or_default()
        }
    }
}

fn split(canary: &str, by: &str) -> Vec<u8> {
    let middle = canary.char_indices().nth(canary.chars().count() / 2).map_or(0, |(at, _)| at);
    let (one, other) = canary.split_at(middle);
    [one, by, other].concat().into_bytes()
}
