//! The API key: found in each of its places, sent to the server, and shown to nobody else.

mod common;

use common::{Ended, Workspace, serve};
use promptmill::standin::{Options, Server};

/// Short keys are echoed whole by the 401, as the real API does it.
const KEY: &str = "k-test-4711";

/// Ways to hand over a key: a variable, or a file with its text.
const WAYS: [(&str, &str); 5] = [
    ("OPENAI_API_KEY", KEY),
    ("api_key.txt", "k-test-4711\n"),
    (".openai_key", "  k-test-4711\r\n"),
    (".env", "OTHER=1\nOPENAI_API_KEY=\"k-test-4711\"\n"),
    (".env", "export OPENAI_API_KEY=k-test-4711\n"),
];

fn server(key: &str) -> Server {
    serve(Options { key: Some(key.to_owned()), ..Options::default() })
}

/// Runs with the key handed over as `way` says.
fn run(workspace: &Workspace, (name, text): (&str, &str), args: &[&str]) -> Ended {
    let mut command = workspace.command(args);
    if name == "OPENAI_API_KEY" {
        command.env(name, text);
    } else {
        workspace.write(name, text);
    }
    Ended::run(&mut command)
}

/// Checks that the key is in no file but the one it was handed over in, and in no line.
fn shown_nowhere(workspace: &Workspace, (name, _): (&str, &str), ran: &Ended) {
    assert!(!ran.stdout.contains(KEY) && !ran.stderr.contains(KEY), "{ran:#?}");
    for (path, bytes) in workspace.everything() {
        let Some(bytes) = bytes.filter(|_| path != workspace.path(name)) else { continue };
        let found = bytes.windows(KEY.len()).any(|part| part == KEY.as_bytes());
        assert!(!found, "the key is in {}", path.display());
    }
}

#[test]
fn the_key_of_each_place_is_used_and_shown_nowhere() {
    let server = server(KEY);
    let url = server.base_url();
    for way in WAYS {
        let workspace = Workspace::with_prompts(2);
        for args in [["--base-url", &url, "-vv"].as_slice(), &["--base-url", &url, "--force", "--json", "-vv"]] {
            let ran = run(&workspace, way, args);
            assert_eq!(ran.code, Some(0), "{way:?}: {ran:#?}");
            shown_nowhere(&workspace, way, &ran);
        }
        for args in [["settings"].as_slice(), &["status", "--json"], &["plan", "--json", "--force"]] {
            shown_nowhere(&workspace, way, &run(&workspace, way, args));
        }
    }
}

#[test]
fn a_401_that_echoes_the_key_stops_the_run_and_shows_it_nowhere() {
    let server = server("another-key");
    let url = server.base_url();
    for way in WAYS {
        for args in
            [["--base-url", &url, "-vv"].as_slice(), &["--base-url", &url, "--json", "-vv", "--api", "responses"]]
        {
            let workspace = Workspace::with_prompts(3);
            let ran = run(&workspace, way, args);
            assert_eq!(ran.code, Some(4), "{ran:#?}");
            ran.says(&["Incorrect API key provided: [key]"]);
            shown_nowhere(&workspace, way, &ran);
            assert!(!workspace.path("outputs/1_output.txt").exists(), "a bad key is no failure of a prompt");
        }
    }
}

#[test]
fn without_a_key_every_way_to_give_it_is_named() {
    let workspace = Workspace::with_prompts(1);
    let ran = workspace.run_to(2, &[]);
    ran.says(&["api.openai.com", "OPENAI_API_KEY", "api_key.txt", ".openai_key", ".env", "--offline"]);
    // Blank is not given; and the price can be asked for before there is a key.
    let ran = Ended::run(workspace.command(&[]).env("OPENAI_API_KEY", " "));
    assert_eq!(ran.code, Some(2));
    assert!(workspace.run_to(0, &["plan"]).stdout.contains("cost:   about $"));
}

#[test]
fn what_is_no_key_is_refused_without_showing_it() {
    let workspace = Workspace::with_prompts(1);
    for text in ["k-test-4711 and more", "k-test-4711\nk-test-4711"] {
        let ran = run(&workspace, ("api_key.txt", text), &[]);
        assert_eq!(ran.code, Some(2), "{ran:#?}");
        ran.says(&["api_key.txt"]);
        assert!(!ran.stderr.contains(KEY), "{ran:#?}");
    }
    workspace.write("api_key.txt", "");
    workspace.write("promptmill.toml", format!("api_key = \"{KEY}\"\n"));
    let ran = workspace.run_to(2, &["--offline"]);
    ran.says(&["promptmill.toml:1", "OPENAI_API_KEY"]);
    assert!(!ran.stderr.contains(KEY), "{ran:#?}");
}

#[test]
fn the_stand_in_of_offline_is_shown_no_key() {
    let workspace = Workspace::with_prompts(1);
    let ran = run(&workspace, WAYS[0], &["--offline", "-vv", "--json"]);
    assert_eq!(ran.code, Some(0), "{ran:#?}");
    shown_nowhere(&workspace, WAYS[0], &ran);
}
