//! promptmill runs folders of prompts through OpenAI-compatible APIs: as fast as the limits allow, never over them,
//! never paying twice, whatever crashes.
//!
//! ```text
//! source → count → plan → admit → send → record → write          (report watches)
//! ```
//!
//! From Rust, [`Mill`] is the door: it loads a folder's settings, and [`Mill::run`] brings its prompts to their ends. [`Server`] is the stand-in, an API
//! for tests.
//!
//! Each folder is a stage. Decisions are pure: time, randomness and files come in as arguments. The I/O of a stage lies
//! beside its decisions, in the file named in the last column.
//!
//! | module | decides | does |
//! | --- | --- | --- |
//! | `source` | which prompts are meant | `scan` lists the folder, `folder` reads it on |
//! | `count` | tokens of a request | |
//! | `plan` | what is sent, why, what it costs | `feed` reads the input on, on all cores, through the ports that it is given |
//! | `admit` | now, not before T, never; what the server's own limits are | |
//! | `send` | what a request says, what an answer means and tells of limits, how long to back off | `client`, over the service in `tap` |
//! | `record` | which step of a prompt may follow which | `sqlite` keeps ledger and journal, `usage_file` shows `usage.md` |
//! | `write` | where an answer goes | `files` puts it there, `hold` keeps a second run out |
//! | `run` | the machine: one input in, actions out; a queue (what is next), a pace (when) and books (what came of it) | |
//! | `drive` | | carries the machine's actions out: one event loop, and threads and tasks whose ends are heard of |
//! | `report` | what is said | `terminal` shows it |
//! | `config` | which settings hold | `load` reads files and environment |
//! | `standin` | a pretended API's answers, limits and faults | `server` |
//! | `mill` | | the front door: one run from its settings to its sum; what a Rust program calls, and the command line too |
//! | `cli` | what was asked for on the command line | the commands |
//!
//! Beside them: `model` (ids and units), `clock` (the only reader of clocks), `atomic` (files that are whole or absent),
//! `regular` (a person's files, which may be anything, read) and `tripwire` (panics that tests want).

#[doc(inline)]
pub use config::{ConfigError, Environment, SettingArgs};
#[doc(inline)]
pub use count::RequestCounter;
#[doc(inline)]
pub use drive::{News, Watch};
#[doc(inline)]
pub use mill::{Audience, Control, Ended, Failure, Mill, Order, Silent};
#[doc(inline)]
pub use model::{Api, Class, Exit, FinishReason, Key, RequestTemplate, Signal, Usage};
#[doc(inline)]
pub use report::event::Event;
#[doc(inline)]
pub use report::summary::{Progress, Summary, Tally};
#[doc(inline)]
pub use standin::{Options, Server};

// What the stages and their tests share; the names above are what is promised.
#[doc(hidden)]
pub mod admit;
#[doc(hidden)]
pub mod atomic;
#[doc(hidden)]
pub mod cli;
#[doc(hidden)]
pub mod clock;
#[doc(hidden)]
pub mod config;
#[doc(hidden)]
pub mod count;
#[doc(hidden)]
pub mod drive;
#[doc(hidden)]
pub mod mill;
#[doc(hidden)]
pub mod model;
#[doc(hidden)]
pub mod plan;
#[doc(hidden)]
pub mod record;
#[doc(hidden)]
pub mod regular;
#[doc(hidden)]
pub mod report;
#[doc(hidden)]
pub mod run;
#[doc(hidden)]
pub mod send;
#[doc(hidden)]
pub mod source;
#[doc(hidden)]
pub mod standin;
mod tripwire;
#[doc(hidden)]
pub mod write;

/// The README's Rust, which is compiled and run with the tests.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
