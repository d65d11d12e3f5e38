//! promptmill runs folders of prompts through OpenAI-compatible APIs: as fast as the limits allow, never over them,
//! never paying twice, whatever crashes.
//!
//! ```text
//! source → count → plan → admit → send → record → write          (report watches)
//! ```
//!
//! Each folder is a stage. Decisions are pure: time, randomness and files come in as arguments. The I/O of a stage lies
//! beside its decisions, in the file named in the last column.
//!
//! | module | decides | does |
//! | --- | --- | --- |
//! | [`source`] | which prompts are meant | `scan` lists the folder, `folder` reads it on |
//! | [`count`] | tokens of a request | |
//! | [`plan`] | what is sent, why, what it costs | `feed` reads the input on, on all cores, through the ports that it is given |
//! | [`admit`] | now, not before T, never; what the server's own limits are | |
//! | [`send`] | what a request says, what an answer means and tells of limits, how long to back off | `client`, over the service in `tap` |
//! | [`record`] | which step of a prompt may follow which | `sqlite` keeps ledger and journal, `usage_file` shows `usage.md` |
//! | [`write`](mod@write) | where an answer goes | `files` puts it there, `hold` keeps a second run out |
//! | [`run`] | the machine: one input in, actions out; the pace, and what to do in an outage | |
//! | [`drive`] | | carries the machine's actions out: one event loop, and threads and tasks whose ends are heard of |
//! | [`report`] | what is said | `terminal` shows it |
//! | [`config`] | which settings hold | `load` reads files and environment |
//! | [`standin`] | a pretended API's answers, limits and faults | `server` |
//! | [`cli`] | what was asked for on the command line | the commands |
//!
//! Beside them: [`model`] (ids and units), [`clock`] (the only reader of clocks), [`atomic`] (files that are whole or absent),
//! [`regular`] (a person's files, which may be anything, read) and [`tripwire`](crate) (panics that tests want).

pub mod admit;
pub mod atomic;
pub mod cli;
pub mod clock;
pub mod config;
pub mod count;
pub mod drive;
pub mod model;
pub mod plan;
pub mod record;
pub mod regular;
pub mod report;
pub mod run;
pub mod send;
pub mod source;
pub mod standin;
mod tripwire;
pub mod write;

/// The README's Rust, which is compiled and run with the tests.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
