//! Which prompts are meant, and what they say.

pub mod range;
