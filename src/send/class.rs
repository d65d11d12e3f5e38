//! The classes of failures: the stable words in `ERROR: <class>: <message>`, in the journal and in `--json` events.

macro_rules! classes {
    ($($(#[doc = $meaning:literal])+ $name:ident = $word:literal;)+) => {
        $($(#[doc = $meaning])+ pub const $name: &str = $word;)+

        /// Every class with what it means, in the order in which the README shows them.
        pub const ALL: &[(&str, &str)] = &[$(($word, concat!($($meaning),+).trim_ascii_start())),+];
    };
}

classes! {
    /// The API does not accept the key (401).
    BAD_KEY = "bad_key";
    /// The key is not allowed to do this: permission, country or address (403).
    FORBIDDEN = "forbidden";
    /// The account's credit, spend limit or plan does not allow more requests.
    QUOTA = "quota";
    /// The model does not exist, or the account has no access to it.
    MODEL_NOT_FOUND = "model_not_found";
    /// The base URL, or a proxy on the way, does not lead to the API (404, a redirect).
    BAD_ENDPOINT = "bad_endpoint";
    /// The model does not take a parameter that every request of the run has.
    BAD_PARAMETER = "bad_parameter";
    /// The API refuses this request (400 and other 4xx).
    BAD_REQUEST = "bad_request";
    /// The prompt, with the answer it asks for, is longer than the model's context window.
    CONTEXT_LENGTH = "context_length";
    /// The request is larger than a limit that no wait changes.
    TOO_LARGE = "too_large";
    /// The API's content filter blocked the prompt, or the whole answer.
    CONTENT_FILTER = "content_filter";
    /// A firewall in front of the API answered with a page of its own (403); it may dislike this prompt's text.
    BLOCKED = "blocked";
    /// The model answered without any text; the tokens are billed.
    EMPTY_ANSWER = "empty_answer";
    /// More requests or tokens than the API's rate limit allows (429).
    RATE_LIMITED = "rate_limited";
    /// The request rate grew faster than the API takes, though it is within its limits (429).
    SLOW_DOWN = "slow_down";
    /// The API or the model has no capacity at the moment.
    OVERLOADED = "overloaded";
    /// The API failed while it worked on the request (500 and other 5xx).
    SERVER_ERROR = "server_error";
    /// A gateway in front of the API could not reach it (502, 520 to 530).
    BAD_GATEWAY = "bad_gateway";
    /// The API asks for the same request again (409, 425).
    BUSY = "busy";
    /// No answer came within a timeout of ours, of a gateway or of the API.
    TIMEOUT = "timeout";
    /// The connection could not be made, or ended before the answer did.
    CONNECTION = "connection";
    /// The response cannot be read: not JSON, not an answer, or too long.
    BAD_RESPONSE = "bad_response";
    /// The prompt's file is not UTF-8; nothing was sent.
    NOT_TEXT = "not_text";
    /// The prompt's file cannot be read; nothing was sent.
    UNREADABLE = "unreadable";
    /// The prompt's file was changed while the run went on; nothing was sent.
    CHANGED = "changed";
    /// No file stands in the output's place, but something else; an answer that came is kept.
    OUTPUT_BLOCKED = "output_blocked";
}

/// Whether the failure is one of the prompt's file: nothing was sent, and nothing is heard of the server by it.
#[must_use]
pub fn is_local(class: &str) -> bool {
    [NOT_TEXT, UNREADABLE, CHANGED].contains(&class)
}
