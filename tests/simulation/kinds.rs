//! Every kind of server that refuses in its own way: how long a run takes against the least that it could, how often it is refused, how much of it may
//! be billed for nothing; and the same of a second run, which begins with what the first one kept.
//!
//! The least is worked out from the simulated server's own rules and the prompts (`Server::least`), and what a kind of server adds to it by itself
//! (`Scene::by_itself`). Each seed draws the kind's numbers. Every fourth seed is a single run; the others have a second one: at once against the same
//! server, at once against one that never refuses (where nothing was declared that would have to be kept to), or against the same after an hour.
//!
//! - `PROMPTMILL_SIM_SERVERS=20 cargo test --test simulation kind -- --nocapture` runs all kinds over 20 seeds and prints a line of figures for each,
//!   also of those that do not hold yet;
//! - `PROMPTMILL_SIM_KIND=slots` (a part of its name) takes some of them, and prints a line for each seed;
//! - with `PROMPTMILL_SIM_SEED=3` too, that seed alone is run, and prints what happens.
//!
//! The ordinary test asserts the bounds of all but those that `NOT_YET` names.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use chrono_tz::Tz;
use promptmill::admit::hint::Unit;
use promptmill::model::{Class, Ending, Limits, OnDayLimit, OnQuota, Usage};
use promptmill::run::{Concurrency, Rules};
use promptmill::send::classify::Billed;

use super::limiter::{Enforced, Limiter, Reset, Tells};
use super::server::{Gate, Manner, Says, Stops, Upstream};
use super::setting::{Case, MS, More, Prompt, SECOND, Setting};
use super::world::{Figures, Trace, World};

type Random = fastrand::Rng;

/// What a run may take, and may be refused.
#[derive(Clone, Copy, Debug)]
struct Most {
    /// So many times the least, so many seconds more, and so many for each refusal.
    times: f64,
    seconds: f64,
    each: f64,
    /// Refused requests: a share of the answers, and so many more.
    refused: (f64, f64),
    /// The same for failures that may be billed, of what was begun after the first of them.
    maybe: (f64, f64),
    /// Events that speak of limits.
    said: usize,
}

/// What the table asks for, where nothing else is said.
const MOST: Most = Most { times: 1.25, seconds: 3.0, each: 0.0, refused: (0.05, 10.0), maybe: (0.0, 0.0), said: 10 };
/// Of what a first run has taught, a second is not refused again.
const SECOND_MOST: Most = Most { refused: (0.02, 2.0), ..MOST };

/// A server and a run, drawn from a seed.
#[derive(Clone, Debug)]
struct Scene {
    prompts: Vec<Usage>,
    manner: Manner,
    /// Nanoseconds that it works on a request, and of the way to it.
    work: u64,
    transit: u64,
    /// Each request takes as long as the other.
    steady: bool,
    give_up_after: u64,
    /// Seconds that the first run takes at the least for what the server does beside its limits.
    by_itself: f64,
    most: Most,
    second: Most,
    /// The window of the person's own limits, in seconds.
    window: u64,
    /// What it tells of its limits is to be kept to by a second run, whatever that meets.
    declares: bool,
    /// A prompt that can never pass.
    hopeless: Option<u64>,
    /// The run is given up.
    gives_up: bool,
    /// All but the hopeless one are answered in so many seconds.
    answered_in: Option<f64>,
    /// In the mean, so many requests a second.
    a_second: Option<f64>,
    /// From and until when, after the first arrival, the limit is lower, and what it lets through then in a second: who is refused keeps to it a second
    /// later.
    slump: Option<(u64, u64, f64)>,
}

impl Scene {
    /// Prompts of a few tokens, and a server that takes its time and never refuses.
    fn new(random: &mut Random, prompts: u64) -> Self {
        let usage = |random: &mut Random| Usage {
            input_tokens: random.u64(20..60),
            output_tokens: random.u64(1..50),
            ..Usage::default()
        };
        Self {
            prompts: (0..prompts).map(|_| usage(random)).collect(),
            manner: Manner { counts: 1.0, ..Manner::default() },
            work: *random.choice(&[MS, 20 * MS, 100 * MS]).expect("not empty"),
            transit: random.u64(MS / 2..10 * MS),
            steady: false,
            give_up_after: 1_800 * SECOND,
            by_itself: 0.0,
            most: MOST,
            second: SECOND_MOST,
            window: 60,
            declares: false,
            hopeless: None,
            gives_up: false,
            answered_in: None,
            a_second: None,
            slump: None,
        }
    }

    fn gate(mut self, stops: Stops, says: Says) -> Self {
        self.manner.gates.push(Gate { stops, says });
        self
    }

