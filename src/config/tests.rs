//! The layers together: precedence, bad values, key discovery, redaction.

use std::fs;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::time::Duration;

use proptest::prelude::*;
use tempfile::TempDir;

use super::api_key::KeyOrigin;
use super::keys::{self, Kind, SETTINGS, Setting};
use super::layers::{Layer, Origin, merge};
use super::value::RawValue;
use super::*;
use crate::model::{OnDayLimit, OnQuota};

const SECRET: &str = "sk-verysecret";

/// A directory with `files`; those that hold the key are open to their owner alone.
fn folder(files: &[(&str, &str)]) -> TempDir {
    let dir = TempDir::new().expect("a directory");
    for (name, text) in files {
        let path = dir.path().join(name);
        fs::write(&path, text).expect(name);
        #[cfg(unix)]
        set_mode(&path, 0o600);
    }
    dir
}

#[cfg(unix)]
fn set_mode(path: &Path, mode: u32) {
    use std::os::unix::fs::PermissionsExt as _;
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).expect("a mode");
}

fn args(flags: &[(&str, &str)]) -> SettingArgs {
    let mut args = SettingArgs::default();
    for (key, value) in flags {
        args.set(keys::find(key).expect(key), *value);
    }
    args
}

fn env(variables: &[(&str, &str)]) -> Environment {
    variables.iter().copied().collect()
}

fn load_in(dir: &TempDir, flags: &[(&str, &str)], variables: &[(&str, &str)]) -> Result<Loaded, ConfigError> {
    load(&args(flags), None, dir.path(), &env(variables))
}

/// What `promptmill settings` shows of a key: value and origin.
fn shown(loaded: &Loaded, key: &str) -> (String, Origin) {
    let row = loaded.settings.describe().iter().find(|row| row.key == key).expect(key);
    (row.value.clone(), row.origin.clone())
}

/// Three good values of a setting that differ from each other and from its default, all as text and as TOML.
fn samples(setting: &Setting) -> [(String, String); 3] {
    let same = |text: &str| (text.to_owned(), text.to_owned());
    let quoted = |text: &str| (text.to_owned(), format!("{text:?}"));
    match (setting.kind, setting.key) {
        (Kind::Count, _) => ["21", "22", "23"].map(same),
        (Kind::Number, "limits.pause_at") => ["0.5", "0.25", "0.75"].map(same),
        (Kind::Number, _) => ["0.5", "1.0", "1.5"].map(same),
        (Kind::Switch, _) => ["true", "false", "true"].map(same),
        (Kind::Concurrency, _) => [same("7"), same("8"), quoted("moderate")],
        (Kind::Duration, "http.total_timeout") => ["11m", "12m", "13m"].map(quoted),
        (Kind::Duration, _) => ["2s", "3s", "4s"].map(quoted),
        (Kind::Range, _) => ["1-2", "3,5", "all"].map(quoted),
        (Kind::Url, _) => ["http://localhost:1/v1", "https://a.test/v2", "http://[::1]:3"].map(quoted),
        (Kind::Choice, "api") => ["chat", "responses", "chat"].map(quoted),
        (Kind::Choice, "limits.on_quota") => ["wait", "stop", "wait"].map(quoted),
        (Kind::Choice, "limits.pacing") => ["burst", "smooth", "auto"].map(quoted),
        (Kind::Zone, _) => ["utc", "+02:00", "-08:00"].map(quoted),
        (Kind::Choice, _) => ["wait", "exit", "wait"].map(quoted),
        (Kind::Priorities, _) => ["1-2=5", "3,5=-1;all=2", "7=0"].map(quoted),
        (Kind::Headers, _) => ["A", "B", "C"].map(|name| (format!("X-{name}=s"), format!("{{ X-{name} = \"s\" }}"))),
        (Kind::Table, _) => [1, 2, 3].map(|seed| (format!("{{\"seed\":{seed}}}"), format!("{{ seed = {seed} }}"))),
        (Kind::Text | Kind::Path, _) => ["one", "two", "three"].map(quoted),
    }
}

fn toml(setting: &Setting, value: &str) -> String {
    let section = setting.section().map_or_else(String::new, |section| format!("[{section}]\n"));
    format!("{section}{} = {value}\n", setting.name())
}

