//! Faults: what may go wrong with a request, how often, and the draw.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// One way in which a request goes wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum FaultKind {
    /// 429 `rate_limit_exceeded`, though there was room.
    RateLimit,
    /// 429 whose text names a limit, and a wait that does not follow from its numbers.
    MisstatedLimit,
    /// 429 `slow_down`, which names no wait.
    SlowDown,
    /// 500 with a JSON error.
    ServerError,
    /// 503 `server_is_overloaded`.
    Overloaded,
    /// 502 with an HTML page, as a proxy in front of the API sends it.
    BadGateway,
    /// 504 with an HTML page, as a gateway sends it that waits no longer. The work goes on behind it and is billed.
    GatewayTimeout,
    /// The connection is reset after the request was read; there is no response. The work was done and is billed.
    Reset,
    /// 200 whose body ends before its `content-length`, then the connection closes. Billed.
    CutBody,
    /// 200 with half of the JSON. Billed.
    MalformedJson,
    /// 200 with an answer of no text.
    Empty,
    /// 200 with a refusal in place of the answer.
    Refusal,
    /// 200 with half an answer: `finish_reason` is `length`, or the status `incomplete`.
    Truncated,
    /// 200 with an answer that the content filter took away.
    Filtered,
    /// The billing error, 429.
    Quota,
    /// No answer until the client gives up. The work was done and is billed.
    Hang,
    /// 200 whose body is an error, as `OpenRouter` sends it.
    #[serde(rename = "error-inside-200")]
    ErrorInside200,
}

impl FaultKind {
    /// Every kind, in the order of the help texts.
    pub const ALL: [Self; 17] = [
        Self::RateLimit,
        Self::MisstatedLimit,
        Self::SlowDown,
        Self::ServerError,
        Self::Overloaded,
        Self::BadGateway,
        Self::GatewayTimeout,
        Self::Reset,
        Self::CutBody,
        Self::MalformedJson,
        Self::Empty,
        Self::Refusal,
        Self::Truncated,
        Self::Filtered,
        Self::Quota,
        Self::Hang,
        Self::ErrorInside200,
    ];

    /// The name on the command line and in the log.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::RateLimit => "rate-limit",
            Self::MisstatedLimit => "misstated-limit",
            Self::SlowDown => "slow-down",
            Self::ServerError => "server-error",
            Self::Overloaded => "overloaded",
            Self::BadGateway => "bad-gateway",
            Self::GatewayTimeout => "gateway-timeout",
            Self::Reset => "reset",
            Self::CutBody => "cut-body",
            Self::MalformedJson => "malformed-json",
            Self::Empty => "empty",
            Self::Refusal => "refusal",
            Self::Truncated => "truncated",
            Self::Filtered => "filtered",
            Self::Quota => "quota",
            Self::Hang => "hang",
            Self::ErrorInside200 => "error-inside-200",
        }
    }

    /// Whether the request was worked on, so that its tokens are billed.
    #[must_use]
    pub fn is_billed(self) -> bool {
        match self {
            Self::GatewayTimeout
            | Self::Reset
            | Self::CutBody
            | Self::MalformedJson
            | Self::Empty
            | Self::Refusal
            | Self::Truncated
            | Self::Filtered
            | Self::Hang => true,
            Self::RateLimit
            | Self::MisstatedLimit
            | Self::SlowDown
            | Self::ServerError
            | Self::Overloaded
            | Self::BadGateway
            | Self::Quota
            | Self::ErrorInside200 => false,
        }
    }
}

impl fmt::Display for FaultKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for FaultKind {
    type Err = FaultError;

    fn from_str(name: &str) -> Result<Self, FaultError> {
        Self::ALL
            .into_iter()
            .find(|kind| kind.name() == name)
            .ok_or_else(|| FaultError::Name { name: name.to_owned(), known: Self::ALL.map(Self::name).join(", ") })
    }
}

/// A fault and how often it happens.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Fault {
    pub kind: FaultKind,
    /// The probability that it happens to a request, 0 to 1.
    pub share: f64,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.kind, self.share)
    }
}

