//! What is sent, why, and what it costs.

pub mod price;
