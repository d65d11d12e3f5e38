//! The front door: what a Rust program calls to run prompts, and what the command line calls too.
//!
//! A [`Mill`] is a folder's settings, ready to be run. [`Mill::run`] brings its prompts to their ends; who listens is an [`Audience`], and a
//! [`Control`] ends the run early.

mod close;
mod ended;
mod failure;
mod held;
mod input;
mod open_files;
mod order;
mod recover;
mod run;
mod send;

pub use crate::drive::Control;
pub use ended::Ended;
pub use failure::Failure;
pub(crate) use input::{of_tokenizer, recover_lost};
use order::Metered;
pub use order::{Audience, Order, Silent};
use run::Run;

use std::path::Path;
use std::sync::Arc;

use chrono::{DateTime, Utc};
use http::header::AUTHORIZATION;

use crate::clock::{Clock, Mono};
use crate::config::consent::Question;
use crate::config::{Environment, Loaded, SettingArgs, Settings, load, needs_key};
use crate::count::{LARGEST_WINDOW, context_window};
use crate::model::Secret;
use crate::plan::price::Price;
use crate::record::{Endpoint, Found, endpoint};
use crate::report::meter::Meter;
use crate::run::OutputEstimate;
use crate::send::attempt;
use crate::source::scan::{self, Scan};

/// A folder's settings, ready to be run.
#[derive(Debug)]
pub struct Mill {
    pub(crate) settings: Settings,
    pub(crate) key: Option<Secret>,
    pub(crate) warnings: Vec<String>,
    /// What has to be asked before anything is sent.
    pub(crate) question: Option<Question>,
    /// Whether the stand-in answers.
    pub(crate) rehearsal: bool,
    /// When it began to load.
    started: Mono,
}

impl Mill {
    /// Brings the prompts to their ends.
    pub fn run(&mut self, order: &Order, control: &mut Control, audience: &mut dyn Audience) -> Result<Ended, Failure> {
        let (clock, meter) = (self.clock(), Meter::new(self.settings.limits, self.settings.usage_every));
        Run { mill: self, order, clock, watch: Metered { audience, meter }, control }.go()
    }

    /// Loads the settings of the folder `dir`, with `given` over them, and checks the request's parameters. `offline`: the built-in stand-in answers.
    pub fn load(
        given: &SettingArgs,
        config_file: Option<&Path>,
        dir: &Path,
        environment: &Environment,
        offline: bool,
    ) -> Result<Self, Failure> {
        let started = Clock::default().mono();
        let loaded = load(given, config_file, dir, environment)?;
        attempt::check(&loaded.settings.template)?;
        // The stand-in is shown no secret.
        let question = loaded.question().filter(|_| !offline);
        let of_address = if offline { Vec::new() } else { loaded.address_warnings() };
        let Loaded { mut settings, key, mut warnings, .. } = loaded;
        warnings.extend(of_address);
        if offline {
            settings.headers.clear();
        }
        let key = key.map(|(key, _)| key).filter(|_| !offline && !settings.headers.contains_key(AUTHORIZATION));
        Ok(Self { settings, key, warnings, question, rehearsal: offline, started })
    }

    /// What the server knows us by: the key, or a header that stands for one.
    pub(crate) fn credential(&self) -> Option<Secret> {
        self.key.clone().or_else(|| self.settings.header_key())
    }

    /// What is masked in messages: the key, and every word of a secret header that cannot be a common one.
    pub(crate) fn secrets(&self) -> Arc<[Secret]> {
        const SHORTEST: usize = 8;
        let values = self.settings.headers.values().filter(|value| value.is_sensitive());
        let words = values.filter_map(|value| value.to_str().ok()).flat_map(str::split_whitespace);
        let words = words.filter(|word| word.len() >= SHORTEST).filter_map(Secret::new);
        self.key.iter().cloned().chain(words).collect()
    }

    /// The clocks, with the days of the settings.
    pub(crate) fn clock(&self) -> Clock {
        Clock { day: self.settings.day }
    }

    /// Lists the prompts, and adds to the warnings what a person should know of the folder.
    pub(crate) fn scan(&mut self) -> Result<Scan, Failure> {
        let Settings { prompts, range, only, .. } = &self.settings;
        let scan = scan::scan(prompts, range, only.as_ref())?;
        self.warnings.extend(scan.warnings());
        Ok(scan)
    }

    /// What to say where no prompt is selected.
    pub(crate) fn nothing_selected(&self, scan: &Scan) -> String {
        let Settings { prompts, range, only, .. } = &self.settings;
        let prompts = prompts.display();
        match only {
            Some(only) => {
                format!("no prompts in {prompts} with text and a number in --only {only} (and in --range {range})")
            }
            None if !scan.out_of_range.is_empty() => {
                format!("no prompts in {prompts} with text and a number in --range {range}")
            }
            None => format!("no prompts in {prompts}: put text into 1_prompt.txt, 2_prompt.txt, ... there"),
        }
    }

    /// Tokens that input and output of a request may have together, as far as that is known.
    pub(crate) fn context_window(&self) -> Option<u64> {
        self.settings.context_window.or_else(|| context_window(&self.settings.template.model))
    }

    /// The most tokens that a request may have used: what a server reports beyond them is not believed.
    pub(crate) fn most_tokens(&self) -> u64 {
        self.context_window().unwrap_or(LARGEST_WINDOW)
    }

    /// Output tokens to expect of an answer, by those that were `found`. 0.1.0 believed any usage.
    pub(crate) fn estimate(&self, found: &Found) -> OutputEstimate {
        let most = self.most_tokens();
        OutputEstimate::from_latest(found.latest_output_tokens.iter().copied().filter(|tokens| *tokens <= most))
    }

    /// Whether answers cost nothing: they come from a server on this machine.
    pub(crate) fn is_free(&self) -> bool {
        self.rehearsal || !needs_key(&self.settings.base_url)
    }

    /// The model's price at `wall`; `None` where answers are free, and where it is not known.
    pub(crate) fn price(&self, wall: DateTime<Utc>) -> Option<Price> {
        let Settings { template, base_url, .. } = &self.settings;
        if self.is_free() { None } else { Price::look_up(&template.model, base_url, wall) }
    }

    /// What the server's limits are kept by. The stand-in of `--offline` has an address of its own in every run, and is no server to learn of.
    pub(crate) fn endpoint(&self) -> Endpoint {
        let base_url = if self.rehearsal { "the stand-in" } else { &self.settings.base_url };
        endpoint(base_url, self.credential().as_ref(), &self.settings.template.model)
    }

    /// The outputs folder as the journal names it.
    pub(crate) fn outputs_name(&self) -> String {
        let outputs = &self.settings.outputs;
        let absolute = std::fs::canonicalize(outputs).or_else(|_| std::path::absolute(outputs));
        absolute.unwrap_or_else(|_| outputs.clone()).to_string_lossy().into_owned()
    }
}