    fn limit(mut self, limiter: Limiter) -> Self {
        self.declares = limiter.tells.headers || limiter.tells.text;
        self.manner.limiter = Some(limiter);
        self
    }
}

/// A kind of server.
#[derive(Clone, Copy)]
struct Kind {
    name: &'static str,
    scene: fn(&mut Random) -> Scene,
}

const SAYS_NOTHING: Tells = Tells { headers: false, text: false, wait: false, lie: 1.0, reset: Reset::Refill };
const HEADERS: Tells = Tells { headers: true, ..SAYS_NOTHING };
const WITHOUT_RESET: Tells = Tells { reset: Reset::Untold, ..HEADERS };
const TO_WINDOWS_END: Tells = Tells { reset: Reset::WindowEnd, ..HEADERS };
const WINDOW_NAMED: Tells = Tells { reset: Reset::Named, ..HEADERS };
const TEXT: Tells = Tells { text: true, ..SAYS_NOTHING };
const WAIT: Tells = Tells { wait: true, ..SAYS_NOTHING };

/// One refusal without a word of limits, among 500.
fn one_bare(random: &mut Random, arrival: usize) -> Scene {
    let wait = random.bool().then_some(Duration::from_secs(1));
    let scene = Scene::new(random, 500).gate(Stops::Arrivals(arrival..=arrival), Says::Refused(wait));
    let most = Most { times: 1.0, seconds: 8.0, ..scene.most };
    Scene { most, ..scene }
}

/// A share of requests is refused at random.
fn at_random(random: &mut Random, prompts: u64, says: Says) -> Scene {
    let share = *random.choice(&[0.03, 0.1, 0.2]).expect("not empty");
    let scene = Scene::new(random, prompts).gate(Stops::Share(share), says);
    let most = Most { each: 0.5, refused: (1.3 * share / (1.0 - share), 10.0), ..scene.most };
    Scene { most, second: most, ..scene }
}

/// The first requests are refused. Who asks again after each wait, alone, is let in after all of them.
fn the_first(random: &mut Random, wait: Option<Duration>) -> Scene {
    let first = random.usize(1..=5);
    let scene = Scene::new(random, 20).gate(Stops::Arrivals(1..=first), Says::Refused(wait));
    Scene { by_itself: first as f64 * wait.map_or(1.0, |wait| wait.as_secs_f64()), ..scene }
}

/// At most so many at a time.
fn at_a_time(random: &mut Random, says: fn(u64) -> Says) -> Scene {
    let slots = random.u64(1..=8);
    let prompts = slots * random.u64(15..30);
    let scene = Scene::new(random, prompts).gate(Stops::Above(slots as usize), says(slots));
    let most = Most { refused: (0.25, 0.0), ..scene.most };
    let second = Most { refused: (0.05, 2.0), ..most };
    let declares = matches!(says(slots), Says::TooMany(Some(_)));
    Scene { work: random.u64(200..1_500) * MS, most, second, declares, ..scene }
}

/// At most so many at a time, and what is more is answered with a 503.
fn slots(random: &mut Random) -> Scene {
    let billed = if random.bool() { Billed::Maybe } else { Billed::No };
    let scene = at_a_time(random, |_| Says::Overloaded(Billed::No));
    let stops = scene.manner.gates[0].stops.clone();
    let gates = vec![Gate { stops, says: Says::Overloaded(billed) }];
    let (most, second) = (Most { maybe: (0.25, 0.0), ..scene.most }, Most { maybe: (0.05, 2.0), ..scene.second });
    Scene { manner: Manner { gates, ..scene.manner }, most, second, ..scene }
}

/// One at a time, behind a gateway that gives up on what waits for too long. What it has let wait before it gave up the first cannot be known.
fn behind_a_gateway(random: &mut Random) -> Scene {
    let prompts = random.u64(12..60);
    let scene = Scene::new(random, prompts);
    let service = random.u64(300..1_000) * MS;
    let patience = service * random.u64(2..8);
    let drops = random.bool();
    let upstream = Some(Upstream { service, patience, drops, free_at: 0 });
    let lost = if drops { patience } else { patience + prompts * service };
    let seconds = 3.0 + lost as f64 / SECOND as f64;
    let most = Most { seconds, refused: (1.25, 10.0), maybe: (0.25, 3.0), ..scene.most };
    let second = Most { refused: (0.1, 3.0), maybe: (0.1, 3.0), ..most };
    Scene { manner: Manner { upstream, ..scene.manner }, most, second, ..scene }
}

