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
//! | [`source`] | which prompts are meant | `scan`: reads the folder |
//! | [`count`] | tokens of a request | `tokenizer` |
//! | [`plan`] | what is sent, what it costs | |
//! | [`admit`] | now, not before T, never | |
//! | [`send`] | what a request says, what an answer means, how long to back off | `client`, `tap` |
//! | `record` | what the journal remembers | `sqlite` |
//! | `write` | where an answer goes | `atomic` |
//! | `run` | the machine: one input in, actions out | |
//! | `drive` | | carries the machine's actions out |
//! | `report` | what is said | `bar`, `json`, `log` |
//! | [`config`] | which settings hold | `load` |
//! | [`standin`] | a pretended API's answers, limits and faults | `server` |
//! | `cli` | what was asked for on the command line | `commands` |

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
pub mod report;
pub mod run;
pub mod send;
pub mod source;
pub mod standin;
pub mod write;
