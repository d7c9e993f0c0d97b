//! Every command that a page or a help shows is one that this program takes.

use super::command;

const PAGES: [(&str, &str); 2] =
    [("runbook.md", include_str!("../../../docs/runbook.md")), ("README.md", include_str!("../../../README.md"))];
const SOME_ID: &str = "11111111-1111-4111-8111-111111111111";

/// Lines of the shell that a page shows.
fn shown_by_page(page: &str) -> Vec<String> {
    let blocks = page.split("```sh\n").skip(1).filter_map(|rest| rest.split_once("```"));
    blocks.flat_map(|(block, _)| lines(block)).collect()
}

/// Lines, those that go on put together.
fn lines(text: &str) -> Vec<String> {
    text.replace("\\\n", " ").lines().map(|line| line.trim().to_owned()).collect()
}

/// The command of ours in a line, as words, if there is one.
fn words(line: &str) -> Option<Vec<String>> {
    let line = line.strip_prefix("sudo ").unwrap_or(line);
    // `id=$(snowshed …)`
    let line = line.split_once("=$(").and_then(|(_, rest)| Some(rest.split_once(')')?.0)).unwrap_or(line);
    if !line.starts_with("snowshed ") {
        return None;
    }
    let (mut words, mut word, mut quote, mut is_word) = (Vec::new(), String::new(), None, false);
    let mut blanks = 0;
    for char in line.chars().chain([' ']) {
        match (quote, char) {
            (Some(open), _) if char == open => quote = None,
            (Some(_), _) => word.push(char),
            (None, '\'' | '"') => (quote, is_word) = (Some(char), true),
            (None, ' ') => {
                blanks += 1;
                if is_word {
                    words.push(std::mem::take(&mut word));
                }
                is_word = false;
                // What stands far to the right explains the command.
                if blanks >= 2 {
                    break;
                }
                continue;
            }
            // The shell's own, and remarks.
            (None, '|' | '#' | '>' | '&' | ';') => {
                if is_word {
                    words.push(word);
                }
                break;
            }
            (None, _) => {
                word.push(char);
                is_word = true;
            }
        }
        blanks = 0;
    }
    Some(words)
}

/// Words in capitals and the shell's variables stand for something of the reader's.
fn filled(word: &str) -> String {
    let is_placeholder = |part: &str| {
        part.starts_with('$') || part.len() > 1 && part.chars().all(|char| char.is_ascii_uppercase() || char == '_')
    };
    word.split(':').map(|part| if is_placeholder(part) { SOME_ID } else { part }).collect::<Vec<_>>().join(":")
}

fn helps(command: &clap::Command, all: &mut Vec<(String, String)>) {
    if let Some(help) = command.get_after_help() {
        all.extend(lines(&help.to_string()).into_iter().map(|line| (format!("help of {}", command.get_name()), line)));
    }
    command.get_subcommands().for_each(|subcommand| helps(subcommand, all));
}

#[test]
fn what_an_answer_recommends_for_each_kind_of_document_is_a_command() {
    for kind in crate::model::Kind::ALL {
        let line = crate::api::listed_by(kind);
        let words = words(line).unwrap_or_else(|| panic!("{line}"));
        if let Err(error) = command().try_get_matches_from(words) {
            panic!("{line}: {error}");
        }
    }
}

#[test]
fn every_command_that_a_page_or_a_help_shows_is_taken() {
    let mut all: Vec<(String, String)> = PAGES
        .iter()
        .flat_map(|(name, page)| shown_by_page(page).into_iter().map(|line| ((*name).to_owned(), line)))
        .collect();
    helps(&command(), &mut all);
    let (mut tried, mut wrong) = (0, Vec::new());
    for (place, line) in all {
        let Some(words) = words(&line) else { continue };
        tried += 1;
        if let Err(error) = command().try_get_matches_from(words.iter().map(|word| filled(word)))
            && !matches!(error.kind(), clap::error::ErrorKind::DisplayHelp | clap::error::ErrorKind::DisplayVersion)
        {
            wrong.push(format!("{place}: {line}: {}", error.to_string().lines().next().unwrap_or_default()));
        }
    }
    assert!(tried > 150, "only {tried} commands were found");
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
