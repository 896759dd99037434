//! From the types of an input to the list of its sensitive fields, while the job is compiled.
//!
//! Each type says with [`Sensitive::SHAPE`] what is sensitive in it; [`list`] writes that as the manifest's list, which
//! `#[job]` leaves in the module for `manyhands build`.

use core::marker::PhantomData;
use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet, VecDeque};

use crate::token::{Class, Joinable, Reveal, Revealed, Token};

/// A part of an input that says which of its values are sensitive. `#[derive(Sensitive)]` writes it.
///
/// The keys of a map are names of members, which cannot be tokens:
///
/// ```compile_fail
/// # use std::collections::BTreeMap;
/// # use manyhands::{Sensitive, testing::sensitive};
/// # use serde::Deserialize;
/// #[derive(Deserialize, Sensitive, PartialEq, Eq, PartialOrd, Ord)]
/// struct Mail(#[sensitive(email)] String);
///
/// #[derive(Deserialize, Sensitive)]
/// struct Orders { by: BTreeMap<Mail, u32> }
///
/// let _fields = sensitive::<Orders>();
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` does not say which of its values are sensitive",
    note = "derive it: `#[derive(manyhands::Sensitive)]`",
    note = "or, where nothing in it is, write `#[sensitive(none)]` above the field"
)]
pub trait Sensitive {
    /// What is sensitive in it.
    #[doc(hidden)]
    const SHAPE: Shape;
}

/// What is sensitive in a value.
#[derive(Clone, Copy, Debug)]
pub enum Shape {
    /// Nothing.
    Open,
    /// All of it.
    Whole(Declared),
    /// What is in it: behind each step of a JSONPath, written as in JSON text. A step may be empty.
    Inner(&'static [(&'static str, Shape)]),
}

/// What is said of a sensitive value.
#[derive(Clone, Copy, Debug)]
pub struct Declared {
    class: &'static str,
    reveal: Option<&'static str>,
    joinable: bool,
    surrogate: bool,
}

impl Declared {
    const fn new(class: &'static str) -> Self {
        Self { class, reveal: None, joinable: false, surrogate: false }
    }
}

/// A text that is read from a token all the same.
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot be read from a token",
    note = "a token is a text: use `manyhands::token::Token` or `String`, or say `surrogate` to read a value like it"
)]
pub trait ReadsToken {}

impl ReadsToken for String {}
impl ReadsToken for &str {}
impl ReadsToken for Cow<'_, str> {}
impl ReadsToken for Box<str> {}
impl<T: ReadsToken> ReadsToken for Option<T> {}

/// `#[sensitive(class)]`
pub const fn text<T: ReadsToken>(class: &'static str) -> Shape {
    Shape::Whole(Declared::new(class))
}

/// `#[sensitive(class, joinable)]`
pub const fn joinable<T: ReadsToken>(class: &'static str) -> Shape {
    Shape::Whole(Declared { joinable: true, ..Declared::new(class) })
}

/// `#[sensitive(class, surrogate)]`
pub const fn surrogate<T>(class: &'static str) -> Shape {
    Shape::Whole(Declared { surrogate: true, ..Declared::new(class) })
}

impl<C: Class> Sensitive for Token<C> {
    const SHAPE: Shape = Shape::Whole(Declared::new(C::WORD));
}

impl<C: Class> Sensitive for Joinable<C> {
    const SHAPE: Shape = Shape::Whole(Declared { joinable: true, ..Declared::new(C::WORD) });
}

impl<C: Class, R: Reveal<C>> Sensitive for Revealed<C, R> {
    const SHAPE: Shape = Shape::Whole(Declared { reveal: Some(R::WORD), ..Declared::new(C::WORD) });
}

macro_rules! open {
    ($($type:ty)*) => {$(
        impl Sensitive for $type {
            const SHAPE: Shape = Shape::Open;
        }
    )*};
}

open! { () bool char u8 u16 u32 u64 u128 usize i8 i16 i32 i64 i128 isize f32 f64 str String }

macro_rules! same {
    ($($type:ty)*) => {$(
        impl<T: Sensitive + ?Sized> Sensitive for $type {
            const SHAPE: Shape = T::SHAPE;
        }
    )*};
}

same! { &T Box<T> }

impl<T: Sensitive> Sensitive for Option<T> {
    const SHAPE: Shape = T::SHAPE;
}

impl<T: Sensitive + ToOwned + ?Sized> Sensitive for Cow<'_, T> {
    const SHAPE: Shape = T::SHAPE;
}

macro_rules! each {
    ($($type:ty)*) => {$(
        impl<T: Sensitive> Sensitive for $type {
            const SHAPE: Shape = Shape::Inner(&[("[*]", T::SHAPE)]);
        }
    )*};
}

each! { Vec<T> VecDeque<T> [T] BTreeSet<T> }

impl<T: Sensitive, const N: usize> Sensitive for [T; N] {
    const SHAPE: Shape = Shape::Inner(&[("[*]", T::SHAPE)]);
}

