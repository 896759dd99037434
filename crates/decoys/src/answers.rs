//! What a decoy hears of the calls that it asks for.
//!
//! Nothing is sent for a decoy. Of the calls of the same verb that were made for units of its run, one is drawn: a fault is heard as it was, and as long after it was asked for, so
//! faults are as frequent as they are there. Of an answer, each value is drawn anew, among those that any of these calls got in its place. Tokens are never another unit's: one that the
//! other unit knew before, from its input or an earlier answer, is the one that the decoy has at that place; any other is fresh and stands for nothing.
//!
//! Values of an answer depend neither on what was asked nor on each other. Whoever knows how they should can tell.

use core::time::Duration;
use std::collections::BTreeMap;

use manyhands_intents::{Field, Heard};
use manyhands_model::{Name, UnitId};
use manyhands_placeholder::token::{BYTES, find};
use manyhands_placeholder::{Mint, Occurrence, Source, Token};
use rand_chacha::ChaCha8Rng;
use rand_core::SeedableRng as _;
use serde::{Deserialize, Serialize};

use crate::pool::pick;
use crate::tree::{self, Kind, Node, Places};

/// Nothing is drawn of fewer calls: what all decoys hear would be one unit's.
pub const CALLS_MIN: usize = 8;

/// A call of a unit that is no decoy. It is over.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Over {
    /// Whose it was.
    pub unit: UnitId,
    /// Which of the unit's requests it was in, from 0.
    pub step: u32,
    /// What the job heard, in canonical form.
    pub heard: Heard,
    /// How long that took, from when the request was first dealt with.
    pub took: Duration,
}

/// Draws one of these calls, each as likely as another; what was answered has other calls' values, but its own tokens, which [`adopt`] replaces. None of fewer than
/// [`CALLS_MIN`].
///
/// All are of one verb. The same calls and the same seed give the same.
pub fn draw(over: &[Over], seed: [u8; 32]) -> Option<Over> {
    if over.len() < CALLS_MIN {
        return None;
    }
    let mut random = ChaCha8Rng::from_seed(seed);
    let mut drawn = pick(&mut random, &over.iter().collect::<Vec<_>>()).clone();
    if let Heard::Answer { status, fields } = &mut drawn.heard {
        let answers: Vec<(u16, &BTreeMap<Name, Field>)> = over
            .iter()
            .filter_map(|over| match &over.heard {
                Heard::Answer { status, fields } => Some((*status, fields)),
                Heard::Fault(_) => None,
            })
            .collect();
        (*status, _) = pick(&mut random, &answers);
        for (name, field) in fields {
            let (_, other) = pick(&mut random, &answers);
            match other.get(name) {
                // Which of its tokens stand for the same is the answer's own.
                Some(Field::Token(_)) | None => {}
                Some(other) => *field = other.clone(),
            }
        }
    }
    Some(drawn)
}

/// Puts a decoy's tokens in the place of those of the unit that heard this.
///
/// `theirs` is what that unit had read when it asked, `own` what the decoy had: the input, then the answers to earlier requests, in canonical form. `mint` is the decoy's, and `source` the
/// call for which this is to be the answer.
pub fn adopt(heard: &mut Heard, theirs: &[&[u8]], own: &[&[u8]], mint: &Mint, source: Source) {
    let Heard::Answer { fields, .. } = heard else { return };
    let mut places = Places::default();
    let theirs = standing(theirs, &mut places);
    let own: BTreeMap<Standing, Token> = standing(own, &mut places).into_iter().collect();
    let mut adopted: BTreeMap<Token, Token> = BTreeMap::new();
    let mut index = 0;
    for field in fields.values_mut() {
        let Field::Token(token) = field else { continue };
        *token = *adopted.entry(*token).or_insert_with(|| {
            let class = token.class();
            let same = theirs.iter().filter(|(_, known)| known == token).find_map(|(at, _)| own.get(at));
            same.filter(|same| same.class() == class).copied().unwrap_or_else(|| {
                let fresh = mint.fresh(class, Occurrence { source, index });
                index += 1;
                fresh
            })
        });
    }
}

/// Where a value stands: in which text, and the steps that lead to it: an index of a list, else the place of a key.
type Standing = Vec<usize>;

/// The tokens that are whole values of these texts, and where they stand, in order. Nothing of a text that is no JSON.
fn standing(texts: &[&[u8]], places: &mut Places) -> Vec<(Standing, Token)> {
    let mut found = Vec::new();
    for (number, bytes) in texts.iter().enumerate() {
        if let Ok((text, nodes)) = tree::read(bytes, places) {
            walk(text, &nodes, 0, &mut vec![number], &mut found);
        }
    }
    found
}

/// No deeper than texts are nested.
fn walk(text: &str, nodes: &[Node], at: usize, way: &mut Standing, found: &mut Vec<(Standing, Token)>) {
    let Some(node) = nodes.get(at) else { return };
    if node.kind == Kind::Leaf {
        let value = &text.as_bytes()[node.text.clone()];
        if let Some((1, token)) = find(value).next()
            && value.len() == BYTES + 2
        {
            found.push((way.clone(), token));
        }
    }
    for (index, child) in node.children.iter().enumerate() {
        let of_key = nodes.get(*child).map_or(0, |child| child.place);
        way.push(if node.kind == Kind::Array { index } else { of_key });
        walk(text, nodes, *child, way, found);
        way.pop();
    }
}
