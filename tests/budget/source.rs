//! The tables of sources, of the crate's own files, over the model checker's atomics.

#[path = "../../src/source/buckets.rs"]
#[allow(dead_code, reason = "the model uses a part of it")]
pub(crate) mod buckets;

#[path = "../../src/source/counts.rs"]
#[allow(dead_code, reason = "the model uses a part of it")]
pub(crate) mod counts;

#[path = "../../src/source/key.rs"]
#[allow(dead_code, reason = "the model uses a part of it")]
pub(crate) mod key;

#[path = "../../src/source/rates.rs"]
#[allow(dead_code, reason = "the model uses a part of it")]
pub(crate) mod rates;
