//! Which values of a JSON text are declared, found while it is read.
//!
//! The declared places become a trie of steps. At each moment the nodes that the way to the current value leads to are known; nearly always
//! that is none or one.

use core::ops::Range;

use manyhands_model::Class;
use manyhands_model::sensitive::{Sensitive, To};

use crate::json::{self, NotJson, Reader, Str};

/// Declared fields, ready to be looked for.
#[derive(Clone, Debug)]
pub struct Places {
    nodes: Vec<Node>,
    pub(crate) fields: Vec<Sensitive>,
}

#[derive(Clone, Debug, Default)]
struct Node {
    /// The field whose values this node's are.
    field: Option<usize>,
    /// By names of members, in their order. A name can be there twice: by itself, and as a pointer's token.
    names: Vec<(String, usize)>,
    /// By indices of elements, in their order.
    indices: Vec<(u64, usize)>,
    any: Option<usize>,
    /// Where steps begin that may be taken at any depth below.
    deep: Option<usize>,
    /// Whether this is such a node: what is below one of its values is one as well.
    descends: bool,
    /// The next node by each step, while the trie is built.
    next: Vec<(To, usize)>,
}

impl Places {
    /// Prepares these fields. Where one value belongs to several, the first of them counts.
    pub fn new(fields: &[Sensitive]) -> Self {
        let mut places = Self { nodes: vec![Node::default()], fields: fields.to_vec() };
        for (number, field) in fields.iter().enumerate() {
            let mut at = 0;
            for step in field.at.steps() {
                if step.descends {
                    at = places.deep(at);
                }
                at = places.next(at, &step.to);
            }
            places.nodes[at].field.get_or_insert(number);
        }
        for node in &mut places.nodes {
            for (to, next) in core::mem::take(&mut node.next) {
                match to {
                    To::Any => node.any = Some(next),
                    To::Index(index) => node.indices.push((index, next)),
                    To::Name(name) => node.names.push((name, next)),
                    To::Token(token) => {
                        // RFC 6901, section 4: digits without zeros before them are an index where there is an array.
                        if (token == "0" || !token.starts_with('0')) && token.bytes().all(|byte| byte.is_ascii_digit())
                        {
                            node.indices.extend(token.parse().ok().map(|index| (index, next)));
                        }
                        node.names.push((token, next));
                    }
                }
            }
            node.names.sort_unstable();
            node.indices.sort_unstable();
        }
        places
    }

    /// Whether a surrogate may stand at one of them.
    pub fn have_surrogates(&self) -> bool {
        self.fields.iter().any(|field| field.surrogate)
    }

    fn add(&mut self, node: Node) -> usize {
        self.nodes.push(node);
        self.nodes.len() - 1
    }

    fn deep(&mut self, at: usize) -> usize {
        if let Some(deep) = self.nodes[at].deep {
            return deep;
        }
        let deep = self.add(Node { descends: true, ..Node::default() });
        self.nodes[at].deep = Some(deep);
        deep
    }

    fn next(&mut self, at: usize, to: &To) -> usize {
        if let Some((_, next)) = self.nodes[at].next.iter().find(|(known, _)| known == to) {
            return *next;
        }
        let next = self.add(Node::default());
        self.nodes[at].next.push((to.clone(), next));
        next
    }
}

/// A value that is declared.
#[derive(Clone, Debug)]
pub(crate) struct Found {
    /// Where it stands.
    pub(crate) value: Range<usize>,
    /// The number of its field.
    pub(crate) field: usize,
}

/// Is told of what stays in the open, in its order.
pub trait Open {
    /// A key or a string that is not taken.
    fn string(&mut self, string: &Str, is_key: bool);
    /// A number that is not taken.
    fn number(&mut self, number: Range<usize>);
    /// A value of this class stands here and is taken: nothing of what is in it is told.
    fn taken(&mut self, _class: Class) {}
    /// An object or array begins.
    fn begin(&mut self) {}
    /// It ends.
    fn end(&mut self) {}
    /// The element of an array comes next.
    fn element(&mut self) {}
}

