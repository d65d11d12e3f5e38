//! What a person sees of a run on stderr, written by a thread of its own: the one owner of stderr while a run goes on.

use std::collections::VecDeque;
use std::io::{self, Write as _};
use std::sync::Arc;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use tracing_subscriber::fmt::MakeWriter;

use super::outlet::{self, Outlet};
use crate::model::text::{counted, one_line};
use crate::tripwire;

/// So many lines may wait; of the others it is only told how many they were.
const MOST: usize = 1_000;

/// How far a run is, as the bar shows it.
#[derive(Clone, Debug)]
pub(super) struct Bar {
    pub(super) length: u64,
    pub(super) position: u64,
    pub(super) message: String,
}

#[derive(Debug)]
enum Show {
    Line(String),
    Bar(Bar),
    /// Takes the bar away.
    Clear,
    /// Diagnostics, as they are.
    Log(Vec<u8>),
}

/// stderr.
#[derive(Clone, Debug)]
pub struct Stderr {
    outlet: Arc<Outlet<Show>>,
}

impl Stderr {
    /// Starts its thread; `died` is told where it panics.
    pub fn start(died: impl Fn() + Send + 'static) -> io::Result<Self> {
        Ok(Self { outlet: Arc::new(Outlet::start(Screen::default(), died)?) })
    }

    /// Says a line, later: one, and nothing hidden in it, whatever names and messages it holds.
    pub fn say(&self, line: &str) {
        self.outlet.put(Show::Line(one_line(line).into_owned()), MOST);
    }

    /// Shows the bar, unless something waits to be shown.
    pub(super) fn bar(&self, bar: Bar) {
        if self.outlet.wait(Duration::ZERO) == 0 {
            self.outlet.put(Show::Bar(bar), MOST);
        }
    }

    /// Takes the bar away: what follows is printed by others.
    pub(super) fn clear(&self) {
        self.outlet.put(Show::Clear, MOST);
    }

    /// Waits until all is said, at most for so long; says how many lines are not.
    #[must_use]
    pub fn wait(&self, at_most: Duration) -> usize {
        self.outlet.wait(at_most)
    }
}

/// Diagnostics go the same way.
impl<'a> MakeWriter<'a> for Stderr {
    type Writer = Log<'a>;

    fn make_writer(&'a self) -> Log<'a> {
        Log(self)
    }
}

/// Takes each event of the diagnostics as a whole.
#[derive(Debug)]
pub struct Log<'a>(&'a Stderr);

impl io::Write for Log<'_> {
    fn write(&mut self, text: &[u8]) -> io::Result<usize> {
        self.0.outlet.put(Show::Log(text.to_owned()), MOST);
        Ok(text.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[derive(Default)]
struct Screen {
    bar: Option<ProgressBar>,
}

impl outlet::Write<Show> for Screen {
    fn take(items: &mut VecDeque<Show>) -> Vec<Show> {
        items.pop_front().into_iter().collect()
    }

    fn write(&mut self, items: Vec<Show>, _left: usize, lost: usize) {
        tripwire::here("stderr");
        if lost > 0 {
            self.print(format!("{} not written here: stderr was not read\n", were(lost)).as_bytes());
        }
        for item in items {
            match item {
                Show::Line(line) => self.print((line + "\n").as_bytes()),
                Show::Log(text) => self.print(&text),
                Show::Bar(bar) => self.draw(bar),
                Show::Clear => {
                    if let Some(bar) = self.bar.take() {
                        bar.finish_and_clear();
                    }
                }
            }
        }
    }
}

/// `1 line was`, `2 lines were`.
fn were(lines: usize) -> String {
    format!("{} {}", counted(lines, "line"), if lines == 1 { "was" } else { "were" })
}

impl Screen {
    fn print(&self, text: &[u8]) {
        // That nobody reads there any more (`2>&1 | head`) is no reason to end a run that costs money, and there is nowhere left to say it.
        let print = || drop(io::stderr().lock().write_all(text));
        match &self.bar {
            Some(bar) => bar.suspend(print),
            None => print(),
        }
    }

    fn draw(&mut self, Bar { length, position, message }: Bar) {
        let bar = self.bar.get_or_insert_with(|| {
            let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr_with_hz(10));
            // A template that does not parse would be found by the tests.
            let style = ProgressStyle::with_template("{bar:24} {pos}/{len} {wide_msg}")
                .unwrap_or_else(|_| ProgressStyle::default_bar());
            bar.set_style(style);
            bar
        });
        bar.set_length(length);
        bar.set_position(position);
        bar.set_message(message);
    }
}