#[test]
fn the_defaults_are_the_contracts() {
    let dir = folder(&[]);
    let loaded = load_in(&dir, &[], &[]).expect("defaults");
    let settings = &loaded.settings;
    assert_eq!(settings.template, crate::model::RequestTemplate::new(crate::model::Api::Chat, "gpt-4o-mini"));
    assert_eq!(settings.limits, crate::model::Limits::default());
    assert_eq!(settings.base_url, "https://api.openai.com/v1");
    assert_eq!(settings.prompts, dir.path().join("prompts"));
    assert_eq!((settings.range.to_string(), &settings.only), ("1-100".to_owned(), &None));
    assert_eq!((settings.attempts, settings.concurrency, settings.split), (3, Concurrency::Auto, false));
    assert_eq!((settings.context_window, settings.on_day_limit), (None, OnDayLimit::Wait));
    assert_eq!((settings.pacing, settings.on_quota), (crate::admit::server::Pacing::Auto, OnQuota::Stop));
    let waits = (settings.quota_wait, settings.give_up_after);
    assert_eq!(waits, (Duration::from_secs(300), Duration::from_secs(1800)));
    assert_eq!((settings.usage_every, settings.priorities.is_empty()), (Some(100), true));
    assert_eq!(settings.timeouts.first_byte, Duration::from_secs(300));
    assert!(loaded.key.is_none() && loaded.warnings.is_empty());
    assert_eq!(Settings::default().ledger, PathBuf::from("usage.md"));
    assert!(settings.describe().iter().all(|row| row.origin == Origin::Default));
    assert_eq!(settings.describe().len(), SETTINGS.len());
}

#[test]
fn each_layer_hides_the_ones_below_it() {
    for setting in SETTINGS {
        let [file, variable, flag] = samples(setting);
        let dir = folder(&[
            ("promptmill.toml", &toml(setting, &file.1)),
            ("one", "text of one"),
            ("two", "text of two"),
            ("three", "text of three"),
        ]);
        let line = if setting.section().is_some() { 2 } else { 1 };
        let (name, of_default) = (setting.env(), (setting.default.to_owned(), Origin::Default));
        let of_file = Origin::File(dir.path().join("promptmill.toml"), line);
        let seen = |text: &str| setting.printable(&RawValue::Text(text.to_owned())).whole();
        let of_variable = (seen(&variable.0), Origin::Environment(name.clone()));

        let nothing = load_in(&folder(&[]), &[], &[]).expect(setting.key);
        assert_eq!(shown(&nothing, setting.key), of_default);
        let lowest = load_in(&dir, &[], &[]).expect(setting.key);
        assert_eq!(shown(&lowest, setting.key).1, of_file);
        let middle = load_in(&dir, &[], &[(&name, &variable.0)]).expect(setting.key);
        assert_eq!(shown(&middle, setting.key), of_variable);
        let top = load_in(&dir, &[(setting.key, &flag.0)], &[(&name, &variable.0)]).expect(setting.key);
        assert_eq!(shown(&top, setting.key), (seen(&flag.0), Origin::Flag(setting.flag)));

        // The fields follow the table: the same value is the same settings, whichever layer sets it.
        let fields = |loaded: &Loaded| without_origins(&loaded.settings);
        let by_flag = load_in(&dir, &[(setting.key, &file.0)], &[]).expect(setting.key);
        assert_eq!(fields(&lowest), fields(&by_flag), "{}", setting.key);
        assert_ne!(fields(&lowest), fields(&middle), "{} changes nothing", setting.key);
        assert_ne!(fields(&middle), fields(&top), "{} changes nothing", setting.key);
        // An empty variable counts as not set.
        assert_eq!(fields(&load_in(&dir, &[], &[(&name, "")]).expect("an empty variable")), fields(&lowest));
    }
}

/// The fields that the program reads, without who set them.
fn without_origins(settings: &Settings) -> String {
    let text = format!("{settings:?}");
    // Paths hold the name of the test's folder, which is the same in all that are compared.
    text.split("described:").next().expect("the fields").to_owned()
}

