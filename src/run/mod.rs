//! The machine: what a run does next, as a value that time and answers are put into.
//!
//! [`Machine::handle`] takes one [`Input`] and the time, and returns [`Action`]s. It reads no clock, touches no file and sends nothing; whoever drives
//! it carries the actions out, feeds what comes of them back as inputs, and calls again with [`Input::Wake`] at the moment of the last
//! [`Action::WakeAt`]. So a run can be replayed in virtual time, with a crash after any action.
//!
//! The order of effects for one attempt: `Begin` (reserve and journal) → `Send` → `Write` → `Finish` (journal and settle). The next step is asked for
//! only when the one before it is reported as carried out. Work comes in by `Draw`, chunk by chunk: what waits in the input is not held.
//!
//! `machine` asks three parts, which do not know each other. `queue` says what is next, `pace` when (is there room, is the server there?), and `books`
//! what came of it. Each piece of work is in one place at a time: it waits in the queue, its claim is at the store, or it is in play in the books.
//! What a run that died leaves is for `recover`.

mod action;
mod books;
mod input;
mod machine;
mod pace;
mod queue;
pub mod recover;
mod rules;
#[cfg(test)]
mod tests;

pub use action::Action;
pub use input::{Input, NotRecorded, Unwritten, answer_is_kept};
pub use machine::Machine;
pub use pace::OutputEstimate;
pub use queue::chunk;
pub use rules::{Concurrency, Rules};
