//! What was asked for on the command line, and the commands that do it.

pub mod args;
mod close;
mod consent;
mod deadline;
mod failure;
mod finish;
mod limits;
mod log;
mod parse;
mod plan;
mod run;
mod settings;
mod status;
mod watch;

use std::io::Write as _;
use std::path::Path;

use args::{Command, SettingsArgs};
pub use failure::Failure;

use crate::config::Environment;
use crate::drive::parts::{Part, ended_unexpectedly, note_panics};
use crate::mill::{self, Mill};
use crate::model::Exit;
use crate::model::text::{json_line, one_line};
use crate::report::closing::broken;
use crate::report::terminal::tell;
use crate::standin::args::StandinError;

/// Runs the command line of this process. Every error has been told when it returns.
#[must_use]
pub fn main() -> Exit {
    note_panics();
    std::panic::catch_unwind(command).unwrap_or_else(|_| {
        tell(&format!("error: {}", broken(&ended_unexpectedly(Part::Command))));
        Exit::SomeFailed
    })
}

fn command() -> Exit {
    let cli = match parse::parse(std::env::args_os()) {
        Ok(cli) => cli,
        Err(error) => {
            // clap prints help and version to stdout and mistakes to stderr; if the latter fails, nobody reads it.
            let printed = told(error.print());
            return match (error.use_stderr(), printed) {
                (true, _) => Exit::BadInput,
                (false, printed) => end(printed.map(|()| Exit::Done)),
            };
        }
    };
    let environment = Environment::from_process();
    let ended = match cli.command.unwrap_or(Command::Run(cli.run)) {
        Command::Run(args) if args.dry_run => plan::plan(&args.into_plan(), &environment),
        Command::Run(args) => run::run(&args, &environment),
        Command::Plan(args) => plan::plan(&args, &environment),
        Command::Status(args) => status::status(&args, &environment),
        Command::Limits(args) => limits::limits(&args, &environment),
        Command::Settings(args) => settings::settings(&args, &environment),
        Command::Standin(args) => standin(*args),
    };
    end(ended)
}

/// Tells of what went wrong.
fn end(ended: Result<Exit, Failure>) -> Exit {
    ended.unwrap_or_else(|failure| {
        tell(&format!("error: {failure}"));
        failure.exit()
    })
}

/// Prints the lines of a command's result to stdout, nothing hidden in them.
fn print(lines: &[String]) -> Result<(), Failure> {
    let mut stdout = std::io::stdout().lock();
    let text: String = lines.iter().flat_map(|line| [one_line(line), "\n".into()]).collect();
    told(stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()))
}

/// What came of a write to stdout. A reader that has read enough (`| head`) is no failure.
fn told(written: std::io::Result<()>) -> Result<(), Failure> {
    match written {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => Err(Failure::Output(error)),
        _ => Ok(()),
    }
}

/// A command's result as one line of JSON.
fn in_json(result: &impl serde::Serialize) -> Vec<String> {
    // Maps with string keys and plain numbers: there is nothing that JSON cannot say.
    let json = serde_json::to_string(result).unwrap_or_else(|error| format!("{{\"error\":\"{error}\"}}"));
    vec![json_line(&json).into_owned()]
}

fn standin(args: crate::standin::args::StandinArgs) -> Result<Exit, Failure> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().map_err(Failure::Runtime)?;
    match runtime.block_on(crate::standin::args::run(args)) {
        Err(StandinError::Ended) => Err(Failure::Broken(broken(&ended_unexpectedly(Part::Standin)))),
        ended => Ok(ended.map(|()| Exit::Done)?),
    }
}

/// The settings that a command works with.
fn mill_of(from: &SettingsArgs, offline: bool, environment: &Environment) -> Result<Mill, mill::Failure> {
    Mill::load(&from.settings, from.config.as_deref(), Path::new("."), environment, offline)
}