/// 3,000 a minute in slices of a second.
fn slices(random: &mut Random, tells: Tells) -> Scene {
    let enforced =
        if random.bool() || tells.headers { Enforced::Bucket { depth_seconds: 1.0 } } else { Enforced::Windows };
    let (size, window) = if enforced == Enforced::Windows { (50.0, 1.0) } else { (3_000.0, 60.0) };
    let prompts = if tells.headers { 1_500 } else { 750 };
    Scene::new(random, prompts).limit(Limiter::new(Unit::Requests, size, window, enforced, tells))
}

/// Windows of a second, of ten, of a minute.
fn windows(random: &mut Random, enforced: Enforced, tells: Tells) -> Scene {
    let (window, size, times) = match random.u8(..3) {
        0 => (1.0, random.u64(10..50), random.u64(5..12)),
        1 => (10.0, random.u64(50..200), random.u64(3..6)),
        _ => (60.0, random.u64(60..200), random.u64(2..5)),
    };
    let prompts = size * times + size / 3;
    Scene::new(random, prompts).limit(Limiter::new(Unit::Requests, size as f64, window, enforced, tells))
}

/// A bucket of ten seconds or a minute that tells so many times what it lets through.
fn lies(random: &mut Random, lie: f64) -> Scene {
    let (window, size) = (*random.choice(&[10.0, 60.0]).expect("not empty"), random.u64(60..200));
    let prompts = size * random.u64(3..6);
    let bucket = Enforced::Bucket { depth_seconds: window };
    Scene::new(random, prompts).limit(Limiter::new(
        Unit::Requests,
        size as f64,
        window,
        bucket,
        Tells { lie, ..HEADERS },
    ))
}

/// Windows that name the same wait with every refusal.
fn always_names(random: &mut Random, wait: Duration) -> Scene {
    let enforced = if random.bool() { Enforced::Windows } else { Enforced::Sliding };
    let mut scene = windows(random, enforced, SAYS_NOTHING);
    if let Some(limiter) = &mut scene.manner.limiter {
        limiter.names = Some(wait);
    }
    scene
}

fn counts_refused(random: &mut Random, tells: Tells) -> Scene {
    let (window, size) = (random.u64(1..5), random.u64(20..60));
    let prompts = size * random.u64(4..8);
    let mut limiter = Limiter::new(Unit::Requests, size as f64, window as f64, Enforced::Sliding, tells);
    limiter.counts_refused = true;
    Scene::new(random, prompts).limit(limiter)
}

/// A limit that changes with time, by itself or because somebody else uses a share of it.
fn changes(random: &mut Random, tells: Tells, neighbour: bool) -> Scene {
    let window_seconds = random.u64(10..60);
    let size = random.u64(60..200);
    let window = window_seconds * SECOND;
    let mut limiter = Limiter::new(
        Unit::Requests,
        size as f64,
        window_seconds as f64,
        Enforced::Bucket { depth_seconds: window_seconds as f64 },
        tells,
    );
    let after = if neighbour { 1.0 } else { 2.0 };
    limiter.shares = vec![(2 * window, 0.5), (4 * window, after)];
    limiter.neighbour = neighbour;
    let prompts = size * if neighbour { 7 } else { 10 };
    let slump = Some((2 * window, 4 * window, 0.5 * size as f64 / window_seconds as f64));
    Scene { slump, ..Scene::new(random, prompts).limit(limiter) }
}

/// A limit of tokens, and among ten tiny prompts one that is larger than all of it.
fn too_large(random: &mut Random, tells: Tells) -> Scene {
    let mut scene = Scene::new(random, 11);
    for usage in &mut scene.prompts {
        *usage = Usage { input_tokens: random.u64(5..30), output_tokens: random.u64(1..20), ..Usage::default() };
    }
    let place = random.usize(..11);
    scene.prompts[place].input_tokens = random.u64(6_000..12_000);
    let enforced = Enforced::Bucket { depth_seconds: 60.0 };
    let mut limiter = Limiter::new(Unit::Tokens, 4_000.0, 60.0, enforced, tells);
    limiter.strict = true;
    // Where its size is not told, it must be refused alone with nothing used in a whole window.
    let seconds = if tells.headers || tells.text { 10.0 } else { 100.0 };
    let most = Most { seconds, ..scene.most };
    Scene { hopeless: Some(place as u64 + 1), answered_in: Some(1.5), most, ..scene.limit(limiter) }
}

