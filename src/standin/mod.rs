//! The built-in stand-in API: an HTTP server on loopback that answers as the real one does, without a model.
//!
//! `--offline`, `promptmill standin` and the tests use it. Its answers are text made from the prompt ([`mod@answer`]), its
//! `usage` is what the tokenizer counts, its limits are continuous token buckets ([`limiter`]), its faults are drawn
//! from a seed ([`fault`]), and its bad hours come when they are told to ([`schedule`]). What is said, and when, is decided without I/O; [`server`] alone touches the network.
//!
//! It does not stream, and it keeps nothing: no stored responses, files or batches. It has one pair of limits for all
//! models, and it does not correct a reservation to real usage, because the real API does not say that it does.

pub mod answer;
pub mod args;
pub mod bucket;
mod error;
mod exchange;
pub mod fault;
pub mod go_duration;
mod headers;
pub mod limiter;
pub mod log;
pub mod options;
mod request;
mod respond;
mod response;
pub mod schedule;
pub mod server;
mod state;
mod wire;

pub use answer::{answer, answer_of_length, digest};
pub use fault::{Fault, FaultKind};
pub use log::Logged;
pub use options::{On429, Options, RateLimitHeaders};
pub use schedule::{Slump, Span};
pub use server::Server;
