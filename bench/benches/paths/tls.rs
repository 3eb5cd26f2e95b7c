//! Records of TLS: sealed and opened, with keys that are there and with keys that must be expanded.

use criterion::{Criterion, Throughput};
use portcullis::tls::{Awake, HEAD_BYTES, Keys12, Opened, PLAIN_MAX, Session, Suite, TAIL_BYTES};

const MESSAGE_BYTES: usize = 64;

/// Two ends of a session.
fn ends(suite: Suite) -> [Session; 2] {
    let (secrets, ivs) = ([[1; 48], [2; 48]], [[3; 12], [4; 12]]);
    let end = |read: usize, write: usize| {
        if suite.is_tls13() {
            let bytes = if suite == Suite::Aes256GcmSha384 { 48 } else { 32 };
            return Session::tls13(
                suite,
                (&secrets[read][..bytes], 0),
                (&secrets[write][..bytes], 0),
            );
        }
        let keys = |of: usize| Keys12 { key: &secrets[of][..16], iv: &ivs[of], sequence: 1 };
        Session::tls12(suite, keys(read), keys(write))
    };
    [end(0, 1), end(1, 0)]
}

pub(crate) fn times(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("tls");
    for suite in [
        Suite::Aes128GcmSha256,
        Suite::Aes256GcmSha384,
        Suite::Chacha20Poly1305Sha256,
        Suite::EcdheEcdsaAes128GcmSha256,
    ] {
        for (bytes, asleep) in [(MESSAGE_BYTES, false), (MESSAGE_BYTES, true), (PLAIN_MAX, false)] {
            let [mut from, mut to] = ends(suite);
            let [mut of_from, mut of_to] = [Awake::default(), Awake::default()];
            let mut memory = vec![7; HEAD_BYTES + bytes + TAIL_BYTES];
            let plain = HEAD_BYTES..HEAD_BYTES + bytes;
            let rest = |awake: &mut Awake| {
                if asleep {
                    *awake = Awake::default();
                }
            };
            let how = if asleep { "asleep" } else { "awake" };
            let name = format!("{}, {bytes} bytes, {how}", suite.name());
            group.throughput(Throughput::Bytes(bytes as u64));
            group.bench_function(format!("sealed: {name}"), |bench| {
                bench.iter(|| {
                    rest(&mut of_from);
                    from.seal(&mut of_from, &mut memory, plain.clone())
                });
            });
            let ([mut from, _], mut of_from) = (ends(suite), Awake::default());
            group.bench_function(format!("sealed and opened: {name}"), |bench| {
                bench.iter(|| {
                    rest(&mut of_from);
                    rest(&mut of_to);
                    let sealed = from.seal(&mut of_from, &mut memory, plain.clone());
                    let opened = to.open(&mut of_to, &mut memory[sealed]).expect("as sealed");
                    assert!(matches!(opened, Opened::Data(_)));
                });
            });
        }
    }
    group.finish();
}
