//! `promptmill run`.

use std::panic::{AssertUnwindSafe, catch_unwind};

use chrono::Local;

use super::args::RunArgs;
use super::deadline::ends_at;
use super::watch::Watcher;
use super::{Failure, mill_of};
use crate::config::Environment;
use crate::drive::parts::{Part, ended_unexpectedly};
use crate::mill::{self, Control, Mill, Order};
use crate::model::Exit;
use crate::report::closing::broken;

/// Runs the prompts.
pub(super) fn run(args: &RunArgs, environment: &Environment) -> Result<Exit, Failure> {
    let mut mill = mill_of(&args.from, args.offline, environment)?;
    let mut control = Control::default();
    let mut watcher = Watcher::start(args, &mill, environment, &control)?;
    // What is said of it goes the way of all that is said.
    let result = catch_unwind(AssertUnwindSafe(|| go(args, &mut mill, &mut control, &mut watcher)));
    let failed = match result {
        Ok(Ok(exit)) => return Ok(exit),
        Ok(Err(failure)) => (failure.to_string(), failure.exit()),
        Err(_) => (broken(&ended_unexpectedly(Part::Command)), Exit::SomeFailed),
    };
    watcher.terminal.end();
    watcher.terminal.say(&format!("error: {}", failed.0));
    Ok(watcher.finish(&mut control, failed.1, true))
}

fn go(args: &RunArgs, mill: &mut Mill, control: &mut Control, watcher: &mut Watcher) -> Result<Exit, Failure> {
    let deadline = ends_at(args.until.as_deref(), args.run_for, &mill.clock().now(), &Local)?;
    let order = Order { force: args.force, reset_usage: args.reset_usage, deadline, signals: true };
    match mill.run(&order, control, watcher) {
        Ok(ended) => Ok(watcher.close(control, &ended)),
        // Why there is no consent is told rather than that there is none.
        Err(mill::Failure::NoConsent(question)) => {
            Err(watcher.no_consent.take().unwrap_or(mill::Failure::NoConsent(question).into()))
        }
        Err(failure) => Err(failure.into()),
    }
}
