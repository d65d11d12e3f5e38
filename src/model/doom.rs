//! Why a prompt cannot be sent.

use super::text::count;
use super::{Class, LimitName, TooLarge};

/// Why a prompt fails without being sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Doom {
    pub class: Class,
    /// What is wrong with it, and what to do.
    pub message: String,
}

impl Doom {
    /// The failure of a prompt that is over a limit.
    #[must_use]
    pub fn too_large(too_large: &TooLarge) -> Self {
        let TooLarge { limit, asked, most } = too_large;
        let advice = match limit {
            LimitName::ContextWindow => "shorten the prompt, or choose a model that takes more".to_owned(),
            _ => format!("shorten the prompt, or raise {limit}"),
        };
        let message = format!("{} tokens are over the {limit} of {}; {advice}", count(*asked), count(*most));
        Self { class: Class::TooLarge, message }
    }
}
