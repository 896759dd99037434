//! Where what stands in a JSON text.

use core::ops::Range;
use std::collections::BTreeMap;

use manyhands_placeholder::json::{self, NotJson, Reader, Str};

/// A place that values of several texts share: what keys lead there, whichever elements of arrays.
pub(crate) type Place = usize;

/// All places that were met.
#[derive(Debug, Default)]
pub(crate) struct Places(BTreeMap<(Place, Step), Place>);

#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Step {
    /// As it is written: one that is written otherwise is another.
    Key(String),
    Element,
}

impl Places {
    fn step(&mut self, from: Place, step: Step) -> Place {
        // The place of a whole text is 0.
        let next = self.0.len() + 1;
        *self.0.entry((from, step)).or_insert(next)
    }
}

/// A value.
#[derive(Debug)]
pub(crate) struct Node {
    pub(crate) place: Place,
    pub(crate) text: Range<usize>,
    pub(crate) kind: Kind,
    /// The values in it, in order.
    pub(crate) children: Vec<usize>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// A string, a number, or a word.
    Leaf,
    Array,
    Object,
}

/// A text and all values in it; the first is the whole.
pub(crate) fn read<'a>(bytes: &'a [u8], places: &mut Places) -> Result<(&'a str, Vec<Node>), NotJson> {
    // The reader says where it is no UTF-8.
    let text = core::str::from_utf8(bytes).unwrap_or_default();
    let mut builder = Builder { text, places, nodes: Vec::new(), open: Vec::new(), next: 0 };
    json::read(bytes, &mut builder)?;
    Ok((text, builder.nodes))
}

struct Builder<'a> {
    text: &'a str,
    places: &'a mut Places,
    nodes: Vec<Node>,
    open: Vec<usize>,
    /// Of the value that comes next.
    next: Place,
}

impl Builder<'_> {
    fn step(&mut self, step: Step) {
        let from = self.open.last().map_or(0, |at| self.nodes[*at].place);
        self.next = self.places.step(from, step);
    }
}

impl Reader for Builder<'_> {
    fn value(&mut self, at: usize) -> bool {
        let kind = match self.text.as_bytes().get(at) {
            Some(b'[') => Kind::Array,
            Some(b'{') => Kind::Object,
            _ => Kind::Leaf,
        };
        let node = self.nodes.len();
        self.nodes.push(Node { place: self.next, text: at..at, kind, children: Vec::new() });
        if let Some(around) = self.open.last() {
            self.nodes[*around].children.push(node);
        }
        kind == Kind::Leaf
    }

    fn whole(&mut self, value: Range<usize>) {
        if let Some(node) = self.nodes.last_mut() {
            node.text = value;
        }
    }

    fn open(&mut self) {
        self.open.push(self.nodes.len() - 1);
    }

    fn close(&mut self, end: usize) {
        if let Some(node) = self.open.pop() {
            self.nodes[node].text.end = end;
        }
    }

    fn key(&mut self, key: Str) {
        let key = self.text[key.inner].to_owned();
        self.step(Step::Key(key));
    }

    fn element(&mut self) {
        self.step(Step::Element);
    }
}
