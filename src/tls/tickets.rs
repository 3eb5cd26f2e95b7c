//! Keys that seal session tickets, so that a client that comes back shows no certificate again.
//!
//! A ticket (RFC 5077, 4; RFC 8446, 4.6.1) is all that is kept of a session, and the client keeps
//! it. Gateways with the same file of keys resume each other's sessions. In bytes:
//!
//! ```text
//! name of the key 16 | seed 16 | nonce 12 | sealed (time 8 | session) | tag 16
//! ```
//!
//! The key of each ticket is HKDF-SHA256 of its seed. So random nonces never meet under one key,
//! however many gateways seal with one file (NIST SP 800-38D, 8.3: 2^32 by key).

use std::fmt;
use std::sync::RwLock;
use std::sync::atomic::{AtomicU64, Ordering};

use aws_lc_rs::aead::{self, AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use aws_lc_rs::hkdf::{HKDF_SHA256, Prk, Salt};
use aws_lc_rs::rand;
use zeroize::Zeroizing;

/// Bytes of one key: a name of 16, and two secrets of 32. nginx's `ssl_session_ticket_key` has the
/// same form.
const KEY: usize = NAME + SECRET;
const NAME: usize = 16;
const SECRET: usize = 64;
/// Keys of one file: a week of days, and a day's tickets end with it.
const KEYS_MAX: usize = 16;

const SEED: usize = 16;
const NONCE: usize = aead::NONCE_LEN;
const HEAD: usize = NAME + SEED + NONCE;
const TIME: usize = 8;
const TAG: usize = 16;
const LABEL: &[u8] = b"portcullis ticket";

/// Seconds for which a ticket resumes a session.
pub const TICKET_SECONDS: u32 = 12 * 3600;
/// Seconds for which a random key seals.
const ROTATION_SECONDS: u64 = 6 * 3600;
/// Seconds by which the clock of another gateway may be ahead.
const AHEAD_SECONDS: u64 = 600;

/// Why a file is no file of ticket keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TicketKeysError {
    /// Its length in bytes is no multiple of a key's, or zero.
    Length(usize),
    /// It has so many keys.
    TooMany(usize),
    /// These two of its keys, counted from 1, have one name.
    SameName(usize, usize),
    /// The system has no random bytes for a key of our own.
    NoRandomBytes,
}

impl fmt::Display for TicketKeysError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            TicketKeysError::Length(bytes) => write!(
                f,
                "{bytes} bytes of ticket keys: one or more keys of {KEY} random bytes are needed, \
                 without a line end; make one with `openssl rand {KEY}`"
            ),
            TicketKeysError::TooMany(count) => write!(
                f,
                "{count} ticket keys: at most {KEYS_MAX} are read; leave out the oldest, their \
                 tickets end {TICKET_SECONDS} seconds after the last was sealed"
            ),
            TicketKeysError::SameName(first, second) => write!(
                f,
                "ticket keys {first} and {second} have the same name: the first {NAME} bytes of \
                 each key must differ; make the newer one again with `openssl rand {KEY}`"
            ),
            TicketKeysError::NoRandomBytes => f.write_str("no random bytes for a ticket key"),
        }
    }
}

impl std::error::Error for TicketKeysError {}

/// The keys of a listener's tickets. All workers share them; none ever waits for them.
pub struct Tickets {
    /// The first seals, all open. A rotation that is under way costs a ticket, never a wait.
    keys: RwLock<Vec<TicketKey>>,
    /// Whether the keys are random ones of this process, and when the first was made.
    made_at: Option<AtomicU64>,
    now_seconds: AtomicU64,
}

impl Tickets {
    /// Random keys of this process: the first seals for 6 hours, the one before it still opens.
    ///
    /// Times are in seconds since the epoch, here and below.
    ///
    /// # Errors
    /// Without random bytes.
    pub fn random(now_seconds: u64) -> Result<Tickets, TicketKeysError> {
        let keys = vec![TicketKey::random()?];
        Ok(Tickets::new(keys, Some(AtomicU64::new(now_seconds)), now_seconds))
    }

    /// Keys of one or more files, one behind the other: the first seals, all open.
    ///
    /// # Errors
    /// On a length that is no multiple of 80, on no key or more than 16, on a name used twice.
    pub fn from_keys(bytes: &[u8], now_seconds: u64) -> Result<Tickets, TicketKeysError> {
        let (keys, rest) = bytes.as_chunks::<KEY>();
        if keys.is_empty() || !rest.is_empty() {
            return Err(TicketKeysError::Length(bytes.len()));
        }
        if keys.len() > KEYS_MAX {
            return Err(TicketKeysError::TooMany(keys.len()));
        }
        for (second, key) in keys.iter().enumerate() {
            if let Some(first) = keys[..second].iter().position(|it| it[..NAME] == key[..NAME]) {
                return Err(TicketKeysError::SameName(first + 1, second + 1));
            }
        }
        Ok(Tickets::new(keys.iter().map(TicketKey::new).collect(), None, now_seconds))
    }

