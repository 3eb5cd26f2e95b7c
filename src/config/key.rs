//! The declaration of a key as data: its name, its class of change, its text.

/// When a change of a key takes effect, once a running gateway reads its file again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
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

    /// Its meaning, in the words of the manual.
    pub fn meaning(self) -> &'static str {
        match self {
            Class::Live => "A reload makes the change at once, and for open connections, too.",
            Class::NewConnections => {
                "A reload makes the change for new connections; open ones keep what they had."
            }
            Class::Restart => "The gateway must start again; a reload refuses the change.",
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

/// The declaration of one key, without its type.
#[derive(Clone, Copy, Debug)]
pub struct Key {
    /// As it is written.
    pub name: &'static str,
    /// When a change takes effect.
    pub class: Class,
    /// Its meaning, and the symptom that says to change it; an empty line ends a paragraph.
    pub text: &'static str,
    /// Its default as a file has it; `None`: without the key there is no value.
    pub default: Option<&'static str>,
    /// A value to show where there is no default.
    pub example: Option<&'static str>,
    /// Its values in words.
    pub values: fn() -> String,
}

/// The keys of one kind of section.
#[derive(Debug)]
pub struct SectionKeys {
    /// The section's path; `NAME` stands for a name that the file chooses.
    pub section: &'static str,
    /// The text about the section.
    pub about: &'static str,
    /// Its keys, in the order of the manual.
    pub keys: &'static [&'static [Key]],
    /// Keys that later versions may have, refused by name until then.
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
