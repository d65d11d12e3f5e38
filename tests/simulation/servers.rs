//! Servers whose limits we are not told, or told wrongly, class by class: each run ends, uses most of what the server lets through, and is refused
//! seldom.

use std::collections::BTreeMap;

use chrono_tz::Tz;
use promptmill::admit::hint::Unit;
use promptmill::model::{Limits, OnDayLimit, OnQuota, Usage};
use promptmill::run::{Concurrency, Rules};
use std::time::Duration;

use super::limiter::{Enforced, Limiter, Reset, Tells};
use super::server::Manner;
use super::setting::{Case, MS, Prompt, SECOND, Setting};
use super::world::{Outcome, Trace, World};

/// What a class of servers does, and what may be expected of a run against it.
#[derive(Clone, Copy, Debug)]
struct Class {
    name: &'static str,
    tells: Tells,
    /// A second of its minute at once, or windows one after the other.
    sliced: bool,
    windows: bool,
    /// Half of the limit for two windows.
    slumps: bool,
    /// The most requests per prompt.
    most_requests: f64,
    /// The least share of the server's limit that is used.
    least_use: f64,
}

const HEADERS: Tells = Tells { headers: true, text: true, wait: true, lie: 1.0, reset: Reset::Refill };
const TEXT: Tells = Tells { headers: false, ..HEADERS };
const WAIT: Tells = Tells { text: false, ..TEXT };
const SILENT: Tells = Tells { wait: false, ..WAIT };

const PLAIN: Class = Class {
    name: "tells all in its headers",
    tells: HEADERS,
    sliced: false,
    windows: false,
    slumps: false,
    most_requests: 1.01,
    least_use: 0.9,
};

const CLASSES: &[Class] = &[
    PLAIN,
    Class { name: "tells only by refusals", tells: TEXT, most_requests: 1.05, ..PLAIN },
    Class { name: "names only waits", tells: WAIT, most_requests: 1.1, ..PLAIN },
    Class { name: "says nothing", tells: SILENT, most_requests: 1.15, ..PLAIN },
    Class { name: "enforces slices of a second", sliced: true, most_requests: 1.045, least_use: 0.95, ..PLAIN },
    Class {
        name: "enforces slices, and tells only by refusals",
        sliced: true,
        tells: TEXT,
        most_requests: 1.05,
        ..PLAIN
    },
    Class { name: "halves its limit for a while", slumps: true, most_requests: 1.02, ..PLAIN },
    Class {
        name: "halves its limit, and tells only by refusals",
        slumps: true,
        tells: TEXT,
        most_requests: 1.06,
        ..PLAIN
    },
    Class { name: "counts in fixed windows", windows: true, most_requests: 1.06, ..PLAIN },
    Class {
        name: "tells twice of what it enforces",
        tells: Tells { lie: 2.0, ..HEADERS },
        // What its headers promise is believed until the first refusals.
        most_requests: 1.9,
        ..PLAIN
    },
];

fn usage(random: &mut fastrand::Rng, tokens: std::ops::Range<u64>) -> Usage {
    Usage { input_tokens: random.u64(tokens), output_tokens: random.u64(1..50), ..Usage::default() }
}

/// A run of some windows against a server of the class, without any other trouble.
fn setting(class: Class, seed: u64) -> Setting {
    let mut random = fastrand::Rng::with_seed(seed ^ 0x5e7e_7e75);
    let window_seconds = if class.sliced { 60.0 } else { *random.choice(&[10.0, 30.0, 60.0]).expect("not empty") };
    let unit = if class.sliced || random.bool() { Unit::Requests } else { Unit::Tokens };
    let size = if class.sliced { 500.0 } else { random.u64(80..240) as f64 };
    let prompts = size as u64 * random.u64(4..7);
    let mean_tokens = 400.0;
    let units = if unit == Unit::Tokens { size * mean_tokens } else { size };
    let enforced = match class {
        Class { windows: true, .. } => Enforced::Windows,
        Class { sliced: true, .. } => Enforced::Bucket { depth_seconds: window_seconds / 60.0 },
        _ => Enforced::Bucket { depth_seconds: window_seconds },
    };
    let mut limiter = Limiter::new(unit, units, window_seconds, enforced, class.tells);
    let window = (window_seconds * SECOND as f64) as u64;
    if class.slumps {
        limiter.shares = vec![(window, 0.5), (3 * window, 1.0)];
    }
    let most = Some((size * 5.0) as u64);
    let limits = Limits {
        tokens_per_minute: Some((size * mean_tokens * 5.0) as u64),
        requests_per_minute: most,
        tokens_per_day: None,
        requests_per_day: None,
        tokens_per_batch: None,
        window: Duration::from_nanos(window),
        day_share_ppm: 1_000_000,
    };
    Setting {
        seed,
        prompts: (1..=prompts)
            .map(|number| (number, Prompt { usage: usage(&mut random, 300..500), batch: 0, doomed: false, version: 0 }))
            .collect::<BTreeMap<_, _>>(),
        rules: Rules {
            concurrency: Concurrency::Auto(2_000),
            soft_start: true,
            on_quota: OnQuota::Stop,
            quota_wait: Duration::from_secs(300),
            give_up_after: Duration::from_secs(1_800),
            deadline: None,
            attempts: 3,
            max_output_tokens: None,
            on_day_limit: OnDayLimit::Wait,
            limits,
        },
        case: Case {
            tame: true,
            store_delay: MS,
            transit: random.u64(MS..30 * MS),
            work: random.u64(20 * MS..1_000 * MS),
            quick_refusals: true,
            // Nothing fails that would stop.
            calm_after: u64::MAX / 4,
            ..Case::default()
        },
        manner: Manner {
            // It counts characters where we count tokens.
            counts: 0.85 + random.f64() * 0.3,
            limiter: Some(limiter),
            ..Manner::default()
        },
        zone: Tz::UTC,
        start: "2026-11-22T09:00:00Z".parse().expect("a date"),
        mono: 1_000 * SECOND,
        wall_steps: false,
        crash_at: Vec::new(),
        more: Vec::new(),
        random,
    }
}