impl<T: Sensitive, H> Sensitive for HashSet<T, H> {
    const SHAPE: Shape = Shape::Inner(&[("[*]", T::SHAPE)]);
}

/// A map's members; their names are seen.
const fn members<K: Sensitive>(shape: &'static [(&'static str, Shape); 1]) -> Shape {
    assert!(!declares(K::SHAPE), "a map's keys are names of members, and those cannot be tokens: use a list of pairs");
    Shape::Inner(shape)
}

impl<K: Sensitive, T: Sensitive> Sensitive for BTreeMap<K, T> {
    const SHAPE: Shape = members::<K>(&[(".*", T::SHAPE)]);
}

impl<K: Sensitive, T: Sensitive, H> Sensitive for HashMap<K, T, H> {
    const SHAPE: Shape = members::<K>(&[(".*", T::SHAPE)]);
}

macro_rules! tuples {
    ($($(($name:ident $step:literal))*;)*) => {$(
        impl<$($name: Sensitive),*> Sensitive for ($($name,)*) {
            const SHAPE: Shape = Shape::Inner(&[$(($step, $name::SHAPE)),*]);
        }
    )*};
}

tuples! {
    (A "[0]");
    (A "[0]") (B "[1]");
    (A "[0]") (B "[1]") (C "[2]");
    (A "[0]") (B "[1]") (C "[2]") (D "[3]");
    (A "[0]") (B "[1]") (C "[2]") (D "[3]") (E "[4]");
    (A "[0]") (B "[1]") (C "[2]") (D "[3]") (E "[4]") (F "[5]");
}

/// The shape of a job's input, which need not be [`Sensitive`]: an associated constant of a type itself comes before that of a trait,
/// and the first is there only for types that are.
pub struct Input<T: ?Sized>(PhantomData<T>);

impl<T: Sensitive + ?Sized> Input<T> {
    /// What is sensitive in it.
    pub const SHAPE: Shape = T::SHAPE;
    /// Whether its type says so.
    pub const SAYS: bool = true;
}

/// Inputs whose type says nothing.
pub trait Unsaid {
    /// Nothing is.
    const SHAPE: Shape = Shape::Open;
    /// Nobody says so.
    const SAYS: bool = false;
}

impl<T: ?Sized> Unsaid for Input<T> {}

/// Whether anything is sensitive there.
pub const fn declares(shape: Shape) -> bool {
    match shape {
        Shape::Open => false,
        Shape::Whole(_) => true,
        Shape::Inner(inner) => {
            let mut at = 0;
            while at < inner.len() {
                if declares(inner[at].1) {
                    return true;
                }
                at += 1;
            }
            false
        }
    }
}

/// The text of a list, if it fits.
#[derive(Clone, Copy, Debug)]
pub struct List<const BYTES: usize> {
    /// As much of it as fits.
    pub text: [u8; BYTES],
    /// All its bytes.
    pub bytes: usize,
}

/// The way to a value, from its end to its beginning.
struct Way<'a> {
    before: Option<&'a Way<'a>>,
    step: &'static str,
}

/// A manifest's list of sensitive fields, as JSON text; nothing if there is none.
///
/// The compiler calls it twice: to know how long it is (`list::<0>`), and to write it.
pub const fn list<const BYTES: usize>(shape: Shape) -> List<BYTES> {
    let mut list = List { text: [0; BYTES], bytes: 0 };
    list.shape(shape, &Way { before: None, step: "$" });
    if list.bytes > 0 {
        list.push("]");
    }
    list
}

impl<const BYTES: usize> List<BYTES> {
    const fn push(&mut self, text: &str) {
        let text = text.as_bytes();
        let mut at = 0;
        while at < text.len() {
            if self.bytes < BYTES {
                self.text[self.bytes] = text[at];
            }
            self.bytes += 1;
            at += 1;
        }
    }

    const fn shape(&mut self, shape: Shape, way: &Way<'_>) {
        match shape {
            Shape::Open => {}
            Shape::Whole(declared) => self.field(way, declared),
            Shape::Inner(inner) => {
                let mut at = 0;
                while at < inner.len() {
                    let (step, shape) = inner[at];
                    self.shape(shape, &Way { before: Some(way), step });
                    at += 1;
                }
            }
        }
    }

    const fn field(&mut self, way: &Way<'_>, Declared { class, reveal, joinable, surrogate }: Declared) {
        self.push(if self.bytes == 0 { "[{\"at\":\"" } else { ",{\"at\":\"" });
        self.way(way);
        self.push("\",\"class\":\"");
        self.push(class);
        if let Some(reveal) = reveal {
            self.push("\",\"reveal\":\"");
            self.push(reveal);
        }
        self.push("\"");
        if joinable {
            self.push(",\"joinable\":true");
        }
        if surrogate {
            self.push(",\"surrogate\":true");
        }
        self.push("}");
    }

    const fn way(&mut self, way: &Way<'_>) {
        if let Some(before) = way.before {
            self.way(before);
        }
        self.push(way.step);
    }
}
