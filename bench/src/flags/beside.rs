//! What goes on beside connections that are held: `pingpong:1000@20000,churn:300,bulk:16`.

use std::fmt;

use super::amount::{connections, count, size_to};

/// Bytes per second and direction of a bulk connection when nobody says.
const BULK_BYTES: u64 = 1 << 20;
/// The most of it.
const BULK_BYTES_MAX: u64 = 1 << 30;

/// How many connections of each kind there are, and how much they do.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Beside {
    /// Connections with messages, and messages per second over all of them.
    pub(crate) pingpong: u64,
    pub(crate) messages: u64,
    /// New connections per second.
    pub(crate) churn: u64,
    /// Connections that stream both ways, and the bytes per second of each.
    pub(crate) bulk: u64,
    pub(crate) bulk_bytes: u64,
    /// Connections that send and read little.
    pub(crate) slow: u64,
    /// Connections whose clients say FIN and then read on.
    pub(crate) halfclose: u64,
}

/// Reads the list; an empty one is nothing.
pub(crate) fn beside(text: &str) -> Result<Beside, String> {
    let mut all = Beside::default();
    let mut seen = Vec::new();
    for one in text.split(',').map(str::trim).filter(|one| !one.is_empty()) {
        let (kind, amount) = one.split_once(':').ok_or_else(|| form(one))?;
        if seen.contains(&kind) {
            return Err(format!("{kind} stands there twice"));
        }
        seen.push(kind);
        let (number, rate) = match amount.split_once('@') {
            Some((number, rate)) => (number, Some(rate)),
            None => (amount, None),
        };
        match (kind, rate) {
            ("pingpong", Some(rate)) => {
                (all.pingpong, all.messages) = (connections(number)?, positive(rate)?);
            }
            ("churn", None) => all.churn = positive(number)?,
            ("bulk", rate) => {
                all.bulk = connections(number)?;
                all.bulk_bytes = rate.map_or(Ok(BULK_BYTES), size_to::<BULK_BYTES_MAX>)?;
            }
            ("slow", None) => all.slow = connections(number)?,
            ("halfclose", None) => all.halfclose = connections(number)?,
            _ => return Err(form(one)),
        }
    }
    Ok(all)
}

impl Beside {
    /// Connections at one time, without those that come and go.
    pub(crate) fn connections(&self) -> u64 {
        self.pingpong + self.bulk + self.slow + self.halfclose
    }
}

impl fmt::Display for Beside {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut parts = Vec::new();
        if self.pingpong > 0 {
            parts.push(format!("pingpong:{}@{}", self.pingpong, self.messages));
        }
        if self.churn > 0 {
            parts.push(format!("churn:{}", self.churn));
        }
        if self.bulk > 0 {
            parts.push(format!("bulk:{}@{}", self.bulk, self.bulk_bytes));
        }
        if self.slow > 0 {
            parts.push(format!("slow:{}", self.slow));
        }
        if self.halfclose > 0 {
            parts.push(format!("halfclose:{}", self.halfclose));
        }
        out.write_str(&parts.join(","))
    }
}

fn positive(text: &str) -> Result<u64, String> {
    match count(text)? {
        0 => Err(format!("{text:?} is not a rate: it must be more than 0")),
        rate => Ok(rate),
    }
}

fn form(one: &str) -> String {
    format!(
        "{one:?}: write pingpong:CONNECTIONS@MESSAGES_PER_SECOND, churn:CONNECTIONS_PER_SECOND, \
         bulk:CONNECTIONS (or bulk:CONNECTIONS@BYTES_PER_SECOND), slow:CONNECTIONS or \
         halfclose:CONNECTIONS"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_is_read_and_written() {
        let text = "pingpong:1k@20k,churn:300,bulk:16@4MiB,slow:100,halfclose:100";
        let all = beside(text).expect("a list");
        assert_eq!((all.pingpong, all.messages, all.churn), (1_000, 20_000, 300));
        assert_eq!((all.bulk, all.bulk_bytes, all.connections()), (16, 4 << 20, 1_216));
        assert_eq!(beside(&all.to_string()), Ok(all));
        assert_eq!(beside(""), Ok(Beside::default()));
    }

    #[test]
    fn what_is_no_such_list_is_refused() {
        for text in
            ["pingpong:5", "churn", "churn:0", "slow:0", "churn:3@4", "x:1", "slow:1,slow:2"]
        {
            assert!(beside(text).is_err(), "{text}");
        }
    }
}
