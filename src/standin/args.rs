//! `promptmill standin`: the stand-in for anyone's tests, from the command line.

use std::fs::OpenOptions;
use std::io::{self, BufWriter, Write};
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use clap::Args;

use super::api::{On429, RateLimitHeaders};
use super::faults::{Fault, FaultAt, FaultKind, Slump, Span};
use super::limits::Refill;
use super::options::Options;
use super::server::Server;
use super::state::Sink;
use crate::model::Secret;

/// Serve a stand-in for the API on this machine, for trials and tests.
///
/// Answers chat and responses requests with text made from the prompt, counts true usage, keeps limits and makes faults. No request leaves this
/// computer, and nothing costs anything. Stop it with Ctrl-C.
#[derive(Args, Clone, Debug)]
pub struct StandinArgs {
    /// Port on 127.0.0.1; 0 takes any free one
    #[arg(long, value_name = "N", default_value_t = 8787)]
    pub port: u16,

    /// Requests a minute; no limit if left out
    #[arg(long, value_name = "N")]
    pub requests_per_minute: Option<u64>,

    /// Tokens a minute; no limit if left out
    #[arg(long, value_name = "N")]
    pub tokens_per_minute: Option<u64>,

    /// What "a minute" means: the time in which an empty bucket fills
    #[arg(long, value_name = "TIME", default_value = "60s", value_parser = some_time)]
    pub window: Duration,

    /// How what is used up of a minute comes back
    #[arg(long, value_name = "HOW", value_enum, default_value_t)]
    pub refill: Refill,

    /// Let requests that a limit refuses count as those do that it admits
    #[arg(long)]
    pub count_refused: bool,

    /// How much of a minute's limit may come at once: what refills in this time. 1s: the limit is enforced in slices of a second. [default: the
    /// window, so all of it]
    #[arg(long, value_name = "TIME", value_parser = some_time)]
    pub burst: Option<Duration>,

    /// Requests a day, as a bucket that refills all the time; no limit if left out
    #[arg(long, value_name = "N")]
    pub requests_per_day: Option<u64>,

    /// What "a day" means: the time in which its empty bucket fills
    #[arg(long, value_name = "TIME", default_value = "1d", value_parser = some_time)]
    pub day: Duration,

    /// Bring the limits of a minute to a share for a time, as in 10s:5s:0.5: from 10 s after the first request, for 5 s, to half; 2 doubles them; may
    /// be given several times
    #[arg(long = "slump", value_name = "FROM:TIME:SHARE")]
    pub slumps: Vec<Slump>,

    /// Let another client of the same key take a share of the limits of a minute for a time, as in 10s:5s:0.5; may be given several times
    #[arg(long = "neighbour", value_name = "FROM:TIME:SHARE")]
    pub neighbours: Vec<Slump>,

    /// Be gone for a time, as in 10s:60s: from 10 s after the first request every request gets a 503 for half a minute, then connections are cut
    /// and refused for half a minute; may be given several times
    #[arg(long = "outage", value_name = "FROM:TIME")]
    pub outages: Vec<Span>,

    /// Say for a time that the account is used up, as in 10s:60s: from 10 s after the first request, for a minute; may be given several times
    #[arg(long = "quota-outage", value_name = "FROM:TIME")]
    pub quota_outages: Vec<Span>,

    /// Requests at a time; one more gets a 429 in the words of the litellm proxy, or as --on-429 says
    #[arg(long, value_name = "N")]
    pub parallel: Option<u64>,

    /// Requests at a time; one more gets a 503, as from a server whose slots are taken
    #[arg(long, value_name = "N")]
    pub slots: Option<u64>,

    /// Answer one request after another, behind a gateway that waits so long for each and then sends a 504; what it waits for no longer is worked
    /// on, and billed, all the same
    #[arg(long, value_name = "TIME", value_parser = some_time)]
    pub gateway: Option<Duration>,

