//! The layout is the sentence: what a folder may use. An arrow back up fails here.
#![expect(clippy::expect_used, reason = "a test fails by panicking, in its helpers too")]

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// Folders and files of `src`, each of which uses only those before it. The second row is the sentence.
const FLOORS: &[&[&str]] = &[
    &["tripwire", "model", "clock", "regular", "atomic"],
    &["source", "count", "plan", "admit", "send", "record", "write"],
    &["report", "run", "drive"],
    &["config", "standin", "mill", "cli"],
];

/// Arrows that are still to go: each has to be there, so that none stays listed when it is gone.
const TO_GO: &[(&str, &str)] = &[];

fn files(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).expect("a folder") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            found.extend(files(&path));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
    found
}

/// The code of a file without comments and without its tests, which may look anywhere. They are at its end, or in a file of their own.
fn code(path: &Path) -> String {
    let text = fs::read_to_string(path).expect("a source file");
    let mut lines: Vec<&str> = text.lines().filter(|line| !line.trim_start().starts_with("//")).collect();
    let is_test = |line: &str| line.starts_with("#[cfg(test)]") || line.starts_with("#[cfg(all(test");
    let tests = lines.windows(2).position(|pair| is_test(pair[0].trim_start()) && pair[1].ends_with('{'));
    lines.truncate(tests.unwrap_or(lines.len()));
    lines.join("\n")
}

/// The folder (or file) of `src` that a source file belongs to.
fn room(path: &Path) -> String {
    let inside = path.strip_prefix("src").expect("a file of src");
    let first = inside.components().next().expect("a name").as_os_str().to_string_lossy();
    first.trim_end_matches(".rs").to_owned()
}

fn is_tests(path: &Path) -> bool {
    path.file_stem().is_some_and(|stem| stem.to_string_lossy().ends_with("tests"))
}

/// Every arrow between rooms, with a file that draws it.
fn arrows() -> BTreeSet<(String, String, PathBuf)> {
    let mut arrows = BTreeSet::new();
    for path in files(Path::new("src")).into_iter().filter(|path| !is_tests(path)) {
        let from = room(&path);
        for used in code(&path).split("crate::").skip(1) {
            let to: String = used.chars().take_while(|char| char.is_ascii_lowercase() || *char == '_').collect();
            if to != from && !to.is_empty() {
                arrows.insert((from.clone(), to, path.clone()));
            }
        }
    }
    arrows
}

#[test]
fn every_room_uses_only_what_comes_before_it() {
    let order: Vec<&str> = FLOORS.concat();
    let place = |room: &str| order.iter().position(|known| *known == room);
    let up = |(from, to, _): &(String, String, PathBuf)| place(to) > place(from) || place(to).is_none();
    let up: Vec<_> = arrows().into_iter().filter(|(from, ..)| from != "main" && from != "lib").filter(up).collect();
    let is_to_go = |from: &str, to: &str| TO_GO.contains(&(from, to));
    let wrong: Vec<_> = up.iter().filter(|(from, to, _)| !is_to_go(from, to)).collect();
    assert!(wrong.is_empty(), "these use what comes after them: {wrong:#?}");
    let gone =
        |(from, to): &&(&str, &str)| !up.iter().any(|(a, b, _)| (a, b) == (&(*from).to_owned(), &(*to).to_owned()));
    let gone: Vec<_> = TO_GO.iter().filter(gone).collect();
    assert!(gone.is_empty(), "these arrows are gone, and need not be listed: {gone:?}");
}

#[test]
fn every_room_has_a_floor_and_a_line_on_the_map() {
    let map = fs::read_to_string("src/lib.rs").expect("the map");
    let map: String = map.lines().filter(|line| line.starts_with("//!")).collect();
    for path in files(Path::new("src")) {
        let room = room(&path);
        if ["main", "lib"].contains(&room.as_str()) {
            continue;
        }
        assert!(FLOORS.concat().contains(&room.as_str()), "{room} has no floor");
        assert!(map.contains(&format!("`{room}`")), "the map in src/lib.rs does not name {room}");
    }
}

#[test]
fn the_database_is_named_in_its_own_room() {
    let is_its_room = |path: &PathBuf| path.starts_with("src/record/sqlite");
    let named = |path: &PathBuf| code(path).contains("rusqlite") && !is_its_room(path);
    let named: Vec<_> = files(Path::new("src")).into_iter().filter(named).collect();
    assert!(named.is_empty(), "{named:?}");
}

/// Files and folders of `src/run`, each of which uses only those before it: the three parts of the machine do not know each other, but for the
/// books, which are told by the pace what a failure means.
const MACHINE: &[&str] = &["action", "input", "rules", "recover", "queue", "pace", "books", "machine"];

#[test]
fn the_parts_of_the_machine_use_each_other_in_one_direction() {
    let place = |part: &str| MACHINE.iter().position(|known| *known == part);
    for path in files(Path::new("src/run")).into_iter().filter(|path| !is_tests(path)) {
        let inside = path.strip_prefix("src/run").expect("a file of the machine");
        let part = inside.iter().next().expect("a name").to_string_lossy().trim_end_matches(".rs").to_owned();
        if part == "mod" {
            continue;
        }
        let here = place(&part).unwrap_or_else(|| panic!("{part} has no place among the parts"));
        // From a part's own file and from its `mod.rs` the others are next door.
        let is_top = inside.components().count() == 1 || inside.ends_with("mod.rs");
        let code = code(&path);
        let near = code.split("super::").skip(1).filter(|_| is_top);
        for used in near.chain(code.split("crate::run::").skip(1)) {
            let name: String = used.chars().take_while(|char| char.is_ascii_lowercase() || *char == '_').collect();
            let up = place(&name).is_some_and(|there| there > here);
            assert!(!up, "{} uses {name}, which comes after it", path.display());
        }
    }
}
