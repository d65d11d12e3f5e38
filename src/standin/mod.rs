//! The built-in stand-in API: an HTTP server on loopback that answers as the real one does, without a model.
//!
//! `--offline`, `promptmill standin` and the tests use it. What is said, and when, is decided without I/O, in rooms:
//!
//! | room | what |
//! | --- | --- |
//! | `api` | what is asked and said: bodies, headers and errors, in the real API's words; answers are text made from the prompt |
//! | `limits` | token buckets and counts in windows, the durations in which they are told, and how many requests there may be at a time |
//! | `faults` | what goes wrong: single requests by a draw from a seed or by their number, bad hours by a schedule |
//!
//! `judge` puts them together, `state` holds it behind one lock, `exchange` takes one request to its reply, and `server` alone touches the network.
//!
//! It does not stream, and it keeps nothing: no stored responses, files or batches. It has one pair of limits for all
//! models, and it does not correct a reservation to real usage, because the real API does not say that it does.

mod api;
pub mod args;
mod exchange;
mod faults;
mod judge;
mod limits;
mod log;
mod options;
mod respond;
mod server;
mod state;
mod wire;

pub use api::{On429, RateLimitHeaders, answer, answer_of_length, digest};
pub use faults::{Fault, FaultAt, FaultKind, Slump, Span};
pub use limits::Refill;
#[doc(hidden)]
pub use limits::go_duration::go_duration;
pub use log::Logged;
pub use options::Options;
pub use server::Server;
