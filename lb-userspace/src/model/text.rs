//! Short texts with rules, and the one error of every parser in the model.

use serde::{Deserialize, Serialize};

/// Why a value was refused. The caller knows which argument it was.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{help}")]
pub struct Invalid {
    /// The Scaleway API's word for the kind of mistake.
    pub reason: InvalidReason,
    /// What was wrong and what is allowed.
    pub help: String,
}

/// `reason` of an `invalid_arguments` error.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum InvalidReason {
    /// A needed value is absent or empty.
    Required,
    /// The text is not of the expected form.
    Format,
    /// Well-formed, but outside what is allowed.
    Constraint,
}

impl Invalid {
    /// A needed value is absent or empty.
    pub fn required(help: impl Into<String>) -> Self {
        Self { reason: InvalidReason::Required, help: help.into() }
    }

    /// The text is not of the expected form.
    pub fn format(help: impl Into<String>) -> Self {
        Self { reason: InvalidReason::Format, help: help.into() }
    }

    /// Well-formed, but outside what is allowed.
    pub fn constraint(help: impl Into<String>) -> Self {
        Self { reason: InvalidReason::Constraint, help: help.into() }
    }
}

/// A resource's name: 1 to 255 characters, no control characters, no blanks at either end.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Name(String);

impl Name {
    /// Most characters in a name.
    pub const MAX_CHARS: usize = 255;

    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// A name for what nobody named: its id.
    #[must_use]
    pub fn from_id(id: uuid::Uuid) -> Self {
        Self(id.to_string())
    }
}

impl TryFrom<String> for Name {
    type Error = Invalid;

    fn try_from(text: String) -> Result<Self, Invalid> {
        if text.trim().is_empty() {
            return Err(Invalid::required("a name is needed: 1 to 255 characters"));
        }
        if text.trim().len() != text.len() || text.chars().any(|char| char.is_control() || is_bidi_control(char)) {
            return Err(Invalid::format(
                "a name has no control characters, none that turn the direction of writing, and no blanks at its ends",
            ));
        }
        if text.chars().count() > Self::MAX_CHARS {
            return Err(Invalid::constraint(format!(
                "the name has {} characters; at most {} are allowed",
                text.chars().count(),
                Self::MAX_CHARS
            )));
        }
        Ok(Self(text))
    }
}

/// Characters that turn the direction in which a terminal writes what follows (Unicode Standard Annex 9, 2).
const fn is_bidi_control(char: char) -> bool {
    matches!(char, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

impl From<Name> for String {
    fn from(name: Name) -> Self {
        name.0
    }
}

impl std::fmt::Display for Name {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}

/// Labels of a resource: at most 64, each 1 to 128 characters.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Vec<String>", into = "Vec<String>")]
pub struct Tags(Vec<String>);

impl Tags {
    /// Most tags on one resource.
    pub const MAX: usize = 64;
    /// Most characters in one tag.
    pub const MAX_CHARS: usize = 128;

    /// The tags in the order they were given.
    #[must_use]
    pub fn as_slice(&self) -> &[String] {
        &self.0
    }
}

impl TryFrom<Vec<String>> for Tags {
    type Error = Invalid;

    fn try_from(tags: Vec<String>) -> Result<Self, Invalid> {
        if tags.len() > Self::MAX {
            return Err(Invalid::constraint(format!("{} tags; at most {} are allowed", tags.len(), Self::MAX)));
        }
        for tag in &tags {
            let chars = tag.chars().count();
            if chars == 0 || chars > Self::MAX_CHARS || tag.chars().any(char::is_control) {
                return Err(Invalid::format(format!(
                    "a tag has 1 to {} characters and no control characters",
                    Self::MAX_CHARS
                )));
            }
        }
        Ok(Self(tags))
    }
}

impl From<Tags> for Vec<String> {
    fn from(tags: Tags) -> Self {
        tags.0
    }
}
