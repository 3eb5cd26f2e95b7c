//! Packing and unpacking what travels with every operation.

use std::hint::black_box;

use criterion::Criterion;
use portcullis::base::Side;
use portcullis::ring::{ConnIndex, OpKind, Token};

pub(crate) fn times(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("token");
    let (conn, generation) = (ConnIndex(123_456), 789);
    let token = Token { conn, generation, side: Side::Upstream, kind: OpKind::Send };
    group.bench_function("pack", |bench| bench.iter(|| black_box(token).pack()));
    let bits = token.pack();
    group.bench_function("unpack", |bench| bench.iter(|| Token::unpack(black_box(bits))));
    group.finish();
}
