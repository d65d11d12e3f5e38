//! Where an answer goes, and what a failed prompt's output says.

mod error;
pub mod hold;
pub mod on_disk;
pub mod target;

pub use error::WriteError;
