//! Reads sections and keys from TOML and collects every problem with its line, not only the first.

use std::fmt;
use std::path::{Path, PathBuf};

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::rule::Rule;

/// Everything that is wrong with a configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigError {
    /// The file.
    pub path: PathBuf,
    /// At least one, in the order of the lines.
    pub problems: Vec<Problem>,
}

impl std::error::Error for ConfigError {}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, problem) in self.problems.iter().enumerate() {
            let separator = if at == 0 { "" } else { "\n" };
            write!(f, "{separator}{}{problem}", self.path.display())?;
        }
        Ok(())
    }
}

/// One thing that is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// Line in the file, counted from 1; `None` when the fault is an absence.
    pub line: Option<usize>,
    /// Section and key, for example `dataplane.max_slots`; empty when the file as a whole is meant.
    pub key: String,
    /// What is wrong and what is allowed.
    pub what: String,
}

impl Problem {
    /// A problem of a key.
    pub fn of(key: impl Into<String>, what: impl Into<String>) -> Self {
        Self { line: None, key: key.into(), what: what.into() }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(line) = self.line {
            write!(f, ":{line}")?;
        }
        match self.key.as_str() {
            "" => write!(f, ": {}", self.what),
            key => write!(f, ": {key}: {}", self.what),
        }
    }
}

/// A section of the file: a struct whose keys, defaults and documentation are written down once.
pub(super) trait Section: Sized + Default {
    /// What the section is about, one element per line.
    const ABOUT: &'static [&'static str];
    /// Every key.
    fn keys() -> Vec<Key>;
    /// Takes every key, the default where it is absent or wrong.
    fn read(from: &mut Reader<'_, '_>) -> Self;
}

/// A key, as documentation.
pub(super) struct Key {
    pub(super) name: &'static str,
    pub(super) doc: &'static [&'static str],
    /// The default as TOML; `None` when there is none.
    pub(super) default: Option<String>,
    /// A value as it might be, for a key without a default.
    pub(super) example: &'static str,
}

/// A parsed file and what was found wrong with it so far.
pub(super) struct Source<'a> {
    text: &'a str,
    problems: Vec<Problem>,
}

impl<'a> Source<'a> {
    pub(super) const fn new(text: &'a str) -> Self {
        Self { text, problems: Vec::new() }
    }

    /// The document; syntax errors become problems.
    pub(super) fn parse(&mut self) -> DeTable<'a> {
        let (table, errors) = DeTable::parse_recoverable(self.text);
        for error in errors {
            let line = error.span().map(|span| self.line(span.start));
            self.problems.push(Problem {
                line,
                key: String::new(),
                what: format!("not TOML: {}", error.message().replace('\n', "; ")),
            });
        }
        table.into_inner()
    }

    /// Notes a problem.
    pub(super) fn report(&mut self, start: usize, key: String, what: String) {
        let line = Some(self.line(start));
        self.problems.push(Problem { line, key, what });
    }

    /// Every problem, in the order of the lines; those without a line last.
    pub(super) fn finish(mut self, path: &Path) -> Result<(), ConfigError> {
        if self.problems.is_empty() {
            return Ok(());
        }
        self.problems.sort_by_key(|problem| problem.line.unwrap_or(usize::MAX));
        Err(ConfigError { path: path.to_owned(), problems: self.problems })
    }

    pub(super) fn add(&mut self, problems: impl IntoIterator<Item = Problem>) {
        self.problems.extend(problems);
    }

    fn line(&self, start: usize) -> usize {
        1 + self.text.as_bytes().iter().take(start).filter(|byte| **byte == b'\n').count()
    }
}

/// One table being read: keys are taken from it, and what is left over is unknown.
pub(super) struct Reader<'r, 'i> {
    pub(super) source: &'r mut Source<'i>,
    pub(super) path: String,
    table: DeTable<'i>,
    known: Vec<&'static str>,
}

impl<'r, 'i> Reader<'r, 'i> {
    pub(super) const fn new(source: &'r mut Source<'i>, path: String, table: DeTable<'i>) -> Self {
        Self { source, path, table, known: Vec::new() }
    }

