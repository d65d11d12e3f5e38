//! What must be reached at least once in an ordinary run of the seeds: states, faults, and where a crash comes. A law that holds because nothing
//! happens proves nothing.

macro_rules! rows {
    ($($row:ident: $name:literal,)+) => {
        /// A state or fault that must be reached.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub(crate) enum Row { $(#[doc = $name] $row,)+ }

        const NAMES: &[&str] = &[$($name),+];
    };
}

rows! {
    OutageOpens: "the breaker opens for an outage",
    UnreachedOpens: "it opens because nothing reaches the server",
    OutageProbeFails: "a probe in an outage fails",
    OutageEnds: "a probe in an outage is answered",
    AttemptsBack: "attempts are given back when it opens",
    LastAttemptBack: "a prompt that had none left gets its attempt back",
    QuotaOpens: "the breaker opens for an account that is used up",
    QuotaProbeFails: "a probe of the account is refused",
    QuotaEnds: "the account has credit again",
    QuotaStops: "an account that is used up ends the run",
    StrayAsked: "a refusal after good answers is asked again",
    StrayAnswered: "it was a stray one",
    StrayRefused: "it is refused again, and ends the run",
    RefusedAtOnce: "a refusal before any answer ends the run",
    Throttled: "a 429 pauses the run",
    ThrottledTogether: "a 429 of the same burst is no new signal",
    TooManyNamed: "too many at a time, and how many may be",
    TooMany: "too many at a time, and no number",
    RefusedAlone: "a prompt is refused with nothing else in flight",
    SoftStart: "a server that is not known is met softly",
    SoftAgain: "a server that is back is met softly",
    AttemptsUsedUp: "a prompt has used up its attempts",
    Hopeless: "a failure that is of no use to try again",
    Unsent: "a request that did not reach the server uses up no attempt",
    Changed: "a prompt that was changed is not sent",
    BadRequest: "the server refuses one prompt for good",
    Malformed: "an answer that cannot be read, and was billed",
    Unknown: "a failure that may have been billed",
    NoUsage: "an answer that does not say what it used",
    Doomed: "a prompt that cannot be sent",
    TooLarge: "a prompt that is over a limit",
    Shortened: "an estimate that takes what is left",
    MinuteTokens: "a wait for the tokens of a minute",
    MinuteRequests: "a wait for the requests of a minute",
    DayTokens: "a wait for the tokens of a day",
    DayRequests: "a wait for the requests of a day",
    DayEnds: "a day limit ends the run",
    ServerDayWaits: "a wait for the server's day",
    ServerDayEnds: "the server's day limit ends the run",
    ServerLimit: "a wait for a limit of the server",
    FromHeaders: "a limit of the server is learned from headers",
    FromRefusal: "one is learned from a refusal",
    RateCut: "a rate is estimated, or cut",
    Inferred: "a wait for a limit that is inferred",
    Retry: "a wait for the next try of all that is left",
    DeadlineInFlight: "a deadline with requests in flight",
    DeadlineInWait: "a deadline in a wait",
    GaveUp: "an outage outlasts the patience",
    GaveUpAsked: "the server asks for more than the patience",
    Interrupted: "an interrupt with requests in flight",
    InterruptedInWait: "an interrupt in a wait",
    InterruptedTwice: "a second interrupt",
    BeginFails: "the store fails at a begin",
    FinishFails: "the store fails at a finish",
    StoreWorksAgain: "the store works again",
    GaveUpStore: "the store outlasts the patience",
    StoreGone: "the store's file is gone",
    Unflushed: "the outputs' folder cannot be flushed",
    DiskEnds: "the disk ends the run",
    PlaceBlocked: "an output's own place is blocked",
    Kept: "an answer that cannot be written is kept",
    KeptWritten: "a later run writes it",
    GivenBack: "what was begun is given back unsent",
    CrashBeforeBegin: "a crash before a begin",
    CrashBeforeSend: "a crash after a begin, before it is sent",
    CrashBeforeArrival: "a crash after sending, before it arrives",
    CrashBeforeHeard: "a crash before the answer is heard",
    CrashBeforePut: "a crash before the output is put",
    CrashBeforeFlush: "a crash after the put, before the flush",
    CrashBeforeFinish: "a crash after the flush, before the finish",
    CrashAfterFinish: "a crash after the finish, before it is heard of",
    Adopted: "the output of a lost request is adopted",
    LostAgain: "a lost request is sent again",
    LineLeft: "an ERROR line of a lost request is not adopted",
    OlderLeft: "an older output of a lost request is not adopted",
    Edited: "a prompt is edited between two runs",
    AnotherRun: "a run starts while another has requests in flight in the store",
    SecondPortion: "a second portion begins",
    ClockForward: "the wall clock is set forward",
    ClockBack: "the wall clock is set back",
    LongDay: "a day that is no 24 hours long has a limit",
    OtherZone: "days are counted in another zone than before",
    Slept: "the lid is closed",
    SleptThroughDeadline: "the lid is closed over a deadline",
    FaultsStop: "the faults stop while a run goes on",
    FaultsStopBetween: "the faults stop between two runs",
}

/// How often each row was reached.
#[derive(Clone, Debug)]
pub(crate) struct Reached([u64; NAMES.len()]);

impl Default for Reached {
    fn default() -> Self {
        Self([0; NAMES.len()])
    }
}

impl Reached {
    pub(crate) fn reach(&mut self, row: Row) {
        self.0[row as usize] += 1;
    }

    pub(crate) fn reach_if(&mut self, holds: bool, row: Row) {
        self.0[row as usize] += u64::from(holds);
    }

    /// The rows that nothing reached.
    pub(crate) fn missing(&self) -> Vec<&'static str> {
        self.0.iter().zip(NAMES).filter(|(times, _)| **times == 0).map(|(_, name)| *name).collect()
    }
}

impl std::ops::AddAssign for Reached {
    fn add_assign(&mut self, other: Self) {
        self.0.iter_mut().zip(other.0).for_each(|(times, more)| *times += more);
    }
}

impl std::fmt::Display for Reached {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.iter().zip(NAMES).try_for_each(|(times, name)| writeln!(f, "{times:>9} {name}"))
    }
}
