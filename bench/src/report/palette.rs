//! One colour and one shape for each target, the same in every chart of a page.

use std::collections::BTreeMap;

use crate::result::{Role, role};

/// What the style sheet knows a colour by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Colour {
    Ours,
    /// Grey ones, from 1: what is no rival.
    Bound(usize),
    /// Calm ones, from 1.
    Rival(usize),
}

/// Beyond so many, colours return with another dash.
const RIVALS: usize = 7;

impl Colour {
    /// The class that sets `--c`.
    pub(crate) fn class(self) -> String {
        match self {
            Colour::Ours => "ours".to_owned(),
            Colour::Bound(_) => "bound".to_owned(),
            Colour::Rival(number) => format!("rival{}", (number - 1) % RIVALS + 1),
        }
    }

    /// Lines that are told apart without their colour.
    pub(crate) fn dash(self) -> Option<&'static str> {
        match self {
            Colour::Ours => None,
            Colour::Bound(1) => Some("2 3"),
            Colour::Bound(2) => Some("6 3"),
            Colour::Bound(_) => Some("6 2 2 2"),
            Colour::Rival(number) => match (number - 1) / RIVALS {
                0 => None,
                1 => Some("6 3"),
                _ => Some("6 2 2 2"),
            },
        }
    }

    /// What is drawn later lies above.
    pub(crate) fn layer(self) -> usize {
        match self {
            Colour::Bound(_) => 0,
            Colour::Rival(_) => 1,
            Colour::Ours => 2,
        }
    }

    /// Which marker its points have.
    pub(crate) fn shape(self) -> usize {
        match self {
            Colour::Ours => 0,
            Colour::Bound(number) => number + 3,
            Colour::Rival(number) => number,
        }
    }
}

/// The colours of all targets of a page.
#[derive(Default)]
pub(crate) struct Palette {
    colours: BTreeMap<String, Colour>,
    bounds: usize,
    rivals: usize,
}

impl Palette {
    /// The first to come takes the first free colour.
    pub(crate) fn add(&mut self, target: &str) {
        if self.colours.contains_key(target) {
            return;
        }
        let colour = match role(target) {
            Role::Ours => Colour::Ours,
            Role::Bound => {
                self.bounds += 1;
                Colour::Bound(self.bounds)
            }
            Role::Rival => {
                self.rivals += 1;
                Colour::Rival(self.rivals)
            }
        };
        self.colours.insert(target.to_owned(), colour);
    }

    pub(crate) fn set(&mut self, target: &str, colour: Colour) {
        self.colours.insert(target.to_owned(), colour);
    }

    pub(crate) fn of(&self, target: &str) -> Colour {
        self.colours.get(target).copied().unwrap_or(Colour::Bound(1))
    }
}

/// Colours for lines that are no targets: the first stands out.
pub(crate) fn in_turn(index: usize) -> Colour {
    if index == 0 { Colour::Ours } else { Colour::Rival(index) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bounds_have_one_colour_and_lines_of_their_own() {
        let bounds = ["direct", "floor", "floor-multi"];
        let mut palette = Palette::default();
        bounds.iter().for_each(|name| palette.add(name));
        let colours = bounds.map(|name| palette.of(name));
        assert!(colours.iter().all(|colour| colour.class() == "bound"));
        let dashes = colours.map(Colour::dash);
        assert!(dashes[0] != dashes[1] && dashes[1] != dashes[2] && dashes[0] != dashes[2]);
    }
}