    /// The value of a key by its rule, or the default.
    pub(super) fn get<T>(&mut self, key: &'static str, rule: &Rule<T>, default: T) -> T {
        self.known.push(key);
        let Some(value) = self.table.remove(key) else { return default };
        let path = self.path_of(key);
        (rule.read)(self.source, &path, value).unwrap_or(default)
    }

    /// A section below this table, or its defaults.
    pub(super) fn section<S: Section>(&mut self, name: &'static str) -> S {
        self.known.push(name);
        let value = self.table.remove(name);
        let path = self.path_of(name);
        value.and_then(|value| read_table(self.source, &path, value)).unwrap_or_default()
    }

    /// Refuses what nobody took, with a hint. `elsewhere` finds the section that does have such a key.
    pub(super) fn refuse_the_rest(mut self, elsewhere: impl Fn(&str) -> Option<String>) {
        let rest = std::mem::take(&mut self.table);
        for (key, _) in rest {
            let name = key.get_ref().to_string();
            let hint = match (nearest(&name, &self.known), elsewhere(&name)) {
                (Some(near), _) => format!("did you mean `{near}`?"),
                (None, Some(place)) => format!("it belongs in [{place}]"),
                (None, None) => format!("known here: {}", self.known.join(", ")),
            };
            let path = self.path_of(&name);
            self.source.report(key.span().start, path, format!("unknown key; {hint}"));
        }
    }

    fn path_of(&self, key: &str) -> String {
        if self.path.is_empty() { key.to_owned() } else { format!("{}.{key}", self.path) }
    }
}

/// Reads a section from a value that should be a table.
pub(super) fn read_table<'i, S: Section>(
    source: &mut Source<'i>,
    path: &str,
    value: Spanned<DeValue<'i>>,
) -> Option<S> {
    let start = value.span().start;
    match value.into_inner() {
        DeValue::Table(table) => {
            let mut reader = Reader::new(source, path.to_owned(), table);
            let section = S::read(&mut reader);
            reader.refuse_the_rest(super::section_with);
            Some(section)
        }
        other => {
            source.report(start, path.to_owned(), format!("a table is expected, not {}", with_article(&other)));
            None
        }
    }
}

/// "a string", "an integer".
pub(super) fn with_article(value: &DeValue<'_>) -> String {
    let kind = value.type_str();
    let article = if kind.starts_with(['a', 'i']) { "an" } else { "a" };
    format!("{article} {kind}")
}

/// The known word that a misspelt one most likely means: at most a third of its letters differ.
pub(crate) fn nearest<'k>(word: &str, known: &[&'k str]) -> Option<&'k str> {
    known
        .iter()
        .map(|candidate| (distance(word, candidate), *candidate))
        .filter(|(distance, candidate)| *distance <= candidate.len().max(6) / 3)
        .min()
        .map(|(_, candidate)| candidate)
}

/// Levenshtein distance in characters; words longer than 64 characters are cut.
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().take(64).collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, left) in a.chars().take(64).enumerate() {
        let mut diagonal = std::mem::replace(&mut row[0], i + 1);
        for (j, right) in b.iter().enumerate() {
            let replaced = diagonal + usize::from(left != *right);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn distance_counts_inserted_removed_and_replaced_letters() {
        for (a, b, expected) in
            [("", "", 0), ("slots", "slots", 0), ("slot", "slots", 1), ("slots", "sluts", 1), ("abc", "", 3)]
        {
            assert_eq!(distance(a, b), expected, "{a} {b}");
            assert_eq!(distance(b, a), expected, "{b} {a}");
        }
    }

    #[test]
    fn nearest_finds_a_slip_and_nothing_for_another_word() {
        let known = ["interfaces", "xdp_mode", "pin_dir"];
        assert_eq!(nearest("interface", &known), Some("interfaces"));
        assert_eq!(nearest("xdpmode", &known), Some("xdp_mode"));
        assert_eq!(nearest("quota", &known), None);
    }
}
