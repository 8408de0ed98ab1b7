//! Forces and virial from the gradient of a scalar with respect to edge vectors.

use super::Network;
use crate::linalg::{Mat3, Vec3, add, sub};
use crate::model::Output;
use crate::neighbors::PaddedEdges;

/// −∂/∂q of the scalar whose `edge_gradient` the network has just given, for the system at place `index`.
///
/// With g = ∂S/∂v and v_ik = r_j − r_i + S·cell: F_i = Σ_k g_ik − Σ over the edges (j,k) that point at i of g_jk. Each edge
/// acts on both of its ends, so the sum is zero to round-off of f64 whatever the network says.
pub fn forces(network: &Network, index: usize, into: &mut Vec<Vec3>) {
    let rows = network.rows(index);
    into.clear();
    into.resize(rows.len(), [0.0; 3]);
    for_each_edge(network, index, |i, j, _, g| {
        into[i] = add(into[i], g);
        into[j] = sub(into[j], g);
    });
}

/// −Σ v⊗g over all edges of the system at place `index`: the virial if the scalar is an energy, eV.
pub(crate) fn virial(network: &Network, index: usize) -> Mat3 {
    let mut virial = [[0.0; 3]; 3];
    for_each_edge(network, index, |_, _, v, g| {
        for a in 0..3 {
            for b in 0..3 {
                virial[a][b] -= v[a] * g[b];
            }
        }
    });
    virial
}

/// Calls `act` with both ends, the vector and the gradient of every edge of the system at place `index`; ends are counted from its first
/// atom.
fn for_each_edge(network: &Network, index: usize, mut act: impl FnMut(usize, usize, Vec3, Vec3)) {
    let edges: &PaddedEdges = network.edges();
    let rows = network.rows(index);
    let gradient = network.output(Output::EdgeGradient, index);
    let first = rows.start * edges.max_neighbors;
    for slot in (first..rows.end * edges.max_neighbors).filter(|&slot| edges.mask[slot]) {
        let v: Vec3 = std::array::from_fn(|c| f64::from(edges.edge_vectors[3 * slot + c]));
        let g: Vec3 = std::array::from_fn(|c| f64::from(gradient[3 * (slot - first) + c]));
        act(slot / edges.max_neighbors - rows.start, edges.neighbors[slot] as usize - rows.start, v, g);
    }
}
