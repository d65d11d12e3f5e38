//! A workspace for the built binary: a folder of prompts, a clean environment, and what came of a run.

#![allow(
    dead_code,
    missing_docs,
    unreachable_pub,
    clippy::disallowed_methods,
    clippy::expect_used,
    reason = "helpers of several test programs, none of which uses all"
)]

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use tempfile::TempDir;

/// A temporary folder with `prompts/` and an empty `outputs/`.
pub struct Workspace {
    folder: TempDir,
}

/// How a run of the binary ended.
#[derive(Debug)]
pub struct Ran {
    pub code: Option<i32>,
    pub stdout: String,
    pub stderr: String,
}

impl Workspace {
    /// With prompts `1_prompt.txt`, ..., each of a few words.
    pub fn with_prompts(number: usize) -> Self {
        let workspace = Self { folder: tempfile::tempdir().expect("a folder") };
        fs::create_dir(workspace.path("prompts")).expect("made");
        fs::create_dir(workspace.path("outputs")).expect("made");
        for prompt in 1..=number {
            workspace.write(&format!("prompts/{prompt}_prompt.txt"), format!("say hello to number {prompt}"));
        }
        workspace
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub fn write(&self, name: &str, contents: impl AsRef<[u8]>) {
        fs::write(self.path(name), contents).expect("written");
    }

    pub fn read(&self, name: &str) -> String {
        fs::read_to_string(self.path(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
    }

    /// The binary in this folder, with nothing of the tester's environment but the path.
    pub fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_promptmill"));
        command.env_clear().env("HOME", self.folder.path()).current_dir(self.folder.path()).args(args);
        command.env("PATH", std::env::var_os("PATH").unwrap_or_default());
        command
    }

    pub fn run(&self, args: &[&str]) -> Ran {
        Ran::of(&self.command(args).output().expect("it starts"))
    }

    /// Runs it, and checks the exit code.
    pub fn run_to(&self, code: i32, args: &[&str]) -> Ran {
        let ran = self.run(args);
        assert_eq!(ran.code, Some(code), "{args:?}: {ran:#?}");
        ran
    }

    /// A number of `usage.md`.
    pub fn usage(&self, key: &str) -> u64 {
        let text = self.read("usage.md");
        let value = text.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(" = "));
        value.unwrap_or_else(|| panic!("no {key} in {text}")).parse().expect("a number")
    }

    /// Replaces the value of a line of `usage.md`.
    pub fn edit_usage(&self, key: &str, value: &str) {
        let text = self.read("usage.md");
        let line = |line: &str| if line.starts_with(key) { format!("{key} = {value}\n") } else { format!("{line}\n") };
        self.write("usage.md", text.lines().map(line).collect::<String>());
    }

    /// Every file with its bytes, and every folder.
    pub fn everything(&self) -> BTreeMap<PathBuf, Option<Vec<u8>>> {
        let mut found = BTreeMap::new();
        visit(self.folder.path(), &mut found);
        found
    }
}

fn visit(folder: &Path, found: &mut BTreeMap<PathBuf, Option<Vec<u8>>>) {
    for entry in fs::read_dir(folder).expect("a folder") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            visit(&path, found);
            found.insert(path, None);
        } else {
            let bytes = fs::read(&path).expect("read");
            found.insert(path, Some(bytes));
        }
    }
}

impl Ran {
    pub fn of(output: &Output) -> Self {
        let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).expect("UTF-8");
        Self { code: output.status.code(), stdout: text(&output.stdout), stderr: text(&output.stderr) }
    }

    /// Checks that stderr says each of `parts`.
    #[track_caller]
    pub fn says(&self, parts: &[&str]) -> &Self {
        for part in parts {
            assert!(self.stderr.contains(part), "no {part:?} in {self:#?}");
        }
        self
    }

    /// Checks that stdout is the closing line and nothing else.
    #[track_caller]
    pub fn closes(&self, line: &str) -> &Self {
        assert_eq!(self.stdout, format!("{line}\n"), "{self:#?}");
        self
    }
}
