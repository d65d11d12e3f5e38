//! The flags of the settings, made from the table.

use clap::{Arg, ArgAction, ArgMatches, Args, Command, FromArgMatches, ValueHint};

use super::keys::{Kind, SETTINGS, Setting};
use super::layers::{Layer, Origin};
use super::value::RawValue;

/// Under which the settings stand in the help, below what a command has of its own.
const HEADING: &str = "Settings";

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
        .long_help(format!("{}\n{}, {}", setting.help_with_default(), setting.key, setting.env()))
        // They are many: `-h` is for what a command has of its own.
        .hide_short_help(true)
        .help_heading(HEADING)
        .action(ArgAction::Set);
    match setting.kind {
        // A number below 0 then gets our message, which says what is right, and not clap's about an unknown flag `-1`.
        Kind::Count | Kind::Number | Kind::Concurrency | Kind::Range => arg.allow_negative_numbers(true),
        // An offset such as `-08:00` is no flag either.
        Kind::Zone => arg.allow_hyphen_values(true),
        // Without the `=` the word behind `--split` would be taken for its value.
        Kind::Switch => arg.num_args(0..=1).require_equals(true).default_missing_value("true"),
        Kind::Path if setting.value_name == "DIR" => arg.value_hint(ValueHint::DirPath),
        Kind::Path => arg.value_hint(ValueHint::FilePath),
        Kind::Url => arg.value_hint(ValueHint::Url),
        Kind::Text | Kind::Choice | Kind::Duration | Kind::Priorities | Kind::Table | Kind::Headers => arg,
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
        assert_eq!(value(&["--day", "-08:00"], "limits.day").as_deref(), Some("-08:00"));
        assert_eq!(value(&["--system", ""], "request.system").as_deref(), Some(""));
        assert!(parse(&["--api-key", "x"]).is_err());
    }

    #[test]
    fn the_long_help_has_every_setting_and_the_short_one_none() {
        let mut command = <Cli as clap::CommandFactory>::command().term_width(80);
        let (short, long) = (command.render_help().to_string(), command.render_long_help().to_string());
        for line in long.lines() {
            assert!(line.chars().count() <= 80, "{line}");
        }
        for setting in SETTINGS {
            let begin = format!("--{}", setting.flag);
            let has = |help: &str| help.lines().any(|line| line.split(['[', ' ', '=']).any(|word| word == begin));
            assert!(has(&long) && !has(&short), "{begin}:\n{long}\n{short}");
            assert!(setting.default.is_empty() || long.contains(setting.default), "{begin}: no default");
            assert!(long.contains(&format!("{}, {}\n", setting.key, setting.env())), "{begin}: no key:\n{long}");
        }
        let headings: Vec<_> = long.lines().filter(|line| line.ends_with(':') && !line.starts_with(' ')).collect();
        assert_eq!(headings, ["Arguments:", "Options:", "Settings:"]);
    }
}
