//! The numbers that a run is to reach, measured with the built program against the stand-in on loopback: `cargo bench --bench numbers`.
//!
//! Prints, and fails nothing: the machine decides the time. The stand-in runs in this process, on one thread, and takes its share of the
//! cores. Folders are made where temporary files go; on a disk, not in memory, if flushing is to cost what it does.

use std::error::Error;
use std::fs;
use std::io;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use promptmill::model::{Content, Key};
use promptmill::standin::{Options, Server};
use promptmill::write::Sink;
use promptmill::write::files::Files;
use tempfile::TempDir;

type Result<T> = std::result::Result<T, Box<dyn Error>>;

/// Requests at one time where a kill or a billing error cuts a run short.
const IN_FLIGHT: usize = 50;

fn main() -> Result<()> {
    println!("{:66} {:>22}   goal", "what", "measured");
    let (median, best) = short_prompts()?;
    row("100 short prompts, start to exit (median of 21)", &ms(median), "at most 80 ms");
    row("  the fastest of them", &ms(best), "");
    row("  nothing to do: 100 prompts up to date", &ms(up_to_date()?), "");
    row("answers written one file each, flushed, 8 threads", &a_second(answers_written()?), "at least 6,000 a second");
    let (rate, cpu) = many(10_000, 2_000, Duration::from_millis(50))?;
    row("10,000 prompts, 50 ms latency, 2,000 in flight, start to exit", &a_second(rate), "(15,000 a second)");
    if let Some(cpu) = cpu {
        row("  CPU for each", &ms(cpu), "(0.07 ms)");
    }
    let most = format!("at most {IN_FLIGHT}");
    row("requests after the first billing error (worst of 5)", &worst_of(5, after_billing_error)?, &most);
    row("requests sent again after kill -9 (worst of 10)", &worst_of(10, sent_again_after_kill)?, &most);
    Ok(())
}

fn row(what: &str, measured: &str, goal: &str) {
    println!("{what:66} {measured:>22}   {goal}");
}

fn ms(duration: Duration) -> String {
    format!("{:.3} ms", duration.as_secs_f64() * 1e3)
}

fn a_second(rate: f64) -> String {
    format!("{rate:.0} a second")
}

fn worst_of(times: u64, measure: fn(u64) -> Result<usize>) -> Result<String> {
    let mut worst = 0;
    for time in 0..times {
        worst = worst.max(measure(time)?);
    }
    Ok(worst.to_string())
}

/// A folder with `number` short prompts.
fn folder(number: usize) -> Result<TempDir> {
    let folder = tempfile::tempdir()?;
    let prompts = folder.path().join("prompts");
    fs::create_dir(&prompts)?;
    for n in 1..=number {
        fs::write(prompts.join(format!("{n}_prompt.txt")), format!("Say the number {n} in words.\n"))?;
    }
    Ok(folder)
}

/// The program in `folder`, with nothing of this process's environment.
fn promptmill(folder: &Path, server: &Server, args: &[String]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_promptmill"));
    command.args(["--quiet", "--range", "all"]).args(args).current_dir(folder);
    command.env_clear().env("OPENAI_BASE_URL", server.base_url());
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
    command
}

/// Without limits, so many at a time.
fn unlimited(in_flight: usize) -> Vec<String> {
    let mut args: Vec<String> = ["tokens-per-minute", "requests-per-minute", "tokens-per-day", "tokens-per-batch"]
        .iter()
        .map(|limit| format!("--{limit}=0"))
        .collect();
    args.push(format!("--concurrency={in_flight}"));
    args
}

fn run(mut command: Command, code: i32) -> Result<Duration> {
    let start = Instant::now();
    let output = command.output()?;
    let took = start.elapsed();
    if output.status.code() != Some(code) {
        return Err(format!("{}: {}", output.status, String::from_utf8_lossy(&output.stderr)).into());
    }
    Ok(took)
}

fn short_prompts() -> Result<(Duration, Duration)> {
    let server = Server::start_thread(Options::default())?;
    let mut times = Vec::new();
    for _ in 0..21 {
        let folder = folder(100)?;
        times.push(run(promptmill(folder.path(), &server, &[]), 0)?);
    }
    times.sort();
    Ok((times[times.len() / 2], times[0]))
}

fn up_to_date() -> Result<Duration> {
    let server = Server::start_thread(Options::default())?;
    let folder = folder(100)?;
    run(promptmill(folder.path(), &server, &[]), 0)?;
    let mut times = Vec::new();
    for _ in 0..21 {
        times.push(run(promptmill(folder.path(), &server, &[]), 0)?);
    }
    times.sort();
    Ok(times[times.len() / 2])
}

