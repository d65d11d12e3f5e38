//! A request's task: sends it, and says what came of it.

use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinSet;

use crate::admit::hint::ServerHint;
use crate::clock::Clock;
use crate::count::Tokenizer;
use crate::model::{Doom, Key, Ordinal, RequestTemplate, Secret, Usage};
use crate::send::classify::{Billed, Failure, Kind, Verdict, classify};
use crate::send::client::Client;
use crate::send::hints;
use crate::tripwire;

/// What a request came to.
pub(super) type Heard = (Ordinal, Verdict, Vec<ServerHint>);

/// What requests are sent with.
#[derive(Clone)]
pub(super) struct Sender {
    pub(super) client: Client,
    pub(super) template: Arc<RequestTemplate>,
    pub(super) tokenizer: Tokenizer,
    pub(super) most_tokens: u64,
    pub(super) minute: Duration,
    pub(super) secrets: Arc<[Secret]>,
    pub(super) clock: Clock,
}

impl Sender {
    /// Sends a request in a task of its own.
    pub(super) fn send(
        &self,
        requests: &mut JoinSet<Heard>,
        (ordinal, key): (Ordinal, Key),
        input_tokens: u64,
        body: serde_json::Value,
    ) {
        let Self { client, template, tokenizer, most_tokens, minute, secrets, clock } = self.clone();
        requests.spawn(async move {
            let heard = client.ask(body).await;
            tripwire::here("request");
            let wall = clock.now().wall;
            let verdict = classify(template.api, heard.as_ref(), wall);
            let hints = heard.as_ref().map(|reply| hints::of_reply(reply, minute, wall)).unwrap_or_default();
            let status = heard.as_ref().map_or(0, |reply| reply.status);
            tracing::debug!(%key, status, "heard");
            let count = |text: &str| Usage { input_tokens, output_tokens: tokenizer.count(text), ..Usage::default() };
            (ordinal, tidied(verdict, most_tokens, count, &secrets), hints)
        });
    }
}

/// Puts `count` in place of a usage that is not reported, or not credibly, and masks secrets in a failure's message.
fn tidied(verdict: Verdict, most_tokens: u64, count: impl FnOnce(&str) -> Usage, secrets: &[Secret]) -> Verdict {
    match verdict {
        Verdict::Answer(mut answer) => {
            answer.settle_usage(most_tokens, count);
            Verdict::Answer(answer)
        }
        Verdict::Failure(mut failure) => {
            // What was reserved is the next best number.
            failure.usage = failure.usage.filter(|usage| usage.total() <= most_tokens);
            for secret in secrets {
                failure.message = secret.redact(&failure.message);
            }
            Verdict::Failure(failure)
        }
    }
}

/// The verdict on a prompt that cannot be sent.
pub(super) fn not_sent(doom: Doom) -> Verdict {
    let Doom { class, message } = doom;
    Verdict::Failure(Failure { kind: Kind::Prompt, class, message, wait: None, billed: Billed::No, usage: None })
}
