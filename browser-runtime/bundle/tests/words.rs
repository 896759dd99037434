//! What the element says: every sentence in every language, none that is missing and none that nobody says.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on says so")]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

fn web(name: &str) -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("../web").join(name)).unwrap()
}

/// Language to key to words, as they stand in words.js: one key a line.
fn words() -> BTreeMap<String, BTreeMap<String, String>> {
    let text = web("words.js");
    let mut languages = BTreeMap::<String, BTreeMap<String, String>>::new();
    let mut language = None;
    for line in text.lines().skip_while(|line| *line != "const WORDS = {").skip(1).take_while(|line| *line != "};") {
        if let Some(name) = line.strip_prefix("  ").and_then(|line| line.strip_suffix(": {")) {
            language = Some(name.to_owned());
        } else if let Some((key, words)) = line.trim().split_once(": ") {
            let words = words.strip_suffix(',').unwrap().to_owned();
            let twice = languages.entry(language.clone().unwrap()).or_default().insert(key.to_owned(), words);
            assert_eq!(twice, None, "{key} is there twice");
        }
    }
    languages
}

/// The names in {braces}.
fn blanks(words: &str) -> BTreeSet<&str> {
    words.split('{').skip(1).map(|rest| rest.split('}').next().unwrap()).collect()
}

#[test]
fn every_language_says_everything() {
    let languages = words();
    assert!(languages.len() >= 2 && languages["en"].len() > 50, "words.js is read wrongly");
    for (name, language) in &languages {
        for (key, english) in &languages["en"] {
            let words = language.get(key).unwrap_or_else(|| panic!("{name} does not say {key}"));
            assert_eq!(words.starts_with('['), english.starts_with('['), "{name}: the forms of {key}");
            assert!(blanks(words).is_subset(&blanks(english)), "{name}: what {key} leaves blank, nobody fills in");
        }
        assert_eq!(language.len(), languages["en"].len(), "{name} says something that English does not");
    }
}

#[test]
fn what_is_in_the_way_comes_with_a_cure() {
    for (name, language) in words() {
        let problems: Vec<_> = language.iter().filter(|(key, _)| key.starts_with("e_")).collect();
        assert!(problems.len() > 8);
        for (key, words) in problems {
            assert!(words.contains(". "), "{name}: {key} has no second sentence");
        }
    }
}

/// A key that is made of parts, such as `e_${code}`, counts as all that begin so.
#[test]
fn nothing_is_said_that_has_no_words_and_no_words_are_left_over() {
    let element = web("volunteer.js");
    let words = words().remove("en").unwrap();
    let literals: BTreeSet<&str> = element.split(['"', '`']).collect();
    let stems: Vec<&str> =
        literals.iter().filter_map(|text| text.strip_suffix('}')?.split_once("_${")).map(|(stem, _)| stem).collect();
    for key in words.keys() {
        let is_made = stems.iter().any(|stem| key.strip_prefix(stem).is_some_and(|rest| rest.starts_with('_')));
        assert!(is_made || literals.contains(key.as_str()), "nobody says {key}");
    }
    for said in element.split("say(\"").skip(1) {
        let key = said.split('"').next().unwrap();
        assert!(words.contains_key(key), "there are no words for {key}");
    }
    // States are said by their names, unless another sentence says more.
    for state in element.split("#enter(\"").skip(1).map(|rest| rest.split('"').next().unwrap()) {
        assert!(words.contains_key(state), "there are no words for the state {state}");
    }
    for state in element.split("fault(\"").skip(1).map(|rest| rest.split('"').next().unwrap()) {
        assert!(words.contains_key(&format!("e_{state}")), "there are no words for the problem {state}");
    }
}
