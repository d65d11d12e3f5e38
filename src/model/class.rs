//! The classes of failures: the stable words in `ERROR: <class>: <message>`, in the journal and in `--json` events.

use std::fmt;

use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

macro_rules! classes {
    ($($(#[doc = $meaning:literal])+ $name:ident = $word:literal;)+) => {
        /// Why an attempt, or a prompt, failed.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum Class {
            $($(#[doc = $meaning])+ $name,)+
        }

        impl Class {
            /// Every class with what it means, in the order in which the README shows them.
            pub const ALL: &[(Self, &str)] = &[$((Self::$name, concat!($($meaning),+).trim_ascii_start())),+];

            /// The word for it.
            #[must_use]
            pub fn word(self) -> &'static str {
                match self {
                    $(Self::$name => $word,)+
                }
            }
        }
    };
}

classes! {
    /// The API does not accept the key (401).
    BadKey = "bad_key";
    /// The key is not allowed to do this: permission, country or address (403).
    Forbidden = "forbidden";
    /// The account's credit, spend limit or plan does not allow more requests.
    Quota = "quota";
    /// The model does not exist, or the account has no access to it.
    ModelNotFound = "model_not_found";
    /// The base URL, or a proxy on the way, does not lead to the API (404, a redirect).
    BadEndpoint = "bad_endpoint";
    /// The model does not take a parameter that every request of the run has.
    BadParameter = "bad_parameter";
    /// The API refuses this request (400 and other 4xx).
    BadRequest = "bad_request";
    /// The prompt, with the answer it asks for, is longer than the model's context window.
    ContextLength = "context_length";
    /// The request is larger than a limit that no wait changes.
    TooLarge = "too_large";
    /// The API's content filter blocked the prompt, or the whole answer.
    ContentFilter = "content_filter";
    /// A firewall in front of the API answered with a page of its own (403); it may dislike this prompt's text.
    Blocked = "blocked";
    /// The model answered without any text; the tokens are billed.
    EmptyAnswer = "empty_answer";
    /// More requests or tokens than the API's limits allow, in a time or at a time (429).
    RateLimited = "rate_limited";
    /// The request rate grew faster than the API takes, though it is within its limits (429).
    SlowDown = "slow_down";
    /// The API or the model has no capacity at the moment.
    Overloaded = "overloaded";
    /// The API failed while it worked on the request (500 and other 5xx).
    ServerError = "server_error";
    /// A gateway in front of the API could not reach it (502, 520 to 530).
    BadGateway = "bad_gateway";
    /// The API asks for the same request again (409, 425).
    Busy = "busy";
    /// No answer came within a timeout of ours, of a gateway or of the API.
    Timeout = "timeout";
    /// The connection could not be made, or ended before the answer did.
    Connection = "connection";
    /// The response cannot be read: not JSON, not an answer, or too long.
    BadResponse = "bad_response";
    /// The prompt's file is not UTF-8; nothing was sent.
    NotText = "not_text";
    /// The prompt's file cannot be read; nothing was sent.
    Unreadable = "unreadable";
    /// The prompt's file was changed while the run went on; nothing was sent.
    Changed = "changed";
    /// No file stands in the output's place, but something else; an answer that came is kept.
    OutputBlocked = "output_blocked";
}

impl Class {
    /// The class of this word; `None` where it is none of ours.
    #[must_use]
    pub fn from_word(word: &str) -> Option<Self> {
        Self::ALL.iter().map(|(class, _)| *class).find(|class| class.word() == word)
    }

    /// Whether the failure is one of the prompt's file: nothing was sent, and nothing is heard of the server by it.
    #[must_use]
    pub fn is_local(self) -> bool {
        matches!(self, Self::NotText | Self::Unreadable | Self::Changed)
    }
}

impl fmt::Display for Class {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word())
    }
}

impl Serialize for Class {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.word())
    }
}

impl<'de> Deserialize<'de> for Class {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let word = String::deserialize(deserializer)?;
        Self::from_word(&word).ok_or_else(|| D::Error::custom(format!("{word} is no class")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_word_is_read_back() {
        for (class, meaning) in Class::ALL {
            assert_eq!(Class::from_word(class.word()), Some(*class));
            assert!(meaning.ends_with('.'), "{class}: {meaning}");
        }
        assert_eq!(Class::from_word("rain"), None);
        assert_eq!(serde_json::to_string(&Class::BadKey).expect("a word"), "\"bad_key\"");
        assert!(serde_json::from_str::<Class>("\"rain\"").is_err());
    }
}
