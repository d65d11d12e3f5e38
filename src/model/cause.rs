//! Why admission stops.

use serde::{Deserialize, Serialize};

/// Why admission stops.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Cause {
    /// The server, or the network, fails.
    Outage,
    /// The account is used up.
    Quota,
    /// A request was refused as every one would be, though others were answered: it is asked again.
    Refused,
}
