//! The kinds of models: one table of what each of them is and has.

use super::tensors::Output;

/// What a model predicts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// New positions and momenta.
    Direct,
    /// Scalars whose gradients kick, between drifts.
    Splitting,
    /// Scalars whose gradients kick, between drifts with bonded forces.
    Hybrid,
    /// A generating function of a canonical map.
    Action,
    /// A potential energy.
    Energy,
    /// Slow forces through a stride, under which bonds and angles move.
    Driven,
}

/// What is the same for all models of a kind.
#[derive(Debug)]
pub struct KindSpec {
    /// The kind.
    pub kind: Kind,
    /// Its name in the metadata.
    pub name: &'static str,
    /// True if it moves atoms: its metadata have `stride_fs` and `masses_u`.
    pub moves_atoms: bool,
    /// True if its metadata have `splitting`, its kicks and drifts.
    pub has_kicks: bool,
    /// True if its metadata have `fast`, bonded forces that the runtime integrates.
    pub has_fast_forces: bool,
    /// True if its metadata have `legendre_orders`, how many polynomials its slow forces are made of.
    pub has_slow_forces: bool,
    /// True if it may be looked at from a frame that turns; what conserves a scalar's own energy may not.
    pub frame_may_turn: bool,
    /// Outputs that every model of the kind has.
    pub required: &'static [Output],
    /// Outputs that are tried on a random structure when a model is loaded, if it has them.
    pub probed: &'static [Output],
    /// Outputs that have another shape in models of the kind, and are not used.
    pub ignored: &'static [Output],
}

/// Every kind, in the order of [`Kind`].
const KINDS: [KindSpec; 6] = {
    use Output::{
        Displacement, EdgeGradient, Energy, MomentaOut, MomentumGradient, ResidualScale, SlowForces, Uncertainty,
    };
    /// A kind of gradients of scalars.
    const SCALAR: KindSpec = KindSpec {
        kind: Kind::Splitting,
        name: "splitting",
        moves_atoms: true,
        has_kicks: true,
        has_fast_forces: false,
        has_slow_forces: false,
        frame_may_turn: false,
        required: &[EdgeGradient],
        probed: &[EdgeGradient],
        ignored: &[Uncertainty],
    };
    [
        KindSpec {
            kind: Kind::Direct,
            name: "direct",
            moves_atoms: true,
            has_kicks: false,
            has_fast_forces: false,
            has_slow_forces: false,
            frame_may_turn: true,
            required: &[Displacement, MomentaOut],
            probed: &[Displacement, MomentaOut, ResidualScale, Uncertainty],
            ignored: &[],
        },
        SCALAR,
        KindSpec { kind: Kind::Hybrid, name: "hybrid", has_fast_forces: true, ..SCALAR },
        KindSpec {
            kind: Kind::Action,
            name: "action",
            has_kicks: false,
            required: &[EdgeGradient, MomentumGradient],
            probed: &[EdgeGradient, MomentumGradient],
            ..SCALAR
        },
        KindSpec {
            kind: Kind::Energy,
            name: "energy",
            moves_atoms: false,
            has_kicks: false,
            required: &[Energy],
            probed: &[Energy, EdgeGradient],
            ..SCALAR
        },
        KindSpec {
            kind: Kind::Driven,
            name: "driven",
            moves_atoms: true,
            has_kicks: false,
            has_fast_forces: true,
            has_slow_forces: true,
            frame_may_turn: true,
            required: &[SlowForces],
            probed: &[SlowForces, Uncertainty],
            ignored: &[],
        },
    ]
};

impl Kind {
    /// The kind of this name.
    pub fn of_name(name: &str) -> Option<Self> {
        KINDS.iter().find(|spec| spec.name == name).map(|spec| spec.kind)
    }

    /// Names of all kinds, in words.
    pub(super) fn list() -> String {
        let names: Vec<String> = KINDS.iter().map(|spec| format!("{:?}", spec.name)).collect();
        match names.split_last() {
            Some((last, others)) => format!("{} or {last}", others.join(", ")),
            None => String::new(),
        }
    }

    /// What is the same for all models of the kind.
    pub fn spec(self) -> &'static KindSpec {
        &KINDS[self as usize]
    }

    /// The name in the metadata.
    pub fn name(self) -> &'static str {
        self.spec().name
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_in_the_order_of_its_names() {
        assert!(KINDS.iter().enumerate().all(|(index, spec)| spec.kind as usize == index));
        assert_eq!(Kind::list(), r#""direct", "splitting", "hybrid", "action", "energy" or "driven""#);
    }
}
