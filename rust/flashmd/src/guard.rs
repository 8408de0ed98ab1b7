//! The guard after every stride: no number that is not finite goes on.

use crate::error::{Error, Result, list_atoms};
use crate::state::{State, not_finite};

/// Checks that every position and momentum is finite.
///
/// # Errors
/// `Stability` naming the quantity and the atoms.
pub fn check_finite(state: &State) -> Result<()> {
    for (what, vectors) in [("position", &state.positions), ("momentum", &state.momenta)] {
        let atoms = not_finite(vectors);
        if !atoms.is_empty() {
            let message = format!(
                "the {what} of {} is not finite; start from a relaxed structure or use a model trained for it",
                list_atoms(&atoms)
            );
            return Err(Error::unstable(what, atoms, message));
        }
    }
    Ok(())
}
