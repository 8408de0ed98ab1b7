//! What can be out of bounds about a state, and the report of it.

/// What can be out of bounds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Quantity {
    /// A pair of atoms is closer than any the model was trained on.
    PairDistance,
    /// A momentum is larger.
    Momentum,
    /// An atom has more neighbours, or fewer.
    NeighborCount,
    /// The density of the cell is another.
    Density,
    /// The temperature is another.
    Temperature,
    /// The model says that it does not know.
    Uncertainty,
    /// The system is several times as hot as its thermostat, or as it was.
    Explosion,
    /// It has lost nearly all of its kinetic energy.
    Freezing,
    /// Atoms have left the others: no neighbour within the cutoff.
    Evaporation,
    /// The propagator could not make the stride.
    Stride,
}

impl Quantity {
    /// Every quantity, in the order of the counts kept of them.
    pub const ALL: [Self; 10] = [
        Self::PairDistance,
        Self::Momentum,
        Self::NeighborCount,
        Self::Density,
        Self::Temperature,
        Self::Uncertainty,
        Self::Explosion,
        Self::Freezing,
        Self::Evaporation,
        Self::Stride,
    ];

    /// Name for people.
    pub fn name(self) -> &'static str {
        match self {
            Self::PairDistance => "pair distance",
            Self::Momentum => "momentum",
            Self::NeighborCount => "number of neighbours",
            Self::Density => "density",
            Self::Temperature => "temperature",
            Self::Uncertainty => "uncertainty",
            Self::Explosion => "explosion",
            Self::Freezing => "freezing",
            Self::Evaporation => "evaporation",
            Self::Stride => "failed stride",
        }
    }
}

/// One quantity out of bounds.
#[derive(Debug, Clone, PartialEq)]
pub struct Violation {
    /// What.
    pub quantity: Quantity,
    /// Whose; empty for the whole system.
    pub atoms: Vec<usize>,
    /// A sentence with the value and the bound.
    pub message: String,
}