/// Tells `open` what of a text is not declared, and gives it back.
///
/// # Errors
/// [`NotJson`] where the text is none.
pub fn in_the_open<O: Open>(text: &[u8], places: &Places, open: O) -> Result<O, NotJson> {
    // The reader says where it is no UTF-8.
    let shown = core::str::from_utf8(text).unwrap_or_default();
    let mut finder = Finder::new(shown, places, 0, open);
    json::read(text, &mut finder)?;
    Ok(finder.open)
}

/// Finds the declared values of one text.
pub(crate) struct Finder<'a, O> {
    text: &'a str,
    nodes: &'a [Node],
    fields: &'a [Sensitive],
    /// The most that are found.
    max: usize,
    pub(crate) found: Vec<Found>,
    pub(crate) open: O,
    /// Nodes of each container that is open, outermost first, and behind those the nodes of the value that comes next.
    active: Vec<usize>,
    /// Where the nodes of the value that comes next begin.
    begin: usize,
    frames: Vec<Frame>,
    /// When each node was last made active, so that none is twice.
    seen: Vec<u64>,
    moment: u64,
    field: usize,
    name: String,
}

struct Frame {
    /// Where its nodes begin in `active`.
    begin: usize,
    /// Elements so far.
    elements: u64,
}

impl<'a, O: Open> Finder<'a, O> {
    pub(crate) fn new(text: &'a str, places: &'a Places, max: usize, open: O) -> Self {
        let Places { nodes, fields } = places;
        let mut finder = Self {
            text,
            nodes,
            fields,
            max,
            found: Vec::new(),
            open,
            active: Vec::new(),
            begin: 0,
            frames: Vec::new(),
            seen: vec![0; nodes.len()],
            moment: 1,
            field: 0,
            name: String::new(),
        };
        finder.activate(0);
        finder
    }

    fn activate(&mut self, node: usize) {
        for node in [Some(node), self.nodes[node].deep].into_iter().flatten() {
            if self.seen[node] != self.moment {
                self.seen[node] = self.moment;
                self.active.push(node);
            }
        }
    }

    /// Makes active where each node of the innermost container leads.
    fn step(&mut self, mut lead: impl FnMut(&mut Self, &'a Node)) {
        self.active.truncate(self.begin);
        let Some(frame) = self.frames.last() else { return };
        self.moment += 1;
        for at in frame.begin..self.begin {
            let number = self.active[at];
            let node = &self.nodes[number];
            lead(self, node);
            if let Some(any) = node.any {
                self.activate(any);
            }
            if node.descends {
                self.activate(number);
            }
        }
    }
}

/// The entries with this key, of some that are in the order of their keys.
fn with<'a, K: Ord + ?Sized, B: core::borrow::Borrow<K>>(
    entries: &'a [(B, usize)],
    key: &'a K,
) -> impl Iterator<Item = usize> {
    let first = entries.partition_point(|(known, _)| known.borrow() < key);
    entries[first..].iter().take_while(move |(known, _)| known.borrow() == key).map(|(_, node)| *node)
}

