//! The built-in stand-in API.