#[test]
fn values_of_the_wrong_form_name_origin_key_and_what_is_right() {
    for (key, value, right) in [
        ("model", "", "one name"),
        ("model", "a\nb", "one line"),
        ("api", "chats", "`chat` or `responses`"),
        ("base_url", "localhost:8080", "such as `https://"),
        ("base_url", "ftp://a.test", "such as `https://"),
        ("base_url", "https://", "such as `https://"),
        ("base_url", "http://a.test:99999", "invalid port"),
        ("base_url", "https://a.test/v1?x=1", "no `?`"),
        ("base_url", "https://a.test/v1/chat/completions", "write `https://a.test/v1`"),
        ("base_url", "https://a.test/v1/responses/", "write `https://a.test/v1`"),
        ("base_url", "https://a.test/\u{7}v1", "such as `https://"),
        ("prompts", "", "path"),
        ("range", "9-3", "9 is after 3"),
        ("only", "x", "not a number"),
        ("request.max_output_tokens", "-1", "whole number from 0"),
        ("request.temperature", "2.1", "from 0 to 2"),
        ("request.temperature", "NaN", "from 0 to 2"),
        ("request.extra", "[1]", "JSON object"),
        ("limits.tokens_per_minute", "many", "500_000"),
        ("limits.tokens_per_day", "1.5", "whole number"),
        ("limits.window", "60", "with its unit"),
        ("limits.window", "0s", "over 0"),
        ("limits.window", "9000years", "over 0"),
        ("limits.concurrency", "0", "from 1 to 100000"),
        ("limits.concurrency", "100001", "from 1 to 100000"),
        ("limits.concurrency", "fast", "\"aggressive\""),
        ("limits.pacing", "even", "`burst` or `smooth`"),
        ("limits.pause_at", "0", "over 0 and at most 1"),
        ("limits.pause_at", "1.01", "over 0 and at most 1"),
        ("limits.pause_at", "80%", "over 0 and at most 1"),
        ("limits.day", "Europe/Berlin", "an offset from UTC such as `+02:00`"),
        ("limits.day", "+2", "`-08:00`"),
        ("limits.day", "+02:00x", "`-08:00`"),
        ("limits.day", "+02:05", "`+05:45`"),
        ("limits.day", "+14:15", "`local`, `utc`"),
        ("limits.on_quota", "exit", "`stop` or `wait`"),
        ("retry.quota_wait", "5", "with its unit"),
        ("report.usage_every", "often", "whole number"),
        ("priorities", "1-10", "1-10=5"),
        ("priorities", "9-3=1", "9 is after 3"),
        ("limits.on_day_limit", "stop", "`wait` or `exit`"),
        ("limits.split", "maybe", "`true` or `false`"),
        ("retry.attempts", "0", "from 1"),
        ("http.total_timeout", "soon", "with its unit"),
    ] {
        let dir = folder(&[]);
        let message = load_in(&dir, &[(key, value)], &[]).expect_err(key).to_string();
        let flag = format!("from --{}", keys::find(key).expect(key).flag);
        let named = message.contains(&format!("`{key}`")) && message.contains(&flag) && message.contains(right);
        assert!(named && !message.contains('\n'), "{key} = {value}: {message}");
    }
}

#[test]
fn wrong_types_in_the_file_are_clear() {
    for (text, parts) in [
        ("[limits]\ntokens_per_minute = \"5\"", &["`limits.tokens_per_minute`", "toml:2", "0, without quotes"][..]),
        ("[limits]\ntokens_per_minute = -5", &["cannot be `-5`", "whole number"]),
        ("[limits]\nwindow = 60", &["`limits.window`", "in quotes"]),
        ("[limits]\nsplit = \"yes\"", &["without quotes"]),
        ("model = 4", &["`model`", "write text, in quotes", "toml:1"]),
        ("range = 5", &["in quotes"]),
        ("priorities = 5", &["such as `[\"1-10=5\""]),
        ("priorities = ['1=1', 5]", &["such as `[\"1-10=5\"", "toml:1"]),
        ("[limits]\npause_at = '0.8'", &["without quotes"]),
        ("[request]\nextra = 5", &["[request.extra]"]),
        ("[request.extra]\na = nan", &["finite"]),
    ] {
        let message = load_in(&folder(&[("promptmill.toml", text)]), &[], &[]).expect_err(text).to_string();
        assert!(parts.iter().all(|part| message.contains(part)), "{text}: {message}");
    }
}

#[test]
fn settings_that_do_not_go_together_say_which_and_what_is_right() {
    let dir = folder(&[("s.txt", "text"), ("promptmill.toml", "[request]\nsystem = 'be brief'\n")]);
    let message = load_in(&dir, &[("request.system_file", "s.txt")], &[]).expect_err("both").to_string();
    assert!(
        ["toml:2", "--system_file".replace('_', "-").as_str(), "--system \"\""].iter().all(|p| message.contains(p)),
        "{message}"
    );
    let kept = load_in(&dir, &[("request.system_file", "s.txt"), ("request.system", "")], &[]).expect("one is emptied");
    assert_eq!(kept.settings.template.system.as_deref(), Some("text"));

    let dir = folder(&[]);
    let few = [("api", "responses"), ("request.max_output_tokens", "15")];
    assert!(load_in(&dir, &few, &[]).expect_err("15").to_string().contains("16 or more"));
    for good in
        [[("api", "responses"), ("request.max_output_tokens", "16")], [few[0], ("request.max_output_tokens", "0")]]
    {
        load_in(&dir, &good, &[]).expect("enough, or none");
    }
    let message = load_in(&dir, &[("http.first_byte_timeout", "20m")], &[]).expect_err("too long").to_string();
    assert!(message.contains("--total-timeout 20m"), "{message}");
}

