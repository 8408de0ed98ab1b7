//! Topology: which atoms are bonded, and what surrounds each of them.

use crate::elements;
use crate::error::Result;
use crate::linalg::{add, sub};
use crate::neighbors::full_list;
use crate::state::{BondedPairs, State};

/// Which distances are bonds.
#[derive(Debug, Clone, Copy)]
pub struct Reach<'a> {
    /// Symbols of two elements.
    pub elements: [&'a str; 2],
    /// Atoms of them nearer than this are bonded, Å.
    pub longest: f64,
}

/// The bonded atoms of `state`, in order.
///
/// # Errors
/// `Input` if the neighbour search fails.
pub fn bonded_pairs(state: &State, reaches: &[Reach<'_>]) -> Result<BondedPairs> {
    let mut found = BondedPairs::default();
    let Some(farthest) = reaches.iter().map(|reach| reach.longest).max_by(f64::total_cmp) else { return Ok(found) };
    let list = full_list(&state.positions, &state.cell, farthest)?;
    for edge in 0..list.i.len() {
        let pair = [list.i[edge], list.j[edge]].map(|atom| atom as usize);
        let symbols = pair.map(|atom| elements::symbol(state.numbers[atom]));
        let joins = |reach: &Reach<'_>| either_way(&reach.elements, symbols) && list.distances[edge] < reach.longest;
        if pair[0] < pair[1] && reaches.iter().any(joins) {
            found.atoms.push(pair.map(|atom| atom as u32));
            found.shifts.push(list.shifts[edge]);
        }
    }
    Ok(found)
}

/// True if the second of two atoms is bonded where it is nearest to the first, `shift` cells away.
pub fn is_nearest(state: &State, [i, j]: [usize; 2], shift: [i64; 3]) -> bool {
    let vector = add(sub(state.positions[j], state.positions[i]), state.cell.translation(shift));
    (0..3).all(|k| !state.cell.pbc()[k] || state.cell.coordinate(vector, k).abs() < 0.5)
}

/// What surrounds each atom: its element, those it is bonded to, and whether it is in a ring, as in `C[C,H,H,H]` and
/// `C[C,C,H] ring`.
pub fn environments(numbers: &[u8], pairs: &[[u32; 2]]) -> Vec<String> {
    let neighbors = neighbors(numbers.len(), pairs);
    let in_ring = in_rings(&neighbors);
    let one = |atom: usize| {
        let mut around: Vec<&str> = neighbors[atom].iter().map(|&other| elements::symbol(numbers[other])).collect();
        around.sort_unstable();
        let ring = if in_ring[atom] { " ring" } else { "" };
        format!("{}[{}]{ring}", elements::symbol(numbers[atom]), around.join(","))
    };
    (0..numbers.len()).map(one).collect()
}

/// True if the names are these, read forwards or backwards.
pub fn either_way<const N: usize, T: PartialEq>(names: &[T; N], others: [T; N]) -> bool {
    names.iter().eq(others.iter()) || names.iter().rev().eq(others.iter())
}

fn neighbors(atoms: usize, pairs: &[[u32; 2]]) -> Vec<Vec<usize>> {
    let mut neighbors = vec![Vec::new(); atoms];
    for &[i, j] in pairs {
        neighbors[i as usize].push(j as usize);
        neighbors[j as usize].push(i as usize);
    }
    neighbors
}

/// Which atoms are in a ring: those with a bond that is no bridge (R. E. Tarjan, Inf. Process. Lett. 2, 160 (1974)).
fn in_rings(neighbors: &[Vec<usize>]) -> Vec<bool> {
    const UNSEEN: usize = usize::MAX;
    let atoms = neighbors.len();
    // When an atom was first seen, and the earliest that can be reached from below it past the way it was reached.
    let (mut seen, mut earliest) = (vec![UNSEEN; atoms], vec![UNSEEN; atoms]);
    let mut rings = vec![false; atoms];
    let mut clock = 0;
    for root in 0..atoms {
        if seen[root] != UNSEEN {
            continue;
        }
        (seen[root], earliest[root]) = (clock, clock);
        clock += 1;
        // The way from the root: an atom, and which of its neighbours is next.
        let mut path = vec![(root, 0)];
        while let Some(&mut (atom, ref mut next)) = path.last_mut() {
            let followed = neighbors[atom].get(*next).copied();
            *next += 1;
            let before = path.len().checked_sub(2).map(|k| path[k].0);
            match followed {
                Some(other) if Some(other) == before => {}
                Some(other) if seen[other] == UNSEEN => {
                    (seen[other], earliest[other]) = (clock, clock);
                    clock += 1;
                    path.push((other, 0));
                }
                Some(other) => {
                    earliest[atom] = earliest[atom].min(seen[other]);
                    (rings[atom], rings[other]) = (true, true);
                }
                None => {
                    path.pop();
                    let Some(before) = before else { continue };
                    earliest[before] = earliest[before].min(earliest[atom]);
                    if earliest[atom] <= seen[before] {
                        (rings[atom], rings[before]) = (true, true);
                    }
                }
            }
        }
    }
    rings
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::state::Cell;

    #[test]
    fn rings_are_told_from_chains() {
        // A triangle 0 1 2, a bridge 2–3, a square 3 4 5 6, a tail 6–7, and a pair 8–9.
        let pairs = [[0, 1], [1, 2], [0, 2], [2, 3], [3, 4], [4, 5], [5, 6], [3, 6], [6, 7], [8, 9]];
        let rings = in_rings(&neighbors(10, &pairs));
        let expected = [true, true, true, true, true, true, true, false, false, false];
        assert_eq!(rings, expected);
    }

    #[test]
    fn environments_name_elements_and_rings() {
        // Methanol, and a ring of three carbons.
        let numbers = [6, 8, 1, 1, 1, 1, 6, 6, 6];
        let pairs = [[0, 1], [0, 2], [0, 3], [0, 4], [1, 5], [6, 7], [7, 8], [6, 8]];
        let found = environments(&numbers, &pairs);
        assert_eq!(found[..3], ["C[H,H,H,O]", "O[C,H]", "H[C]"]);
        assert_eq!(found[5..7], ["H[O]", "C[C,C] ring"]);
    }

    #[test]
    fn bonds_reach_across_faces() {
        let state = |edge: f64| {
            let cell = Cell::new([[edge, 0.0, 0.0], [0.0, 20.0, 0.0], [0.0, 0.0, 20.0]], [true; 3]).unwrap();
            let positions = vec![[0.3, 1.0, 1.0], [edge - 0.4, 1.0, 1.0]];
            State::new(positions, vec![[0.0; 3]; 2], vec![12.0, 1.0], vec![6, 1], cell).unwrap()
        };
        let reach = [Reach { elements: ["H", "C"], longest: 1.2 }];
        let found = |edge| bonded_pairs(&state(edge), &reach).unwrap();
        assert_eq!((found(10.0).atoms, found(10.0).shifts), (vec![[0, 1]], vec![[-1, 0, 0]]));
        assert!(is_nearest(&state(10.0), [0, 1], [-1, 0, 0]) && !is_nearest(&state(10.0), [0, 1], [0, 0, 0]));
        // Both sides of the atom.
        assert_eq!(found(1.3).atoms, [[0, 1], [0, 1]]);
    }
}
