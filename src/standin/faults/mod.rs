//! What goes wrong: faults of single requests, drawn from a seed, and bad hours that come when they are told to.

pub(super) mod at;
pub(super) mod fault;
pub(super) mod schedule;

pub use at::FaultAt;
pub use fault::{Fault, FaultKind};
pub use schedule::{Slump, Span};