    fn new(keys: Vec<TicketKey>, made_at: Option<AtomicU64>, now_seconds: u64) -> Tickets {
        Tickets { keys: RwLock::new(keys), made_at, now_seconds: AtomicU64::new(now_seconds) }
    }

    /// Says what time it is, and makes a new random key when the first is 6 hours old.
    ///
    /// To be called every few seconds by one thread that may wait: the age of a ticket goes by the
    /// time of the last call. Keys of a file stay as they are.
    pub fn rotate(&self, now_seconds: u64) {
        self.now_seconds.store(now_seconds, Ordering::Relaxed);
        let Some(made_at) = &self.made_at else { return };
        let age = now_seconds.saturating_sub(made_at.load(Ordering::Relaxed));
        if age < ROTATION_SECONDS {
            return;
        }
        // Without random bytes the present key seals on, until there are some.
        let Ok(key) = TicketKey::random() else { return };
        let mut keys = self.keys.write().unwrap_or_else(|poisoned| poisoned.into_inner());
        keys.truncate(1);
        keys.insert(0, key);
        made_at.store(now_seconds, Ordering::Relaxed);
    }

    /// When the random key was made that seals now; `None`: it is of a file.
    pub fn made_at(&self) -> Option<u64> {
        self.made_at.as_ref().map(|made_at| made_at.load(Ordering::Relaxed))
    }

    /// Random keys of this process, the first of which seals, for another process, and when that
    /// was made; `None`: they are of a file, which the other one reads itself.
    pub fn to_bytes(&self) -> Option<(Zeroizing<Vec<u8>>, u64)> {
        let made_at = self.made_at()?;
        let keys = self.keys.read().unwrap_or_else(|poisoned| poisoned.into_inner());
        // A vector that grows leaves secrets behind.
        let mut bytes = Zeroizing::new(Vec::with_capacity(keys.len() * KEY));
        keys.iter().filter_map(|key| key.bytes.as_ref()).for_each(|key| bytes.extend(key.iter()));
        Some((bytes, made_at))
    }

    /// Goes on with another process's random keys: its tickets open here, and its key seals for the
    /// rest of its time. Keys of a file stay, and so do these where there are none in `bytes`.
    pub fn go_on_with(&self, bytes: &[u8], first_made_at: u64) {
        let (keys, _) = bytes.as_chunks::<KEY>();
        let Some(made_at) = self.made_at.as_ref().filter(|_| !keys.is_empty()) else { return };
        let keys = keys.iter().take(KEYS_MAX).map(|key| TicketKey::kept(Zeroizing::new(*key)));
        *self.keys.write().unwrap_or_else(|poisoned| poisoned.into_inner()) = keys.collect();
        made_at.store(first_made_at, Ordering::Relaxed);
    }

    /// A ticket for `session`, which opens with the same `bound` only; `None` while a rotation is
    /// under way, or without random bytes.
    pub(super) fn seal(&self, bound: &[u8], session: &[u8]) -> Option<Vec<u8>> {
        let keys = self.keys.try_read().ok()?;
        let key = keys.first()?;
        let mut ticket = Vec::with_capacity(HEAD + TIME + session.len() + TAG);
        ticket.extend_from_slice(&key.name);
        ticket.resize(HEAD, 0);
        rand::fill(&mut ticket[NAME..]).ok()?;
        let head = Head::of(&ticket)?;
        let (sealer, nonce) = (key.of_ticket(head.seed)?, head.nonce);
        let mut sealed = Zeroizing::new(Vec::with_capacity(TIME + session.len() + TAG));
        sealed.extend_from_slice(&self.now_seconds.load(Ordering::Relaxed).to_be_bytes());
        sealed.extend_from_slice(session);
        sealer.seal_in_place_append_tag(nonce, Aad::from(bound), &mut *sealed).ok()?;
        ticket.extend_from_slice(&sealed);
        Some(ticket)
    }

