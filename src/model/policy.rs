//! What a person wants to happen where a run cannot go on.

/// What happens when a day limit is reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnDayLimit {
    /// Wait for midnight.
    Wait,
    /// End with exit code 5.
    Exit,
}

/// What happens when the account's credit, spend limit or plan allows no more requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnQuota {
    /// End with exit code 4.
    Stop,
    /// Pause, and ask again from time to time.
    Wait,
}
