//! The rules of the house that no compiler holds: who may import what, where `unsafe` stands, what is permanent.
#![allow(clippy::unwrap_used, reason = "a test that cannot read the tree has failed")]

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use lb_common::abi::Reason;

const FOLDERS: [&str; 5] = ["lb-common", "lb-ebpf", "lb-userspace", "tests", "xtask"];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_path_buf()
}

/// Every Rust source below a folder of the workspace: (path relative to the root, text).
fn sources(folder: &str) -> Vec<(String, String)> {
    fn walk(folder: &Path, found: &mut Vec<PathBuf>) {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() && path.file_name().is_some_and(|name| name != "target") {
                walk(&path, found);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                found.push(path);
            }
        }
    }
    let mut found = Vec::new();
    walk(&root().join(folder), &mut found);
    found.sort();
    assert!(!found.is_empty(), "no sources below {folder}");
    found
        .into_iter()
        .map(|path| {
            let text = std::fs::read_to_string(&path).unwrap();
            (path.strip_prefix(root()).unwrap().to_string_lossy().into_owned(), text)
        })
        .collect()
}

/// Numbered lines before the file's test module that are neither comments nor blank.
fn product_code(text: &str) -> impl Iterator<Item = (usize, &str)> {
    text.lines()
        .take_while(|line| !line.starts_with("#[cfg(test)]"))
        .enumerate()
        .map(|(number, line)| (number + 1, line))
        .filter(|(_, line)| !line.trim().is_empty() && !line.trim_start().starts_with("//"))
}

/// Fails with every line of product code below `folder` that holds one of `words`, unless its file is allowed to.
fn refuse(folder: &str, words: &[&str], allowed: impl Fn(&str) -> bool, why: &str) {
    let mut broken = Vec::new();
    for (path, text) in sources(folder) {
        let only_tests = path.ends_with("/tests.rs") || path.contains("/tests/");
        if allowed(&path) || only_tests {
            continue;
        }
        for (number, line) in product_code(&text) {
            if words.iter().any(|word| holds(line, word)) {
                broken.push(format!("{path}:{number}: {}", line.trim()));
            }
        }
    }
    assert!(broken.is_empty(), "{why}:\n{}", broken.join("\n"));
}

/// Whether a line holds a word that is not part of a longer name.
fn holds(line: &str, word: &str) -> bool {
    let is_name = |c: char| c.is_alphanumeric() || c == '_';
    line.match_indices(word).any(|(at, _)| {
        let before = line[..at].chars().next_back();
        let after = line[at + word.len()..].chars().next();
        let joined_before = word.starts_with(is_name) && before.is_some_and(is_name);
        let joined_after = word.ends_with(is_name) && after.is_some_and(is_name);
        !joined_before && !joined_after
    })
}

#[test]
fn only_the_data_plane_folder_imports_aya() {
    let allowed = |path: &str| path.starts_with("lb-userspace/src/dataplane");
    refuse("lb-userspace/src", &["aya", "aya_log", "aya_obj"], allowed, "aya belongs behind the Dataplane trait");
}

#[test]
fn only_the_reconciler_writes_the_maps() {
    let allowed =
        |path: &str| path.starts_with("lb-userspace/src/dataplane") || path.starts_with("lb-userspace/src/reconcile");
    let writes = [".set_config(", ".set_egress(", ".write_backend(", ".publish_service(", ".remove_service("];
    refuse("lb-userspace/src", &writes, allowed, "the reconciler is the only writer");
}

#[test]
fn unsafe_stands_only_where_it_must() {
    refuse("lb-common/src", &["unsafe"], |_| false, "lb-common has no unsafe code");
    let allowed = |path: &str| path.starts_with("lb-userspace/src/dataplane/");
    refuse("lb-userspace/src", &["unsafe"], allowed, "unsafe code stands under dataplane/ only");
}