#[test]
fn good_values_become_fields() {
    let dir = folder(&[(
        "promptmill.toml",
        "priorities = ['1-10=5', '7,9=-2']\n[request]\ntemperature = 1\n[request.extra]\nseed = 7\ntags = ['a', 1.5]\n[limits]\ntokens_per_minute = 1_000\nrequests_per_minute = 0\nconcurrency = 20\npause_at = 0.8\n[report]\nusage_every = 0\n",
    )]);
    let flags = [
        ("base_url", "http://LOCALHOST:1/v1//"),
        ("limits.tokens_per_day", "2_000"),
        ("limits.window", "1m 30s"),
        ("limits.day", "-05:45"),
    ];
    let settings = load_in(&dir, &flags, &[]).expect("good").settings;
    assert_eq!(settings.template.temperature, Some(1.0));
    assert_eq!(serde_json::Value::from(settings.template.extra), serde_json::json!({"seed": 7, "tags": ["a", 1.5]}));
    assert_eq!(settings.limits.tokens_per_minute, Some(1000));
    assert_eq!((settings.limits.requests_per_minute, settings.limits.tokens_per_day), (None, Some(2000)));
    assert_eq!(settings.limits.window, Duration::from_secs(90));
    let offset = chrono::FixedOffset::west_opt(5 * 3_600 + 45 * 60).expect("an offset");
    assert_eq!(settings.day, crate::clock::DayZone::Fixed(offset));
    assert_eq!(settings.concurrency, Concurrency::Fixed(NonZeroUsize::new(20).expect("20")));
    assert_eq!(settings.base_url, "http://LOCALHOST:1/v1");
    assert_eq!((settings.limits.day_share_ppm, settings.usage_every), (800_000, None));
    assert_eq!([1, 7, 50].map(|id| settings.priorities.of(&crate::model::Key::from(id))), [5, -2, 0]);
}

#[test]
fn the_model_and_the_server_have_more_sources() {
    let flag = [("model", "by-flag"), ("base_url", "https://flag.test")];
    let ours = [("PROMPTMILL_MODEL", "by-ours"), ("PROMPTMILL_BASE_URL", "https://ours.test")];
    let openai = [("OPENAI_MODEL", "by-openai"), ("OPENAI_BASE_URL", "https://openai.test")];
    let toml = ("promptmill.toml", "model = 'by-toml'\nbase_url = 'https://toml.test'");
    let file = ("gpt_model_type.txt", "\u{feff}by-file\r\n");
    let both = [ours, openai].concat();
    let all = [toml, file];
    for (flags, variables, files, expected) in [
        (&flag[..], &both[..], &all[..], ("by-flag", "https://flag.test")),
        (&[], &both, &all, ("by-ours", "https://ours.test")),
        (&[], &openai, &all, ("by-openai", "https://openai.test")),
        (&[], &[], &all, ("by-toml", "https://toml.test")),
        (&[], &[("OPENAI_MODEL", " "), ("OPENAI_BASE_URL", "")], &[file], ("by-file", "https://api.openai.com/v1")),
        (&[], &[], &[("gpt_model_type.txt", " \n")], ("gpt-4o-mini", "https://api.openai.com/v1")),
    ] {
        let settings = load_in(&folder(files), flags, variables).expect(expected.0).settings;
        assert_eq!((settings.template.model.as_str(), settings.base_url.as_str()), expected);
    }
    let message = load_in(&folder(&[("gpt_model_type.txt", "a\nb")]), &[], &[]).expect_err("two lines").to_string();
    assert!(message.contains("gpt_model_type.txt"), "{message}");
}

