//! What `run` and `plan` have in common: the settings, and what follows from them.

use std::path::Path;
use std::sync::Arc;

use chrono::{DateTime, Utc};
use http::header::AUTHORIZATION;

use super::Failure;
use super::args::SettingsArgs;
use crate::clock::Clock;
use crate::config::consent::Question;
use crate::config::{Environment, Loaded, Settings, load, needs_key};
use crate::count::{LARGEST_WINDOW, context_window};
use crate::model::Secret;
use crate::plan::price::Price;
use crate::record::{Endpoint, Found, endpoint};
use crate::run::OutputEstimate;
use crate::send::attempt;
use crate::source::scan::{self, Scan};

/// The settings of a command.
pub(super) struct Prepared {
    pub(super) settings: Settings,
    pub(super) key: Option<Secret>,
    pub(super) warnings: Vec<String>,
    /// What has to be asked before anything is sent.
    pub(super) question: Option<Question>,
    /// Whether the stand-in answers.
    pub(super) rehearsal: bool,
}

impl Prepared {
    /// Loads the settings and checks the request's parameters.
    pub(super) fn load(from: &SettingsArgs, offline: bool, environment: &Environment) -> Result<Self, Failure> {
        let loaded = load(&from.settings, from.config.as_deref(), Path::new("."), environment)?;
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
        Ok(Self { settings, key, warnings, question, rehearsal: offline })
    }

    /// What the server knows us by: the key, or a header that stands for one.
    pub(super) fn credential(&self) -> Option<Secret> {
        self.key.clone().or_else(|| self.settings.header_key())
    }

    /// What is masked in messages: the key, and every word of a secret header that cannot be a common one.
    pub(super) fn secrets(&self) -> Arc<[Secret]> {
        const SHORTEST: usize = 8;
        let values = self.settings.headers.values().filter(|value| value.is_sensitive());
        let words = values.filter_map(|value| value.to_str().ok()).flat_map(str::split_whitespace);
        let words = words.filter(|word| word.len() >= SHORTEST).filter_map(Secret::new);
        self.key.iter().cloned().chain(words).collect()
    }

    /// The clocks, with the days of the settings.
    pub(super) fn clock(&self) -> Clock {
        Clock { day: self.settings.day }
    }

    /// Lists the prompts, and adds to the warnings what a person should know of the folder.
    pub(super) fn scan(&mut self) -> Result<Scan, Failure> {
        let Settings { prompts, range, only, .. } = &self.settings;
        let scan = scan::scan(prompts, range, only.as_ref())?;
        self.warnings.extend(scan.warnings());
        Ok(scan)
    }

    /// What to say where no prompt is selected.
    pub(super) fn nothing_selected(&self, scan: &Scan) -> String {
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
    pub(super) fn context_window(&self) -> Option<u64> {
        self.settings.context_window.or_else(|| context_window(&self.settings.template.model))
    }

    /// The most tokens that a request may have used: what a server reports beyond them is not believed.
    pub(super) fn most_tokens(&self) -> u64 {
        self.context_window().unwrap_or(LARGEST_WINDOW)
    }

    /// Output tokens to expect of an answer, by those that were `found`. 0.1.0 believed any usage.
    pub(super) fn estimate(&self, found: &Found) -> OutputEstimate {
        let most = self.most_tokens();
        OutputEstimate::from_latest(found.latest_output_tokens.iter().copied().filter(|tokens| *tokens <= most))
    }

    /// Whether answers cost nothing: they come from a server on this machine.
    pub(super) fn is_free(&self) -> bool {
        self.rehearsal || !needs_key(&self.settings.base_url)
    }

    /// The model's price at `wall`; `None` where answers are free, and where it is not known.
    pub(super) fn price(&self, wall: DateTime<Utc>) -> Option<Price> {
        let Settings { template, base_url, .. } = &self.settings;
        if self.is_free() { None } else { Price::look_up(&template.model, base_url, wall) }
    }

    /// What the server's limits are kept by. The stand-in of `--offline` has an address of its own in every run, and is no server to learn of.
    pub(super) fn endpoint(&self) -> Endpoint {
        let base_url = if self.rehearsal { "the stand-in" } else { &self.settings.base_url };
        endpoint(base_url, self.credential().as_ref(), &self.settings.template.model)
    }

    /// The outputs folder as the journal names it.
    pub(super) fn outputs_name(&self) -> String {
        let outputs = &self.settings.outputs;
        let absolute = std::fs::canonicalize(outputs).or_else(|_| std::path::absolute(outputs));
        absolute.unwrap_or_else(|_| outputs.clone()).to_string_lossy().into_owned()
    }
}
