//! `keys!`: from one declaration of a key come its field, its default, its parser and its manual.

/// When a change of a key takes effect, once a running gateway reads its file again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    /// At once, and for connections that are open, too.
    Live,
    /// For connections that begin afterwards; open ones keep what they began with.
    NewConnections,
    /// Only when the gateway starts.
    Restart,
}

impl Class {
    /// Every class.
    pub const ALL: [Class; 3] = [Class::Live, Class::NewConnections, Class::Restart];

    /// What it means, as the manual says it.
    pub fn meaning(self) -> &'static str {
        match self {
            Class::Live => "A change could be made at once, and for open connections, too.",
            Class::NewConnections => {
                "A change would hold for new connections; open ones keep what they began with."
            }
            Class::Restart => "A change takes a start.",
        }
    }

    /// The words that stand in the manual.
    pub fn words(self) -> &'static str {
        match self {
            Class::Live => "live",
            Class::NewConnections => "new connections",
            Class::Restart => "restart",
        }
    }
}

/// What is declared of one key, but for its type.
#[derive(Clone, Copy, Debug)]
pub struct Key {
    /// As it is written.
    pub name: &'static str,
    /// When a change takes effect.
    pub class: Class,
    /// What it means, and the symptom that says to change it; an empty line ends a paragraph.
    pub text: &'static str,
    /// Its default as a file has it; `None`: without the key there is no value.
    pub default: Option<&'static str>,
    /// A value to show where there is no default.
    pub example: Option<&'static str>,
    /// What its values are, in words.
    pub values: fn() -> String,
}

/// The keys of one kind of section.
#[derive(Debug)]
pub struct SectionKeys {
    /// The section's path; `NAME` stands for a name that the file chooses.
    pub section: &'static str,
    /// What there is to say of the section.
    pub about: &'static str,
    /// What it may hold, in the order of the manual.
    pub keys: &'static [&'static [Key]],
    /// What it may hold one day, refused by name until then.
    pub later: &'static [&'static str],
}

impl SectionKeys {
    /// Every key that it may hold.
    pub fn keys(&self) -> impl Iterator<Item = &'static Key> + use<> {
        self.keys.iter().copied().flatten()
    }

    /// The names of these keys.
    pub fn known(&self) -> impl Iterator<Item = &'static str> + use<> {
        self.keys().map(|key| key.name)
    }
}

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
            pub(in crate::config) const KEYS: &'static [$crate::config::keys::Key] = &[$(
                $crate::config::keys::Key {
                    name: $key,
                    class: $crate::config::keys::Class::$class,
                    text: concat!($($text, "\n"),+),
                    default: [$(Some(stringify!($default)),)? None][0],
                    example: [$(Some(stringify!($example)),)? None][0],
                    values: || $crate::config::form::Form::<$value>::values(&$form),
                }
            ),*];

            /// What the section says; defaults where it says nothing, or something wrong.
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

            /// Writes each key as a file has it.
            pub(in crate::config) fn write(&self, out: &mut $crate::config::written::Text) {
                $(
                    let value = $crate::config::form::Form::<$value>::written(&$form, &self.$field);
                    out.key($key, value);
                )*
            }
        }

        impl Default for $type {
            fn default() -> $type {
                const OWN: $crate::config::keys::SectionKeys = $crate::config::keys::SectionKeys {
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
            $crate::config::keys::Key {
                name: $key,
                class: $crate::config::keys::Class::$class,
                text: concat!($($text, "\n"),+),
                default: [$(Some(stringify!($default)),)? None][0],
                example: [$(Some(stringify!($example)),)? None][0],
                values: || String::from($values),
            }
        ),*]
    };
}

pub(in crate::config) use {keys, keys_by_hand};
