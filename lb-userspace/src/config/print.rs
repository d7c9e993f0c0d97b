//! The default configuration as a commented file, made from the same declarations that read it.

use std::fmt::Write as _;

use super::read::{Key, Section as _};
use super::{Token, sections};

/// The commented file: every key stands in it, with its default. What has no default is commented out.
#[must_use]
pub fn default_file() -> String {
    let mut text = String::from(
        "# Snowshed agent. Every key stands here with its default; what has none is commented out.\n\
         # Check a file with: snowshed agent --config FILE --check\n",
    );
    for (name, about, keys) in sections() {
        text.push('\n');
        comment(&mut text, about);
        line(&mut text, format_args!("[{name}]"));
        for key in keys.iter().filter(|key| key.name != "tokens") {
            comment(&mut text, key.doc);
            line(&mut text, format_args!("{}", value(key)));
        }
        if keys.iter().any(|key| key.name == "tokens") {
            tokens(&mut text, name);
        }
    }
    text
}

fn tokens(text: &mut String, section: &str) {
    text.push('\n');
    comment(text, Token::ABOUT);
    line(text, format_args!("#[[{section}.tokens]]"));
    for key in Token::keys() {
        comment(text, key.doc);
        let example = Key { default: None, ..key };
        line(text, format_args!("{}", value(&example)));
    }
}

fn value(key: &Key) -> String {
    match &key.default {
        Some(default) => format!("{} = {default}", key.name),
        None if key.example.is_empty() => format!("#{} =", key.name),
        None => format!("#{} = {}", key.name, key.example),
    }
}

fn comment(text: &mut String, lines: &[&str]) {
    for doc in lines {
        line(text, format_args!("#{doc}"));
    }
}

fn line(text: &mut String, content: std::fmt::Arguments<'_>) {
    let _infallible = writeln!(text, "{content}");
}
