//! How a size depends on the number of atoms and of slots.

/// The sizes of a system as a network sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::kernels) struct SystemSize {
    /// Atoms N, or those of a block of them.
    pub(in crate::kernels) atoms: usize,
    /// Slots per atom K.
    pub(in crate::kernels) slots: usize,
}

/// `fixed + per_atom·N + per_slot·K + per_edge·N·K`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::kernels) struct Extent {
    pub(in crate::kernels) fixed: i64,
    pub(in crate::kernels) per_atom: i64,
    pub(in crate::kernels) per_slot: i64,
    pub(in crate::kernels) per_edge: i64,
}

impl Extent {
    /// Sizes at which a network is looked at. The last one, which is as large as sizes usually are, only confirms what
    /// follows from the others.
    pub(in crate::kernels) const PROBES: [SystemSize; 5] = [
        SystemSize { atoms: 3, slots: 2 },
        SystemSize { atoms: 4, slots: 2 },
        SystemSize { atoms: 3, slots: 3 },
        SystemSize { atoms: 4, slots: 3 },
        SystemSize { atoms: 7, slots: 41 },
    ];

    /// The extent that has these values at [`Self::PROBES`]; `None` if there is no such.
    pub(in crate::kernels) fn fit(values: [i64; 5]) -> Option<Self> {
        let [v32, v42, v33, v43, last] = values.map(i128::from);
        let per_edge = v43 - v42 - v33 + v32;
        let per_atom = v42 - v32 - 2 * per_edge;
        let per_slot = v33 - v32 - 3 * per_edge;
        let fixed = v32 - 3 * per_atom - 2 * per_slot - 6 * per_edge;
        let narrow = |value: i128| i64::try_from(value).ok();
        let extent = Self {
            fixed: narrow(fixed)?,
            per_atom: narrow(per_atom)?,
            per_slot: narrow(per_slot)?,
            per_edge: narrow(per_edge)?,
        };
        (i128::from(extent.at(Self::PROBES[4])) == last).then_some(extent)
    }

    /// The value at a size.
    pub(in crate::kernels) fn at(self, size: SystemSize) -> i64 {
        let (atoms, slots) = (size.atoms as i64, size.slots as i64);
        let per_atom = self.per_atom.wrapping_add(self.per_edge.wrapping_mul(slots));
        let rest = self.fixed.wrapping_add(self.per_slot.wrapping_mul(slots));
        rest.wrapping_add(per_atom.wrapping_mul(atoms))
    }

    /// The same as [`Self::at`] where it is a size.
    pub(in crate::kernels) fn size_at(self, size: SystemSize) -> usize {
        usize::try_from(self.at(size)).unwrap_or(0)
    }

    /// True if it does not change.
    pub(in crate::kernels) fn is_fixed(self) -> bool {
        !self.depends_on_atoms() && !self.depends_on_slots()
    }

    pub(in crate::kernels) fn depends_on_atoms(self) -> bool {
        (self.per_atom, self.per_edge) != (0, 0)
    }

    pub(in crate::kernels) fn depends_on_slots(self) -> bool {
        (self.per_slot, self.per_edge) != (0, 0)
    }

    /// True if it is a multiple of the number of atoms.
    pub(in crate::kernels) fn is_rows(self) -> bool {
        self.depends_on_atoms() && (self.fixed, self.per_slot) == (0, 0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fits_what_it_is_made_from() {
        for extent in [[7, 0, 0, 0], [0, 1, 0, 0], [1, 0, 1, 0], [0, 2, 0, 8], [3, -1, 2, 5]] {
            let [fixed, per_atom, per_slot, per_edge] = extent;
            let wanted = Extent { fixed, per_atom, per_slot, per_edge };
            assert_eq!(Extent::fit(Extent::PROBES.map(|size| wanted.at(size))), Some(wanted));
        }
        let endless = Extent { fixed: i64::MAX, per_atom: 0, per_slot: 0, per_edge: 0 };
        assert_eq!(Extent::fit([i64::MAX; 5]), Some(endless));
    }

    #[test]
    fn refuses_what_is_not_bilinear() {
        assert_eq!(Extent::fit(Extent::PROBES.map(|size| (size.atoms * size.atoms) as i64)), None);
    }
}
