//! Every package that is built into promptmill, or that builds or tests it, has a licence that we accept.
//!
//! This stands in for `cargo deny check licenses sources`, which takes longer to install than all tests to run. Known security holes
//! are not looked for: that needs a database from the network (`cargo audit` does it).
#![allow(clippy::expect_used, clippy::panic, reason = "a test fails by panicking, in its helpers too")]

use std::process::Command;

use serde_json::Value;

/// Licences under which anyone may use and pass on the program. `CDLA-Permissive-2.0` is for data (root certificates), `Unicode-3.0` for
/// character tables.
const ACCEPTED: [&str; 10] = [
    "0BSD",
    "Apache-2.0",
    "BSD-2-Clause",
    "BSD-3-Clause",
    "BSL-1.0",
    "CDLA-Permissive-2.0",
    "ISC",
    "MIT",
    "Unicode-3.0",
    "Zlib",
];

#[test]
fn every_package_has_a_licence_that_we_accept_and_comes_from_crates_io() {
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--locked", "--format-version", "1", "--manifest-path"])
        .arg(concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml"))
        .output()
        .expect("cargo starts");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let metadata: Value = serde_json::from_slice(&output.stdout).expect("cargo prints JSON");
    let packages = metadata["packages"].as_array().expect("a list of packages");
    assert!(packages.len() > 50, "only {} packages", packages.len());
    for package in packages {
        let name = &package["name"];
        let licence = package["license"].as_str().unwrap_or_else(|| panic!("{name} names no licence"));
        assert!(accepts(licence), "{name} has the licence {licence:?}");
        let source = package["source"].as_str();
        let ours = source.is_none() && name == "promptmill";
        let from_crates_io = source == Some("registry+https://github.com/rust-lang/crates.io-index");
        assert!(ours || from_crates_io, "{name} comes from {source:?}");
    }
}

#[test]
fn licence_expressions_are_understood() {
    for accepted in [
        "MIT",
        "MIT OR GPL-3.0-only",
        "GPL-3.0-only/MIT",
        "(MIT OR GPL-3.0-only) AND Unicode-3.0",
        "Apache-2.0 WITH LLVM-exception OR GPL-2.0-only",
        "GPL-2.0-only OR MIT AND ISC",
    ] {
        assert!(accepts(accepted), "{accepted}");
    }
    for refused in
        ["", "GPL-3.0-only", "MIT AND GPL-3.0-only", "(MIT OR ISC) AND GPL-3.0-only", "MIT WITH strange-exception"]
    {
        assert!(!accepts(refused), "{refused}");
    }
}

/// Whether an SPDX expression lets us choose accepted licences alone. `/` is how old crates write `OR`.
fn accepts(expression: &str) -> bool {
    let spaced = expression.replace('/', " OR ").replace('(', " ( ").replace(')', " ) ");
    let words: Vec<&str> = spaced.split_whitespace().collect();
    let mut rest = words.as_slice();
    any(&mut rest) && rest.is_empty()
}

fn any(rest: &mut &[&str]) -> bool {
    let mut accepted = all(rest);
    while take(rest, "OR") {
        accepted |= all(rest);
    }
    accepted
}

fn all(rest: &mut &[&str]) -> bool {
    let mut accepted = one(rest);
    while take(rest, "AND") {
        accepted &= one(rest);
    }
    accepted
}

fn one(rest: &mut &[&str]) -> bool {
    if take(rest, "(") {
        let accepted = any(rest);
        return take(rest, ")") && accepted;
    }
    let Some((licence, after)) = rest.split_first() else { return false };
    *rest = after;
    let mut accepted = ACCEPTED.contains(licence);
    if take(rest, "WITH") {
        accepted &= take(rest, "LLVM-exception");
    }
    accepted
}

fn take(rest: &mut &[&str], word: &str) -> bool {
    let found = rest.first() == Some(&word);
    if found {
        *rest = &rest[1..];
    }
    found
}
