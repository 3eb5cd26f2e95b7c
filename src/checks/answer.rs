//! What a server's answer to a check comes to.

/// What an answer comes to, as far as it is there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// More of it may tell.
    More,
    /// The server serves.
    Passed,
    /// It does not, and has said so.
    Failed(String),
    /// It is no answer to the question.
    Other,
}

/// Whether this text is there. It may have begun with what came before.
pub(super) fn text_in(answer: &[u8], before: usize, expected: &[u8]) -> Verdict {
    let from = before.saturating_sub(expected.len());
    match answer[from..].windows(expected.len()).any(|part| part == expected) {
        true => Verdict::Passed,
        false => Verdict::More,
    }
}