/// Nothing but refusals, until the run gives up.
fn only_refuses(random: &mut Random, wait: Option<Duration>, seconds: u64) -> Scene {
    let prompts = random.u64(5..200);
    let scene = Scene::new(random, prompts).gate(Stops::All, Says::Refused(wait));
    let most = Most { refused: (0.0, 40.0), ..scene.most };
    Scene {
        give_up_after: seconds * SECOND,
        by_itself: seconds as f64,
        gives_up: true,
        a_second: Some(1.0),
        most,
        ..scene
    }
}

/// 100 prompts of three seconds each, of which nobody knows what the server lets through.
fn first_run(random: &mut Random, headers: bool) -> Scene {
    let mut scene = Scene::new(random, 100);
    if headers {
        let bucket = Enforced::Bucket { depth_seconds: 60.0 };
        scene = scene.limit(Limiter::new(Unit::Requests, 10_000.0, 60.0, bucket, HEADERS));
    }
    let most = Most { times: 0.0, seconds: 3.5, ..scene.most };
    Scene { work: 3 * SECOND, transit: random.u64(MS..10 * MS), steady: true, most, second: most, ..scene }
}

/// 100 in ten seconds, answers of three seconds.
fn slow_and_hidden(random: &mut Random, tells: Tells) -> Scene {
    let enforced = Enforced::Bucket { depth_seconds: 10.0 };
    let scene = Scene::new(random, 500).limit(Limiter::new(Unit::Requests, 100.0, 10.0, enforced, tells));
    let most = Most { times: 1.1, refused: (0.1, 0.0), ..scene.most };
    Scene { work: 3 * SECOND, window: 10, most, ..scene }
}

const fn kind(name: &'static str, scene: fn(&mut Random) -> Scene) -> Kind {
    Kind { name, scene }
}

