//! The catalogue of metrics, and what is written of it: the exposition, the table, the rules.

#[path = "../gateway/support/exposition.rs"]
mod exposition;

mod catalogue;
mod example;
mod expression;
mod reference;
mod rules;
mod text;