#[test]
fn every_unsafe_block_says_why_it_is_sound() {
    let mut broken = Vec::new();
    for folder in ["lb-userspace/src", "lb-ebpf/src", "tests/src"] {
        for (path, text) in sources(folder) {
            let lines: Vec<&str> = text.lines().collect();
            for (number, line) in product_code(&text) {
                let above = &lines[number.saturating_sub(12)..number];
                let opens = holds(line, "unsafe {") || holds(line, "unsafe impl");
                if opens && !above.iter().any(|line| line.to_ascii_uppercase().contains("SAFETY")) {
                    broken.push(format!("{path}:{number}"));
                }
            }
        }
    }
    assert!(broken.is_empty(), "unsafe without a SAFETY comment above it:\n{}", broken.join("\n"));
}

#[test]
fn guard_and_plan_are_pure() {
    let impure = ["HashMap", "HashSet", "::now(", "SystemTime", "rand", "tokio", "std::fs", "std::env", "std::process"];
    for folder in ["lb-userspace/src/guard", "lb-userspace/src/plan"] {
        refuse(
            folder,
            &impure,
            |_| false,
            "same inputs, byte-identical output: ordered collections, no clock, no chance",
        );
    }
}

#[test]
fn lb_common_has_no_standard_library_no_allocation_and_no_clock() {
    let text = std::fs::read_to_string(root().join("lb-common/src/lib.rs")).unwrap();
    assert!(text.contains("no_std"), "lb-common is no_std");
    refuse("lb-common/src", &["extern crate", "std::", "alloc::", "Instant"], |_| false, "lb-common is pure");
}

#[test]
fn every_file_begins_with_a_sentence_about_itself() {
    for (path, text) in FOLDERS.iter().flat_map(|folder| sources(folder)) {
        let first = text.lines().next().unwrap_or_default();
        assert!(first.starts_with("//! "), "{path} begins with `{first}`, not with a `//!` sentence");
    }
}

#[test]
fn no_stub_and_no_silenced_test_is_left() {
    let marks = [
        concat!("TO", "DO"),
        concat!("FIX", "ME"),
        concat!("to", "do!("),
        concat!("un", "implemented!("),
        concat!("#[ig", "nore"),
    ];
    for (path, text) in FOLDERS.iter().flat_map(|folder| sources(folder)) {
        for (number, line) in text.lines().enumerate() {
            assert!(!marks.iter().any(|mark| line.contains(mark)), "{path}:{}: {}", number + 1, line.trim());
        }
    }
}

#[test]
fn reason_numbers_and_labels_are_permanent() {
    let permanent = [
        (1, "transmitted"),
        (2, "redirected"),
        (3, "rejected"),
        (4, "echo_answered"),
        (5, "closed_rejected"),
        (6, "too_big_answered"),
        (7, "ttl_answered"),
        (16, "not_ip"),
        (17, "other_protocol"),
        (18, "no_service"),
        (19, "fragment"),
        (20, "malformed"),
        (21, "vlan_depth"),
        (22, "extension_header"),
        (23, "nat_no_flow"),
        (24, "link"),
        (32, "empty_pool"),
        (33, "next_hop_unresolved"),
        (34, "no_backend"),
        (35, "too_big"),
        (36, "no_headroom"),
        (37, "ttl_exceeded"),
        (38, "reject_limited"),
        (39, "egress_missing"),
        (40, "nat_unknown_flow"),
        (41, "nat_ports_exhausted"),
        (42, "nat_no_source"),
        (43, "closed_dropped"),
        (44, "icmp_unknown"),
        (45, "fragment_unknown"),
        (46, "bad_headers"),
        (47, "echo_dropped"),
        (48, "quarantined"),
        (49, "acl_denied"),
        (50, "source_limited"),
        (51, "connection_limited"),
        (52, "packet_limited"),
        (64, "nat_evicted"),
        (65, "quic_routed"),
        (66, "quic_stranger"),
    ];
    let current: BTreeMap<u32, &str> = Reason::ALL.iter().map(|reason| (*reason as u32, reason.label())).collect();
    for (number, label) in permanent {
        assert_eq!(current.get(&number), Some(&label), "reason {number} was `{label}` and stays so for ever");
    }
    let labels: BTreeSet<&str> = current.values().copied().collect();
    assert_eq!(labels.len(), Reason::ALL.len(), "two reasons share a label");
    assert_eq!(current.len(), permanent.len(), "a new reason: append it to this list, where it becomes permanent");
}