const KINDS: &[Kind] = &[
    kind("one bare 429, the 1st request", |random| one_bare(random, 1)),
    kind("one bare 429, the 20th request", |random| one_bare(random, 20)),
    kind("one bare 429, the 100th request", |random| one_bare(random, 100)),
    kind("the first refused, then headers of an ample limit", |random| {
        let bucket = Enforced::Bucket { depth_seconds: 60.0 };
        let limiter = Limiter::new(Unit::Requests, 5_000.0, 60.0, bucket, HEADERS);
        Scene::new(random, 100).limit(limiter).gate(Stops::Arrivals(1..=1), Says::Refused(None))
    }),
    kind("bare 429s at random", |random| at_random(random, 300, Says::Refused(None))),
    kind("429s at random whose text does not fit", |random| {
        at_random(random, 200, Says::Refused(Some(Duration::from_millis(700))))
    }),
    kind("the first few refused with Retry-After 3", |random| the_first(random, Some(Duration::from_secs(3)))),
    kind("the first few refused, bare", |random| the_first(random, None)),
    kind("429 twice, a 503 and a 500", |random| {
        let scene = Scene::new(random, 20).gate(Stops::Arrivals(1..=2), Says::Refused(None));
        let scene = scene.gate(Stops::Arrivals(3..=3), Says::Overloaded(Billed::Maybe));
        let scene = scene.gate(Stops::Arrivals(4..=4), Says::Failed);
        let most = Most { maybe: (0.0, 2.0), ..scene.most };
        Scene { by_itself: 3.0, most, ..scene }
    }),
    kind("at most so many in parallel, said with the number", |random| {
        at_a_time(random, |slots| Says::TooMany(Some(slots)))
    }),
    kind("at most so many in parallel, said", |random| at_a_time(random, |_| Says::TooMany(None))),
    kind("at most so many in parallel, a bare 429", |random| at_a_time(random, |_| Says::Refused(None))),
    kind("slots, a 503 over them that says so", |random| at_a_time(random, |_| Says::Crowded)),
    kind("slots, a 503 over them", slots),
    kind("one at a time behind a gateway with 504s", behind_a_gateway),
    kind("slices of a second, headers of a minute", |random| {
        let scene = slices(random, Tells { text: true, ..HEADERS });
        let most = Most { times: 1.0 / 0.95, refused: (0.02, 10.0), ..scene.most };
        Scene { most, ..scene }
    }),
    kind("slices of a second, a wait", |random| slices(random, WAIT)),
    kind("slices of a second, not told", |random| slices(random, SAYS_NOTHING)),
    kind("fixed windows, told without a reset", |random| windows(random, Enforced::Windows, WITHOUT_RESET)),
    kind("fixed windows, told with their end", |random| windows(random, Enforced::Windows, TO_WINDOWS_END)),
    kind("fixed windows, told with their length", |random| windows(random, Enforced::Windows, WINDOW_NAMED)),
    kind("fixed windows, a wait", |random| windows(random, Enforced::Windows, WAIT)),
    kind("fixed windows, not told", |random| windows(random, Enforced::Windows, SAYS_NOTHING)),
    kind("sliding windows, told without a reset", |random| windows(random, Enforced::Sliding, WITHOUT_RESET)),
    kind("sliding windows, told with their length", |random| windows(random, Enforced::Sliding, WINDOW_NAMED)),
    kind("sliding windows, a wait", |random| windows(random, Enforced::Sliding, WAIT)),
    kind("sliding windows, not told", |random| windows(random, Enforced::Sliding, SAYS_NOTHING)),
    kind("windows, each refusal names 1 ms", |random| always_names(random, Duration::from_millis(1))),
    kind("windows, each refusal names 20 s", |random| {
        let scene = always_names(random, Duration::from_secs(20));
        // A wait is kept to after each refusal that there may be.
        let most = Most { each: 20.0, ..scene.most };
        Scene { most, second: Most { each: 20.0, ..scene.second }, ..scene }
    }),
    kind("headers of ten times what it lets through", |random| {
        let scene = lies(random, 10.0);
        let most = Most { refused: (0.25, 10.0), ..scene.most };
        Scene { most, second: Most { refused: (0.05, 10.0), ..scene.second }, ..scene }
    }),
    kind("headers of half of what it lets through", |random| {
        let scene = lies(random, 0.5);
        // What is told is kept to.
        let most = Most { times: 2.5, ..scene.most };
        Scene { most, second: Most { times: 2.5, ..scene.second }, ..scene }
    }),
    kind("refused requests count too, a wait", |random| counts_refused(random, WAIT)),
    kind("refused requests count too, not told", |random| counts_refused(random, SAYS_NOTHING)),
    kind("halves, then doubles; headers", |random| changes(random, HEADERS, false)),
    kind("halves, then doubles; texts", |random| changes(random, TEXT, false)),
    kind("halves, then doubles; a wait", |random| changes(random, WAIT, false)),
    kind("halves, then doubles; not told", |random| changes(random, SAYS_NOTHING, false)),
    kind("a neighbour uses half for a while; headers", |random| changes(random, HEADERS, true)),
    kind("a neighbour uses half for a while; not told", |random| changes(random, SAYS_NOTHING, true)),
    kind("one prompt too large, said", |random| too_large(random, TEXT)),
    kind("one prompt too large, headers", |random| too_large(random, HEADERS)),
    kind("one prompt too large, not told", |random| too_large(random, SAYS_NOTHING)),
    kind("only 429s", |random| only_refuses(random, None, 10)),
    kind("only `try again in 1ms`", |random| only_refuses(random, Some(Duration::from_millis(1)), 60)),
    kind("a wait of 30 days", |random| {
        let scene = only_refuses(random, Some(Duration::from_secs(30 * 86_400)), 1_800);
        Scene { by_itself: 0.0, ..scene }
    }),
    kind("a first run of 3 s each", |random| first_run(random, false)),
    kind("a first run of 3 s each, ample headers", |random| first_run(random, true)),
    kind("100 in ten seconds, answers of 3 s, headers", |random| slow_and_hidden(random, HEADERS)),
    kind("100 in ten seconds, answers of 3 s, not told", |random| slow_and_hidden(random, SAYS_NOTHING)),
];

/// Seeds of each kind in the ordinary test.
const SEEDS: u64 = 8;

/// What does not keep to its bounds yet: a kind's name, and for its second runs `, again`.
const NOT_YET: &[&str] = &[
    "bare 429s at random",
    "429s at random whose text does not fit",
    "429s at random whose text does not fit, again",
    "at most so many in parallel, said",
    "at most so many in parallel, a bare 429",
    "at most so many in parallel, a bare 429, again",
    "slots, a 503 over them that says so",
    "slots, a 503 over them, again",
    "one at a time behind a gateway with 504s",
    "one at a time behind a gateway with 504s, again",
    "slices of a second, a wait",
    "slices of a second, a wait, again",
    "slices of a second, not told",
    "slices of a second, not told, again",
    "fixed windows, told without a reset",
    "fixed windows, told without a reset, again",
    "fixed windows, told with their end",
    "fixed windows, told with their end, again",
    "fixed windows, told with their length, again",
    "fixed windows, a wait",
    "fixed windows, a wait, again",
    "fixed windows, not told",
    "fixed windows, not told, again",
    "sliding windows, told without a reset",
    "sliding windows, told without a reset, again",
    "sliding windows, told with their length",
    "sliding windows, told with their length, again",
    "sliding windows, a wait",
    "sliding windows, a wait, again",
    "sliding windows, not told",
    "sliding windows, not told, again",
    "windows, each refusal names 1 ms",
    "windows, each refusal names 1 ms, again",
    "windows, each refusal names 20 s",
    "windows, each refusal names 20 s, again",
    "headers of ten times what it lets through",
    "headers of ten times what it lets through, again",
    "refused requests count too, a wait",
    "refused requests count too, a wait, again",
    "refused requests count too, not told",
    "refused requests count too, not told, again",
    "halves, then doubles; not told",
    "a neighbour uses half for a while; not told",
    "a neighbour uses half for a while; not told, again",
    "one prompt too large, not told",
    "100 in ten seconds, answers of 3 s, not told, again",
    "halves, then doubles; a wait, again",
];