impl<O: Open> Reader for Finder<'_, O> {
    fn value(&mut self, _: usize) -> bool {
        let field = self.active[self.begin..].iter().filter_map(|node| self.nodes[*node].field).min();
        self.field = field.unwrap_or_default();
        field.is_some()
    }

    fn whole(&mut self, value: Range<usize>) {
        // One more than the most, which tells that there are more.
        if self.found.len() <= self.max {
            self.found.push(Found { value, field: self.field });
        }
        self.open.taken(self.fields[self.field].class);
    }

    fn open(&mut self) {
        self.open.begin();
        self.frames.push(Frame { begin: self.begin, elements: 0 });
        self.begin = self.active.len();
    }

    fn close(&mut self, _end: usize) {
        self.open.end();
        self.active.truncate(self.begin);
        self.begin = self.frames.pop().map_or(0, |frame| frame.begin);
    }

    fn key(&mut self, key: Str) {
        self.open.string(&key, true);
        let mut name = core::mem::take(&mut self.name);
        let text = if key.escaped {
            name.clear();
            key.text(self.text, &mut name);
            &name
        } else {
            &self.text[key.inner]
        };
        self.step(|finder, node| with(&node.names, text).for_each(|next| finder.activate(next)));
        self.name = name;
    }

    fn element(&mut self) {
        self.open.element();
        let Some(frame) = self.frames.last_mut() else { return };
        let index = frame.elements;
        frame.elements += 1;
        self.step(|finder, node| with(&node.indices, &index).for_each(|next| finder.activate(next)));
    }

    fn string(&mut self, string: Str) {
        self.open.string(&string, false);
    }

    fn number(&mut self, number: Range<usize>) {
        self.open.number(number);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Nothing;

    impl Open for Nothing {
        fn string(&mut self, _: &Str, _: bool) {}
        fn number(&mut self, _: Range<usize>) {}
    }

    /// The values that these places name, each behind the number of its place.
    fn found(places: &[&str], text: &str) -> String {
        let field = |at: &&str| Sensitive {
            at: at.parse().expect("a place"),
            class: manyhands_model::Class::Text,
            reveal: None,
            surrogate: false,
            joinable: false,
        };
        let places = Places::new(&places.iter().map(field).collect::<Vec<_>>());
        let mut finder = Finder::new(text, &places, 100, Nothing);
        json::read(text.as_bytes(), &mut finder).expect("JSON");
        let shown = finder.found.iter().map(|found| format!("{}:{}", found.field, &text[found.value.clone()]));
        shown.collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn places_name_their_values() {
        let text = r#"{"a": {"b": 1, "c": [2, {"b": 3}, [4]]}, "b": 5, "0": [6, {"0": 7}], "": 8}"#;
        for (place, expected) in [
            ("/a/b", "0:1"),
            ("$.a.b", "0:1"),
            ("/a/c/0", "0:2"),
            ("/a/c/2/0", "0:4"),
            ("/a/c/02", ""),
            ("/a/c/-", ""),
            ("/0/0", "0:6"),
            ("/0/1/0", "0:7"),
            ("$['0'][1]['0']", "0:7"),
            ("$[0]", ""),
            ("$.a.c['0']", ""),
            ("/", "0:8"),
            ("$.*.b", "0:1"),
            ("$.a.*", r#"0:1 0:[2, {"b": 3}, [4]]"#),
            ("$..b", "0:1 0:3 0:5"),
            ("$..[1]", r#"0:{"b": 3} 0:{"0": 7}"#),
            ("$.a..b", "0:1 0:3"),
            ("$..c..b", "0:3"),
            ("$..c[*].b", "0:3"),
            ("$.a.c[2][*]", "0:4"),
            ("$.nothing[7]", ""),
        ] {
            assert_eq!(found(&[place], text), expected, "{place}");
        }
        assert_eq!(found(&[""], " 7 "), "0:7");
        assert_eq!(found(&["$"], "[7] "), "0:[7]");
        assert_eq!(found(&["$..*"], "7"), "");
    }

    #[test]
    fn the_first_counts_and_the_outer_one_before_what_is_in_it() {
        let text = r#"{"a": {"b": 1}, "c": {"b": 2}}"#;
        assert_eq!(found(&["$.c.b", "$..b"], text), "1:1 0:2");
        assert_eq!(found(&["$..b", "$.c.b"], text), "0:1 0:2");
        assert_eq!(found(&["/a/b", "/a", "/c/b"], text), r#"1:{"b": 1} 2:2"#);
    }

    #[test]
    fn a_key_is_found_however_it_is_written_and_however_often() {
        assert_eq!(found(&["/email"], r#"{"\u0065m\u0061il": 1, "email": 2, "Email": 3, "email ": 4}"#), "0:1 0:2");
        assert_eq!(found(&["/a~1b", "$['\"']"], r#"{"a/b": 1, "\"": 2, "a\/b": 3}"#), "0:1 1:2 0:3");
        assert_eq!(found(&["$.a.b"], r#"{"a": {"b": 1}, "a": {"b": 2}, "x": {"b": 3}}"#), "0:1 0:2");
    }

    /// Each level makes more ways to the same node; it is active once.
    #[test]
    fn many_ways_to_a_node_are_one() {
        let places = ["$..a..a..a..a..a..a..a..b", "$..*..*..*..*..*..b"];
        let text = format!("{}{{\"b\":7}}{}", r#"{"a":"#.repeat(100), "}".repeat(100));
        assert_eq!(found(&places, &text), "0:7");
    }
}
