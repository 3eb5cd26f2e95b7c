//! What must hold of two peers of which one at least speaks TLS, when a run is over.

use portcullis::conn::Reason;

use crate::ends::End as Ended;
use crate::link::{End, Link};

impl Link {
    /// Data that the peer has sent, and got.
    fn data(&self) -> [u64; 2] {
        match &self.secure {
            Some(end) => [end.plain_sent, end.plain_got],
            None => [self.sent_bytes, self.delivered_bytes],
        }
    }

    /// The peer has ended its data, and the gateway had it all.
    fn has_ended(&self) -> bool {
        match &self.secure {
            Some(end) => {
                let closes = end.closes_at.is_some_and(|at| self.told_bytes() >= at as u64);
                end.is_sound() && closes
            }
            None => self.fin_in,
        }
    }

    /// The peer takes what it got for all.
    fn sees_an_end(&self) -> bool {
        match &self.secure {
            Some(end) => end.heard_close,
            None => self.end == Some(End::Fin),
        }
    }

    /// The peer was not all that it should be.
    fn is_wrong(&self) -> bool {
        let is_wrong = self
            .secure
            .as_ref()
            .is_some_and(|end| !end.is_sound() || end.is_shaking() || end.spoke_on());
        // One that closes without close_notify, as after a fatal alert, or none was said in time.
        is_wrong || self.rst_in || self.peer_aborted || self.fin_in && !self.has_ended()
    }
}

/// A client that had no server.
pub fn judge_unjoined(name: &str, end: Ended, client: &Link) {
    let is_gone = client.rst_in || client.fin_in || client.peer_aborted;
    let is_said_gone = end.reason == Reason::ClientGone;
    assert!(is_gone || !is_said_gone, "{name} has not left: {end:?}");
    assert!(client.end.is_some() || client.peer_aborted, "{name} never learnt of its end");
    assert_eq!(client.secure.as_ref().map_or(0, |end| end.plain_got), 0, "{name} got data");
}

/// A pair, or an echo: the same link twice.
pub fn judge(name: &str, end: Ended, links: [&Link; 2]) {
    let [client, server] = links;
    let outside = end.is_from_outside();
    for (way, source, sink) in [("up", client, server), ("down", server, client)] {
        judge_direction(&format!("{name}, {way}, {:?}", end.reason), outside, source, sink);
    }
    let is_clean = !outside && !client.is_wrong() && !server.is_wrong();
    let is_cut = client.was_reset || server.was_reset;
    let is_given_up = client.given_up || server.given_up;
    assert!(!is_clean || !is_cut || is_given_up, "{name}: a reset that nobody sent: {end:?}");
}

fn judge_direction(name: &str, outside: bool, source: &Link, sink: &Link) {
    let ([sent, _], [_, got]) = (source.data(), sink.data());
    assert!(got <= sent, "{name}: {got} bytes of {sent}");
    if sink.peer_aborted {
        return;
    }
    assert!(sink.end.is_some(), "{name} never learnt of its end");
    let is_shaken = sink.secure.as_ref().is_none_or(|end| !end.is_shaking());
    if source.has_ended() {
        let is_whole = got == sent;
        assert!(is_whole || !sink.sees_an_end(), "{name}: a clean end after {got} of {sent} bytes");
        let is_fine = !outside && is_shaken && !sink.closed_full;
        let is_fine = is_fine && sink.secure.as_ref().is_none_or(|it| it.is_sound());
        let is_cut = sink.end == Some(End::Fin) && !sink.sees_an_end();
        assert!(!is_fine || !is_cut, "{name}: a whole stream ends without close_notify");
    } else if sink.sees_an_end() {
        assert!(outside, "{name}: a clean end that the source did not send");
        let told_bytes = source.told_bytes();
        let (known, is_cut) = match &source.secure {
            Some(end) => end.known(told_bytes),
            None => (told_bytes, false),
        };
        assert!(!is_cut, "{name}: a stream that was cut in a record looks whole");
        assert_eq!(got, known, "{name}: a cut stream looks whole");
    }
}
