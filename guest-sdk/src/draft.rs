//! Texts around tokens.

use core::fmt::{self, Write as _};

use serde::Serialize;

use crate::token::Token;

/// A text that may hold tokens, such as a letter. For outputs, and for slots of type `text`; [`draft!`](macro@crate::draft) writes it.
///
/// Like a token, it can only be put somewhere: not even its length means anything, since a value is as long as it is.
#[derive(Clone, Serialize)]
#[serde(transparent)]
pub struct Draft(String);

impl Draft {
    /// What `draft!` makes of its arguments.
    #[doc(hidden)]
    pub fn of(text: fmt::Arguments<'_>) -> Self {
        let mut draft = Self(String::new());
        // Fails only where a type of the job's cannot be shown, and then there is as much of it as could.
        let _written = draft.0.write_fmt(text);
        draft
    }
}

impl fmt::Debug for Draft {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Draft(…)")
    }
}

/// What a draft may hold: tokens, other drafts, and whatever can be shown.
pub trait Part {
    /// Writes it.
    ///
    /// # Errors
    /// It cannot be shown.
    fn part(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result;
}

impl<T: fmt::Display + ?Sized> Part for T {
    fn part(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.fmt(f)
    }
}

// Whole, whatever width and precision the text asks for.
impl<C> Part for Token<C> {
    fn part(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl Part for Draft {
    fn part(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// An argument of `draft!`.
pub struct Shown<'a, T: ?Sized>(pub &'a T);

impl<T: Part + ?Sized> fmt::Display for Shown<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.part(f)
    }
}

/// Writes a [`Draft`]: as `format!`, and arguments may be tokens and other drafts. Those stand behind the text, in order; names in braces
/// are for what can be shown.
///
/// ```
/// use manyhands::token::{Name, Token};
/// use manyhands::{Draft, draft};
///
/// fn letter(name: Token<Name>, dollars: u32) -> Draft {
///     draft!("Dear {},\nyou owe us {dollars} dollars.", name)
/// }
/// # assert!(serde_json::to_string(&letter(manyhands::testing::token("Ann"), 3)).is_ok());
/// ```
#[macro_export]
macro_rules! draft {
    ($text:literal $(, $part:expr)* $(,)?) => {
        $crate::Draft::of(::core::format_args!($text $(, $crate::__private::Shown(&$part))*))
    };
}