    /// How long every answer takes
    #[arg(long, value_name = "TIME", default_value = "0s", value_parser = humantime::parse_duration)]
    pub latency: Duration,

    /// The most that is added to the latency, drawn for each answer
    #[arg(long, value_name = "TIME", default_value = "0s", value_parser = humantime::parse_duration)]
    pub jitter: Duration,

    /// What goes wrong, and how often.
    #[arg(long = "fault", value_name = "NAME:SHARE", help = fault_help())]
    pub faults: Vec<Fault>,

    /// Spoil given requests, counted from 1, as in rate-limit:1,20,100 or rate-limit:1-5; may be given several times
    #[arg(long = "fault-at", value_name = "NAME:NUMBERS")]
    pub faults_at: Vec<FaultAt>,

    /// Seed of faults, jitter and ids: the same seed, the same faults
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub seed: u64,

    /// Refuse every other key with a 401. A made-up test key only: other users of this machine see it in the list of processes
    #[arg(long, value_name = "TEST_KEY", value_parser = test_key)]
    pub require_key: Option<Secret>,

    /// After so many answers, say that the account is used up
    #[arg(long, value_name = "N")]
    pub answers_before_quota: Option<u64>,

    /// Code of the error for an account that is used up
    #[arg(long, value_name = "CODE", default_value = "insufficient_quota", value_parser = [
        "insufficient_quota",
        "credit_balance_exhausted",
        "organization_spend_limit_exceeded",
        "project_spend_limit_exceeded",
        "organization_usage_limit_exceeded",
    ])]
    pub quota_code: String,

    /// Pad answers to so many tokens
    #[arg(long, value_name = "N")]
    pub answer_tokens: Option<u64>,

    /// In whose headers answers tell of the limits
    #[arg(long, value_name = "WHOSE", value_enum, default_value_t)]
    pub rate_limit_headers: RateLimitHeaders,

    /// How a 429 for a limit tells its wait
    #[arg(long = "on-429", value_name = "HOW", value_enum, default_value_t)]
    pub on_429: On429,

    /// The wait that a 429 tells, in place of the true one
    #[arg(long, value_name = "TIME", value_parser = humantime::parse_duration)]
    pub told_wait: Option<Duration>,

    /// Write each request to FILE as one line of JSON, without its prompt or key; an existing file is added to
    #[arg(long, value_name = "FILE")]
    pub log: Option<PathBuf>,
}