#[test]
fn every_dependency_has_an_allowed_licence() {
    let rules = std::fs::read_to_string(root().join("deny.toml")).unwrap();
    let allowed: BTreeSet<&str> = rules
        .lines()
        .skip_while(|line| !line.starts_with("allow = ["))
        .skip(1)
        .take_while(|line| !line.starts_with(']'))
        .map(|line| line.trim().trim_end_matches(',').trim_matches('"'))
        .collect();
    assert!(allowed.contains("MIT"), "deny.toml has no list of licences");
    let output = std::process::Command::new(env!("CARGO"))
        .args(["metadata", "--format-version", "1", "--locked", "--offline"])
        .args(["--filter-platform", "x86_64-unknown-linux-gnu"])
        .current_dir(root())
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let metadata: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let refused: Vec<String> = metadata["packages"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|package| !licence_is_allowed(package["license"].as_str().unwrap_or("none"), &allowed))
        .map(|package| format!("{} {}: {}", package["name"], package["version"], package["license"]))
        .collect();
    assert!(refused.is_empty(), "licences that deny.toml does not allow:\n{}", refused.join("\n"));
}

/// An SPDX expression of `AND`, `OR`, parentheses and `/` (the old way to write `OR`).
fn licence_is_allowed(expression: &str, allowed: &BTreeSet<&str>) -> bool {
    expression.replace('/', " OR ").split(" AND ").all(|part| {
        part.split(" OR ").any(|licence| allowed.contains(licence.trim_matches(|c: char| "() +".contains(c))))
    })
}

#[test]
fn every_test_that_the_readme_names_exists() {
    let readme = std::fs::read_to_string(root().join("README.md")).unwrap();
    let all: String = FOLDERS.iter().flat_map(|folder| sources(folder)).map(|(_, text)| text).collect();
    let named: Vec<&str> = readme
        .lines()
        .skip_while(|line| !line.starts_with("## Invariants"))
        .skip(1)
        .take_while(|line| !line.starts_with("## "))
        .flat_map(|line| line.split('`').skip(1).step_by(2))
        .filter(|word| word.matches('_').count() >= 2 && word.chars().all(|c| c.is_ascii_alphanumeric() || c == '_'))
        .filter(|word| word.chars().any(|c| c.is_ascii_lowercase()))
        .collect();
    assert!(named.len() >= 8, "the README's invariants name their tests, found only {named:?}");
    for name in named {
        assert!(all.contains(&format!("fn {name}(")), "the README names the test `{name}`, which is not there");
    }
}

/// With cargo's own harness a bench's `main` never runs: "0 tests" would be its whole outcome, and a success.
#[test]
fn every_bench_runs_its_own_main() {
    let manifest: String = std::fs::read_to_string(root().join("tests/Cargo.toml")).unwrap();
    let benches: Vec<&str> = manifest.split("[[bench]]").skip(1).collect();
    assert!(benches.len() >= 2, "{manifest}");
    for bench in benches {
        let section = bench.split("\n[").next().unwrap();
        assert!(section.contains("harness = false"), "{section}");
    }
}

#[test]
fn a_word_is_found_only_where_it_stands_alone() {
    assert!(holds("use aya::Ebpf;", "aya"));
    assert!(!holds("let papaya = 1;", "aya"));
    assert!(holds("self.maps.set_config(&x)", ".set_config("));
    assert!(holds("unsafe {", "unsafe"));
    assert!(!holds("#![deny(unsafe_code)]", "unsafe"));
}