/// How a second run differs from the first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Again {
    AtOnce,
    NeverRefuses,
    AfterAnHour,
}

fn again(seed: u64, scene: &Scene) -> Option<Again> {
    let again = match seed % 4 {
        0 => return None,
        1 => Again::AtOnce,
        2 => Again::NeverRefuses,
        _ => Again::AfterAnHour,
    };
    let told = again == Again::NeverRefuses && scene.declares;
    (!told && !scene.gives_up && scene.hopeless.is_none()).then_some(again)
}

fn setting(scene: &Scene, again: Option<Again>, seed: u64, mut random: Random) -> Setting {
    let more = again.map(|again| More {
        rest: if again == Again::AfterAnHour { 3_600 * SECOND } else { MS },
        prompts: scene.prompts.iter().rev().copied().collect(),
        server: (again == Again::NeverRefuses).then(|| Manner { counts: 1.0, ..Manner::default() }),
    });
    let prompts = (1..).zip(&scene.prompts);
    let prompt = |usage: &Usage| Prompt { usage: *usage, batch: 0, doomed: false, version: 0 };
    // Limits of a person's own that never bind, or none.
    let own = random.bool().then_some(100_000_000);
    Setting {
        seed,
        prompts: prompts.map(|(number, usage)| (number, prompt(usage))).collect::<BTreeMap<_, _>>(),
        rules: Rules {
            concurrency: Concurrency::Auto(*random.choice(&[256, 512, 2_000]).expect("not empty")),
            soft_start: true,
            on_quota: OnQuota::Stop,
            quota_wait: Duration::from_secs(300),
            give_up_after: Duration::from_nanos(scene.give_up_after),
            deadline: None,
            attempts: 3,
            max_output_tokens: None,
            on_day_limit: OnDayLimit::Wait,
            limits: Limits {
                tokens_per_minute: own,
                requests_per_minute: own,
                tokens_per_day: None,
                requests_per_day: None,
                tokens_per_batch: None,
                window: Duration::from_secs(scene.window),
                day_share_ppm: 1_000_000,
            },
        },
        case: Case {
            tame: true,
            steady: scene.steady,
            store_delay: MS,
            transit: scene.transit,
            work: scene.work,
            quick_refusals: true,
            calm_after: u64::MAX / 4,
            measured: Some(1_800 * SECOND),
            ..Case::default()
        },
        manner: scene.manner.clone(),
        zone: Tz::UTC,
        start: "2026-11-22T09:00:00Z".parse().expect("a date"),
        mono: 1_000 * SECOND,
        wall_steps: false,
        crash_at: Vec::new(),
        more: more.into_iter().collect(),
        random,
    }
}

fn seconds(time: u64) -> f64 {
    time as f64 / SECOND as f64
}

/// What one run is judged by.
struct Bounds<'a> {
    scene: &'a Scene,
    most: Most,
    is_first: bool,
}

