//! What `run` and `plan` have in common: settings, and a look at prompts and outputs.

use std::collections::{HashMap, HashSet};
use std::path::Path;
use std::sync::Arc;

use chrono::{DateTime, Utc};
use http::header::AUTHORIZATION;

use super::Failure;
use super::args::SettingsArgs;
use crate::clock::Clock;
use crate::config::consent::Question;
use crate::config::{Environment, Loaded, Settings, load, needs_key};
use crate::count::{LARGEST_WINDOW, Tokenizer, context_window};
use crate::model::{Key, Secret};
use crate::plan::price::Price;
use crate::plan::survey::Survey;
use crate::plan::{OverBatch, Plan, PlanRules, Surveyed};
use crate::record::{Endpoint, Found, endpoint};
use crate::run::recover::{Recovery, Stands, recover};
use crate::run::{OutputEstimate, answer_is_kept};
use crate::send::attempt;
use crate::source::scan::{self, Scan};
use crate::write::WriteError;
use crate::write::on_disk::{self, Form, Listed};

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
    fn context_window(&self) -> Option<u64> {
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

    /// What plans keep to.
    fn plan_rules(&self) -> PlanRules {
        let Settings { limits, template, split, priorities, .. } = &self.settings;
        PlanRules {
            limits: *limits,
            context_window: self.context_window(),
            max_output_tokens: template.output_limit(),
            split: *split,
            priorities: priorities.clone(),
        }
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

    /// Finds out what became of the requests whose run died. `found` knows their answers then; what is left in it as lost is of unknown fate.
    pub(super) fn recover(&self, found: &mut Found) -> Result<Recovery, Failure> {
        if found.lost.is_empty() {
            return Ok(Recovery::default());
        }
        let outputs = &self.settings.outputs;
        let on_disk = on_disk::list(outputs)?.outputs;
        let stands = |key: &Key| {
            on_disk.get(key)?;
            // What cannot be read proves nothing.
            let content = on_disk::content(outputs, key).ok()?;
            let failure = on_disk::form(outputs, key).ok()? == Form::Failure;
            Some(Stands { content, failure })
        };
        let recovery = recover(std::mem::take(&mut found.lost), stands);
        for (request, content) in &recovery.answered {
            found.known.insert(request.key.clone(), request.answered(*content));
        }
        found.lost.clone_from(&recovery.unknown);
        Ok(recovery)
    }

    /// Reads the prompts that were scanned, and what is known of them; adds to the warnings those that have no text and are left out.
    pub(super) fn survey(&mut self, scan: &Scan, found: &Found, force: bool) -> Result<Vec<Surveyed>, Failure> {
        let Settings { outputs, template, .. } = &self.settings;
        let Listed { outputs: mut on_disk, blocked } = on_disk::list(outputs)?;
        let mut blocked: HashMap<_, _> = blocked
            .into_iter()
            .map(|(key, what)| {
                let message = WriteError::blocked(outputs, &key, what).to_string();
                (key, message)
            })
            .collect();
        for answer in &found.kept {
            match blocked.get_mut(&answer.key) {
                Some(message) => *message = answer_is_kept(message),
                None => drop(on_disk.insert(answer.key.clone(), answer.text.len() as u64)),
            }
        }
        let lost: HashSet<_> = found.lost.iter().map(|request| (request.key.clone(), request.fingerprint)).collect();
        let survey = Survey {
            prompts: &scan.folder,
            outputs,
            template,
            known: &found.known,
            lost: &lost,
            on_disk: &on_disk,
            blocked: &blocked,
            force,
            rehearsal: self.rehearsal,
        };
        let surveyed = survey.run(&scan.prompts);
        // Both are in the same order.
        let mut with_text = surveyed.iter().map(|surveyed| &surveyed.key).peekable();
        let blank: Vec<_> = scan
            .prompts
            .iter()
            .copied()
            .filter(|number| with_text.next_if(|key| **key == Key::from(*number)).is_none())
            .collect();
        self.warnings.extend(scan.without_text(&blank));
        Ok(surveyed)
    }

    /// Plans what was surveyed, and adds to the warnings what a person should know of it.
    pub(super) fn plan(&mut self, surveyed: Vec<Surveyed>) -> Result<Plan, OverBatch> {
        let model = &self.settings.template.model;
        let plan = Plan::new(surveyed, &self.plan_rules());
        if plan.as_ref().map_or(true, |plan| !plan.jobs.is_empty()) && !Tokenizer::for_model(model).is_known() {
            self.warnings.push(format!("the tokenizer of {model} is unknown; its tokens are counted with o200k_base"));
        }
        if let Ok(Plan { protected: protected @ 1.., .. }) = plan {
            let answers = if protected == 1 { "1 answer is".to_owned() } else { format!("{protected} answers are") };
            self.warnings
                .push(format!("{answers} not the stand-in's and may have been paid for; --offline leaves them alone"));
        }
        plan
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
