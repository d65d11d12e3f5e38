//! How many tokens a request takes, counted offline before anything is sent.

pub mod tokenizer;
