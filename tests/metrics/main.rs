//! The catalogue of metrics, and what is written of it: the exposition.

#[path = "../gateway/support/exposition.rs"]
mod exposition;

mod catalogue;
mod example;
mod text;