#[test]
fn files_that_are_named_must_be_there() {
    let dir = folder(&[("my.toml", "model = 'mine'"), ("promptmill.toml", "model = 'not read'"), ("bad.toml", "")]);
    let named = |name: &str| load(&args(&[]), Some(Path::new(name)), dir.path(), &env(&[]));
    assert_eq!(named("my.toml").expect("a file").settings.template.model, "mine");
    let message = named("none.toml").expect_err("no file").to_string();
    assert!(message.contains("none.toml") && message.contains("--config"), "{message}");
    fs::write(dir.path().join("bad.toml"), b"model = '\xff'").expect("a file");
    assert!(named("bad.toml").expect_err("bad bytes").to_string().contains("UTF-8"));

    let message = load_in(&dir, &[("request.system_file", "none.txt")], &[]).expect_err("no file").to_string();
    assert!(message.contains("none.txt") && message.contains("--system-file"), "{message}");
    let bom = folder(&[("s.txt", "\u{feff}text\n")]);
    let loaded = load_in(&bom, &[("request.system_file", "s.txt")], &[]).expect("a system file");
    assert_eq!(loaded.settings.template.system.as_deref(), Some("text\n"));
}

#[test]
fn unknown_variables_are_warnings() {
    let variables = [("PROMPTMILL_MODLE", "x"), ("PROMPTMILL_API_KEY", SECRET), ("OTHER", "x")];
    let loaded = load_in(&folder(&[]), &[], &variables).expect("warnings");
    assert_eq!(loaded.warnings.len(), 2, "{:?}", loaded.warnings);
    assert!(loaded.warnings[0].contains("PROMPTMILL_API_KEY") && loaded.warnings[0].contains("api_key.txt"));
    assert!(loaded.warnings[1].contains("PROMPTMILL_MODLE") && loaded.warnings[1].ends_with("PROMPTMILL_MODEL"));
    assert!(!format!("{loaded:?}").contains("verysecret"));
}

#[test]
fn the_key_is_found_in_order() {
    let files = [("api_key.txt", "sk-one"), (".openai_key", "sk-two"), (".env", "OPENAI_API_KEY=sk-three\n")];
    for skipped in 0..=files.len() {
        // Files above the one that is meant are there and empty.
        let emptied: Vec<_> =
            files.iter().enumerate().map(|(i, (n, t))| (*n, if i < skipped { " \n" } else { *t })).collect();
        let dir = folder(&emptied);
        let loaded = load_in(&dir, &[], &[("OPENAI_API_KEY", "")]).expect("a key");
        let found = loaded.key.as_ref().map(|(key, origin)| (key.reveal().to_owned(), origin.clone()));
        let expected = ["sk-one", "sk-two", "sk-three"].get(skipped);
        let expected = expected.map(|key| ((*key).to_owned(), KeyOrigin::File(dir.path().join(files[skipped].0))));
        assert_eq!(found, expected);
        assert_eq!(loaded.warnings, Vec::<String>::new());

        let loaded = load_in(&dir, &[], &[("OPENAI_API_KEY", "sk-zero")]).expect("a key");
        let (key, origin) = loaded.key.expect("the variable's");
        assert_eq!((key.reveal(), origin), ("sk-zero", KeyOrigin::Environment));
    }
}

#[test]
fn a_folder_named_env_is_passed_over() {
    let dir = folder(&[]);
    fs::create_dir(dir.path().join(".env")).expect("a virtual environment");
    assert!(load_in(&dir, &[], &[]).expect("no key").key.is_none());
}

#[test]
fn dotenv_gives_what_the_environment_gives_and_the_environment_wins() {
    let dotenv = "OTHER=1\nOPENAI_MODEL=by-openai\nexport OPENAI_BASE_URL=\"https://file.test/v1\" # the gateway\n\
        PROMPTMILL_TOKENS_PER_DAY=77\nOPENAI_API_KEY=sk-file\nOPENAI_ORG_ID=org-1\nOPENAI_PROJECT_ID=proj-1\n";
    let dir = folder(&[(".env", dotenv), ("promptmill.toml", "model = 'by-toml'\n[limits]\ntokens_per_day = 1")]);
    let at = |line| Origin::File(dir.path().join(".env"), line);
    let loaded = load_in(&dir, &[], &[]).expect("settings");
    assert_eq!(shown(&loaded, "model"), ("by-openai".to_owned(), at(2)));
    assert_eq!(shown(&loaded, "base_url"), ("https://file.test/v1".to_owned(), at(3)));
    assert_eq!(shown(&loaded, "limits.tokens_per_day"), ("77".to_owned(), at(4)));
    assert_eq!(loaded.key.expect("a key").1, KeyOrigin::File(dir.path().join(".env")));
    let sent = |settings: &Settings| {
        ["openai-organization", "openai-project"].map(|name| settings.headers[name].to_str().expect("text").to_owned())
    };
    assert_eq!(sent(&loaded.settings), ["org-1", "proj-1"]);

    let variables = [
        ("OPENAI_MODEL", "by-environment"),
        ("OPENAI_ORG_ID", "org-2"),
        ("OPENAI_PROJECT_ID", " "),
        ("OPENAI_API_KEY", "sk-outside"),
    ];
    let loaded = load_in(&dir, &[("http.headers", "OpenAI-Project=proj-3")], &variables).expect("settings");
    assert_eq!(shown(&loaded, "model").0, "by-environment");
    assert_eq!(sent(&loaded.settings), ["org-2", "proj-3"]);
    assert_eq!(loaded.key.expect("a key").0.reveal(), "sk-outside");
    // Whatever the environment says of a setting, in whichever name, stands over the file.
    let dir = folder(&[(".env", "PROMPTMILL_MODEL=by-file")]);
    assert_eq!(shown(&load_in(&dir, &[], &variables).expect("settings"), "model").0, "by-environment");
}

