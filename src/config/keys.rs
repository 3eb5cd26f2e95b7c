//! `keys!`: from one declaration of a key come its field, its default, its parser and its manual.

/// Declares a section's keys as a struct with a field for each:
///
/// ```text
/// /// What it means.
/// ///
/// /// The symptom that says to change it.
/// "name" field: Type = default, Class, form, "what to write instead of a wrong value";
/// ```
///
/// The form (see `form.rs`) reads the value, holds it to its range, writes it, and has the words
/// for both. `as example` stands for `= default` where there is none. `with` lines are fields that
/// are no keys of this section.
macro_rules! keys {
    (
        $(#[doc = $doc:literal])*
        $type:ident;
        $( with $extra:ident : $extra_type:ty = $initial:expr, $extra_doc:literal; )*
        $(
            $(#[doc = $text:literal])+
            $key:literal $field:ident : $value:ty $(= $default:tt)? $(as $example:tt)?,
                $class:ident, $form:expr, $remedy:expr;
        )*
    ) => {
        $(#[doc = $doc])*
        #[derive(Clone, Debug, PartialEq, Eq)]
        pub struct $type {
            $( #[doc = $extra_doc] pub $extra: $extra_type, )*
            $(
                #[doc = "```text"]
                $(#[doc = $text])+
                #[doc = "```"]
                pub $field: $value,
            )*
        }

        impl $type {
            pub(in crate::config) const KEYS: &'static [$crate::config::key::Key] = &[$(
                $crate::config::key::Key {
                    name: $key,
                    class: $crate::config::key::Class::$class,
                    text: concat!($($text, "\n"),+),
                    default: [$(Some(stringify!($default)),)? None][0],
                    example: [$(Some(stringify!($example)),)? None][0],
                    values: || $crate::config::form::Form::<$value>::values(&$form),
                }
            ),*];

            /// Reads the section; a key that is missing or wrong has its default.
            pub(in crate::config) fn read(
                section: &$crate::config::file::Section<'_>,
                problems: &mut Vec<$crate::config::error::ConfigError>,
            ) -> $type {
                let default = $type::default();
                $type {
                    $( $extra: default.$extra, )*
                    $( $field: section
                        .value($key, &$form, $remedy, problems)
                        .unwrap_or(default.$field), )*
                }
            }

            /// Takes the keys of a class as they are in `other`.
            pub(in crate::config) fn keep(
                &mut self,
                other: &$type,
                class: $crate::config::key::Class,
            ) {
                $(
                    if $crate::config::key::Class::$class == class {
                        self.$field = other.$field.clone();
                    }
                )*
            }

            /// Writes each key as a file has it.
            pub(in crate::config) fn write(&self, out: &mut $crate::config::text::Written) {
                $(
                    let value = $crate::config::form::Form::<$value>::written(&$form, &self.$field);
                    out.key($type::KEYS, $key, value);
                )*
            }
        }

        impl Default for $type {
            fn default() -> $type {
                const OWN: $crate::config::key::SectionKeys = $crate::config::key::SectionKeys {
                    section: "",
                    about: "",
                    keys: &[$type::KEYS],
                    later: &[],
                };
                $crate::config::file::defaults(&OWN, |section, problems| $type {
                    $( $extra: $initial, )*
                    $( $field: section
                        .value($key, &$form, $remedy, problems)
                        .or_else(|| $crate::config::form::Form::<$value>::absent(&$form))
                        .expect($key), )*
                })
            }
        }
    };
}

/// Declares keys that a section reads by itself:
/// `"name" = default, Class, "what its values are";`, below what there is to say of it.
macro_rules! keys_by_hand {
    ($(
        $(#[doc = $text:literal])+
        $key:literal $(= $default:tt)? $(as $example:tt)?, $class:ident, $values:expr;
    )*) => {
        &[$(
            $crate::config::key::Key {
                name: $key,
                class: $crate::config::key::Class::$class,
                text: concat!($($text, "\n"),+),
                default: [$(Some(stringify!($default)),)? None][0],
                example: [$(Some(stringify!($example)),)? None][0],
                values: || String::from($values),
            }
        ),*]
    };
}

pub(in crate::config) use {keys, keys_by_hand};
