//! What a job sees of values that stay with the coordinator: tokens that stand for them.
//!
//! A [`Token`] can be moved, kept, put into an output, a slot or a [`Draft`](crate::Draft), and nothing else. Each worker is given other
//! tokens for the same values, and their answers are compared, so nothing that a job computes may depend on a token's characters:
//! there is no way to see them, to compare or to sort them, but for writing a token as JSON and looking at that, which the check
//! before publishing looks for. Where a job has to find equal values, its input declares that
//! ([`Joinable`]); where it has to know a part of one, it declares which ([`Revealed`]).

use core::fmt;
use core::marker::PhantomData;

use manyhands_abi::token::{BYTES, CLASS, is_well_formed};
use serde::de::{Error, IgnoredAny, MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// What kind of value a token stands for. There are the ten below and no others.
pub trait Class: sealed::Sealed + 'static {
    /// Its word in a manifest.
    const WORD: &'static str;
    /// Its letter in a token.
    const LETTER: u8;
}

/// A part of a value of class `C` that a job may know.
pub trait Reveal<C>: sealed::Sealed + 'static {
    /// Its word in a manifest, and its key beside a token.
    const WORD: &'static str;
    /// What it is.
    type Part;
}

mod sealed {
    pub trait Sealed {}
}

macro_rules! classes {
    ($($(#[$doc:meta])* $name:ident $word:literal $letter:literal)*) => {$(
        $(#[$doc])*
        #[derive(Debug)]
        pub enum $name {}

        impl sealed::Sealed for $name {}

        impl Class for $name {
            const WORD: &'static str = $word;
            const LETTER: u8 = $letter;
        }
    )*};
}

classes! {
    /// An address for electronic mail.
    Email "email" b'e'
    /// A telephone number.
    Phone "phone" b'p'
    /// The number of a payment card.
    Card "card" b'c'
    /// An international bank account number (ISO 13616).
    Iban "iban" b'i'
    /// A person's or a company's name.
    Name "name" b'n'
    /// A postal address.
    Address "address" b'a'
    /// A day, or a day and a time.
    Date "date" b'd'
    /// A number.
    Number "number" b'u'
    /// Any text.
    Text "text" b't'
    /// A password or a key.
    Secret "secret" b's'
}

macro_rules! reveals {
    ($($(#[$doc:meta])* $name:ident $word:literal: $part:ty, of $($class:ident)*;)*) => {$(
        $(#[$doc])*
        #[derive(Debug)]
        pub enum $name {}

        impl sealed::Sealed for $name {}

        $(impl Reveal<$class> for $name {
            const WORD: &'static str = $word;
            type Part = $part;
        })*
    )*};
}

reveals! {
    /// What stands behind the `@`.
    Domain "domain": String, of Email;
    /// A phone's calling code with its `+`, an IBAN's or an address's country.
    Country "country": String, of Phone Iban Address;
    /// The last four characters of the number.
    Last4 "last4": String, of Card Iban;
    /// The year.
    Year "year": u16, of Date;
    /// The length in characters, rounded up to a power of two.
    LengthBucket "length_bucket": u32, of Text;
}

/// Stands for a value of class `C` that this job does not see.
///
/// The coordinator puts the value back in the slots of calls, where the verb allows it, and in what the requester gets.
///
/// ```compile_fail
/// use manyhands::token::{Email, Token};
///
/// fn spy(email: Token<Email>) -> bool {
///     email.to_string().ends_with("x7")
/// }
/// ```
pub struct Token<C> {
    text: [u8; BYTES],
    class: PhantomData<fn() -> C>,
}

impl<C> Token<C> {
    pub(crate) const fn of(text: [u8; BYTES]) -> Self {
        Self { text, class: PhantomData }
    }

    pub(crate) fn as_str(&self) -> &str {
        // Checked when it was read.
        core::str::from_utf8(&self.text).unwrap_or_default()
    }
}

/// The bytes of a token of this class; none if the text is anything else.
fn read(text: &str, letter: u8) -> Option<[u8; BYTES]> {
    let token: [u8; BYTES] = text.as_bytes().try_into().ok()?;
    (token[CLASS] == letter && is_well_formed(&token)).then_some(token)
}

impl<C> Clone for Token<C> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<C> Copy for Token<C> {}

/// Shows the class alone.
impl<C: Class> fmt::Debug for Token<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token<")?;
        f.write_str(C::WORD)?;
        f.write_str(">")
    }
}

impl<C> Serialize for Token<C> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

impl<'de, C: Class> Deserialize<'de> for Token<C> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Text<C>(PhantomData<C>);

        impl<C: Class> Visitor<'_> for Text<C> {
            type Value = Token<C>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a token of the class `")?;
                f.write_str(C::WORD)?;
                f.write_str("`; is the field declared so?")
            }

            fn visit_str<E: Error>(self, text: &str) -> Result<Token<C>, E> {
                // What stands there may be a value that nobody should see: it is not repeated.
                let other = || ["expected a token of the class `", C::WORD, "`; is the field declared so?"].concat();
                read(text, C::LETTER).map(Token::of).ok_or_else(|| E::custom(other()))
            }
        }

        deserializer.deserialize_str(Text(PhantomData))
    }
}