/// Answers that are written to measure how fast that goes.
const ANSWERS: u32 = 20_000;

/// Files a second, written as a run writes them.
fn answers_written() -> Result<f64> {
    let folder = tempfile::tempdir()?;
    let files = Files::to_read(folder.path())?;
    let next = AtomicU32::new(1);
    let start = Instant::now();
    thread::scope(|scope| {
        let threads: Vec<_> = (0..8).map(|_| scope.spawn(|| write_answers(&files, &next))).collect();
        threads.into_iter().try_for_each(|thread| thread.join().map_err(|_| io::Error::other("a thread panicked"))?)
    })?;
    files.flush()?;
    Ok(f64::from(ANSWERS) / start.elapsed().as_secs_f64())
}

fn write_answers(sink: &dyn Sink, next: &AtomicU32) -> io::Result<()> {
    let answer = Content::Answer("An answer of some length. ".repeat(40));
    loop {
        let number = next.fetch_add(1, Ordering::Relaxed);
        if number > ANSWERS {
            return Ok(());
        }
        sink.put(&Key::from(u64::from(number)), &answer, false).map_err(io::Error::other)?;
    }
}

/// Requests a second of a whole run, and its CPU time for each.
fn many(prompts: u32, in_flight: usize, latency: Duration) -> Result<(f64, Option<Duration>)> {
    let server = Server::start_thread(Options { latency, remember: 0, ..Options::default() })?;
    let folder = folder(prompts as usize)?;
    let before = children_cpu();
    let took = run(promptmill(folder.path(), &server, &unlimited(in_flight)), 0)?;
    let cpu = children_cpu().zip(before).map(|(after, before)| after.saturating_sub(before) / prompts);
    Ok((f64::from(prompts) / took.as_secs_f64(), cpu))
}

/// CPU time of the children that have ended, where the system tells it as Linux does.
fn children_cpu() -> Option<Duration> {
    let stat = fs::read_to_string("/proc/self/stat").ok()?;
    // Behind the name, which may hold spaces: state is the first, cutime and cstime the 14th and 15th; in hundredths of a second.
    let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
    let ticks = fields.get(13)?.parse::<u64>().ok()? + fields.get(14)?.parse::<u64>().ok()?;
    Some(Duration::from_millis(ticks * 10))
}

/// A server that takes 20 to 40 ms.
fn slow(seed: u64) -> Options {
    let time = Duration::from_millis(20);
    Options { latency: time, jitter: time, seed, ..Options::default() }
}

fn after_billing_error(time: u64) -> Result<usize> {
    let server = Server::start_thread(Options { answers_before_quota: Some(300 + 70 * time), ..slow(time) })?;
    let folder = folder(2_000)?;
    run(promptmill(folder.path(), &server, &unlimited(IN_FLIGHT)), 4)?;
    let log = server.log();
    let first = log.iter().position(|logged| logged.status == 429).ok_or("no billing error")?;
    Ok(log.len() - first - 1)
}

fn sent_again_after_kill(time: u64) -> Result<usize> {
    const PROMPTS: usize = 2_000;
    let server = Server::start_thread(slow(time))?;
    let folder = folder(PROMPTS)?;
    let started = promptmill(folder.path(), &server, &unlimited(IN_FLIGHT)).spawn()?;
    let killed = kill_after(started, &server, 200 + 150 * usize::try_from(time)?)?;
    if killed >= PROMPTS {
        return Err("the run had ended before it was killed".into());
    }
    run(promptmill(folder.path(), &server, &unlimited(IN_FLIGHT)), 0)?;
    let names = std::fs::read_dir(folder.path().join("outputs"))?
        .filter_map(|entry| entry.ok()?.file_name().into_string().ok());
    let answers = names.filter(|name| name.ends_with("_output.txt")).count();
    if answers != PROMPTS {
        return Err(format!("{answers} answers").into());
    }
    Ok(server.log().len() - PROMPTS)
}

/// Kills the run once the server has seen so many requests; returns how many it has seen then.
fn kill_after(mut run: Child, server: &Server, requests: usize) -> Result<usize> {
    while server.log().len() < requests {
        if let Some(status) = run.try_wait()? {
            return Err(format!("the run ended before it was killed: {status}").into());
        }
        thread::sleep(Duration::from_millis(1));
    }
    run.kill()?;
    run.wait()?;
    Ok(server.log().len())
}
