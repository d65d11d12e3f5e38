//! The command line's arguments.

use std::path::PathBuf;
use std::time::Duration;

use clap::{ArgAction, Args, Parser, Subcommand, ValueEnum};

use crate::config::SettingArgs;
use crate::config::value::{self, RawValue};
use crate::report::wording::Verbosity;
use crate::standin::args::StandinArgs;

/// Where the flags of the settings are, said below the short help,
const SETTINGS_BELOW: &str = "Settings are flags too, such as --model and --tokens-per-minute: see --help.";
/// and below the long one.
const SETTINGS_ABOVE: &str = "Each setting is also a key of promptmill.toml and a variable, named below its flag.\nFlags win over variables, variables over the file.";
/// What the program's own help says at its end, below what it says of the settings.
const KEY_AND_CODES: &str = "The API key is read from OPENAI_API_KEY, api_key.txt, .openai_key or .env;\nthere is no flag for it.\n\n\
    Exit codes: 0 all answered, 1 some failed, 2 bad input, 3 over the batch limit,\n\
    4 stopped by the account or a long outage, 5 by a day limit, --until or --for,\n130 interrupted.";

/// Run a folder of prompts through an OpenAI-compatible API
///
/// Reads prompts/N_prompt.txt, writes outputs/N_output.txt, keeps usage.md. Alone it is `promptmill run`: it sends what is not up to date, as
/// fast as the limits allow, and waits where they ask for it. Run it again after any stop: nothing is paid for twice.
#[expect(clippy::doc_markdown, reason = "it is the help text, and a terminal shows backticks as they are")]
#[derive(Parser, Debug)]
#[command(name = "promptmill", version, args_conflicts_with_subcommands = true, max_term_width = 80)]
#[command(after_help = format!("{SETTINGS_BELOW}\n\n{KEY_AND_CODES}"))]
#[command(after_long_help = format!("{SETTINGS_ABOVE}\n\n{KEY_AND_CODES}"))]
pub struct Cli {
    /// What to do; `run` where nothing is said.
    #[command(subcommand)]
    pub command: Option<Command>,
    /// The arguments of `run`.
    #[command(flatten)]
    pub run: RunArgs,
}

/// What to do.
#[derive(Subcommand, Debug)]
pub enum Command {
    /// Send every prompt that is not up to date (what promptmill does alone)
    #[command(after_help = SETTINGS_BELOW, after_long_help = SETTINGS_ABOVE)]
    Run(RunArgs),
    /// Send nothing; say what would be sent, what it would cost, and when it would end
    #[command(after_help = SETTINGS_BELOW, after_long_help = SETTINGS_ABOVE)]
    Plan(PlanArgs),
    /// Say what is used up, when it frees, and how the last run went
    #[command(after_help = SETTINGS_BELOW, after_long_help = SETTINGS_ABOVE)]
    Status(StatusArgs),
    /// Show what was learned of the server's limits, or forget it
    #[command(after_help = SETTINGS_BELOW, after_long_help = SETTINGS_ABOVE)]
    Limits(LimitsArgs),
    /// List the settings that hold, and where each was set
    #[command(after_help = SETTINGS_BELOW, after_long_help = SETTINGS_ABOVE)]
    Settings(ListArgs),
    /// Serve the stand-in API on this machine, for trials and tests
    Standin(Box<StandinArgs>),
}

/// Where settings come from.
#[derive(Args, Clone, Debug)]
pub struct SettingsArgs {
    /// Read the settings from FILE instead of promptmill.toml
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// A flag for each setting.
    #[command(flatten)]
    pub settings: SettingArgs,
}

/// What `settings` takes.
#[derive(Args, Clone, Debug)]
pub struct ListArgs {
    /// Print the settings as one line of JSON
    #[arg(long)]
    pub json: bool,
    /// Where the settings come from.
    #[command(flatten)]
    pub from: SettingsArgs,
}

/// What `run` takes.
#[expect(clippy::struct_excessive_bools, reason = "each is a flag of its own")]
#[derive(Args, Clone, Debug)]
pub struct RunArgs {
    /// Ask the built-in stand-in instead of the API: no key, no network, no cost
    #[arg(long)]
    pub offline: bool,
    /// Send every prompt again, also those that are up to date
    #[arg(long)]
    pub force: bool,
    /// Send nothing; the same as `promptmill plan`
    #[arg(long)]
    pub dry_run: bool,
    /// Set all counters to zero first; the old usage.md is kept beside the new one
    #[arg(long)]
    pub reset_usage: bool,
    /// End the run at TIME (07:00, 2026-11-23T07:00), the rest pending
    #[arg(long, value_name = "TIME", conflicts_with = "run_for")]
    pub until: Option<String>,
    /// End the run after TIME (2h, 90m), the rest pending
    #[arg(long = "for", value_name = "TIME", value_parser = span)]
    pub run_for: Option<Duration>,
    /// Print one JSON event a line to stdout; the last one is the summary
    #[arg(long)]
    pub json: bool,
    /// Say only what went wrong, and the closing line
    #[arg(short, long, conflicts_with = "verbose")]
    pub quiet: bool,
    /// Say more: -v each answer and retry, -vv what goes on inside
    #[arg(short, long, action = ArgAction::Count)]
    pub verbose: u8,
    /// Where the settings come from.
    #[command(flatten)]
    pub from: SettingsArgs,
}

