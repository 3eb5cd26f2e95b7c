//! `drain`: its flags, and what it prints.

use std::time::Duration;

use clap::Args;
use humantime_serde::re::humantime::{format_duration, parse_duration};

use crate::api::drain::{CancelDrain, DRAIN_MAX_SECONDS, Drain, Draining, RATE_MAX};
use crate::client::{Client, ClientError};
use crate::doctor::count;

/// What `drain` can be told.
#[derive(Debug, Args)]
pub struct DrainArguments {
    /// listener/NAME, server/UPSTREAM/NAME or upstream/NAME [default: the process, which ends]
    pub part: Option<String>,
    /// So many in a hundred, the longest idle; new connections go on
    #[arg(long, value_name = "PERCENT", value_parser = share)]
    pub share: Option<u8>,
    /// Evenly over this time: 90s, 10m [default: gateway.drain_timeout at most]
    #[arg(long, value_name = "TIME", value_parser = time)]
    pub over: Option<Duration>,
    /// No more than so many connections a second: 500/s; without --over, just as fast
    #[arg(long, value_name = "N/s", value_parser = rate)]
    pub rate: Option<u32>,
    /// Be unready, and still serve new clients for so long first [default: gateway.drain_grace]
    #[arg(long, value_name = "TIME", value_parser = time, conflicts_with_all = ["part", "share"])]
    pub grace: Option<Duration>,
    /// End that drain: connections that are left stay, and new ones come again
    #[arg(long, conflicts_with_all = ["share", "over", "rate", "grace"])]
    pub cancel: bool,
    /// Answer with one JSON object
    #[arg(long)]
    pub json: bool,
}

/// A duration as in the config file.
fn time(text: &str) -> Result<Duration, String> {
    let most = Duration::from_secs(DRAIN_MAX_SECONDS);
    let time = parse_duration(text).ok().filter(|time| *time <= most);
    time.ok_or_else(|| "must be a duration up to 366 days; write 90s or 10m".to_owned())
}

/// Connections per second.
fn rate(text: &str) -> Result<u32, String> {
    let number = text.strip_suffix("/s").unwrap_or(text).parse();
    let rate = number.ok().filter(|rate| (1..=RATE_MAX).contains(rate));
    rate.ok_or_else(|| format!("must be 1 to {RATE_MAX} connections a second; write 500/s"))
}

/// A part of a hundred.
fn share(text: &str) -> Result<u8, String> {
    let number = text.strip_suffix('%').unwrap_or(text).trim_end().parse();
    let share = number.ok().filter(|share| (1..=100).contains(share));
    share.ok_or_else(|| "must be 1 to 100, in percent; write 30".to_owned())
}

/// Does what `arguments` say; gives the answer.
pub(super) fn drain(gateway: &Client, arguments: DrainArguments) -> Result<String, ClientError> {
    let DrainArguments { part, share, over, rate, grace, cancel, json } = arguments;
    let millis = |time: Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
    let request = Drain {
        grace_millis: grace.map(millis),
        // A time that is none is the shortest: everybody at once.
        over_millis: over.map(|over| millis(over).max(1)),
        part: part.clone(),
        rate,
        share,
    };
    if cancel { end(gateway, part, json) } else { begin(gateway, &request, json) }
}

fn begin(gateway: &Client, request: &Drain, json: bool) -> Result<String, ClientError> {
    if json {
        return gateway.document(request).map(|answer| answer.to_string());
    }
    let answer = gateway.ask(request)?;
    let hint = match (&request.part, request.share) {
        (None, None) => return Ok(words(&answer)),
        (Some(part), None) => {
            "\nno new connections there, even afterwards, until ".to_owned()
                + &match part.split_once('/') {
                    Some(("listener", name)) => format!("`portcullis listener {name} resume`"),
                    Some(("server", name)) => format!("`portcullis server {name} ready`"),
                    _ => "`portcullis server UPSTREAM/NAME ready`".to_owned(),
                }
        }
        (_, Some(_)) => String::new(),
    };
    Ok(words(&answer) + &hint)
}

/// `draining listener/edge: 8,120 connections over 10m`.
fn words(answer: &Draining) -> String {
    let time = |seconds: f64| format_duration(Duration::from_secs(seconds.round() as u64));
    let mut text = match answer.drain.as_str() {
        "process" => format!("draining, {} open", count(answer.open, "connection")),
        drain => format!("draining {drain}: {}", count(answer.open, "connection")),
    };
    text += &format!(", over {} at most", time(answer.over_seconds));
    if let Some(rate) = answer.rate {
        text += &format!(", {rate} a second at most");
    }
    if answer.grace_seconds >= 0.5 {
        text += &format!("; new clients are served for {} first", time(answer.grace_seconds));
    }
    text
}

fn end(gateway: &Client, part: Option<String>, json: bool) -> Result<String, ClientError> {
    let request = CancelDrain { part };
    if json {
        return gateway.document(&request).map(|answer| answer.to_string());
    }
    let answer = gateway.ask(&request)?;
    let (left, ended) = (count(answer.left, "connection"), count(answer.ended, "connection"));
    Ok(format!("{}: cancelled, {left} stay, {ended} ended", answer.drain))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_taken_as_people_write_them() {
        assert_eq!(time("10m"), Ok(Duration::from_secs(600)));
        assert_eq!(time("1h 30m"), Ok(Duration::from_secs(5400)));
        assert_eq!((rate("500/s"), rate("7")), (Ok(500), Ok(7)));
        assert_eq!((share("30"), share("30%"), share("100 %")), (Ok(30), Ok(30), Ok(100)));
        for wrong in ["", "10", "-5s", "400d"] {
            assert!(time(wrong).is_err(), "{wrong:?}");
        }
        for wrong in ["", "0", "0/s", "500/m", "1000001"] {
            assert!(rate(wrong).is_err(), "{wrong:?}");
        }
        for wrong in ["", "0", "101", "0.3"] {
            assert!(share(wrong).is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn an_answer_says_what_how_many_and_how_fast() {
        let answer = |drain: &str, grace_seconds, rate| Draining {
            drain: drain.to_owned(),
            draining: true,
            grace_seconds,
            open: 8_120,
            over_seconds: 600.2,
            rate,
            schema: 1,
        };
        assert_eq!(
            words(&answer("process", 30.0, None)),
            "draining, 8,120 connections open, over 10m at most; new clients are served for 30s \
             first"
        );
        assert_eq!(
            words(&answer("share of listener/edge", 0.0, Some(500))),
            "draining share of listener/edge: 8,120 connections, over 10m at most, 500 a second at \
             most"
        );
    }
}