/// Why the stand-in did not serve.
#[derive(Debug, thiserror::Error)]
pub enum StandinError {
    /// The port cannot be had.
    #[error("cannot listen on {addr}: {source}; choose another port with --port, or any free one with --port 0")]
    Listen {
        /// Where it was to listen.
        addr: SocketAddr,
        /// What the system says.
        source: io::Error,
    },
    /// The log file cannot be written.
    #[error("cannot write the log {}: {source}; name another file with --log", path.display())]
    Log {
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// stdout is closed.
    #[error("cannot write to standard output: {0}")]
    Output(io::Error),
    /// It serves no more, though nobody stopped it.
    #[error("the stand-in ended unexpectedly")]
    Ended,
    /// Ctrl-C cannot be waited for.
    #[error("cannot wait for Ctrl-C: {0}")]
    Signal(io::Error),
}

impl StandinArgs {
    /// The options that the arguments mean. Nothing is remembered: a server that runs for days does not grow.
    #[must_use]
    pub fn options(&self) -> Options {
        Options {
            requests_per_minute: self.requests_per_minute,
            tokens_per_minute: self.tokens_per_minute,
            window: self.window,
            refill: self.refill,
            count_refused: self.count_refused,
            burst: self.burst,
            requests_per_day: self.requests_per_day,
            day: self.day,
            slumps: self.slumps.clone(),
            neighbours: self.neighbours.clone(),
            outages: self.outages.clone(),
            quota_outages: self.quota_outages.clone(),
            parallel: self.parallel,
            slots: self.slots,
            gateway: self.gateway,
            latency: self.latency,
            jitter: self.jitter,
            faults: self.faults.clone(),
            faults_at: self.faults_at.clone(),
            seed: self.seed,
            key: self.require_key.as_ref().map(|key| key.reveal().to_owned()),
            answers_before_quota: self.answers_before_quota,
            quota_code: self.quota_code.clone(),
            on_429: self.on_429,
            told_wait: self.told_wait,
            rate_limit_headers: self.rate_limit_headers,
            answer_tokens: self.answer_tokens,
            known_models: None,
            remember: 0,
        }
    }
}

/// Serves until Ctrl-C. Says where on stdout, in one line, once connections are accepted.
pub async fn run(args: StandinArgs) -> Result<(), StandinError> {
    let sink = match &args.log {
        None => None,
        Some(path) => {
            let file = OpenOptions::new().create(true).append(true).open(path);
            let file = file.map_err(|source| StandinError::Log { path: path.clone(), source })?;
            // The server flushes at each line's end; the buffer makes a line one write.
            Some(Box::new(BufWriter::new(file)) as Sink)
        }
    };
    let addr = SocketAddr::from((Ipv4Addr::LOCALHOST, args.port));
    let mut server =
        Server::start_logging(addr, args.options(), sink).map_err(|source| StandinError::Listen { addr, source })?;
    let mut stdout = io::stdout();
    writeln!(stdout, "stand-in API listening on {}", server.base_url())
        .and_then(|()| stdout.flush())
        .map_err(StandinError::Output)?;
    tokio::select! {
        told = tokio::signal::ctrl_c() => told.map_err(StandinError::Signal),
        () = server.ended() => Err(StandinError::Ended),
    }
}

fn fault_help() -> String {
    let names = FaultKind::ALL.map(FaultKind::name).join(", ");
    format!("Spoil a share of the requests, as in server-error:0.1; may be given several times. Names: {names}")
}

fn some_time(text: &str) -> Result<Duration, String> {
    let time = humantime::parse_duration(text).map_err(|error| error.to_string())?;
    if time.is_zero() { Err("this time is longer than nothing; write for example 60s".to_owned()) } else { Ok(time) }
}

fn test_key(text: &str) -> Result<Secret, &'static str> {
    Secret::new(text).ok_or("the key is empty; leave --require-key out to take any key")
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Parser, Debug)]
    struct Cli {
        #[command(flatten)]
        args: StandinArgs,
    }

    #[test]
    fn arguments_become_options() {
        let cli = Cli::try_parse_from([
            "standin",
            "--requests-per-minute",
            "40",
            "--tokens-per-minute",
            "9000",
            "--window",
            "2s",
            "--refill",
            "sliding",
            "--count-refused",
            "--burst",
            "100ms",
            "--requests-per-day",
            "200",
            "--day",
            "1h",
            "--slump",
            "10s:5s:0.5",
            "--slump",
            "20s:5s:0.1",
            "--neighbour",
            "20s:5s:0.5",
            "--outage",
            "30s:1m",
            "--quota-outage",
            "2m:1m",
            "--parallel",
            "4",
            "--slots",
            "8",
            "--gateway",
            "2s",
            "--latency",
            "50ms",
            "--jitter",
            "5ms",
            "--fault",
            "bad-gateway:0.1",
            "--fault",
            "reset:0.2",
            "--fault-at",
            "rate-limit:1-5",
            "--seed",
            "7",
            "--require-key",
            "test-key-1",
            "--answers-before-quota",
            "3",
            "--quota-code",
            "credit_balance_exhausted",
            "--on-429",
            "retry-after",
            "--told-wait",
            "3s",
            "--rate-limit-headers",
            "openai",
        ])
        .expect("arguments");
        assert!(!format!("{cli:?}").contains("test-key-1"));
        let options = cli.args.options();
        assert_eq!((options.requests_per_minute, options.tokens_per_minute), (Some(40), Some(9_000)));
        assert_eq!((options.window, options.latency), (Duration::from_secs(2), Duration::from_millis(50)));
        assert_eq!((options.burst, options.day), (Some(Duration::from_millis(100)), Duration::from_secs(3_600)));
        assert_eq!((options.refill, options.count_refused), (Refill::Sliding, true));
        assert_eq!(options.requests_per_day, Some(200));
        assert_eq!(options.slumps.iter().map(ToString::to_string).collect::<Vec<_>>(), ["10s:5s:0.5", "20s:5s:0.1"]);
        assert_eq!(options.neighbours.iter().map(ToString::to_string).collect::<Vec<_>>(), ["20s:5s:0.5"]);
        let span = |from, lasts| vec![Span { from: Duration::from_secs(from), lasts: Duration::from_secs(lasts) }];
        assert_eq!((options.outages, options.quota_outages), (span(30, 60), span(120, 60)));
        assert_eq!(
            options.faults.iter().map(ToString::to_string).collect::<Vec<_>>(),
            ["bad-gateway:0.1", "reset:0.2"]
        );
        assert_eq!(options.faults_at.iter().map(ToString::to_string).collect::<Vec<_>>(), ["rate-limit:1-5"]);
        assert_eq!((options.parallel, options.slots), (Some(4), Some(8)));
        assert_eq!((options.gateway, options.told_wait), (Some(Duration::from_secs(2)), Some(Duration::from_secs(3))));
        assert_eq!((options.seed, options.answers_before_quota), (7, Some(3)));
        assert_eq!(
            (options.key.as_deref(), options.quota_code.as_str()),
            (Some("test-key-1"), "credit_balance_exhausted")
        );
        assert_eq!((options.on_429, options.rate_limit_headers), (On429::RetryAfter, RateLimitHeaders::OpenAi));
    }

    #[test]
    fn without_arguments_there_are_no_limits() {
        let args = Cli::try_parse_from(["standin"]).expect("arguments").args;
        assert_eq!(args.port, 8787);
        let options = args.options();
        assert_eq!((options.requests_per_minute, options.tokens_per_minute, options.key), (None, None, None));
        assert_eq!(options.window, Duration::from_secs(60));
    }

    #[test]
    fn wrong_arguments_are_explained() {
        for (args, part) in [
            (["--fault", "rest:0.1"], "there is no fault \"rest\""),
            (["--fault-at", "rate-limit:0"], "counted from 1"),
            (["--gateway", "0s"], "longer than nothing"),
            (["--window", "0s"], "longer than nothing"),
            (["--window", "soon"], "expected number"),
            (["--burst", "0s"], "longer than nothing"),
            (["--slump", "10s:5s"], "FROM:TIME:SHARE"),
            (["--slump", "10s:5s:0"], "is not a share"),
            (["--neighbour", "10s:5s"], "FROM:TIME:SHARE"),
            (["--outage", "10s"], "FROM:TIME"),
            (["--quota-outage", "10s:0s"], "longer than nothing"),
            (["--rate-limit-headers", "google"], "openai, no-reset, azure, groq, mistral, anthropic, none"),
            (["--refill", "never"], "steady, fixed, sliding"),
            (["--on-429", "panic"], "text, retry-after, both, nothing, html"),
            (["--quota-code", "broke"], "credit_balance_exhausted"),
            (["--require-key", " "], "the key is empty"),
        ] {
            let error = Cli::try_parse_from(["standin"].into_iter().chain(args)).expect_err("refused").to_string();
            assert!(error.contains(part), "{error}");
        }
    }

    #[test]
    fn every_argument_has_a_help_text() {
        use clap::CommandFactory;
        for arg in Cli::command().get_arguments() {
            assert!(arg.get_help().is_some(), "{}", arg.get_id());
        }
    }
}
