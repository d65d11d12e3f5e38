//! What a conversation costs beside its text.
//!
//! The formula of `OpenAI`'s cookbook ("How to count tokens with tiktoken") for every chat model since gpt-3.5-turbo-0613. It
//! does not know names, tools or images.

/// Tokens around each message.
const PER_MESSAGE: u64 = 3;

/// Tokens that open the answer.
const REPLY: u64 = 3;

/// Input tokens of a conversation of `(role, content)` messages; `count` gives the tokens of plain text.
pub fn chat_tokens<'a>(messages: impl Iterator<Item = (&'a str, &'a str)>, count: impl Fn(&str) -> u64) -> u64 {
    messages.fold(REPLY, |total, (role, content)| {
        total.saturating_add(PER_MESSAGE).saturating_add(count(role)).saturating_add(count(content))
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use tiktoken_rs::ChatCompletionRequestMessage as Message;

    use super::*;
    use crate::count::Tokenizer;

    #[test]
    fn framing_is_three_a_message_and_three_for_the_reply() {
        let lengths = |text: &str| text.len() as u64;
        assert_eq!(chat_tokens(std::iter::empty(), lengths), 3);
        assert_eq!(chat_tokens([("user", "")].into_iter(), lengths), 3 + 3 + 4);
        assert_eq!(chat_tokens([("system", "ab"), ("user", "c")].into_iter(), lengths), 3 + (3 + 6 + 2) + (3 + 4 + 1));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn the_formula_is_that_of_tiktoken_rs(
            model in prop_oneof![Just("gpt-4o-mini"), Just("gpt-4"), Just("gpt-oss-20b")],
            // No `<|`: tiktoken-rs reads special tokens in content, where the API takes them as text.
            messages in prop::collection::vec((prop_oneof![Just("system"), Just("user"), Just("assistant")], "[^|]{0,40}"), 0..4),
        ) {
            let theirs: Vec<Message> = messages
                .iter()
                .map(|(role, content)| Message { role: (*role).to_owned(), content: Some(content.clone()), ..Message::default() })
                .collect();
            let theirs = tiktoken_rs::num_tokens_from_messages(model, &theirs).unwrap();
            let tokenizer = Tokenizer::for_model(model);
            let ours = chat_tokens(messages.iter().map(|(role, content)| (*role, content.as_str())), |text| tokenizer.count(text));
            prop_assert_eq!(ours, theirs as u64);
        }
    }
}
