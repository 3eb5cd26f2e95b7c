//! How a verb answers: with the answer of its request's type, or with a status and the reason.

use std::fmt::Display;

use axum::Json;
use axum::http::StatusCode;

use crate::api::Request;

/// The answer to a request, or the reason why it is not carried out.
pub(super) type Answer<R> = Result<Json<<R as Request>::Answer>, Refusal>;

/// A reason why a request is not carried out.
pub(super) type Refusal = (StatusCode, String);

/// The request itself is wrong.
pub(super) fn wrong(error: impl Display) -> Refusal {
    (StatusCode::BAD_REQUEST, error.to_string())
}

/// It names what this gateway does not have.
pub(super) fn unknown(error: impl Display) -> Refusal {
    (StatusCode::NOT_FOUND, error.to_string())
}

/// It contradicts what is so.
pub(super) fn conflict(words: impl Display) -> Refusal {
    (StatusCode::CONFLICT, words.to_string())
}

/// It may succeed later.
pub(super) fn not_now(words: impl Display) -> Refusal {
    (StatusCode::SERVICE_UNAVAILABLE, words.to_string())
}
