//! Inputs of a run, and what is drawn of them.

use std::collections::{BTreeMap, BTreeSet};

use manyhands_placeholder::json::NotJson;
use manyhands_placeholder::token::{BYTES, find};
use manyhands_placeholder::{Mint, Occurrence, Source, Token};
use rand_chacha::ChaCha8Rng;
use rand_core::{Rng as _, SeedableRng as _};

use crate::tree::{self, Kind, Node, Place, Places};

/// How often one is drawn before it is given up that one differs from all that are known.
const TRIES: usize = 16;

/// Some inputs of a run.
#[derive(Debug)]
pub struct Pool<'a> {
    inputs: Vec<Input<'a>>,
    /// The texts, to see whether what was drawn is one of them.
    texts: BTreeSet<&'a str>,
    /// What stands at a place: an input, and a node of it.
    leaves: BTreeMap<Place, Vec<(usize, usize)>>,
    arrays: BTreeMap<Place, Vec<(usize, usize)>>,
    /// Nothing that is drawn is longer. Unit: bytes.
    bytes_max: usize,
}

#[derive(Debug)]
struct Input<'a> {
    text: &'a str,
    nodes: Vec<Node>,
}

/// It would be longer than any that is known.
struct TooLong;

impl<'a> Pool<'a> {
    /// Of these inputs, in canonical form.
    ///
    /// # Errors
    /// [`NotJson`] if one is none.
    pub fn new(inputs: impl IntoIterator<Item = &'a [u8]>) -> Result<Self, NotJson> {
        let mut pool = Self {
            inputs: Vec::new(),
            texts: BTreeSet::new(),
            leaves: BTreeMap::new(),
            arrays: BTreeMap::new(),
            bytes_max: 0,
        };
        let mut places = Places::default();
        for (number, bytes) in inputs.into_iter().enumerate() {
            let (text, nodes) = tree::read(bytes, &mut places)?;
            for (at, node) in nodes.iter().enumerate() {
                match node.kind {
                    Kind::Leaf => pool.leaves.entry(node.place).or_default().push((number, at)),
                    Kind::Array => pool.arrays.entry(node.place).or_default().push((number, at)),
                    Kind::Object => {}
                }
            }
            pool.bytes_max = pool.bytes_max.max(text.len());
            pool.texts.insert(text);
            pool.inputs.push(Input { text, nodes });
        }
        Ok(pool)
    }

    /// An input that is none of these, in canonical form; none where nothing else comes of them, as where each is a single value. Where the run has
    /// sensitive fields, `mint` is the new unit's, and makes its tokens.
    pub fn draw(&self, seed: [u8; 32], mint: Option<&Mint>) -> Option<Vec<u8>> {
        let mut random = ChaCha8Rng::from_seed(seed);
        let all: Vec<usize> = (0..self.inputs.len()).collect();
        for _ in 0..if all.is_empty() { 0 } else { TRIES } {
            let mut drawn = String::new();
            let template = pick(&mut random, &all);
            let (text, whole) = self.node(template, 0);
            drawn.push_str(&text[..whole.text.start]);
            let done = self.write(&mut drawn, &mut random, (template, 0), mint.is_some());
            drawn.push_str(&text[whole.text.end..]);
            if done.is_ok() && !self.texts.contains(drawn.as_str()) {
                let mut drawn = drawn.into_bytes();
                if let Some(mint) = mint {
                    refresh(&mut drawn, mint);
                }
                return Some(drawn);
            }
        }
        None
    }

    /// Writes a value like this one. No deeper than texts are nested.
    fn write(
        &self,
        drawn: &mut String,
        random: &mut ChaCha8Rng,
        (input, at): (usize, usize),
        has_tokens: bool,
    ) -> Result<(), TooLong> {
        let (text, node) = self.node(input, at);
        match node.kind {
            Kind::Leaf => {
                let own = &text[node.text.clone()];
                // Which of its tokens stand for the same is the input's own.
                let is_token = has_tokens && find(own.as_bytes()).next().is_some();
                let (other, at) = if is_token { (input, at) } else { pick(random, &self.leaves[&node.place]) };
                let (text, node) = self.node(other, at);
                drawn.push_str(&text[node.text.clone()]);
            }
            Kind::Array => {
                let other = pick(random, &self.arrays[&node.place]);
                self.write_around(drawn, random, other, has_tokens)?;
            }
            Kind::Object => self.write_around(drawn, random, (input, at), has_tokens)?,
        }
        if drawn.len() > self.bytes_max { Err(TooLong) } else { Ok(()) }
    }

    /// Writes what stands around the values in this one, and values like them.
    fn write_around(
        &self,
        drawn: &mut String,
        random: &mut ChaCha8Rng,
        (input, at): (usize, usize),
        has_tokens: bool,
    ) -> Result<(), TooLong> {
        let (text, node) = self.node(input, at);
        let mut done = node.text.start;
        for child in &node.children {
            let (_, value) = self.node(input, *child);
            drawn.push_str(&text[done..value.text.start]);
            done = value.text.end;
            self.write(drawn, random, (input, *child), has_tokens)?;
        }
        drawn.push_str(&text[done..node.text.end]);
        Ok(())
    }

    fn node(&self, input: usize, at: usize) -> (&'a str, &Node) {
        let Input { text, nodes } = &self.inputs[input];
        (text, &nodes[at])
    }
}

/// One of these, of which there is at least one; none more likely than another by more than one in 2³².
pub(crate) fn pick<T: Copy>(random: &mut ChaCha8Rng, all: &[T]) -> T {
    let place = (u128::from(random.next_u64()) * all.len() as u128) >> 64;
    all[place as usize]
}

/// Puts another token in the place of each; where one stood twice, one does again.
fn refresh(text: &mut [u8], mint: &Mint) {
    let mut fresh: BTreeMap<Token, Token> = BTreeMap::new();
    let found: Vec<(usize, Token)> = find(text).collect();
    for (at, token) in found {
        let index = u32::try_from(fresh.len()).unwrap_or(u32::MAX);
        let occurrence = Occurrence { source: Source::Input, index };
        let token = fresh.entry(token).or_insert_with(|| mint.fresh(token.class(), occurrence));
        text[at..at + BYTES].copy_from_slice(token.as_bytes());
    }
}
