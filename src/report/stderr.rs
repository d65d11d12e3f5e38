//! What a person sees of a run on stderr, written by a thread of its own: the one owner of stderr while a run goes on.

use std::collections::VecDeque;
use std::io::{self, Write as _};
use std::sync::Arc;
use std::time::Duration;

use console::{Term, truncate_str};
use tracing_subscriber::fmt::MakeWriter;

use super::outlet::{self, Outlet};
use crate::model::text::{counted, one_line};
use crate::tripwire;

/// So many lines may wait; of the others it is only told how many they were.
const MOST: usize = 1_000;

/// How wide a terminal is taken to be that does not say.
const COLUMNS: usize = 80;
/// The bar itself takes an eighth of the line, and at the most so many columns.
const WIDEST: usize = 24;

/// How far a run is, as its last line on the terminal shows it.
#[derive(Clone, Debug)]
pub(super) struct Bar {
    /// Prompts that have ended.
    pub(super) ended: usize,
    /// All of them.
    pub(super) all: usize,
    /// What stands beside the bar; a narrow terminal cuts its end.
    pub(super) text: String,
}

impl Bar {
    /// The line on a terminal of so many columns. It leaves the last one free: some terminals begin a new line after it.
    fn line(&self, columns: usize) -> String {
        let width = (columns / 8).min(WIDEST);
        let full = width.saturating_mul(self.ended) / self.all.max(1);
        let bar: String = (0..width).map(|cell| if cell < full { '\u{2588}' } else { '\u{2591}' }).collect();
        truncate_str(&format!("{bar} {}", self.text), columns.saturating_sub(1), "\u{2026}").into_owned()
    }
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

/// The terminal. Its bar is its last line, and the cursor stands at that line's beginning: where a terminal becomes narrower and breaks the line in
/// two, all of it still lies at the cursor and after it, and goes with the rest of the screen.
#[derive(Default)]
struct Screen {
    bar: Option<Bar>,
    /// The bar's line as it stands there.
    shown: String,
}

/// Takes away what lies at the cursor's line and after it. The blank is for tmux, which keeps the whole screen as history where it is cleared from its
/// first place on.
const CLEAR: &str = "\r \u{1b}[J\r";

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
                Show::Bar(bar) => {
                    if self.bar.insert(bar).line(columns()) != self.shown {
                        self.print(b"");
                    }
                }
                Show::Clear => {
                    self.shown.clear();
                    if self.bar.take().is_some() {
                        write(CLEAR.as_bytes());
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
    /// Prints whole lines above the bar, where there is one.
    fn print(&mut self, lines: &[u8]) {
        let Some(bar) = &self.bar else { return write(lines) };
        self.shown = bar.line(columns());
        write(&[CLEAR.as_bytes(), lines, self.shown.as_bytes(), b"\r"].concat());
    }
}

fn columns() -> usize {
    Term::stderr().size_checked().map_or(COLUMNS, |(_, columns)| usize::from(columns))
}

fn write(text: &[u8]) {
    // That nobody reads there any more (`2>&1 | head`) is no reason to end a run that costs money, and there is nowhere left to say it.
    let _ = io::stderr().lock().write_all(text);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_narrow_terminal_cuts_the_end_and_no_line_is_broken() {
        let bar =
            Bar { ended: 50, all: 200, text: "50/200, 3m 20s left, at the server's 10 requests a second".to_owned() };
        for (columns, line) in [
            (80, "██░░░░░░░░ 50/200, 3m 20s left, at the server's 10 requests a second"),
            (60, "█░░░░░░ 50/200, 3m 20s left, at the server's 10 requests a…"),
            (30, "░░░ 50/200, 3m 20s left, at …"),
        ] {
            assert_eq!(bar.line(columns), line, "{columns} columns");
        }
        let wide = Bar { text: "日本".repeat(50), ..bar };
        for columns in 2..250 {
            assert!(console::measure_text_width(&wide.line(columns)) < columns, "{columns} columns");
        }
        assert!(wide.line(400).starts_with(&format!("{}{} ", "█".repeat(6), "░".repeat(18))));
        assert_eq!(Bar { ended: 0, all: 0, text: String::new() }.line(80), format!("{} ", "░".repeat(10)));
    }
}
