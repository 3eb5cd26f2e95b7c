//! Every answer names the gateway that gives it: in a header, and in a field where it is JSON.

use axum::body::{Body, Bytes, to_bytes};
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};

use crate::api::{IDENTITY_FIELD, IDENTITY_HEADER};
use crate::control::state::ControlState;

/// The identity as answers have it.
#[derive(Clone, Debug)]
pub(super) struct Name {
    header: HeaderValue,
    /// The beginning of an object, up to and with the first field's value.
    field: Bytes,
}

impl Name {
    pub(super) fn new(state: &ControlState) -> Name {
        let text = serde_json::to_string(state.identity()).expect("an identity is plain data");
        let field = format!("{{\"{IDENTITY_FIELD}\":{text}").into();
        // JSON has no control characters, which alone a header refuses; DEL is one, too.
        let header = HeaderValue::from_bytes(text.as_bytes());
        Name { header: header.unwrap_or(HeaderValue::from_static("{}")), field }
    }

    /// Puts it on an answer.
    pub(super) async fn put_on(self, mut answer: Response) -> Response {
        answer.headers_mut().insert(IDENTITY_HEADER, self.header);
        let kind = answer.headers().get(header::CONTENT_TYPE);
        if kind.is_none_or(|kind| kind != "application/json") {
            return answer;
        }
        let (mut head, body) = answer.into_parts();
        let Ok(body) = to_bytes(body, usize::MAX).await else {
            return StatusCode::INTERNAL_SERVER_ERROR.into_response();
        };
        head.headers.remove(header::CONTENT_LENGTH);
        Response::from_parts(head, Body::from(with_field(&self.field, &body)))
    }
}

/// The object with `field` before its fields. What is no object stays as it is.
fn with_field(field: &[u8], object: &[u8]) -> Vec<u8> {
    match object {
        [b'{', b'}'] => [field, b"}"].concat(),
        [b'{', rest @ ..] => [field, b",", rest].concat(),
        _ => object.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_field_comes_first_and_the_rest_stays() {
        let text = |object: &str| {
            String::from_utf8(with_field(b"{\"gateway\":7", object.as_bytes())).expect("text")
        };
        assert_eq!(text("{\"a\":1}"), "{\"gateway\":7,\"a\":1}");
        assert_eq!(text("{}"), "{\"gateway\":7}");
        assert_eq!(text("[1]"), "[1]");
        assert_eq!(text(""), "");
    }
}
