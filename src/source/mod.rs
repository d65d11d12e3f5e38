//! Which prompts are meant, and what they say.

pub mod folder;
pub mod priority;
pub mod prompt;
pub mod range;
pub mod scan;