#[test]
fn a_line_of_dotenv_that_cannot_be_read_is_named_without_its_value() {
    for (line, parts) in [
        ("OPENAI_BASE_URL=https://a.test/$SECRET", &["OPENAI_BASE_URL (", ".env:2", "another variable"][..]),
        ("PROMPTMILL_MODEL=\"sk-verysecret", &["PROMPTMILL_MODEL", ".env:2", "not closed"]),
        ("OPENAI_API_KEY='sk-verysecret' x", &["OPENAI_API_KEY", ".env:2"]),
        ("OPENAI_API_KEY=sk-verysecret x y", &["API key in", ".env`", "white space"]),
        ("OPENAI_ORG_ID=caf\u{e9}", &["OPENAI_ORG_ID", "printable ASCII"]),
        ("PROMPTMILL_TOKENS_PER_DAY=lots", &["`limits.tokens_per_day`", ".env:2"]),
    ] {
        let dir = folder(&[(".env", &format!("# mine\n{line}\n"))]);
        let message = load_in(&dir, &[], &[]).expect_err(line).to_string();
        assert!(parts.iter().all(|part| message.contains(part)), "{message}");
        assert!(!message.contains("verysecret"), "{message}");
    }
    // Other programs may have what they like there.
    let dir = folder(&[(".env", "NAME=it's\nDB=\"x\nOPENAI_API_KEY=sk-file\n")]);
    assert_eq!(load_in(&dir, &[], &[]).expect("a key").key.expect("a key").0.reveal(), "sk-file");
}

#[test]
fn names_in_dotenv_that_scripts_read_get_a_tip() {
    let dir = folder(&[(".env", "MODEL=gpt-4o\nBATCH_SIZE=3 # of 5\nMAX_BATCHES=1\nTIMEOUT=5\nPROMPTMILL_RPM=5\n")]);
    let warnings = load_in(&dir, &[], &[]).expect("settings").warnings;
    assert_eq!(warnings.len(), 4, "{warnings:?}");
    for parts in [
        ["MODEL (", ".env:1", "OPENAI_MODEL"],
        ["BATCH_SIZE (", ".env:2", "no setting yet"],
        ["MAX_BATCHES (", ".env:3", "`limits.split`"],
        ["PROMPTMILL_RPM (", ".env:5", "PROMPTMILL_REQUESTS_PER_MINUTE"],
    ] {
        assert!(warnings.iter().any(|warning| parts.iter().all(|part| warning.contains(part))), "{warnings:?}");
    }
    let warnings = load_in(&dir, &[("model", "m")], &[]).expect("settings").warnings;
    assert_eq!(warnings.len(), 3, "{warnings:?}");
}

