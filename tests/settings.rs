//! Settings as a person hands them over: what is taken, what is refused and why, and what `settings` says of it.

mod common;

use common::{Ended, Workspace, serve};
use promptmill::standin::{Options, digest};
use serde_json::Value;

#[test]
fn extra_members_change_nothing_behind_the_plan() {
    let workspace = Workspace::with_prompts(2);
    let server = serve(Options::default());
    let url = server.base_url();
    for (extra, named) in [
        (r#"{"model":"gpt-5.4-pro"}"#, "`model`"),
        (r#"{"instructions":"Write a long poem."}"#, "`request.system`"),
        (r#"{"max_tokens":"5"}"#, "`max_tokens`"),
        (r#"{"max_tokens":5,"max_completion_tokens":5000}"#, "keep one"),
    ] {
        for command in ["plan", "run"] {
            workspace.run_to(2, &[command, "--base-url", &url, "--extra", extra]).says(&["[request.extra]", named]);
        }
    }
    assert!(server.log().is_empty());
    // Where the server knows only the old name, the plan knows the number too.
    let plan = workspace.run_to(0, &["plan", "--base-url", &url, "--extra", r#"{"max_tokens":50}"#, "--json"]);
    let plan: Value = serde_json::from_str(&plan.stdout).expect("JSON");
    assert_eq!(plan["expected_output_tokens"], 100);
}

#[test]
fn flags_stand_before_the_command_too() {
    let workspace = Workspace::with_prompts(1);
    for command in ["plan", "status", "limits", "settings"] {
        let before = workspace.run_to(0, &["--model", "gpt-4o", "--outputs", "answers", command]);
        let behind = workspace.run_to(0, &[command, "--model", "gpt-4o", "--outputs", "answers"]);
        assert_eq!(before.stdout, behind.stdout, "{command}");
    }
    workspace.run_to(0, &["--outputs", "answers", "--offline", "run"]);
    assert!(workspace.path("answers/1_output.txt").exists());
}

#[test]
fn flags_of_other_programs_get_a_tip() {
    let workspace = Workspace::with_prompts(1);
    workspace.run_to(2, &["--rpm", "5"]).says(&["'--rpm'", "tip: the flag is '--requests-per-minute'"]);
    let ran = workspace.run_to(2, &["plan", "--api-key=sk-verysecret"]);
    ran.says(&["OPENAI_API_KEY", "api_key.txt"]);
    assert!(!ran.stderr.contains("verysecret"), "{ran:#?}");
}

#[test]
fn settings_and_limits_are_one_line_of_json_each() {
    let workspace = Workspace::with_prompts(1);
    let system = "Be brief. ".repeat(20);
    workspace.write("promptmill.toml", format!("[request]\nsystem = \"{system}\"\n"));
    workspace.write("api_key.txt", "k-test-4711");
    let json = |args: &[&str]| {
        let ran = workspace.run_to(0, args);
        assert_eq!(ran.stdout.lines().count(), 1, "{ran:#?}");
        assert!(!ran.stdout.contains("4711"), "{ran:#?}");
        serde_json::from_str::<Value>(&ran.stdout).expect("JSON")
    };
    let settings = json(&["settings", "--json", "--model", "gpt-4o"]);
    assert_eq!(settings["settings"]["model"], serde_json::json!({ "value": "gpt-4o", "from": "--model" }));
    assert_eq!(settings["settings"]["request.system"]["value"], system, "the whole value");
    assert_eq!(settings["settings"]["request.system"]["from"], "promptmill.toml:2");
    assert!(settings["api_key_from"].as_str().expect("a key").contains("api_key.txt"), "{settings}");

    let server = serve(Options { requests_per_minute: Some(600), ..Options::default() });
    let url = server.base_url();
    assert_eq!(json(&["limits", "--json", "--base-url", &url])["limits"], serde_json::json!([]));
    workspace.run_to(0, &["--base-url", &url]);
    let limits = json(&["limits", "--json", "--base-url", &url]);
    let learned = &limits["limits"][0];
    assert_eq!(
        (&learned["base_url"], &learned["unit"]),
        (&Value::from(url.as_str()), &Value::from("requests")),
        "{limits}"
    );
    let number = limits["limits"].as_array().expect("a list").len();
    assert_eq!(json(&["limits", "forget", "--json", "--base-url", &url])["forgotten"], number);
}

#[test]
fn a_quiet_plan_is_the_sum_and_what_will_fail() {
    let workspace = Workspace::with_prompts(2);
    workspace.write("prompts/3_prompt.txt", b"\xff");
    for args in [["plan", "-q"].as_slice(), &["run", "--dry-run", "--quiet"]] {
        let lines = workspace.run_to(1, args).stdout;
        let lines: Vec<&str> = lines.lines().collect();
        assert_eq!(lines[0], "3 prompts = 0 up to date + 2 to send + 1 that will fail");
        assert!(lines.len() == 2 && lines[1].starts_with("  prompt 3 will fail: not_text"), "{lines:?}");
    }
}

#[test]
fn dotenv_gives_what_the_environment_gives() {
    let workspace = Workspace::with_prompts(2);
    let server = serve(Options { key: Some("k-test-4711".to_owned()), ..Options::default() });
    let url = server.base_url();
    workspace.write(
        ".env",
        format!(
            "OPENAI_API_KEY=k-test-4711\nOPENAI_BASE_URL={url} # the gateway\nOPENAI_MODEL=\"gpt-4o\"\n\
             PROMPTMILL_OUTPUTS=answers\nOPENAI_ORG_ID=org-1\nMODEL=gpt-4o\nMAX_BATCHES=1\n"
        ),
    );
    let ran = workspace.run_to(0, &[]);
    ran.says(&["MAX_BATCHES (.env:7) is not read", "`limits.split`"])
        .closes("2 prompts = 2 done + 0 up to date + 0 failed + 0 pending");
    assert!(!ran.stderr.contains("MODEL (.env:6)"), "the model is set: {ran:#?}");
    assert!(workspace.path("answers/2_output.txt").exists());
    let asked = digest("gpt-4o", &workspace.read("prompts/1_prompt.txt"));
    assert!(server.log().iter().any(|logged| logged.prompt == Some(asked)));
    let shown = workspace.run_to(0, &["settings"]).stdout;
    for line in ["gpt-4o  (.env:3)", "OPENAI_ORG_ID", "org-1  (.env:5)", "answers  (.env:4)"] {
        assert!(shown.contains(line), "{line}: {shown}");
    }
    let mut command = workspace.command(&["settings"]);
    let outside = Ended::from(command.env("OPENAI_MODEL", "gpt-5.4").output().expect("it starts"));
    assert!(outside.stdout.contains("gpt-5.4  (OPENAI_MODEL)"), "{outside:#?}");
}

/// A library would fill in `$NAME` from the environment, and the server that a folder names could ask for anything.
#[test]
fn dotenv_cannot_ask_for_the_environment() {
    let workspace = Workspace::with_prompts(1);
    workspace.write(".env", "OPENAI_API_KEY=x\nPROMPTMILL_SYSTEM=\"all of ${AWS_SECRET_ACCESS_KEY}\"\n");
    let mut command = workspace.command(&["--offline"]);
    let ran = Ended::from(command.env("AWS_SECRET_ACCESS_KEY", "verysecret").output().expect("it starts"));
    assert_eq!(ran.code, Some(2), "{ran:#?}");
    ran.says(&["PROMPTMILL_SYSTEM (.env:2)", "another variable"]);
    assert!(!ran.stderr.contains("verysecret"), "{ran:#?}");
}

#[test]
fn a_header_may_bring_the_key_and_is_shown_nowhere() {
    let server = serve(Options { key: Some("k-test-4711".to_owned()), ..Options::default() });
    let url = server.base_url();
    let workspace = Workspace::with_prompts(1);
    workspace.write("promptmill.toml", "[http.headers]\nAuthorization = \"Bearer k-test-4711\"\n");
    // It takes the place of the key that is found.
    workspace.write("api_key.txt", "another");
    let ran = workspace.run_to(0, &["--base-url", &url, "-vv"]);
    assert!(!ran.stderr.contains("4711"), "{ran:#?}");
    let mut command = workspace.command(&["--base-url", &url, "--force", "-vv"]);
    let refused = command.env("PROMPTMILL_HEADERS", "Authorization=Bearer k-test-0815;X-Team=blue");
    let ran = Ended::from(refused.output().expect("it starts"));
    assert_eq!(ran.code, Some(4), "{ran:#?}");
    ran.says(&["Incorrect API key provided: [key]"]);
    for args in [["settings"].as_slice(), &["settings", "--json"], &["limits"], &["plan", "--json", "--force"]] {
        let shown = workspace.run_to(0, args);
        assert!(!shown.stdout.contains("4711"), "{shown:#?}");
    }
    for (path, bytes) in workspace.everything() {
        let text = String::from_utf8_lossy(&bytes.unwrap_or_default()).into_owned();
        let holds = text.contains("4711") || text.contains("0815");
        assert!(!holds || path.ends_with("promptmill.toml"), "{}", path.display());
    }
}