    /// The session of a ticket; `None` if it is not one of ours, not of this `bound`, or too old.
    pub(super) fn open(&self, bound: &[u8], ticket: &[u8]) -> Option<Vec<u8>> {
        let head = Head::of(ticket)?;
        let keys = self.keys.try_read().ok()?;
        let key = keys.iter().find(|key| key.name == head.name)?;
        let mut sealed = Zeroizing::new(ticket[HEAD..].to_vec());
        let opener = key.of_ticket(head.seed)?;
        let opened = opener.open_in_place(head.nonce, Aad::from(bound), &mut sealed).ok()?;
        let (time, session) = opened.split_first_chunk::<TIME>()?;
        let (sealed_at, now) =
            (u64::from_be_bytes(*time), self.now_seconds.load(Ordering::Relaxed));
        let is_fresh = now.saturating_sub(sealed_at) <= u64::from(TICKET_SECONDS)
            && sealed_at.saturating_sub(now) <= AHEAD_SECONDS;
        is_fresh.then(|| session.to_vec())
    }
}

impl fmt::Debug for Tickets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tickets").finish_non_exhaustive()
    }
}

/// What a ticket begins with.
struct Head<'a> {
    name: [u8; NAME],
    seed: &'a [u8],
    nonce: Nonce,
}

impl Head<'_> {
    fn of(ticket: &[u8]) -> Option<Head<'_>> {
        let (head, _) = ticket.split_first_chunk::<HEAD>()?;
        let (name, rest) = head.split_first_chunk::<NAME>()?;
        let (seed, nonce) = rest.split_at(SEED);
        Some(Head { name: *name, seed, nonce: Nonce::try_assume_unique_for_key(nonce).ok()? })
    }
}

/// A key: its name, and the secret that keys of tickets are made of.
struct TicketKey {
    name: [u8; NAME],
    secret: Prk,
    /// The whole of it, where no file has it.
    bytes: Option<Zeroizing<[u8; KEY]>>,
}

impl TicketKey {
    fn new(bytes: &[u8; KEY]) -> TicketKey {
        let (name, secret) = bytes.split_first_chunk::<NAME>().expect("a key begins with its name");
        let secret = Salt::new(HKDF_SHA256, LABEL).extract(secret);
        TicketKey { name: *name, secret, bytes: None }
    }

    /// One that another process may get.
    fn kept(bytes: Zeroizing<[u8; KEY]>) -> TicketKey {
        TicketKey { bytes: Some(bytes.clone()), ..TicketKey::new(&bytes) }
    }

    fn random() -> Result<TicketKey, TicketKeysError> {
        let mut bytes = Zeroizing::new([0; KEY]);
        rand::fill(&mut bytes[..]).map_err(|_| TicketKeysError::NoRandomBytes)?;
        Ok(TicketKey::kept(bytes))
    }

