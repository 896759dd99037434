//! An index over texts: how often each word occurs, and in which text.
//!
//! Map: one text to its index. Reduce: some indexes to one. Ordered maps throughout, so that equal indexes
//! are equal bytes on every machine.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// A text to index.
#[derive(Debug, Clone, Deserialize)]
pub struct Document {
    /// What the index calls it; give each text its own.
    pub name: String,
    /// The text.
    pub text: String,
}

/// What is known of each word.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Index {
    /// Words are runs of letters and digits, in lower case.
    pub words: BTreeMap<String, Word>,
}

/// Where a word occurs.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Word {
    /// How often in all texts together.
    pub count: u64,
    /// How often in each text that has it.
    pub documents: BTreeMap<String, u64>,
}

/// Indexes one text.
#[manyhands::job(reduce = merge)]
pub fn index(document: Document) -> Result<Index, String> {
    if document.name.is_empty() {
        return Err("a text without a name cannot be found again".to_owned());
    }
    let mut counts = BTreeMap::<String, u64>::new();
    let words = document.text.split(|c: char| !c.is_alphanumeric()).filter(|word| !word.is_empty());
    for word in words {
        *counts.entry(word.to_lowercase()).or_default() += 1;
    }
    let word = |count| Word { count, documents: BTreeMap::from([(document.name.clone(), count)]) };
    Ok(Index { words: counts.into_iter().map(|(text, count)| (text, word(count))).collect() })
}

/// Makes one index of several. It does not matter how they are grouped.
pub fn merge(parts: Vec<Index>) -> Index {
    let mut merged = Index::default();
    for (text, word) in parts.into_iter().flat_map(|part| part.words) {
        let known = merged.words.entry(text).or_default();
        known.count += word.count;
        for (document, count) in word.documents {
            *known.documents.entry(document).or_default() += count;
        }
    }
    merged
}

#[cfg(test)]
mod tests {
    use super::*;

    fn indexed(name: &str, text: &str) -> Index {
        index(Document { name: name.to_owned(), text: text.to_owned() }).expect("indexes")
    }

    fn word(index: &Index, text: &str) -> (u64, Vec<(String, u64)>) {
        let Word { count, documents } = index.words.get(text).cloned().unwrap_or_default();
        (count, documents.into_iter().collect())
    }

    #[test]
    fn words_are_counted_whatever_their_case_and_script() {
        let index = indexed("a", "Free software, FREE as in freedom. Straße — straße; GPL-3.");
        assert_eq!(word(&index, "free"), (2, vec![("a".to_owned(), 2)]));
        assert_eq!(word(&index, "straße").0, 2);
        assert_eq!(word(&index, "3").0, 1);
        assert_eq!(word(&index, "Free").0, 0);
        assert_eq!(indexed("empty", " \n—").words.len(), 0);
    }

    #[test]
    fn a_merged_index_knows_every_text() {
        let merged = merge(vec![indexed("gpl", "free software"), indexed("mit", "free of charge, free")]);
        assert_eq!(word(&merged, "free"), (3, vec![("gpl".to_owned(), 1), ("mit".to_owned(), 2)]));
        assert_eq!(word(&merged, "software"), (1, vec![("gpl".to_owned(), 1)]));
    }

    #[test]
    fn grouping_does_not_matter() {
        let parts: Vec<Index> = ["a b", "b c", "c a", "d"].iter().map(|text| indexed(text, text)).collect();
        let at_once = merge(parts.clone());
        let in_steps = parts.chunks(3).map(|some| merge(some.to_vec())).collect();
        assert_eq!(merge(in_steps), at_once);
        assert_eq!(merge(vec![at_once.clone()]), at_once);
    }

    #[test]
    fn a_text_needs_a_name() {
        assert!(index(Document { name: String::new(), text: "x".to_owned() }).is_err());
    }
}