fn run(class: Class, seed: u64) -> Result<Outcome, String> {
    World::new(setting(class, seed), Trace::Off).run().map_err(|broken| format!("{}: {broken}", class.name))
}

/// 2,000 prompts, and a minute in which the server fails: at first it says so, then nothing reaches it.
fn outage(seed: u64, lasts: u64) -> Setting {
    let mut setting = setting(PLAIN, seed);
    let random = &mut setting.random;
    setting.prompts = (1..=2_000)
        .map(|number| (number, Prompt { usage: usage(random, 300..500), batch: 0, doomed: false, version: 0 }))
        .collect();
    setting.rules.limits = Limits { requests_per_minute: None, tokens_per_minute: None, ..setting.rules.limits };
    setting.rules.concurrency = Concurrency::Auto(random.usize(4..64));
    setting.rules.attempts = 1;
    setting.case.work = 400 * MS;
    setting.manner = Manner { outage: Some((3 * SECOND, lasts)), ..Manner::default() };
    setting
}

#[test]
fn an_outage_costs_few_requests_and_no_attempt() {
    for seed in 0..10 {
        // After 1, 2, 4, 8, 16 and then 30 seconds, up to a quarter less, a probe; and what is in flight when it begins.
        for (lasts, probes) in [(60, 8), (600, 32)] {
            let setting = outage(seed, lasts * SECOND);
            let most = setting.rules.concurrency.most() + probes;
            let outcome = World::new(setting, Trace::Off).run().expect("the laws hold");
            assert_eq!((outcome.failed, outcome.runs), (0, 1), "seed {seed}: an attempt was used up");
            assert!((1..=most).contains(&outcome.in_outage), "seed {seed}: {} sent in {lasts} s", outcome.in_outage);
        }
    }
}

#[test]
fn an_account_that_is_used_up_is_asked_seldom_and_the_run_goes_on() {
    for seed in 0..10 {
        let mut setting = outage(seed, 0);
        setting.rules.on_quota = OnQuota::Wait;
        let at_once = setting.rules.concurrency.most();
        setting.manner = Manner { quota_after: Some(300), quota_lasts: 3 * 3_600 * SECOND, ..Manner::default() };
        let outcome = World::new(setting, Trace::Off).run().expect("the laws hold");
        assert_eq!((outcome.failed, outcome.runs), (0, 1), "seed {seed}");
        // 5, 10, 20, 40 and 60 minutes, and then each hour: six probes.
        let refused = outcome.requests - 2_000;
        assert!((1..=at_once + 6).contains(&refused), "seed {seed}: {refused} refused, {at_once} at once");
    }
}

#[test]
fn each_class_of_servers_is_used_and_not_hammered() {
    let seeds = super::number("PROMPTMILL_SIM_SERVERS").unwrap_or(20);
    let mut report = Vec::new();
    for class in CLASSES {
        if let Some(seed) = super::number("PROMPTMILL_SIM_SEED") {
            let outcome = World::new(setting(*class, seed), Trace::Print).run();
            println!("{}: {outcome:?}", class.name);
            continue;
        }
        let (mut worst_use, mut worst_requests) = ((2.0, 0), (0.0, 0));
        for seed in 0..seeds {
            let prompts = setting(*class, seed).prompts.len() as f64;
            let outcome = run(*class, seed).expect("the laws hold");
            let share = outcome.utilisation.expect("it has a limit");
            let requests = outcome.requests as f64 / prompts;
            if share < worst_use.0 {
                worst_use = (share, seed);
            }
            if requests > worst_requests.0 {
                worst_requests = (requests, seed);
            }
        }
        println!("{}: least use {worst_use:.3?}, most requests {worst_requests:.3?}", class.name);
        if worst_use.0 < class.least_use || worst_requests.0 > class.most_requests {
            report.push(format!("{}: least use {worst_use:?}, most requests {worst_requests:?}", class.name));
        }
    }
    assert!(report.is_empty(), "{}", report.join("\n"));
}
