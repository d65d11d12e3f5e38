//! The flags of the settings, made from the table.

use clap::{Arg, ArgAction, ArgMatches, Args, Command, FromArgMatches, ValueHint};

use super::keys::{Kind, SETTINGS, Setting};
use super::layers::{Layer, Origin};
use super::value::RawValue;

/// A flag for every setting; `#[command(flatten)]` it. There is no flag for the API key: `ps` would show it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct SettingArgs {
    given: Vec<(&'static Setting, String)>,
}

impl SettingArgs {
    /// Sets `setting` as its flag would.
    pub fn set(&mut self, setting: &'static Setting, value: impl Into<String>) {
        self.given.retain(|(known, _)| known.key != setting.key);
        self.given.push((setting, value.into()));
    }

    /// What the flags say. A flag that is given empty counts: `--system ""` unsets a system message.
    #[must_use]
    pub fn layer(&self) -> Layer {
        let mut layer = Layer::default();
        for (setting, value) in &self.given {
            layer.set(setting, RawValue::Text(value.clone()), Origin::Flag(setting.flag));
        }
        layer
    }
}

impl FromArgMatches for SettingArgs {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        let mut args = Self::default();
        args.update_from_arg_matches(matches)?;
        Ok(args)
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        for setting in SETTINGS {
            if let Ok(Some(value)) = matches.try_get_one::<String>(setting.key) {
                self.set(setting, value);
            }
        }
        Ok(())
    }
}

impl Args for SettingArgs {
    fn augment_args(command: Command) -> Command {
        command.args(SETTINGS.iter().map(flag))
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}

fn flag(setting: &'static Setting) -> Arg {
    // The default is told in the help and not to clap: a flag that is not given must leave the lower layers alone.
    let arg = Arg::new(setting.key)
        .long(setting.flag)
        .value_name(setting.value_name)
        .help(setting.help_with_default())
        .help_heading(heading(setting.section()))
        .action(ArgAction::Set);
    match setting.kind {
        // A number below 0 then gets our message, which says what is right, and not clap's about an unknown flag `-1`.
        Kind::Count | Kind::Number | Kind::Concurrency | Kind::Range => arg.allow_negative_numbers(true),
        // Without the `=` the word behind `--split` would be taken for its value.
        Kind::Switch => arg.num_args(0..=1).require_equals(true).default_missing_value("true"),
        Kind::Path if setting.value_name == "DIR" => arg.value_hint(ValueHint::DirPath),
        Kind::Path => arg.value_hint(ValueHint::FilePath),
        Kind::Url => arg.value_hint(ValueHint::Url),
        Kind::Text | Kind::Choice | Kind::Duration | Kind::Priorities | Kind::Table => arg,
    }
}

/// Under which heading of the help a section's flags stand.
fn heading(section: Option<&'static str>) -> &'static str {
    match section {
        None => "Settings",
        Some("request") => "Request",
        Some("limits") => "Limits",
        Some("retry") => "Retry",
        Some("http") => "HTTP",
        Some("report") => "Report",
        Some(other) => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, clap::Parser)]
    #[command(name = "promptmill")]
    struct Cli {
        #[command(flatten)]
        settings: SettingArgs,
        rest: Option<String>,
    }

    fn parse(args: &[&str]) -> Result<Cli, clap::Error> {
        <Cli as clap::Parser>::try_parse_from([&["promptmill"], args].concat())
    }

    fn value(args: &[&str], key: &str) -> Option<String> {
        parse(args).expect("good flags").settings.layer().get(key).map(|sourced| sourced.value.shown())
    }

    #[test]
    fn flags_that_are_not_given_say_nothing() {
        assert_eq!(parse(&[]).expect("no flag").settings, SettingArgs::default());
    }

    #[test]
    fn a_switch_needs_no_value_and_takes_one() {
        for (args, expected) in
            [(&["--split"][..], "true"), (&["--split=false"], "false"), (&["--split", "word"], "true")]
        {
            assert_eq!(value(args, "limits.split").as_deref(), Some(expected), "{args:?}");
        }
        assert_eq!(parse(&["--split", "word"]).expect("a word").rest.as_deref(), Some("word"));
    }

    #[test]
    fn numbers_below_zero_and_empty_texts_reach_our_checks() {
        assert_eq!(value(&["--temperature", "-1"], "request.temperature").as_deref(), Some("-1"));
        assert_eq!(value(&["--system", ""], "request.system").as_deref(), Some(""));
        assert!(parse(&["--api-key", "x"]).is_err());
    }

    #[test]
    fn help_reads_well_at_80_columns() {
        let mut command = <Cli as clap::CommandFactory>::command().term_width(80);
        let help = command.render_help().to_string();
        for line in help.lines() {
            assert!(line.chars().count() <= 80, "{line}");
        }
        for setting in SETTINGS {
            let begin = format!("--{}", setting.flag);
            let line = help.lines().find(|line| line.split(['[', ' ', '=']).any(|word| word == begin));
            assert!(line.is_some(), "{begin} is missing:\n{help}");
            assert!(setting.default.is_empty() || help.contains(setting.default), "{begin}: no default");
        }
        let headings: Vec<_> = help.lines().filter(|line| line.ends_with(':') && !line.starts_with(' ')).collect();
        assert_eq!(
            headings,
            ["Arguments:", "Options:", "Settings:", "Request:", "Limits:", "Retry:", "HTTP:", "Report:"]
        );
        // Four in five lines are not broken: a help line and its default fit beside the flag.
        let broken = help.lines().filter(|line| line.starts_with("                ")).count();
        assert!(broken * 5 <= SETTINGS.len(), "{broken} broken lines:\n{help}");
    }
}