#[test]
fn headers_are_checked_and_their_values_never_shown() {
    let values = |settings: &Settings| {
        let text = |(name, value): (&http::HeaderName, &http::HeaderValue)| {
            format!("{name}={}", value.to_str().expect("text"))
        };
        settings.headers.iter().map(text).collect::<Vec<_>>()
    };
    let text = "X-Team = blue=1 ; authorization=Bearer verysecret;";
    let file = "[http.headers]\nX-Team = \"blue=1\"\nauthorization = \"Bearer verysecret\"\n";
    for (files, flags) in [(&[][..], &[("http.headers", text)][..]), (&[("promptmill.toml", file)], &[])] {
        let loaded = load_in(&folder(files), flags, &[]).expect("headers");
        let mut found = values(&loaded.settings);
        found.sort();
        assert_eq!(found, ["authorization=Bearer verysecret", "x-team=blue=1"]);
        let names = shown(&loaded, "http.headers").0;
        assert!(names.contains("X-Team") && names.contains("authorization"), "{names}");
        assert!(!format!("{loaded:?}").contains("verysecret"), "{loaded:?}");
        assert_eq!(loaded.settings.header_key().expect("a key").reveal(), "Bearer verysecret");
    }
    for (value, right) in [
        ("verysecret", "NAME=VALUE"),
        ("X Team=verysecret", "no header is called `X Team`"),
        ("Content-Length=5", "`Content-Length` is promptmill's own"),
        ("host=a.test;a=verysecret", "`host` is promptmill's own"),
        ("Transfer-Encoding=chunked", "promptmill's own"),
        ("Idempotency-Key=verysecret", "the same for every prompt"),
        ("X-A=very\u{e9}secret", "the value of `X-A` has a character"),
        ("X-A=", "`X-A` has no value"),
        ("X-A=verysecret;x-a=2", "`x-a` is there twice"),
    ] {
        let message = load_in(&folder(&[]), &[("http.headers", value)], &[]).expect_err(value).to_string();
        assert!(message.contains("`http.headers`") && message.contains(right), "{value}: {message}");
        assert!(!message.contains("verysecret") && !message.contains("\u{e9}secret"), "{message}");
    }
    let number = folder(&[("promptmill.toml", "[http.headers]\nX-A = 5")]);
    assert!(load_in(&number, &[], &[]).expect_err("a number").to_string().contains("values in quotes"));
}

#[cfg(unix)]
#[test]
fn an_open_key_file_is_a_warning() {
    let dir = folder(&[("api_key.txt", SECRET)]);
    set_mode(&dir.path().join("api_key.txt"), 0o640);
    let warnings = load_in(&dir, &[], &[]).expect("a key").warnings;
    assert!(
        warnings.len() == 1 && warnings[0].contains("mode 640") && warnings[0].contains("chmod 600"),
        "{warnings:?}"
    );
}

#[test]
fn a_key_on_an_open_line_is_a_warning() {
    for (url, count) in [("http://a.test/v1", 1), ("http://127.0.0.1:1/v1", 0), ("https://a.test/v1", 0)] {
        let loaded = load_in(&folder(&[]), &[("base_url", url)], &[("OPENAI_API_KEY", SECRET)]).expect(url);
        assert_eq!(loaded.address_warnings().len(), count, "{url}");
    }
}

#[test]
fn an_address_without_a_path_is_a_warning() {
    for (url, count) in [
        ("https://gw.test", 1),
        ("http://localhost:8080/", 1),
        ("https://api.openai.com", 1),
        ("https://gw.test/v1", 0),
        ("https://gw.test/openai/deployments/x", 0),
        ("https://api.deepseek.com", 0),
    ] {
        let warnings = load_in(&folder(&[]), &[("base_url", url)], &[]).expect(url).address_warnings();
        assert_eq!(warnings.len(), count, "{url}: {warnings:?}");
        assert!(warnings.iter().all(|warning| warning.contains("/v1")), "{warnings:?}");
    }
}

#[test]
fn consent_is_asked_for_the_secret_that_is_sent() {
    let toml = "base_url = 'https://gw.test/v1'";
    let outside = [("OPENAI_API_KEY", SECRET)];
    let dir = folder(&[("promptmill.toml", toml)]);
    let question = load_in(&dir, &[], &outside).expect("settings").question().expect("a question");
    assert_eq!(question.named_by, Origin::File(dir.path().join("promptmill.toml"), 1));
    assert!(load_in(&dir, &[("base_url", "https://gw.test/v1")], &outside).expect("settings").question().is_none());
    assert!(load_in(&dir, &[], &[]).expect("settings").question().is_none());
    let dotenv = folder(&[(".env", "OPENAI_BASE_URL=https://gw.test/v1\nOPENAI_API_KEY=sk-own\n")]);
    assert!(load_in(&dotenv, &[], &[]).expect("settings").question().is_none());
    assert!(load_in(&dotenv, &[], &outside).expect("settings").question().is_some());
    let variable = [("PROMPTMILL_BASE_URL", "https://gw.test/v1"), outside[0]];
    assert!(load_in(&dotenv, &[], &variable).expect("settings").question().is_none());
    // The folder's own header is sent in the key's place.
    let header = format!("{toml}\n[http.headers]\nAuthorization = 'Bearer own-secret'");
    assert!(load_in(&folder(&[("promptmill.toml", &header)]), &[], &outside).expect("settings").question().is_none());
}