/// What `plan` takes.
#[expect(clippy::struct_excessive_bools, reason = "each is a flag of its own")]
#[derive(Args, Clone, Debug)]
pub struct PlanArgs {
    /// Plan for the built-in stand-in instead of the API
    #[arg(long)]
    pub offline: bool,
    /// Plan as if every prompt were sent again
    #[arg(long)]
    pub force: bool,
    /// Say which --concurrency it takes to be done in TIME (8h), or what forbids it
    #[arg(long, value_name = "TIME", value_parser = span)]
    pub within: Option<Duration>,
    /// Print the plan as one line of JSON
    #[arg(long)]
    pub json: bool,
    /// Print the sum and what will fail, nothing else
    #[arg(short, long, conflicts_with = "verbose")]
    pub quiet: bool,
    /// List every prompt, not only the sums
    #[arg(short, long, action = ArgAction::Count)]
    pub verbose: u8,
    /// Where the settings come from.
    #[command(flatten)]
    pub from: SettingsArgs,
}

/// What `status` takes.
#[derive(Args, Clone, Debug)]
pub struct StatusArgs {
    /// Print the status as one line of JSON
    #[arg(long)]
    pub json: bool,
    /// Say more: the last waits, limits learned and pauses of the last run
    #[arg(short, long, action = ArgAction::Count)]
    pub verbose: u8,
    /// Where the settings come from.
    #[command(flatten)]
    pub from: SettingsArgs,
}

/// A span of time over zero, at most a year.
fn span(text: &str) -> Result<Duration, String> {
    value::duration(&RawValue::Text(text.to_owned()))
}

/// What `limits` takes.
#[derive(Args, Clone, Debug)]
pub struct LimitsArgs {
    /// What to do with them instead of showing them
    #[arg(value_name = "ACTION")]
    pub action: Option<LimitsAction>,
    /// Those of every address, key and model, not only of the one that is set
    #[arg(long)]
    pub all: bool,
    /// Print them as one line of JSON
    #[arg(long)]
    pub json: bool,
    /// Where the settings come from.
    #[command(flatten)]
    pub from: SettingsArgs,
}

/// What is done with learned limits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum LimitsAction {
    /// Forget them; the next run learns anew
    Forget,
}

impl RunArgs {
    /// How much is said.
    #[must_use]
    pub fn verbosity(&self) -> Verbosity {
        match (self.quiet, self.verbose) {
            (true, _) => Verbosity::Quiet,
            (false, 0) => Verbosity::Normal,
            _ => Verbosity::Verbose,
        }
    }

    /// The arguments of `plan` for `--dry-run`.
    #[must_use]
    pub fn into_plan(self) -> PlanArgs {
        let Self { offline, force, json, quiet, verbose, from, .. } = self;
        PlanArgs { offline, force, within: None, json, quiet, verbose, from }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn run_is_what_promptmill_does_alone() {
        let alone = Cli::try_parse_from(["promptmill", "--offline", "--range", "1-3"]).expect("arguments");
        assert!(alone.command.is_none() && alone.run.offline);
        let named = Cli::try_parse_from(["promptmill", "run", "--offline", "--range", "1-3"]).expect("arguments");
        let Some(Command::Run(args)) = named.command else { panic!("{named:?}") };
        assert_eq!(args.from.settings, alone.run.from.settings);
        assert!(Cli::try_parse_from(["promptmill", "--offline", "plan"]).is_err());
    }

    #[test]
    fn a_run_ends_at_a_time_or_after_one() {
        let run = |args: &[&str]| Cli::try_parse_from([&["promptmill"], args].concat()).map(|cli| cli.run);
        assert_eq!(run(&["--for", "90m"]).expect("a span").run_for, Some(Duration::from_secs(5_400)));
        assert_eq!(run(&["--until", "07:00"]).expect("a time").until.as_deref(), Some("07:00"));
        for wrong in [["--for", "0s"].as_slice(), &["--for", "2"], &["--until", "07:00", "--for", "2h"]] {
            assert!(run(wrong).is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn help_reads_well_at_80_columns() {
        let mut command = Cli::command();
        command.build();
        let names: Vec<String> = command.get_subcommands().map(|sub| sub.get_name().to_owned()).collect();
        let mut commands = vec![command.clone()];
        commands.extend(names.iter().map(|name| command.clone().find_subcommand(name).expect("it is there").clone()));
        let helps = commands.into_iter().map(|command| command.max_term_width(80).term_width(80));
        let helps = helps.flat_map(|mut command| [command.render_help(), command.render_long_help()]);
        for help in helps.map(|help| help.to_string()) {
            for line in help.lines() {
                assert!(line.chars().count() <= 80, "{} columns: {line}", line.chars().count());
            }
        }
    }
}