impl Bounds<'_> {
    /// The least that it could take, in seconds.
    fn least(&self, figures: &Figures) -> f64 {
        seconds(figures.least) + if self.is_first { self.scene.by_itself } else { 0.0 }
    }

    /// The longest that it may take, in seconds.
    fn longest(&self, figures: &Figures) -> f64 {
        self.least(figures) * self.most.times + self.most.seconds + self.most.each * figures.refused as f64
    }

    /// What of it is over its bounds; empty where nothing is.
    fn broken(&self, figures: &Figures) -> String {
        let Self { scene, most, .. } = self;
        let mut said = String::new();
        let mut bound = |holds: bool, what: String| {
            if !holds {
                write!(said, "; {what}").expect("a string");
            }
        };
        let Figures { refused, maybe_later, .. } = *figures;
        let (took, longest) = (seconds(figures.took), self.longest(figures));
        bound(took <= longest, format!("took {took:.1} s, at most {longest:.1} s"));
        let answers = figures.answered.len() as f64;
        let within = |(share, more): (f64, f64)| answers * share + more;
        let over = within(most.refused);
        bound(refused as f64 <= over, format!("{refused} refused, at most {over:.0}"));
        let over = within(most.maybe);
        bound(maybe_later as f64 <= over, format!("{maybe_later} may be billed, at most {over:.0}"));
        bound(figures.said <= most.said, format!("limits are spoken of {} times", figures.said));
        let ends = match &figures.ending {
            Some(Ending::Complete) => !scene.gives_up,
            Some(Ending::Outage { .. }) => scene.gives_up,
            _ => false,
        };
        bound(ends, format!("ends with {:?}", figures.ending));
        let is_right = |(prompt, class): &(u64, Class)| {
            Some(*prompt) == scene.hopeless && matches!(class, Class::TooLarge | Class::RateLimited)
        };
        let failed =
            figures.failed.iter().all(is_right) && figures.failed.len() == usize::from(scene.hopeless.is_some());
        bound(failed, format!("failed: {:?}", figures.failed));
        if let Some(most) = scene.answered_in {
            let last = figures.answered.values().copied().max().map_or(0.0, seconds);
            let all = figures.answered.len() + 1 >= scene.prompts.len();
            bound(all && last <= most, format!("{} answered, the last after {last:.1} s", figures.answered.len()));
        }
        if let Some(most) = scene.a_second {
            let mean = figures.requests() as f64 / took;
            bound(mean <= most + 10.0 / took, format!("{mean:.1} requests a second"));
        }
        if let Some((from, to, rate)) = scene.slump.filter(|_| self.is_first) {
            let first = figures.arrivals.first().map_or(0, |(at, _)| *at);
            let in_slump = |at: u64| (first + from..first + to).contains(&at);
            let refused = figures.arrivals.iter().find(|(at, answered)| in_slump(*at) && !answered);
            let span = refused.map_or(0..0, |(at, _)| at + SECOND..first + to);
            let came = figures.arrivals.iter().filter(|(at, _)| span.contains(at)).count() as f64;
            let most = 1.25 * rate * seconds(span.end.saturating_sub(span.start)) + 10.0;
            bound(came <= most, format!("{came} requests after it was refused in the slump, at most {most:.0}"));
        }
        said.trim_start_matches("; ").to_owned()
    }
}

/// What the runs of one kind came to.
#[derive(Default)]
struct Sum {
    runs: usize,
    /// The share of the longest time that is allowed.
    shares: f64,
    /// The worst of each, and the seed.
    time: (f64, String, u64),
    refused: (usize, usize, u64),
    maybe: usize,
    said: usize,
    broken: Vec<String>,
}

impl Sum {
    fn add(&mut self, bounds: &Bounds, figures: &Figures, seed: u64, what: &str) {
        let (took, longest) = (seconds(figures.took), bounds.longest(figures));
        self.runs += 1;
        self.shares += took / longest;
        if took / longest > self.time.0 {
            self.time = (took / longest, format!("{took:.1} s, least {:.1} s", bounds.least(figures)), seed);
        }
        if (figures.refused, figures.answered.len()) > (self.refused.0, self.refused.1) {
            self.refused = (figures.refused, figures.answered.len(), seed);
        }
        self.maybe = self.maybe.max(figures.maybe);
        self.said = self.said.max(figures.said);
        let broken = bounds.broken(figures);
        if !broken.is_empty() {
            self.broken.push(format!("seed {seed}{what}: {broken}"));
        }
    }
}

impl std::fmt::Display for Sum {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (refused, answers, seed) = self.refused;
        let (worst, time, slowest) = &self.time;
        write!(
            f,
            "{:3} of {:3} keep to their bounds; of the longest time mean {:5.2}, worst {worst:6.2} (seed {slowest}: {time}); \
             most refused {refused} for {answers} (seed {seed}), maybe billed {}; said {}",
            self.runs - self.broken.len(),
            self.runs,
            self.shares / self.runs as f64,
            self.maybe,
            self.said,
        )
    }
}

fn of_seed(kind: &Kind, seed: u64) -> (Scene, Option<Again>, Random) {
    let mut random = Random::with_seed(seed ^ 0x5e7e_7e75);
    let scene = (kind.scene)(&mut random);
    let again = again(seed, &scene);
    (scene, again, random)
}

