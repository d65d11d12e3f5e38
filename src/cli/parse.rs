//! Reads the command line: flags may stand before the command, and a flag that other programs have gets a tip. Pure.

use std::ffi::OsString;

use clap::builder::StyledStr;
use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{Arg, Command, CommandFactory, Parser};

use super::args::Cli;
use crate::config::keys;
use crate::config::other_names::{Meant, meant};
use crate::model::text::{is_hidden, one_line};

/// What stands in for the flag that the API key does not have.
const NO_KEY_FLAG: &str = "the API key has no flag, because other users of the machine can read flags; set OPENAI_API_KEY, or put the key into api_key.txt";

/// Reads `args`, the program's name first.
pub(super) fn parse(args: impl IntoIterator<Item = OsString>) -> Result<Cli, clap::Error> {
    let mut command = Cli::command();
    let args = command_first(args.into_iter().collect(), &command);
    Cli::try_parse_from(&args).map_err(|error| {
        let mut error = harmless(error, &args, &mut command);
        let used = args.get(1).and_then(|name| name.to_str()).and_then(|name| command.find_subcommand_mut(name));
        // Clap's guess, and a usage line made of it, are for names that are near by their letters.
        if let Some(tip) = tip(&error, used.as_deref()) {
            error.remove(ContextKind::SuggestedArg);
            error.remove(ContextKind::Usage);
            error.insert(ContextKind::Suggested, ContextValue::StyledStrs(vec![StyledStr::from(tip)]));
        }
        error
    })
}

/// The same error, with nothing hidden in the arguments that it echoes.
fn harmless(error: clap::Error, args: &[OsString], command: &mut Command) -> clap::Error {
    let hides = |arg: &OsString| arg.to_string_lossy().contains(is_hidden);
    if !args.iter().any(hides) {
        return error;
    }
    let shown = args
        .iter()
        .map(|arg| if hides(arg) { one_line(&arg.to_string_lossy()).into_owned().into() } else { arg.clone() });
    match Cli::try_parse_from(shown) {
        Err(error) => error,
        // What is wrong is what cannot be shown.
        Ok(_) => command.error(error.kind(), "an argument has characters in it that cannot be shown; leave them out"),
    }
}

/// Puts the command's name before the flags that stand before it: `promptmill --model m plan` is `promptmill plan --model m`.
fn command_first(mut args: Vec<OsString>, command: &Command) -> Vec<OsString> {
    let takes_value = |arg: &Arg| arg.get_action().takes_values() && !arg.is_require_equals_set();
    let mut at = 1;
    while let Some(word) = args.get(at).and_then(|word| word.to_str()) {
        match word.strip_prefix('-') {
            None if command.find_subcommand(word).is_some() => {
                args[1..=at].rotate_right(1);
                break;
            }
            None | Some("" | "-" | "-version" | "V") => break,
            Some(flag) => {
                let named = |arg: &&Arg| arg.get_long().is_some_and(|long| flag.strip_prefix('-') == Some(long));
                // `--model=m` is one word, and no short flag of ours takes a value.
                at += if command.get_arguments().find(named).is_some_and(takes_value) { 2 } else { 1 };
            }
        }
    }
    args
}

/// What to say of a flag that does not exist; `command` is the one it was given to, `None` for `run`.
fn tip(error: &clap::Error, command: Option<&Command>) -> Option<String> {
    let (ErrorKind::UnknownArgument, Some(ContextValue::String(flag))) =
        (error.kind(), error.get(ContextKind::InvalidArg))
    else {
        return None;
    };
    match meant(flag.trim_start_matches('-'))? {
        Meant::Setting(key) => {
            let flag = keys::find(key)?.flag;
            let exists = command.is_none_or(|command| command.get_arguments().any(|arg| arg.get_long() == Some(flag)));
            exists.then(|| format!("the flag is '--{flag}'"))
        }
        Meant::ApiKey => Some(NO_KEY_FLAG.to_owned()),
        Meant::Extra => Some("it goes into '--extra', as in --extra '{\"seed\": 7}'".to_owned()),
        Meant::Nothing(why) => Some(why.to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::args;

    fn parsed(line: &str) -> Result<Cli, String> {
        parse(line.split(' ').map(OsString::from)).map_err(|error| error.to_string())
    }

    #[test]
    fn flags_may_stand_before_the_command() {
        for line in [
            "promptmill --model m --json plan --offline",
            "promptmill --json plan --model m --offline",
            "promptmill plan --offline --json --model=m",
        ] {
            let Some(args::Command::Plan(plan)) = parsed(line).expect(line).command else { panic!("{line}") };
            assert!(plan.json && plan.offline, "{line}");
            assert_eq!(plan.from.settings.layer().get("model").expect("a model").value.shown(), "m", "{line}");
        }
        let cli = parsed("promptmill --split -q run").expect("a switch takes no word");
        assert!(matches!(cli.command, Some(args::Command::Run(run)) if run.quiet));
        // A value that is named like a command is a value.
        let cli = parsed("promptmill --model plan --force").expect("a model's name");
        assert!(cli.command.is_none() && cli.run.force);
        let error = parsed("promptmill --until 07:00 plan").expect_err("plan has no end");
        assert!(error.contains("unexpected argument '--until'") && error.contains("promptmill plan"), "{error}");
        assert!(parsed("promptmill --model").expect_err("no value").contains("a value is required"));
        assert!(parsed("promptmill --version plan").expect_err("the version").starts_with("promptmill "));
    }

    #[test]
    fn flags_of_other_programs_get_a_tip() {
        for (line, tip) in [
            ("promptmill --rpm 5", "tip: the flag is '--requests-per-minute'"),
            ("promptmill plan --tpm=5", "tip: the flag is '--tokens-per-minute'"),
            ("promptmill --tpd 5 run", "tip: the flag is '--tokens-per-day'"),
            ("promptmill -m x", "tip: the flag is '--model'"),
            ("promptmill --max-tokens 5", "tip: the flag is '--max-output-tokens'"),
            ("promptmill --max_workers 5", "tip: the flag is '--concurrency'"),
            ("promptmill --seed 7", "tip: it goes into '--extra'"),
            ("promptmill status --api-key=sk-verysecret", "tip: the API key has no flag"),
            ("promptmill --key sk-verysecret", "api_key.txt"),
            ("promptmill standin --rpm 5", "tip: the flag is '--requests-per-minute'"),
            ("promptmill --batch-size 5", "each prompt file is one request"),
            // Clap's own guess, by the letters.
            ("promptmill --modle x", "similar argument exists: '--model'"),
        ] {
            let error = parsed(line).expect_err(line);
            assert!(error.contains(tip) && error.matches("tip:").count() == 1, "{line}: {error}");
            assert!(!error.contains("verysecret"), "{error}");
        }
        let error = parsed("promptmill standin --temp 1").expect_err("the stand-in has no such flag");
        assert!(!error.contains("--temperature"), "{error}");
    }
}
