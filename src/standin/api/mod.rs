//! What is asked and what is said: request and response bodies, headers and errors, in the real API's words.

pub(super) mod answer;
pub(super) mod error;
pub(super) mod headers;
pub(super) mod pages;
pub(super) mod request;
pub(super) mod response;

pub use answer::{answer, answer_of_length, digest};
pub use error::On429;
pub use headers::RateLimitHeaders;