/// Runs a kind over the seeds: the first runs, and the second.
fn run(kind: &Kind, seeds: u64, prints: bool) -> (Sum, Sum) {
    let (mut first, mut second) = (Sum::default(), Sum::default());
    for seed in 0..seeds {
        let (scene, again, random) = of_seed(kind, seed);
        let outcome = World::new(setting(&scene, again, seed, random), Trace::Off).run();
        let figures = match outcome {
            Ok(outcome) => outcome.figures,
            Err(broken) => {
                first.runs += 1;
                first.broken.push(broken);
                continue;
            }
        };
        for (place, of) in figures.iter().enumerate() {
            let (is_first, again) = (place == 0, again.filter(|_| place > 0));
            let most = match again {
                None => scene.most,
                Some(Again::NeverRefuses) => Most { times: 1.0, seconds: 3.0, refused: (0.0, 0.0), ..scene.second },
                Some(_) => scene.second,
            };
            let bounds = Bounds { scene: &scene, most, is_first };
            let what = again.map(|again| format!(", again ({again:?})")).unwrap_or_default();
            if prints {
                println!(
                    "  seed {seed}{what}: {:.2} s, least {:.2} s, longest {:.2} s; {} answers, {} refused, {} maybe billed; \
                     {} in the busiest second; {}",
                    seconds(of.took),
                    bounds.least(of),
                    bounds.longest(of),
                    of.answered.len(),
                    of.refused,
                    of.maybe,
                    of.busiest_second(),
                    bounds.broken(of),
                );
            }
            if is_first { &mut first } else { &mut second }.add(&bounds, of, seed, &what);
        }
    }
    (first, second)
}

#[test]
fn each_kind_of_server_is_met_in_little_time_and_with_few_refusals() {
    let part = super::text("PROMPTMILL_SIM_KIND").unwrap_or_default();
    let kinds: Vec<&Kind> = KINDS.iter().filter(|kind| kind.name.contains(&part)).collect();
    assert!(!kinds.is_empty(), "no kind's name holds {part:?}");
    let all = super::number("PROMPTMILL_SIM_SERVERS");
    if let (Some(seed), false) = (super::number("PROMPTMILL_SIM_SEED"), part.is_empty()) {
        for kind in kinds {
            let (scene, again, random) = of_seed(kind, seed);
            println!("{}: {:?}, again {again:?}", kind.name, scene.manner);
            let outcome = World::new(setting(&scene, again, seed, random), Trace::Print).run();
            println!("{:?}", outcome.map(|outcome| outcome.figures));
        }
        return;
    }
    let asked = all.is_some() || !part.is_empty();
    let is_due = |name: &str| asked || !NOT_YET.contains(&name) || !NOT_YET.contains(&again_of(name).as_str());
    let (next, lines) = (AtomicUsize::new(0), Mutex::new(BTreeMap::new()));
    std::thread::scope(|scope| {
        for _ in 0..std::thread::available_parallelism().map_or(2, usize::from) {
            scope.spawn(|| {
                while let Some(kind) = kinds.get(next.fetch_add(1, Ordering::Relaxed)) {
                    if is_due(kind.name) {
                        let sums = run(kind, all.unwrap_or(SEEDS), !part.is_empty());
                        lines.lock().expect("not poisoned").insert(kind.name, sums);
                    }
                }
            });
        }
    });
    let mut lines = lines.into_inner().expect("not poisoned");
    let mut report = String::new();
    for kind in kinds {
        let Some((first, second)) = lines.remove(kind.name) else { continue };
        for (name, sum) in [(kind.name.to_owned(), first), (again_of(kind.name), second)] {
            if sum.runs == 0 {
                continue;
            }
            let is_held_to = !NOT_YET.contains(&name.as_str());
            let mark = match (sum.broken.is_empty(), is_held_to) {
                (true, true) => "",
                (true, false) => "  <- holds now: not NOT_YET",
                (false, true) => "  <- BROKEN",
                (false, false) => "  <- not yet",
            };
            println!("{name:60} {sum}{mark}");
            if asked && let Some(broken) = sum.broken.first() {
                println!("      {broken}");
            }
            if is_held_to && !sum.broken.is_empty() {
                writeln!(report, "{name}: {}", sum.broken.join("\n    ")).expect("a string");
            }
        }
    }
    assert!(report.is_empty(), "{report}");
}

fn again_of(name: &str) -> String {
    format!("{name}, again")
}

#[test]
fn what_does_not_hold_yet_is_a_kind() {
    let names: Vec<String> = KINDS.iter().flat_map(|kind| [kind.name.to_owned(), again_of(kind.name)]).collect();
    let unknown: Vec<_> = NOT_YET.iter().filter(|name| !names.iter().any(|known| known == *name)).collect();
    assert!(unknown.is_empty(), "{unknown:?}");
}
