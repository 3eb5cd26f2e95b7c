//! `counters!`: from one declaration of a number come its storage, its reading and its metric.

/// Declares the numbers of one kind of thing: a worker, a listener, a server, an upstream.
///
/// A line has a keyword, a name, a type and a sentence, then the metric that shows it:
///
/// ```text
/// counted accepted: Counter, "Clients accepted"      => Counter "portcullis_clients_accepted";
/// counted refused: By<Refusal, N>, "Clients refused" => Counter "portcullis_…" by "reason";
/// told open: u64, "Connections open now"             => Gauge "portcullis_connections_open";
/// shown "Bytes delivered"  => Counter "portcullis_…_bytes" by "side" = |listener| both(listener);
/// ```
///
/// | keyword | a counter of the worker's | a field of the reading |
/// |---|---|---|
/// | `counted` | yes | the sum over the workers |
/// | `ring` | set once a turn from the ring's own numbers | the sum over the workers |
/// | `kept` | yes | none |
/// | `told` | none | filled in by the control plane |
/// | `shown` | none | none: its metric is made of others |
///
/// Lines stand in the order of the exposition. Counters are read from the last line to the first,
/// so a number stands above those that follow from it (accepted above closed), and a reading never
/// shows more of the consequence than of the cause.
macro_rules! counters {
    (
        $(#[doc = $storage_doc:literal])*
        storage $storage:ident;
        $(#[doc = $reading_doc:literal])*
        reading $reading:ident;
        labels $labels:tt, each by $each:ident $(, and of $ring:ident)?;
        $(
            $( kept $kept:ident : $kept_type:ty, $kept_help:literal )?
            $( counted $counted:ident : $counted_type:ty $(= $initial:expr)?,
                $counted_help:literal )?
            $( ring $ringed:ident, $ringed_help:literal )?
            $( told $told:ident : $told_type:ty, $told_help:literal )?
            $( shown $shown_help:literal )?
            $( => $kind:ident $name:literal $(by $by:literal)?
                $( = |$($item:ident),+| $value:expr )? )?
            ;
        )*
    ) => {
        $(#[doc = $storage_doc])*
        #[derive(Debug)]
        pub struct $storage {
            $(
                $( #[doc = concat!($kept_help, ".")] pub $kept: $kept_type, )?
                $( #[doc = concat!($counted_help, ".")] pub $counted: $counted_type, )?
                $( #[doc = concat!($ringed_help, ".")] pub $ringed: $crate::metrics::Counter, )?
            )*
        }

        impl Default for $storage {
            fn default() -> $storage {
                $storage {
                    $(
                        $( $kept: Default::default(), )?
                        $( $counted: counters!(@initial $($initial)?), )?
                        $( $ringed: Default::default(), )?
                    )*
                }
            }
        }

        impl $storage {
            /// Adds what another one has counted. Only the owner may.
            pub fn absorb(&self, other: &$storage) {
                $(
                    $( $crate::metrics::Counted::absorb(&self.$kept, &other.$kept); )?
                    $( $crate::metrics::Counted::absorb(&self.$counted, &other.$counted); )?
                    $( $crate::metrics::Counted::absorb(&self.$ringed, &other.$ringed); )?
                )*
            }
        }

        impl $storage {
            /// Goes on where a predecessor's reading has ended: what only grows is added. Only the
            /// owner may. Numbers of the ring are no part of it.
            pub fn resume(&self, reading: &$reading) {
                $( counters!(@resume self reading [$($counted)?] [$($kind)?]); )*
            }
        }

        // A counter that a reading lacks comes from an earlier version, which did not count it.
        $(#[doc = $reading_doc])*
        #[derive(Clone, Debug, Default, PartialEq, serde::Serialize, serde::Deserialize)]
        pub struct $reading {
            $(
                $(
                    #[doc = concat!($counted_help, ".")]
                    #[serde(default)]
                    pub $counted: <$counted_type as $crate::metrics::Counted>::Read,
                )?
                $( #[doc = concat!($ringed_help, ".")] #[serde(default)] pub $ringed: u64, )?
                $( #[doc = concat!($told_help, ".")] pub $told: $told_type, )?
            )*
        }

        impl $reading {
            /// The sum over the workers' counters; `told` numbers are at their default.
            pub fn counted(all: &[&$storage]) -> $reading {
                type Read = fn(&mut $reading, &[&$storage]);
                const READS: &[Read] = &[
                    $(
                        $( |sum, all| sum.$counted = $crate::metrics::Counted::sum(
                            all.iter().map(|one| &one.$counted),
                        ), )?
                        $( |sum, all| sum.$ringed = $crate::metrics::Counted::sum(
                            all.iter().map(|one| &one.$ringed),
                        ), )?
                    )*
                ];
                let mut sum = $reading::default();
                READS.iter().rev().for_each(|read| read(&mut sum, all));
                sum
            }
        }

        counters!(
            @ring $storage $reading [$($ring)?] $( [$($ringed $ringed_help)?] [$($kind)?] )*
        );

        pub(in crate::metrics) const FAMILIES: &[Option<$crate::metrics::Family>] = &[$(
            counters!(
                @family $labels $each
                [$($kept_help)? $($counted_help)? $($ringed_help)? $($told_help)? $($shown_help)?]
                [$($counted)? $($ringed)? $($told)?]
                $( $kind $name $(by $by)? $( = |$($item),+| $value )? )?
            )
        ),*];
    };

    (@initial) => { Default::default() };
    (@initial $initial:expr) => { $initial };

    (@resume $own:ident $reading:ident [] [$($kind:ident)?]) => {};
    (@resume $own:ident $reading:ident [$number:ident] [Gauge]) => {};
    (@resume $own:ident $reading:ident [$number:ident] [$($kind:ident)?]) => {
        $crate::metrics::Counted::resume(&$own.$number, &$reading.$number)
    };

    (@plus $sum:ident $reading:ident [] [$($kind:ident)?]) => {};
    (@plus $sum:ident $reading:ident [$number:ident] [Gauge]) => {};
    (@plus $sum:ident $reading:ident [$number:ident] [$($kind:ident)?]) => {
        $sum.$number += $reading.$number
    };

    (@ring $storage:ident $reading:ident [] $($none:tt)*) => {};
    (
        @ring $storage:ident $reading:ident [$ring:ident]
        $( [$($number:ident $help:literal)?] [$($kind:ident)?] )*
    ) => {
        /// The counters of a worker's ring since it was made.
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
        pub struct $ring {
            $( $( #[doc = concat!($help, ".")] pub $number: u64, )? )*
        }

        impl $ring {
            /// What only grows in a reading, for a ring that goes on after the one that is in it.
            pub fn former(reading: &$reading) -> $ring {
                let mut sum = $ring::default();
                $( counters!(@plus sum reading [$($number)?] [$($kind)?]); )*
                sum
            }

            /// With what a former ring has counted.
            #[must_use]
            pub fn after(mut self, former: $ring) -> $ring {
                $( $( self.$number += former.$number; )? )*
                self
            }
        }

        impl $storage {
            /// Takes over what the ring has counted. Only the owner may.
            pub fn take_over(&self, ring: $ring) {
                $( $( self.$number.set(ring.$number); )? )*
            }
        }
    };

    (@family $labels:tt $each:ident [$($help:literal)?] [$($field:ident)?]) => { None };
    (
        @family $labels:tt $each:ident [$help:literal] [$($field:ident)?]
        $kind:ident $name:literal $(by $by:literal)? $( = |$($item:ident),+| $value:expr )?
    ) => {
        Some($crate::metrics::Family::new(
            $crate::metrics::Kind::$kind,
            $name,
            counters!(@labels $labels $($by)?),
            $help,
            |reading, out| $each(reading, &mut |labels, item| {
                counters!(@show reading item labels out [$($field)?] $( |$($item),+| $value )?);
            }),
        ))
    };

    (@labels [$($label:literal),*] $($by:literal)?) => { &[$($label,)* $($by)?] };

    (@show $reading:ident $item:ident $labels:ident $out:ident [$field:ident]) => {
        $crate::metrics::Shown::show(&$item.$field, $labels, $out)
    };
    (
        @show $reading:ident $item:ident $labels:ident $out:ident [$($field:ident)?]
        |$name:ident| $value:expr
    ) => {{
        let $name = $item;
        $crate::metrics::Shown::show(&$value, $labels, $out)
    }};
    (
        @show $reading:ident $item:ident $labels:ident $out:ident [$($field:ident)?]
        |$whole:ident, $name:ident| $value:expr
    ) => {{
        let ($whole, $name) = ($reading, $item);
        $crate::metrics::Shown::show(&$value, $labels, $out)
    }};
}

pub(super) use counters;
