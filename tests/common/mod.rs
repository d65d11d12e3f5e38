//! A folder of prompts, and the built binary run in it: what the whole-binary tests share.
//!
//! The child's environment is empty but for `PATH` and `HOME`, so that nobody's key or settings reach a test.
#![allow(dead_code, reason = "each test file uses a part of it")]
#![allow(clippy::expect_used, clippy::panic, reason = "a test fails by panicking, in its helpers too")]

pub(crate) mod scripted;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use promptmill::admit::usage_md::Face;
use promptmill::model::Usage;
use promptmill::standin::{Fault, FaultKind, Logged, Options, Server, answer, digest};
use serde_json::Value;

/// The model that a run asks where nothing else is said.
pub(crate) const MODEL: &str = "gpt-4o-mini";
/// The codes of an account that is used up, as the API documents them.
pub(crate) const QUOTA_CODES: [&str; 5] = [
    "insufficient_quota",
    "credit_balance_exhausted",
    "organization_spend_limit_exceeded",
    "project_spend_limit_exceeded",
    "organization_usage_limit_exceeded",
];
/// No wait of these tests is for its length: one that takes so long has failed.
const PATIENCE: Duration = Duration::from_secs(60);

/// A stand-in that behaves as `options` say.
pub(crate) fn serve(options: Options) -> Server {
    Server::start_thread(options).expect("a server on loopback")
}

/// A fault that happens to every request.
pub(crate) fn always(kind: FaultKind) -> Vec<Fault> {
    vec![Fault { kind, share: 1.0 }]
}

/// What the server billed, in tokens.
pub(crate) fn billed(log: &[Logged]) -> u64 {
    log.iter().filter_map(|logged| logged.usage).map(Usage::total).sum()
}

/// The most of `moments`, which are in order, in any span as long as `window`.
pub(crate) fn most_within(moments: &[Duration], window: Duration) -> usize {
    let count = |first: usize| moments[first..].partition_point(|&at| at < moments[first] + window);
    (0..moments.len()).map(count).max().unwrap_or(0)
}

/// No `window` holds more than `most` admissions, by the ledger beside `usage_md`; nor more than `most` arrivals, by the server's log.
pub(crate) fn assert_within(most: usize, window: Duration, usage_md: &Path, log: &[Logged]) {
    let state = usage_md.with_file_name(".promptmill").join("usage.db");
    let database = rusqlite::Connection::open(state).expect("the ledger");
    let mut rows = database.prepare("SELECT at, requests FROM ledger ORDER BY at").expect("a query");
    let rows = rows.query_map([], |row| Ok((row.get::<_, i64>(0)?, row.get::<_, i64>(1)?))).expect("rows");
    let admitted = rows.flat_map(|row| {
        let (at, requests) = row.expect("a row");
        (0..requests).map(move |_| Duration::from_nanos(at.unsigned_abs()))
    });
    let admitted: Vec<_> = admitted.collect();
    assert_eq!(admitted.len(), log.len());
    let found = most_within(&admitted, window);
    assert!(found <= most, "{found} admitted in one window");
    let arrived: Vec<_> = log.iter().map(|logged| logged.arrived).collect();
    let found = most_within(&arrived, window);
    assert!(found <= most, "{found} arrived in one window: {arrived:?}");
}