/// Why a text names no fault.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FaultError {
    /// There is no `:`.
    #[error("{0:?} is not NAME:SHARE; write for example server-error:0.1 for a tenth of all requests")]
    Form(String),
    /// The share is not a number from 0 to 1.
    #[error("{0:?} is not a share; write a number from 0 (never) to 1 (always)")]
    Share(String),
    /// There is no `:`, where requests are named.
    #[error("{0:?} is not NAME:NUMBERS; write for example rate-limit:1,20,100 or rate-limit:1-5")]
    FormAt(String),
    /// The numbers are none.
    #[error("{0:?} is not a request's number, or two with a hyphen; write for example 20 or 1-5, counted from 1")]
    Number(String),
    /// No fault has that name.
    #[error("there is no fault {name:?}; choose one of {known}")]
    Name {
        name: String,
        /// The names there are.
        known: String,
    },
}

impl FromStr for Fault {
    type Err = FaultError;

    fn from_str(text: &str) -> Result<Self, FaultError> {
        let (name, share) = text.split_once(':').ok_or_else(|| FaultError::Form(text.to_owned()))?;
        let kind = name.trim().parse()?;
        let share = share.trim();
        let number: f64 = share.parse().map_err(|_| FaultError::Share(share.to_owned()))?;
        if !(0.0..=1.0).contains(&number) {
            return Err(FaultError::Share(share.to_owned()));
        }
        Ok(Self { kind, share: number })
    }
}

/// The random numbers of request `number` (from 1) in a server of the seed `seed`.
///
/// The same seed gives the same number the same fate. Which prompt gets which number is the clients' race, so that a whole run is
/// repeatable in its numbers (the share and order of faults), not prompt by prompt, unless the client sends one request at a time.
#[must_use]
pub(crate) fn rng(seed: u64, number: u64) -> fastrand::Rng {
    // Fibonacci hashing: neighbouring numbers differ in many bits.
    fastrand::Rng::with_seed(seed ^ number.wrapping_mul(0x9E37_79B9_7F4A_7C15))
}

/// Draws the fault of one request: at most one. Shares that sum to more than 1 leave nothing for the faults named last.
pub(crate) fn draw(faults: &[Fault], rng: &mut fastrand::Rng) -> Option<FaultKind> {
    let mut point = rng.f64();
    faults.iter().find_map(|fault| {
        if point < fault.share {
            return Some(fault.kind);
        }
        point -= fault.share;
        None
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_back_and_are_those_of_the_log() {
        for kind in FaultKind::ALL {
            assert_eq!(kind.to_string().parse(), Ok(kind));
            assert_eq!(serde_json::to_string(&kind).expect("a name"), format!("\"{kind}\""));
        }
    }

    #[test]
    fn faults_are_read_or_explained() {
        assert_eq!("bad-gateway:0.1".parse(), Ok(Fault { kind: FaultKind::BadGateway, share: 0.1 }));
        assert_eq!("hang : 1".parse(), Ok(Fault { kind: FaultKind::Hang, share: 1.0 }));
        for (text, part) in [
            ("reset", "NAME:SHARE"),
            ("reset:", "is not a share"),
            ("reset:1.5", "from 0 (never) to 1"),
            ("reset:-0.1", "is not a share"),
            ("reset:NaN", "is not a share"),
            ("rest:0.1", "there is no fault \"rest\"; choose one of rate-limit, "),
        ] {
            let error = text.parse::<Fault>().expect_err(text).to_string();
            assert!(error.contains(part), "{error}");
        }
    }

    #[test]
    fn a_seed_repeats_itself_and_shares_are_kept() {
        let faults = [Fault { kind: FaultKind::Reset, share: 0.1 }, Fault { kind: FaultKind::Empty, share: 0.3 }];
        let run = |seed| (1..=10_000).map(|number| draw(&faults, &mut rng(seed, number))).collect::<Vec<_>>();
        let drawn = run(7);
        assert_eq!(drawn, run(7));
        assert_ne!(drawn, run(8));
        let count = |kind| drawn.iter().filter(|&&fault| fault == kind).count();
        // Five standard deviations: 150 for a tenth of 10,000, 230 for three tenths.
        assert!(count(Some(FaultKind::Reset)).abs_diff(1_000) < 150, "{}", count(Some(FaultKind::Reset)));
        assert!(count(Some(FaultKind::Empty)).abs_diff(3_000) < 230, "{}", count(Some(FaultKind::Empty)));
    }

    #[test]
    fn always_and_never_are_meant() {
        let always = [Fault { kind: FaultKind::Hang, share: 1.0 }];
        let never = [Fault { kind: FaultKind::Hang, share: 0.0 }];
        for number in 0..1_000 {
            assert_eq!(draw(&always, &mut rng(0, number)), Some(FaultKind::Hang));
            assert_eq!(draw(&never, &mut rng(0, number)), None);
        }
    }
}
