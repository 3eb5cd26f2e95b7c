//! How a target takes part in a comparison, by its name in the results.

/// The target that the others are compared with, and only it: not its variants.
pub(crate) const OURS: &str = "portcullis";
/// The target without a proxy: a bound, and no rival.
pub(crate) const DIRECT: &str = "direct";
/// The least that a proxy's system calls take: bounds, and no rivals.
pub(crate) const FLOORS: [&str; 2] = ["floor", "floor-multi"];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Role {
    Ours,
    Bound,
    Rival,
}

pub(crate) fn role(target: &str) -> Role {
    match target {
        OURS => Role::Ours,
        DIRECT => Role::Bound,
        _ if FLOORS.contains(&target) => Role::Bound,
        _ => Role::Rival,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_variant_of_portcullis_is_a_rival_of_it() {
        let roles = ["portcullis-batch", "portcullis", "haproxy", "direct", "floor-multi"];
        let expected = [Role::Rival, Role::Ours, Role::Rival, Role::Bound, Role::Bound];
        assert_eq!(roles.map(role), expected);
    }
}