/// A token that equals those of equal values in the same run, for jobs that have to find them.
///
/// Whoever executes the job sees as well which values are equal; so declare it only where the job needs it.
#[derive(Serialize)]
#[serde(transparent, bound = "")]
pub struct Joinable<C>(Token<C>);

impl<C> Joinable<C> {
    pub(crate) const fn of(token: Token<C>) -> Self {
        Self(token)
    }

    /// The token, to be put somewhere.
    pub const fn token(&self) -> Token<C> {
        self.0
    }
}

impl<C> Clone for Joinable<C> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<C> Copy for Joinable<C> {}

impl<C> PartialEq for Joinable<C> {
    fn eq(&self, other: &Self) -> bool {
        self.0.text == other.0.text
    }
}

impl<C> Eq for Joinable<C> {}

impl<C: Class> fmt::Debug for Joinable<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl<'de, C: Class> Deserialize<'de> for Joinable<C> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Token::deserialize(deserializer).map(Self)
    }
}

/// A token, and the part `R` of its value.
///
/// Each counts in the leak budget of the plan that an operator approves.
pub struct Revealed<C, R: Reveal<C>> {
    /// Stands for the whole value.
    pub token: Token<C>,
    /// What is known of it; none where the value has no such part.
    pub part: Option<R::Part>,
}

impl<C, R: Reveal<C, Part: Clone>> Clone for Revealed<C, R> {
    fn clone(&self) -> Self {
        Self { token: self.token, part: self.part.clone() }
    }
}

impl<C: Class, R: Reveal<C, Part: fmt::Debug>> fmt::Debug for Revealed<C, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Revealed").field("token", &self.token).field(R::WORD, &self.part).finish()
    }
}

impl<'de, C: Class, R: Reveal<C, Part: Deserialize<'de>>> Deserialize<'de> for Revealed<C, R> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Object<C, R>(PhantomData<(C, R)>);

        impl<'de, C: Class, R: Reveal<C, Part: Deserialize<'de>>> Visitor<'de> for Object<C, R> {
            type Value = Revealed<C, R>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a token with the revealed part `")?;
                f.write_str(R::WORD)?;
                f.write_str("`; is the field declared so?")
            }

            fn visit_map<M: MapAccess<'de>>(self, mut map: M) -> Result<Revealed<C, R>, M::Error> {
                let (mut token, mut part) = (None, None);
                while let Some(key) = map.next_key::<std::borrow::Cow<'de, str>>()? {
                    match &*key {
                        "token" => token = Some(map.next_value()?),
                        word if word == R::WORD => part = Some(map.next_value()?),
                        _ => drop(map.next_value::<IgnoredAny>()?),
                    }
                }
                let missing = M::Error::missing_field;
                let token = token.ok_or_else(|| missing("token"))?;
                Ok(Revealed { token, part: part.ok_or_else(|| missing(R::WORD))? })
            }
        }

        deserializer.deserialize_map(Object(PhantomData))
    }
}
