//! Which settings hold: flags over environment over file over defaults.
//!
//! [`keys`] holds the one table from which flags, variables, TOML keys, help and the README's table are made. [`layers`],
//! [`mod@file`], [`value`] and [`settings`] are pure; [`mod@load`] alone reads the environment and the settings files. Nothing here
//! looks at prompts, outputs or the ledger.

pub mod api_key;
pub mod args;
pub mod consent;
pub mod dotenv;
mod error;
pub mod file;
mod headers;
pub mod keys;
pub mod layers;
pub mod load;
pub mod other_names;
pub mod settings;
pub mod value;
mod variables;

#[cfg(test)]
mod tests;

pub use args::SettingArgs;
pub use error::ConfigError;
pub use load::{Environment, Loaded, load, needs_key};
pub use settings::{Concurrency, Settings, Timeouts};
