//! The last good addresses of a host.

use std::net::IpAddr;
use std::time::Duration;

use super::bad::Bad;
use super::dns::Answer;

/// What is known of a host.
#[derive(Debug)]
pub(super) struct Host {
    v4: Vec<IpAddr>,
    v6: Vec<IpAddr>,
    /// Something was learned; until then the addresses are those of a time before.
    is_known: bool,
}

impl Host {
    /// A host of which these addresses were good before.
    pub(super) fn before(addresses: Vec<IpAddr>) -> Host {
        let (v4, v6) = addresses.into_iter().partition(IpAddr::is_ipv4);
        Host { v4, v6, is_known: false }
    }

    /// An answer was good, for one family at least.
    pub(super) fn is_known(&self) -> bool {
        self.is_known
    }

    /// Its last good addresses; none when there was no good answer ever.
    pub(super) fn addresses(&self) -> Vec<IpAddr> {
        self.v4.iter().chain(&self.v6).copied().collect()
    }

    /// Takes what came of both questions; the time is that for which the answer is right.
    ///
    /// A family of which nothing is learned keeps its addresses. One that has none by a good answer
    /// has none only beside addresses of the other: a host without any is an answer of no use.
    ///
    /// # Errors
    /// A family of which nothing was learned. The other may have been.
    pub(super) fn take(&mut self, answers: [Answer<IpAddr>; 2]) -> Result<Duration, Bad> {
        use Answer::{Nothing, Records, Unknown};
        self.is_known |= answers.iter().any(|answer| matches!(answer, Records(..)));
        match answers {
            [Records(v4, a), Records(v6, b)] => {
                (self.v4, self.v6) = (v4, v6);
                Ok(a.min(b))
            }
            [Records(v4, ttl), Nothing(_)] => {
                (self.v4, self.v6) = (v4, Vec::new());
                Ok(ttl)
            }
            [Nothing(_), Records(v6, ttl)] => {
                (self.v4, self.v6) = (Vec::new(), v6);
                Ok(ttl)
            }
            [Records(v4, _), Unknown(bad)] => {
                self.v4 = v4;
                Err(bad.at("IPv6"))
            }
            [Unknown(bad), Records(v6, _)] => {
                self.v6 = v6;
                Err(bad.at("IPv4"))
            }
            [Unknown(bad), _] | [_, Unknown(bad)] | [Nothing(bad), Nothing(_)] => Err(bad),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::discovery::Outcome;

    fn ip(text: &str) -> IpAddr {
        text.parse().expect("an address")
    }

    fn some(text: &str, seconds: u64) -> Answer<IpAddr> {
        Answer::Records(vec![ip(text)], Duration::from_secs(seconds))
    }

    fn nothing() -> Answer<IpAddr> {
        Answer::Nothing(Bad::new(Outcome::Empty, "none"))
    }

    fn unknown() -> Answer<IpAddr> {
        Answer::Unknown(Bad::new(Outcome::Failed, "silence"))
    }

    fn known() -> Host {
        Host::before(vec![ip("10.0.0.1"), ip("fd00::1")])
    }

    /// The addresses after an answer to a host of one address of each family, and the answer's
    /// time or its outcome.
    fn after(answers: [Answer<IpAddr>; 2]) -> (Vec<String>, Result<u64, Outcome>) {
        let mut host = known();
        let taken = host.take(answers);
        let addresses = host.addresses().iter().map(IpAddr::to_string).collect();
        (addresses, taken.map(|ttl| ttl.as_secs()).map_err(|bad| bad.outcome))
    }

    #[test]
    fn both_families_take_the_shorter_time() {
        let (addresses, taken) = after([some("10.0.0.2", 9), some("fd00::2", 5)]);
        assert_eq!((addresses, taken), (vec!["10.0.0.2".into(), "fd00::2".into()], Ok(5)));
    }

    #[test]
    fn one_family_is_enough() {
        assert_eq!(after([some("10.0.0.2", 9), nothing()]), (vec!["10.0.0.2".into()], Ok(9)));
        assert_eq!(after([nothing(), some("fd00::2", 5)]), (vec!["fd00::2".into()], Ok(5)));
    }

    #[test]
    fn a_family_of_which_nothing_is_learned_keeps_its_addresses() {
        let failed = Err(Outcome::Failed);
        let v6_stays = vec!["10.0.0.2".into(), "fd00::1".into()];
        assert_eq!(after([some("10.0.0.2", 9), unknown()]), (v6_stays, failed));
        let v4_stays = vec!["10.0.0.1".into(), "fd00::2".into()];
        assert_eq!(after([unknown(), some("fd00::2", 9)]), (v4_stays, failed));
    }

    #[test]
    fn an_answer_without_addresses_changes_nothing() {
        let before: Vec<String> = known().addresses().iter().map(IpAddr::to_string).collect();
        for (answers, outcome) in [
            ([nothing(), nothing()], Outcome::Empty),
            ([nothing(), unknown()], Outcome::Failed),
            ([unknown(), nothing()], Outcome::Failed),
            ([unknown(), unknown()], Outcome::Failed),
        ] {
            assert_eq!(after(answers), (before.clone(), Err(outcome)));
        }
    }

    #[test]
    fn a_host_is_known_when_one_family_is() {
        for (answers, is_known) in [
            ([unknown(), unknown()], false),
            ([nothing(), nothing()], false),
            ([some("10.0.0.2", 9), unknown()], true),
            ([nothing(), some("fd00::2", 9)], true),
        ] {
            let mut host = known();
            let _ = host.take(answers);
            assert_eq!(host.is_known(), is_known);
        }
    }
}