/// A link that came with the folder leads to a key that is not the folder's.
#[cfg(unix)]
#[test]
fn a_key_behind_a_link_out_of_the_folder_is_from_outside() {
    let home = folder(&[(".openai_key", SECRET)]);
    let dir = folder(&[("promptmill.toml", "base_url = 'https://gw.test/v1'"), ("key", "sk-own")]);
    let link = dir.path().join("api_key.txt");
    std::os::unix::fs::symlink(home.path().join(".openai_key"), &link).expect("a link");
    let loaded = load_in(&dir, &[], &[]).expect("settings");
    assert!(matches!(loaded.key, Some((_, KeyOrigin::Elsewhere { .. }))) && loaded.question().is_some(), "{loaded:?}");
    fs::remove_file(&link).expect("removed");
    std::os::unix::fs::symlink("key", &link).expect("a link");
    let loaded = load_in(&dir, &[], &[]).expect("settings");
    assert!(matches!(loaded.key, Some((_, KeyOrigin::File(_)))) && loaded.question().is_none(), "{loaded:?}");
}

#[test]
fn the_users_configuration_lies_where_xdg_says() {
    for (variables, expected) in [
        (&[("XDG_CONFIG_HOME", "/x"), ("HOME", "/h")][..], Some("/x")),
        (&[("XDG_CONFIG_HOME", "relative"), ("HOME", "/h")], Some("/h/.config")),
        (&[("XDG_CONFIG_HOME", "")], None),
    ] {
        assert_eq!(env(variables).config_home().as_deref(), expected.map(Path::new));
    }
}

#[test]
fn the_key_is_in_no_debug_text_and_no_error() {
    let variables = [("OPENAI_API_KEY", SECRET)];
    let loaded = load_in(&folder(&[]), &[("model", SECRET)], &variables).expect("a key");
    assert_eq!(loaded.key.as_ref().map(|(key, _)| key.reveal()), Some(SECRET));
    assert!(!format!("{:?}", loaded.key).contains("verysecret"));
    assert!(!format!("{:?}", env(&variables)).contains("verysecret"));
    assert_eq!(shown(&loaded, "model").0, "[hidden]");
    for (files, flags, variables) in [
        (&[("api_key.txt", "sk-verysecret x")][..], &[][..], &[][..]),
        (&[(".openai_key", "sk-verysecret\nsk-verysecret")], &[], &[]),
        (&[(".env", "OPENAI_API_KEY=sk-verysecret x y")], &[], &[]),
        (&[("promptmill.toml", "api_key = 'sk-verysecret'")], &[], &[]),
        (&[("promptmill.toml", "api_key = sk-verysecret")], &[], &[]),
        (&[], &[], &[("OPENAI_API_KEY", "sk-verysecret x")]),
        (&[], &[("base_url", "https://me:verysecret@a.test")], &[]),
        (&[], &[("api", "sk-verysecret")], &[]),
    ] {
        let error = load_in(&folder(files), flags, variables).expect_err("no good");
        assert!(!format!("{error} {error:?}").contains("verysecret"), "{error:?}");
    }
}

#[test]
fn loopback_needs_no_key() {
    for url in
        ["http://localhost:1/v1", "http://LOCALHOST", "http://127.0.0.1", "http://127.9.9.9:5/v1", "https://[::1]:5/v1"]
    {
        assert!(!needs_key(url), "{url}");
    }
    for url in [
        "https://api.openai.com/v1",
        "http://localhost.evil.test",
        "http://128.0.0.1",
        "http://[::2]",
        "http://10.0.0.1",
        "nonsense",
    ] {
        assert!(needs_key(url), "{url}");
    }
}

proptest! {
    #[test]
    fn the_topmost_layer_that_speaks_wins(
        layers in prop::collection::vec(prop::collection::btree_map(0..SETTINGS.len(), "[a-z]{1,4}", 0..SETTINGS.len()), 0..6),
    ) {
        let flag = |index: usize| Origin::Environment(index.to_string());
        let built = layers.iter().enumerate().map(|(index, values)| {
            let mut layer = Layer::default();
            for (setting, value) in values {
                layer.set(&SETTINGS[*setting], RawValue::Text(value.clone()), flag(index));
            }
            layer
        });
        let resolved = merge(built);
        for (number, setting) in SETTINGS.iter().enumerate() {
            let top = layers.iter().enumerate().rev().find_map(|(index, values)| Some((values.get(&number)?, flag(index))));
            let sourced = resolved.sourced(setting);
            let (value, origin) = top.map_or((setting.default, Origin::Default), |(value, origin)| (value.as_str(), origin));
            prop_assert_eq!(&sourced.value, &RawValue::Text(value.to_owned()));
            prop_assert_eq!(&sourced.origin, &origin);
        }
    }
}
