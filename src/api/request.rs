//! A request: its method, its path, the type of its answer.

use serde::Serialize;
use serde::de::DeserializeOwned;

/// The version of every answer's shape.
pub const SCHEMA: u32 = 1;

/// The path of the status document; its type is `metrics::Reading`.
pub const STATUS_PATH: &str = "/status.json";
/// The path of the text for a bug report.
pub const DUMP_PATH: &str = "/dump";

/// The header that says as JSON which gateway it is, on every answer of an admin socket. Its type
/// is `metrics::reading::Identity`.
pub const IDENTITY_HEADER: &str = "portcullis-gateway";
/// The field that says the same, of every answer that is a JSON object.
pub const IDENTITY_FIELD: &str = "gateway";

/// How a request is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Method {
    /// Changes nothing; its fields are the query of the URL.
    Get,
    /// Changes something; its fields are the body, as JSON.
    Post,
}

/// A request to the admin socket.
pub trait Request: Serialize {
    /// How it is sent.
    const METHOD: Method;
    /// Where to.
    const PATH: &'static str;
    /// The answer of a gateway that carries it out. A refusal is a text, its status not 200.
    type Answer: Serialize + DeserializeOwned;
}