    fn of_ticket(&self, seed: &[u8]) -> Option<LessSafeKey> {
        let info = [seed];
        let key = self.secret.expand(&info, &AES_256_GCM).ok()?;
        Some(LessSafeKey::new(UnboundKey::from(key)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BOUND: &[u8] = b"a.example";
    const SESSION: &[u8] = b"a session";
    const HOUR: u64 = 3600;

    fn keys(firsts: &[u8]) -> Vec<u8> {
        firsts.iter().flat_map(|first| (0..80).map(move |at| first ^ at)).collect()
    }

    fn of_file(firsts: &[u8]) -> Tickets {
        Tickets::from_keys(&keys(firsts), 0).expect("they are whole keys")
    }

    #[test]
    fn a_ticket_opens_with_any_key_of_the_file_and_only_for_what_it_is_bound_to() {
        let ticket = of_file(&[1]).seal(BOUND, SESSION).expect("a ticket");
        for (firsts, expected) in
            [(&[1][..], Some(SESSION)), (&[2, 1], Some(SESSION)), (&[2], None), (&[2, 3], None)]
        {
            let opened = of_file(firsts).open(BOUND, &ticket);
            assert_eq!(opened.as_deref(), expected, "{firsts:?}");
        }
        assert_eq!(of_file(&[1]).open(b"b.example", &ticket), None);
        let by_first = of_file(&[2, 1]).seal(BOUND, SESSION).expect("a ticket");
        assert_eq!(of_file(&[2]).open(BOUND, &by_first).as_deref(), Some(SESSION));
    }

    #[test]
    fn a_ticket_that_was_cut_or_changed_opens_with_no_key() {
        let tickets = of_file(&[1]);
        let ticket = tickets.seal(BOUND, SESSION).expect("a ticket");
        assert_ne!(Some(&ticket), tickets.seal(BOUND, SESSION).as_ref(), "no two are equal");
        for at in 0..ticket.len() {
            assert_eq!(tickets.open(BOUND, &ticket[..at]), None, "cut at {at}");
            let mut changed = ticket.clone();
            changed[at] ^= 1;
            assert_eq!(tickets.open(BOUND, &changed), None, "changed at {at}");
        }
        assert_eq!(tickets.open(BOUND, &[&ticket[..], &[0]].concat()), None);
    }

    #[test]
    fn a_ticket_ends_after_its_time_and_begins_not_before_it() {
        let tickets = of_file(&[1]);
        tickets.rotate(100 * HOUR);
        let ticket = tickets.seal(BOUND, SESSION).expect("a ticket");
        let end = 100 * HOUR + u64::from(TICKET_SECONDS);
        let begin = 100 * HOUR - AHEAD_SECONDS;
        for (now, opens) in [(end, true), (end + 1, false), (begin, true), (begin - 1, false)] {
            tickets.rotate(now);
            assert_eq!(tickets.open(BOUND, &ticket).is_some(), opens, "at {now}");
        }
    }

    #[test]
    fn a_random_key_is_replaced_after_six_hours_and_opens_for_six_more() {
        let tickets = Tickets::random(HOUR).expect("random bytes");
        let ticket = tickets.seal(BOUND, SESSION).expect("a ticket");
        let name = |ticket: &[u8]| ticket[..NAME].to_vec();
        for (now, replaced, opens) in [
            (7 * HOUR - 1, false, true),
            (7 * HOUR, true, true),
            (HOUR, true, true),
            (13 * HOUR - 1, true, true),
            (13 * HOUR, true, false),
        ] {
            tickets.rotate(now);
            let next = tickets.seal(BOUND, SESSION).expect("a ticket");
            assert_eq!(name(&next) != name(&ticket), replaced, "at {now}");
            assert_eq!(tickets.open(BOUND, &ticket).is_some(), opens, "at {now}");
            assert!(tickets.open(BOUND, &next).is_some());
        }
        let other = Tickets::random(HOUR).expect("random bytes");
        assert_eq!(other.open(BOUND, &other.seal(BOUND, b"").expect("a ticket")), Some(Vec::new()));
        assert_eq!(other.open(BOUND, &tickets.seal(BOUND, SESSION).expect("a ticket")), None);
    }

    #[test]
    fn random_keys_go_on_in_another_process_and_those_of_a_file_stay_its_own() {
        let before = Tickets::random(HOUR).expect("random bytes");
        let first = before.seal(BOUND, SESSION).expect("a ticket");
        before.rotate(8 * HOUR);
        let second = before.seal(BOUND, SESSION).expect("a ticket");
        let (bytes, made_at) = before.to_bytes().expect("they are random");
        assert_eq!((bytes.len(), made_at), (2 * KEY, 8 * HOUR));
        let after = Tickets::random(9 * HOUR).expect("random bytes");
        after.go_on_with(&[], 0);
        assert_eq!((after.made_at(), after.open(BOUND, &first)), (Some(9 * HOUR), None));
        after.go_on_with(&bytes, made_at);
        for ticket in [&first, &second] {
            assert_eq!(after.open(BOUND, ticket).as_deref(), Some(SESSION));
        }
        before.rotate(9 * HOUR);
        let sealed = after.seal(BOUND, SESSION).expect("a ticket");
        assert_eq!(before.open(BOUND, &sealed).as_deref(), Some(SESSION), "one key seals for both");
        assert_eq!(after.to_bytes(), before.to_bytes(), "and goes on once more");
        after.rotate(14 * HOUR);
        assert_eq!(after.open(BOUND, &first), None, "it has its time");
        let of_file = of_file(&[1]);
        of_file.go_on_with(&bytes, made_at);
        assert_eq!((of_file.to_bytes(), of_file.open(BOUND, &first)), (None, None));
    }

    #[test]
    fn a_file_of_anything_but_whole_keys_with_names_of_their_own_is_refused() {
        let of = |bytes: &[u8]| Tickets::from_keys(bytes, 0).err();
        let many: Vec<u8> = (0..17).collect();
        for (bytes, expected) in [
            (vec![], TicketKeysError::Length(0)),
            (keys(&[1])[..79].to_vec(), TicketKeysError::Length(79)),
            (keys(&[1, 2])[..159].to_vec(), TicketKeysError::Length(159)),
            (vec![b'='; 108], TicketKeysError::Length(108)),
            (keys(&many), TicketKeysError::TooMany(17)),
            (keys(&[3, 1, 2, 1]), TicketKeysError::SameName(2, 4)),
        ] {
            assert_eq!(of(&bytes), Some(expected));
            assert!(expected.to_string().len() > 20);
        }
        assert_eq!(of(&keys(&many[1..])), None);
        assert!(!format!("{:?}", of_file(&[1])).contains("keys"));
    }
}
