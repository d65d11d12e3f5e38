//! Faults that come at given requests, counted as the log does it.

use std::fmt;
use std::ops::RangeInclusive;
use std::str::FromStr;

use super::fault::{FaultError, FaultKind};

/// A fault and the requests that it happens to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FaultAt {
    pub kind: FaultKind,
    /// Numbers of requests, from 1, in the order of their arrival.
    pub numbers: Vec<RangeInclusive<u64>>,
}

/// The fault of request `number`: the first that names it.
#[must_use]
pub(in crate::standin) fn planned(faults: &[FaultAt], number: u64) -> Option<FaultKind> {
    faults.iter().find(|fault| fault.numbers.iter().any(|numbers| numbers.contains(&number))).map(|fault| fault.kind)
}

impl FromStr for FaultAt {
    type Err = FaultError;

    fn from_str(text: &str) -> Result<Self, FaultError> {
        let (name, numbers) = text.split_once(':').ok_or_else(|| FaultError::FormAt(text.to_owned()))?;
        let numbers = numbers.split(',').map(some_numbers).collect::<Result<_, _>>()?;
        Ok(Self { kind: name.trim().parse()?, numbers })
    }
}

/// `20`, or `1-5`.
fn some_numbers(text: &str) -> Result<RangeInclusive<u64>, FaultError> {
    let text = text.trim();
    let number = |text: &str| text.trim().parse().ok().filter(|&number: &u64| number > 0);
    let (from, to) = text.split_once('-').unwrap_or((text, text));
    match (number(from), number(to)) {
        (Some(from), Some(to)) if from <= to => Ok(from..=to),
        _ => Err(FaultError::Number(text.to_owned())),
    }
}

impl fmt::Display for FaultAt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:", self.kind)?;
        for (index, numbers) in self.numbers.iter().enumerate() {
            let comma = if index > 0 { "," } else { "" };
            match (numbers.start(), numbers.end()) {
                (from, to) if from == to => write!(f, "{comma}{from}")?,
                (from, to) => write!(f, "{comma}{from}-{to}")?,
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_are_named_or_the_text_is_explained() {
        let twice = FaultAt { kind: FaultKind::RateLimit, numbers: vec![1..=1, 20..=22] };
        assert_eq!("rate-limit: 1, 20 - 22".parse(), Ok(twice.clone()));
        assert_eq!(twice.to_string(), "rate-limit:1,20-22");
        for (text, part) in [
            ("rate-limit", "is not NAME:NUMBERS; write for example rate-limit:1,20,100"),
            ("rate-limit:", "\"\" is not a request's number"),
            ("rate-limit:0", "counted from 1"),
            ("rate-limit:5-1", "\"5-1\" is not"),
            ("rate-limit:0.1", "is not a request's number"),
            ("rest:1", "there is no fault \"rest\""),
        ] {
            let error = text.parse::<FaultAt>().expect_err(text).to_string();
            assert!(error.contains(part), "{error}");
        }
    }

    #[test]
    fn the_first_that_names_a_request_holds() {
        let faults: Vec<FaultAt> =
            ["rate-limit:1-2,9", "overloaded:2-3"].iter().map(|text| text.parse().expect(text)).collect();
        let (rate, over) = (Some(FaultKind::RateLimit), Some(FaultKind::Overloaded));
        let expected = [rate, rate, over, None, None, None, None, None, rate, None];
        assert_eq!((1..=10).map(|number| planned(&faults, number)).collect::<Vec<_>>(), expected);
    }
}
