//! What a request says, what an answer means, what the server tells of its limits, and how long to wait before the next try.
//!
//! Pure: [`attempt`], [`answer`], [`backoff`], [`classify`], [`decode`], [`hints`], [`message`], [`reply`], [`wait`]. I/O: [`client`], over the service in `tap`.

pub mod answer;
pub mod attempt;
pub mod backoff;
pub mod classify;
#[cfg(test)]
mod classify_tests;
pub mod client;
pub mod decode;
pub mod hints;
pub mod message;
pub mod reply;
mod said;
mod tap;
pub mod wait;
