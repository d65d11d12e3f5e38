//! The README says what the program does: its tables, commands, flags and examples are held against the program.
#![allow(clippy::expect_used, clippy::panic, reason = "a test fails by panicking, in its helpers too")]

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::path::Path;

use clap::{CommandFactory, Parser};
use promptmill::cli::args::Cli;
use promptmill::config::file::file_layer;
use promptmill::config::keys::markdown_table;
use promptmill::model::{Class, Exit};

const README: &str = include_str!("../README.md");
const CI: &str = include_str!("../.ci/run");

/// The lines of the code blocks in this language, without the comments behind `#`.
fn code(language: &str) -> Vec<&'static str> {
    let mut inside = false;
    let mut lines = Vec::new();
    for line in README.lines() {
        match line.strip_prefix("```") {
            Some(name) => inside = !inside && name == language,
            None if inside => lines.push(if language == "sh" { line.split(" #").next().unwrap_or(line) } else { line }),
            None => {}
        }
    }
    lines.into_iter().map(str::trim).filter(|line| !line.is_empty()).collect()
}

fn assert_has_table(table: &str) {
    assert!(README.contains(table), "the README's table differs from the program's; put this into it:\n{table}");
}

#[test]
fn the_tables_are_those_of_the_program() {
    assert_has_table(&markdown_table());
    let mut codes = "| code | meaning |\n| --- | --- |\n".to_owned();
    for (exit, meaning) in Exit::ALL {
        writeln!(codes, "| {} | {meaning} |", exit.code()).expect("a string");
    }
    assert_has_table(&codes);
    let mut classes = "| class | meaning |\n| --- | --- |\n".to_owned();
    for (word, meaning) in Class::ALL {
        writeln!(classes, "| `{word}` | {meaning} |").expect("a string");
    }
    assert_has_table(&classes);
}

#[test]
fn every_command_line_is_understood() {
    let mut named = BTreeSet::new();
    let lines: Vec<_> = code("sh").into_iter().filter(|line| line.starts_with("promptmill")).collect();
    for line in &lines {
        let ours = line.split('|').next().unwrap_or(line);
        let cli = Cli::try_parse_from(ours.split_whitespace());
        cli.unwrap_or_else(|error| panic!("{line}\n{error}"));
        named.extend(ours.split_whitespace().nth(1));
    }
    assert!(lines.len() > 8, "{lines:?}");
    // `run` is what promptmill does alone.
    for command in Cli::command().get_subcommands().map(clap::Command::get_name).filter(|name| *name != "run") {
        assert!(named.contains(command), "the README does not show `promptmill {command}`");
    }
}

#[test]
fn every_flag_exists() {
    let mut command = Cli::command();
    command.build();
    let known: BTreeSet<String> = std::iter::once(&command)
        .chain(command.get_subcommands())
        .flat_map(clap::Command::get_arguments)
        .filter_map(|arg| arg.get_long().map(str::to_owned))
        .collect();
    let mut seen = 0;
    // Other programs' flags stand in lines of their own.
    for line in README.lines().filter(|line| !line.contains("cargo ")) {
        for (at, _) in line.match_indices("--") {
            let flag: String = line[at + 2..].chars().take_while(|c| c.is_ascii_alphanumeric() || *c == '-').collect();
            if flag.starts_with(|c: char| c.is_ascii_lowercase()) {
                assert!(known.contains(&flag), "there is no flag --{flag}: {line}");
                seen += 1;
            }
        }
    }
    assert!(seen > 40, "only {seen} flags were found");
}

#[test]
fn ci_runs_the_two_commands_as_they_stand() {
    for command in ["cargo run --release -- --offline", "cargo test"] {
        assert!(code("sh").contains(&command), "the README does not show `{command}`");
        assert!(CI.lines().any(|line| line.trim() == command), ".ci/run does not run `{command}`");
    }
}

#[test]
fn the_settings_example_is_accepted() {
    let text = code("toml").join("\n");
    assert!(text.contains("tokens_per_minute"), "{text}");
    file_layer(Path::new("promptmill.toml"), &text).expect("settings");
}

#[test]
fn every_file_that_is_linked_exists() {
    let links = README.match_indices("](").filter_map(|(at, _)| README[at + 2..].split(')').next());
    let files: Vec<_> = links.filter(|link| !link.starts_with("http")).collect();
    assert!(files.len() >= 4, "{files:?}");
    for file in files {
        assert!(Path::new(env!("CARGO_MANIFEST_DIR")).join(file).exists(), "{file}");
    }
}

#[test]
fn lines_are_short_enough_to_read_in_a_terminal() {
    for line in README.lines() {
        assert!(line.chars().count() <= 120, "{} characters: {line}", line.chars().count());
    }
}

#[test]
fn the_library_example_is_compiled_and_run_with_the_doc_tests() {
    assert!(code("rust").contains(&"fn main() -> std::io::Result<()> {"), "{:?}", code("rust"));
    let lib = include_str!("../src/lib.rs");
    assert!(lib.contains("#[cfg(doctest)]\n#[doc = include_str!(\"../README.md\")]"));
}
