//! A client's first bytes: PROXY headers in and out, a ClientHello, and its name among many.

use std::hint::black_box;

use criterion::Criterion;
use portcullis::wire::{
    Decoded, Ends, Entry, Fields, HEADER_MAX, Names, Pattern, client_hello, proxy_binary,
    proxy_header, proxy_line,
};

/// Bytes of the hello, as of many clients that pad it so far (RFC 7685).
const HELLO_BYTES: usize = 517;
/// Names that routes are chosen by.
const NAMES: usize = 1000;

pub(crate) fn times(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("wire");
    let ends = Ends {
        source: ([192, 0, 2, 7], 40_000).into(),
        destination: ([198, 51, 100, 9], 443).into(),
    };
    let checked = Fields { authority: Some(b"db7.eu.example.com"), checksum: true, ..plain() };
    let written = |write: &dyn Fn(&mut Vec<u8>)| {
        let mut header = Vec::with_capacity(HEADER_MAX);
        write(&mut header);
        header
    };
    type Write<'a> = (&'a str, &'a dyn Fn(&mut Vec<u8>));
    let headers: [Write<'_>; 3] = [
        ("line", &|header| proxy_line(ends, header)),
        ("binary header", &|header| {
            proxy_binary(ends, &plain(), header);
        }),
        ("binary header with a name and a checksum", &|header| {
            proxy_binary(ends, &checked, header);
        }),
    ];
    for (name, write) in headers {
        let mut header = written(write);
        group.bench_function(format!("{name}, decoded"), |bench| {
            bench.iter(|| is_done(&proxy_header(black_box(&header))));
        });
        group.bench_function(format!("{name}, encoded"), |bench| {
            bench.iter(|| {
                header.clear();
                write(&mut header);
            });
        });
    }
    for (name, hello) in [
        ("hello in a record", hello(HELLO_BYTES)),
        ("hello in six records", hello(HELLO_BYTES / 6 + 5)),
    ] {
        group.bench_function(format!("{name}, decoded"), |bench| {
            bench.iter(|| is_done(&client_hello(black_box(&hello))));
        });
    }
    names(&mut group);
    group.finish();
}

fn plain() -> Fields<'static> {
    Fields::default()
}

fn is_done<F>(decoded: &Decoded<F>) {
    assert!(matches!(decoded, Decoded::Done { .. }));
}

/// A name among many, as it stands and by a wildcard.
fn names(group: &mut criterion::BenchmarkGroup<'_, criterion::measurement::WallTime>) {
    let pattern = |nth: usize| -> Pattern {
        let text = match nth % 2 {
            0 => format!("db{nth}.eu.example.com"),
            _ => format!("*.db{nth}.eu.example.com"),
        };
        text.parse().expect("a name")
    };
    let entries = (0..NAMES).map(|nth| {
        let names = vec![pattern(nth)];
        Entry { names, protocols: Vec::new(), target: nth }
    });
    let names = Names::new(entries);
    for (kind, name) in
        [("as it stands", "db500.eu.example.com"), ("by a wildcard", "a.db7.eu.example.com")]
    {
        assert!(names.find(Some(name), std::iter::empty()).is_some());
        group.bench_function(format!("name among {NAMES} {kind}, found"), |bench| {
            bench.iter(|| names.find(black_box(Some(name)), std::iter::empty()).copied());
        });
    }
    let hello = hello(HELLO_BYTES);
    group.bench_function(format!("hello, decoded, and its name among {NAMES}, found"), |bench| {
        bench.iter(|| match client_hello(black_box(&hello)) {
            Decoded::Done { facts, .. } => {
                names.find(facts.server_name(), facts.protocols()).copied().expect("it is there")
            }
            decoded => panic!("{decoded:?}"),
        });
    });
}

/// A hello of [`HELLO_BYTES`] in its first form, in records of at most so many bytes.
fn hello(record_bytes: usize) -> Vec<u8> {
    fn sized<const LENGTH: usize>(bytes: &[u8]) -> Vec<u8> {
        let length = (bytes.len() as u32).to_be_bytes();
        [&length[4 - LENGTH..], bytes].concat()
    }
    let extension = |kind: u8, value: &[u8]| [&[0, kind][..], &sized::<2>(value)].concat();
    let name = [&[0][..], &sized::<2>(b"db500.eu.example.com")].concat();
    let protocols = [sized::<1>(b"h2"), sized::<1>(b"http/1.1")].concat();
    let with = |padding: usize| {
        let extensions = [
            extension(43, &[4, 3, 4, 3, 3]),
            extension(10, &[0, 4, 0, 29, 0, 23]),
            extension(13, &[0, 4, 4, 3, 8, 4]),
            extension(51, &sized::<2>(&[&[0, 29][..], &sized::<2>(&[5; 32])].concat())),
            extension(16, &sized::<2>(&protocols)),
            extension(0, &sized::<2>(&name)),
            extension(21, &vec![0; padding]),
        ];
        let body = [
            &[3, 3][..],
            &[9; 32],
            &sized::<1>(&[7; 32]),
            &sized::<2>(&[0x13, 1, 0x13, 2, 0x13, 3]),
            &sized::<1>(&[0]),
            &sized::<2>(&extensions.concat()),
        ];
        [&[1][..], &sized::<3>(&body.concat())].concat()
    };
    let message = with(HELLO_BYTES - 5 - with(0).len());
    let record = |piece: &[u8]| [&[22, 3, 1][..], &sized::<2>(piece)].concat();
    message.chunks(record_bytes).flat_map(record).collect()
}