/// Looks until `seen` says yes.
pub(crate) fn until(what: &str, mut seen: impl FnMut() -> bool) {
    let started = Instant::now();
    while !seen() {
        assert!(started.elapsed() < PATIENCE, "{what}: not seen in {PATIENCE:?}");
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// A folder with `prompts/`, thrown away at the end.
pub(crate) struct Workspace {
    folder: tempfile::TempDir,
    prompts: BTreeMap<u64, String>,
}

impl Workspace {
    /// With the prompts 1 to `number`, all different.
    pub(crate) fn with_prompts(number: u64) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        fs::create_dir(folder.path().join("prompts")).expect("made");
        let mut workspace = Self { folder, prompts: BTreeMap::new() };
        for prompt in 1..=number {
            workspace.write_prompt(prompt, &format!("Say something short about the number {prompt}.\n"));
        }
        workspace
    }

    /// Writes a prompt.
    pub(crate) fn write_prompt(&mut self, prompt: u64, text: &str) {
        fs::write(self.path(&format!("prompts/{prompt}_prompt.txt")), text).expect("written");
        self.prompts.insert(prompt, text.to_owned());
    }

    /// Writes any other file; a prompt written this way is not one that [`assert_answered`](Self::assert_answered) knows.
    pub(crate) fn write(&self, name: &str, contents: impl AsRef<[u8]>) {
        fs::write(self.path(name), contents).expect("written");
    }

    pub(crate) fn read(&self, name: &str) -> String {
        fs::read_to_string(self.path(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
    }

    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// The binary with `args`, in this folder, in a clean environment.
    #[expect(clippy::disallowed_methods, reason = "the child's path is the tester's")]
    pub(crate) fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_promptmill"));
        command.current_dir(self.folder()).args(args).env_clear().env("HOME", self.folder());
        command.env("PATH", std::env::var_os("PATH").unwrap_or_default());
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }

    /// Runs the binary with `args` to its end.
    pub(crate) fn run(&self, args: &[&str]) -> Ended {
        Ended::run(&mut self.command(args))
    }

    /// Runs it, and checks the exit code.
    #[track_caller]
    pub(crate) fn run_to(&self, code: i32, args: &[&str]) -> Ended {
        let ended = self.run(args);
        assert_eq!(ended.code, Some(code), "{args:?}: {ended:#?}");
        ended
    }

    /// `promptmill run --json` against `server`, with `args`.
    pub(crate) fn command_against(&self, server: &Server, args: &[&str]) -> Command {
        let base_url = server.base_url();
        let mut all = vec!["run", "--json", "--range", "all", "--base-url", &base_url];
        all.extend(args);
        self.command(&all)
    }

    /// Runs that to its end.
    pub(crate) fn run_against(&self, server: &Server, args: &[&str]) -> Ended {
        Ended::of(self.command_against(server, args).spawn().expect("started"))
    }

    /// The text of `prompt`.
    pub(crate) fn prompt(&self, prompt: u64) -> &str {
        &self.prompts[&prompt]
    }

    /// The output of `prompt`; `None` where there is none.
    pub(crate) fn output(&self, prompt: u64) -> Option<String> {
        fs::read_to_string(self.path(&format!("outputs/{prompt}_output.txt"))).ok()
    }

    /// Every one of `prompts` has the stand-in's answer, byte for byte.
    pub(crate) fn assert_answered(&self, prompts: impl IntoIterator<Item = u64>) {
        for prompt in prompts {
            assert_eq!(
                self.output(prompt).as_deref(),
                Some(&*answer(MODEL, &self.prompts[&prompt])),
                "output {prompt}"
            );
        }
    }

    /// The prompts without an output.
    pub(crate) fn without_output(&self) -> Vec<u64> {
        self.prompts.keys().copied().filter(|&prompt| self.output(prompt).is_none()).collect()
    }

    /// The prompts of `log`, in the order of their arrival.
    pub(crate) fn prompts_of(&self, log: &[Logged]) -> Vec<u64> {
        let known: BTreeMap<u64, u64> =
            self.prompts.iter().map(|(&prompt, text)| (digest(MODEL, text), prompt)).collect();
        log.iter().filter_map(|logged| logged.prompt).map(|digest| known[&digest]).collect()
    }

    /// What `usage.md` says.
    pub(crate) fn usage(&self) -> Face {
        Face::parse(&self.read("usage.md")).expect("six lines")
    }

    /// Replaces the value of a line of `usage.md`.
    pub(crate) fn edit_usage(&self, key: &str, value: &str) {
        let text = self.read("usage.md");
        let line = |line: &str| if line.starts_with(key) { format!("{key} = {value}\n") } else { format!("{line}\n") };
        self.write("usage.md", text.lines().map(line).collect::<String>());
    }

    /// Every file of the folder with its bytes, and every folder in it.
    pub(crate) fn everything(&self) -> BTreeMap<PathBuf, Option<Vec<u8>>> {
        let mut found = BTreeMap::new();
        visit(self.folder(), &mut found);
        found
    }

    /// Temporary files that were left, but for those of `usage.md`: young ones are left alone, because another process may be about to place them.
    pub(crate) fn leftovers_of_answers(&self) -> Vec<PathBuf> {
        let mut found = self.leftovers();
        found.retain(|path| path.parent() != Some(self.folder()));
        found
    }

    /// Temporary files that were left anywhere in the folder.
    pub(crate) fn leftovers(&self) -> Vec<PathBuf> {
        let folders = [self.folder().to_owned(), self.path("outputs"), self.path(".promptmill")];
        let files = folders.iter().filter_map(|folder| fs::read_dir(folder).ok()).flatten();
        let paths = files.map(|entry| entry.expect("an entry").path());
        paths.filter(|path| path.extension().is_some_and(|extension| extension == "tmp")).collect()
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

/// Requests that were in flight when the run before `ended` was killed, those whose answer was on disk, and those that are sent again.
pub(crate) fn in_flight_at_the_kill(ended: &Ended) -> Option<[u64; 3]> {
    let events = ended.events("recovered");
    assert!(events.len() <= 1, "told more than once: {events:?}");
    Some(["requests", "answered", "sent_again"].map(|name| events.first()?[name].as_u64()))
        .and_then(|[requests, answered, again]| Some([requests?, answered?, again?]))
}

/// A small disk of its own, taken away when dropped.
#[cfg(target_os = "linux")]
pub(crate) struct SmallDisk(std::path::PathBuf);

#[cfg(target_os = "linux")]
impl SmallDisk {
    pub(crate) fn mount(workspace: &Workspace, name: &str, size: &str) -> Self {
        let path = workspace.path(name);
        let disk = Self(path);
        disk.option("-t", "tmpfs", &format!("size={size}"));
        disk
    }

    pub(crate) fn resize(&self, size: &str) {
        self.option("-o", "remount", &format!("size={size}"));
    }

    /// Fills it up, to the last page.
    pub(crate) fn fill(&self) {
        use std::io::Write as _;
        let mut filler = fs::File::create(self.0.join("filler")).expect("made");
        while filler.write_all(&[0; 4096]).is_ok() {}
    }

    /// Makes the room again that was filled up.
    pub(crate) fn empty(&self) {
        fs::remove_file(self.0.join("filler")).expect("removed");
    }

    fn option(&self, flag: &str, value: &str, options: &str) {
        let mut command = std::process::Command::new("mount");
        let ran = command.args([flag, value, "-o", options, "none"]).arg(&self.0).output().expect("mount");
        assert!(ran.status.success(), "this test mounts a small tmpfs, which needs root: {ran:?}");
    }
}

#[cfg(target_os = "linux")]
impl Drop for SmallDisk {
    fn drop(&mut self) {
        // What stays mounted is seen when the folder cannot be removed.
        let _ = std::process::Command::new("umount").arg(&self.0).status();
    }
}

fn kill(pid: u32) {
    #[cfg(unix)]
    if let Some(pid) = rustix::process::Pid::from_raw(pid.cast_signed()) {
        // It may have ended just now.
        let _ = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
    }
}

/// Waits until the process has stopped itself.
#[cfg(unix)]
pub(crate) fn stopped(child: &Child) {
    let status = format!("/proc/{}/stat", child.id());
    until("a stop", || fs::read_to_string(&status).is_ok_and(|stat| stat.contains(") T ")));
}

#[cfg(unix)]
pub(crate) fn signal(child: &Child, signal: rustix::process::Signal) {
    rustix::process::kill_process(rustix::process::Pid::from_child(child), signal).expect("a signal");
}

/// Kills a process that takes too long, so that who reads what it says comes to an end; dropping this calls it off.
pub(crate) struct Watchdog(std::sync::mpsc::Sender<()>);

impl Watchdog {
    pub(crate) fn over(child: &Child) -> Self {
        let pid = child.id();
        let (through, told) = std::sync::mpsc::channel();
        std::thread::spawn(move || {
            if told.recv_timeout(PATIENCE) == Err(std::sync::mpsc::RecvTimeoutError::Timeout) {
                kill(pid);
            }
        });
        Self(through)
    }
}

/// A run that has ended.
#[derive(Debug)]
pub(crate) struct Ended {
    /// The exit code; `None` where a signal ended it.
    pub(crate) code: Option<i32>,
    pub(crate) stdout: String,
    /// The lines of `--json`; none where stdout is text.
    pub(crate) events: Vec<Value>,
    pub(crate) stderr: String,
}

impl Ended {
    /// Runs `command` to its end.
    pub(crate) fn run(command: &mut Command) -> Self {
        Self::of(command.spawn().expect("it starts"))
    }

    /// Waits for `child`; one that hangs is killed, and has failed.
    pub(crate) fn of(child: Child) -> Self {
        let pid = child.id();
        let (tell, told) = std::sync::mpsc::channel();
        let waiter = std::thread::spawn(move || {
            let output = child.wait_with_output().expect("it ends");
            // Nobody listens to one that was killed.
            let _ = tell.send(());
            output
        });
        let hangs = told.recv_timeout(PATIENCE).is_err();
        if hangs {
            kill(pid);
        }
        let ended = Self::from(waiter.join().expect("it was waited for"));
        assert!(!hangs, "process {pid} has not ended in {PATIENCE:?}: {ended:#?}");
        ended
    }

    /// Takes what a killed `child` had said; its last line may be cut.
    pub(crate) fn of_killed(child: Child) -> Self {
        let mut output = child.wait_with_output().expect("it ends");
        let whole = output.stdout.iter().rposition(|&byte| byte == b'\n').map_or(0, |end| end + 1);
        output.stdout.truncate(whole);
        Self::from(output)
    }

    /// The events of this name.
    pub(crate) fn events(&self, name: &str) -> Vec<&Value> {
        self.events.iter().filter(|event| event["event"] == name).collect()
    }

    /// The last event, which adds up.
    pub(crate) fn summary(&self) -> &Value {
        let last = self.events.last().unwrap_or_else(|| panic!("no events: {}", self.stderr));
        assert_eq!(last["event"], "summary", "{}", self.stderr);
        let count = |name: &str| last[name].as_u64().unwrap_or_else(|| panic!("{name} in {last}"));
        assert_eq!(count("prompts"), count("done") + count("up_to_date") + count("failed") + count("pending"));
        assert_eq!(last["exit_code"].as_i64(), self.code.map(i64::from));
        last
    }

    /// `[done, up to date, failed, pending]` of the summary.
    pub(crate) fn counts(&self) -> [u64; 4] {
        let summary = self.summary();
        ["done", "up_to_date", "failed", "pending"].map(|name| summary[name].as_u64().expect("a count"))
    }

    /// stderr says each of `parts`.
    #[track_caller]
    pub(crate) fn says(&self, parts: &[&str]) -> &Self {
        for part in parts {
            assert!(self.stderr.contains(part), "no {part:?} in {self:#?}");
        }
        self
    }

    /// stdout is the closing line and nothing else.
    #[track_caller]
    pub(crate) fn closes(&self, line: &str) -> &Self {
        assert_eq!(self.stdout, format!("{line}\n"), "{self:#?}");
        self
    }

    /// The exit code and the counts are these.
    #[track_caller]
    pub(crate) fn assert_ended(&self, code: i32, counts: [u64; 4]) {
        assert_eq!((self.code, self.counts()), (Some(code), counts), "{}", self.stderr);
    }
}

impl From<Output> for Ended {
    fn from(output: Output) -> Self {
        let stdout = String::from_utf8(output.stdout).expect("UTF-8");
        let lines = stdout.lines().filter(|_| stdout.starts_with('{'));
        let events = lines.map(|line| serde_json::from_str(line).unwrap_or_else(|_| panic!("{line}"))).collect();
        let stderr = String::from_utf8(output.stderr).expect("UTF-8");
        Self { code: output.status.code(), stdout, events, stderr }
    }
}
