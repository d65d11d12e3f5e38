//! The official `openai` Python client, strict about what it reads, works against the stand-in.
#![allow(clippy::expect_used, clippy::panic, reason = "a test fails by panicking, in its helpers too")]

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use promptmill::standin::{Fault, FaultKind, Options, Server};

/// Names an interpreter that has the packages of `tests/conformance/requirements.txt`.
const PYTHON: &str = "PROMPTMILL_TEST_PYTHON";

#[test]
fn the_official_client_is_content() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/conformance");
    let python = python(&folder.join("requirements.txt"));

    let start = |options| Server::start_thread(options).expect("a server on loopback");
    let plain = start(Options {
        tokens_per_minute: Some(10_000),
        key: Some("test-key-right-0000".into()),
        known_models: Some(vec!["gpt-4o-mini".into()]),
        ..Options::default()
    });
    let limited =
        start(Options { requests_per_minute: Some(1), window: Duration::from_secs(3_600), ..Options::default() });
    let faults = FaultKind::ALL.into_iter().filter(|&kind| kind != FaultKind::Hang).map(|kind| {
        let faults = vec![Fault { kind, share: 1.0 }];
        (kind, start(Options { faults, quota_code: "credit_balance_exhausted".into(), ..Options::default() }))
    });
    let faults: Vec<_> = faults.collect();

    let output = Command::new(python)
        .arg(folder.join("openai_client.py"))
        .arg(plain.base_url())
        .arg(format!("limited={}", limited.base_url()))
        .args(faults.iter().map(|(kind, server)| format!("{kind}={}", server.base_url())))
        .env("PYTHONUTF8", "1")
        // A proxy of the machine must not stand between the client and loopback.
        .env("NO_PROXY", "127.0.0.1")
        .output()
        .expect("the interpreter starts");
    let stdout = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{stdout}\n{}", String::from_utf8_lossy(&output.stderr));
    let last = stdout.lines().last().unwrap_or_default();
    assert!(last.ends_with(" passed, 0 failed") && !last.contains(" 0 passed"), "{stdout}");
}

/// The interpreter of the environment, or of a virtual environment that is made when it is not there.
fn python(requirements: &Path) -> PathBuf {
    #[expect(clippy::disallowed_methods, reason = "a test's own setting")]
    if let Some(python) = std::env::var_os(PYTHON) {
        return python.into();
    }
    // Beside the build, so that it is kept from run to run and is ignored by git.
    let venv = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/conformance-venv");
    let python = venv.join("bin/python");
    // Not only that it exists: an installation that was broken off is done again.
    let has_client =
        Command::new(&python).args(["-c", "import openai"]).output().is_ok_and(|output| output.status.success());
    if !has_client {
        println!("making {} with the packages of {}", venv.display(), requirements.display());
        must("python3", Command::new("python3").args(["-m", "venv"]).arg(&venv));
        must("pip", Command::new(&python).args(["-m", "pip", "install", "--quiet", "--requirement"]).arg(requirements));
    }
    python
}

fn must(what: &str, command: &mut Command) {
    let help = format!(
        "install python3 (3.9 or later) with its venv module, and let pip reach PyPI; or name an interpreter that has \
         tests/conformance/requirements.txt in {PYTHON}"
    );
    match command.output() {
        Err(error) => panic!("{what} cannot be started: {error}; {help}"),
        Ok(output) if !output.status.success() => {
            panic!("{what} failed: {}\n{help}", String::from_utf8_lossy(&output.stderr))
        }
        Ok(_) => {}
    }
}
