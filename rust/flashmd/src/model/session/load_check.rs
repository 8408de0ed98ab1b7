//! The load check: the numerical part of the contract, on a small random structure.
//!
//! It needs to be right about a few tens of atoms only; it costs a few runs of the network on 27 of them.

use super::{Batch, NetworkSession, Outputs, check_finite};
use crate::error::{Deviation, Error, ModelFault, Result};
use crate::linalg::{Vec3, add, scale};
use crate::model::contract::Contract;
use crate::model::contract::tensors::Output;
use crate::neighbors::NeighborSearch;
use crate::neighbors::{PaddedEdges, Part};
use crate::random::{Purpose, Stream};
use crate::rotation::Rotation;
use crate::state::Cell;

/// Largest difference that padding may make, relative to the largest value of the output: f32 sums in another order.
const PADDING_TOLERANCE: f64 = 1e-4;
/// Largest departure from O(3) equivariance, relative to the largest value of the output.
const EQUIVARIANCE_TOLERANCE: f64 = 1e-5;
/// Differences that count as none, in the units of an output: far from its data a network may give next to nothing, the
/// difference of terms of order one, and those round in f32 by this.
const ROUNDING: f64 = 1e-6;
/// Atoms along each edge of the jittered lattice, and their least spacing in Å.
const LATTICE: usize = 3;
const SPACING: f64 = 2.2;
/// Spacing over the closest approach in the training data: nearer than that a network extrapolates, its
/// outputs may be of any size, and round-off with them.
const APPROACH: f64 = 1.2;
/// Largest spacing over the cutoff, whatever the closest approach: that of a rare species may be beyond the cutoff, and a
/// structure without edges shows nothing.
const REACH: f64 = 0.6;
/// Full width of the jitter over the spacing.
const JITTER: f64 = 0.2;

/// Checks that padding, edges beyond the cutoff and rotations do what the contract says.
///
/// # Errors
/// `Model`, naming the rule the graph breaks.
pub(super) fn check(session: &mut NetworkSession, contract: &Contract) -> Result<()> {
    // A cutoff that the probe has no cell for is the file's fault, not the user's.
    run(session, contract).map_err(|e| match e {
        Error::Input(problem) => ModelFault::NotProbed { problem }.into(),
        Error::Stability(e) => ModelFault::UnstableProbe { problem: e.message }.into(),
        other => other,
    })
}

/// True if two sessions of one model give the same, but for rounding.
///
/// # Errors
/// `Model` if one of them does not run.
pub(super) fn agree(first: &mut NetworkSession, second: &mut NetworkSession, contract: &Contract) -> Result<bool> {
    let mut probe = Probe::new(contract)?;
    let scalars = contract.metadata.scheme.scalars();
    let turned = Rotation::random(&mut Stream::new(1, Purpose::Check, 1));
    for scalar in 0..scalars {
        probe.head = (0..scalars).map(|k| f32::from(u8::from(k == scalar))).collect();
        for rotation in [None, Some(&turned)] {
            let edges = probe.edges(1.3, rotation)?;
            let wanted = probe.run(first, &edges, rotation, &contract.outputs)?;
            let got = probe.run(second, &edges, rotation, &contract.outputs)?;
            if compare(&wanted, &got, PADDING_TOLERANCE, ModelFault::PaddingMatters).is_err() {
                return Ok(false);
            }
        }
    }
    Ok(true)
}

fn run(session: &mut NetworkSession, contract: &Contract) -> Result<()> {
    let mut probe = Probe::new(contract)?;
    let scalars = contract.metadata.scheme.scalars();
    for scalar in 0..scalars {
        probe.head = (0..scalars).map(|k| f32::from(u8::from(k == scalar))).collect();
        check_scalar(session, contract, &probe)?;
    }
    Ok(())
}

fn check_scalar(session: &mut NetworkSession, contract: &Contract, probe: &Probe) -> Result<()> {
    let probed = contract.metadata.kind.spec().probed.iter().copied();
    let outputs: Vec<Output> = probed.filter(|&output| contract.has(output)).collect();
    let tight = probe.run(session, &probe.edges(1.0, None)?, None, &outputs)?;
    let wide = probe.edges(1.0, None)?;
    let wide = probe.run(session, &wide.padded(wide.atoms + 3, wide.max_neighbors + 5), None, &outputs)?;
    compare(&tight, &wide, PADDING_TOLERANCE, ModelFault::PaddingMatters)?;
    let beyond = probe.run(session, &probe.edges(1.3, None)?, None, &outputs)?;
    compare(&tight, &beyond, PADDING_TOLERANCE, ModelFault::BeyondCutoffMatters)?;
    probe.run(session, &probe.collapsed()?, None, &outputs)?;
    if contract.metadata.equivariant {
        let rotation = Rotation::random(&mut Stream::new(1, Purpose::Check, 1));
        for rotation in [rotation, rotation.inverted()] {
            let turned = probe.run(session, &probe.edges(1.0, Some(&rotation))?, Some(&rotation), &outputs)?;
            let back = tight.turned(&rotation);
            compare(&back, &turned, EQUIVARIANCE_TOLERANCE, ModelFault::NotEquivariant)?;
        }
    }
    Ok(())
}

/// A jittered lattice of random species, periodic along two axes, so that real padding and self-images occur.
struct Probe {
    positions: Vec<Vec3>,
    momenta: Vec<Vec3>,
    species: Vec<i32>,
    masses: Vec<f64>,
    cell: Cell,
    cutoff: f64,
    head: Vec<f32>,
    legendre_orders: usize,
}

/// Values of one output on the real atoms, as scalars or vectors by (atom, slot).
struct Values(Vec<(Output, Vec<f64>)>);

impl Probe {
    fn new(contract: &Contract) -> Result<Self> {
        let metadata = &contract.metadata;
        let mut stream = Stream::new(1, Purpose::Check, 0);
        let spacing = SPACING.max((APPROACH * metadata.domain.closest_approach()).min(REACH * metadata.cutoff));
        let edge = LATTICE as f64 * spacing;
        let mut positions = Vec::new();
        for index in 0..LATTICE.pow(3) {
            let site =
                [index / (LATTICE * LATTICE), index / LATTICE % LATTICE, index % LATTICE].map(|i| i as f64 * spacing);
            let jitter: Vec3 = std::array::from_fn(|_| JITTER * spacing * (stream.uniform() - 0.5));
            positions.push(add(site, jitter));
        }
        let draw = |stream: &mut Stream| (stream.uniform() * metadata.species.len() as f64) as i32;
        let species: Vec<i32> = positions.iter().map(|_| draw(&mut stream)).collect();
        let mass = |s: &i32| metadata.masses.as_ref().map_or(1.0, |m| m[*s as usize]);
        Ok(Self {
            momenta: positions.iter().map(|_| scale(0.16, stream.normal3())).collect(),
            masses: species.iter().map(mass).collect(),
            cell: Cell::new([[edge, 0.0, 0.0], [0.7, edge, 0.0], [0.0; 3]], [true, true, false])?,
            cutoff: metadata.cutoff,
            positions,
            species,
            head: vec![1.0],
            legendre_orders: metadata.legendre_orders,
        })
    }

    fn edges(&self, stretch: f64, rotation: Option<&Rotation>) -> Result<PaddedEdges> {
        let mut search = NeighborSearch::new(self.cutoff * stretch)?;
        search.update(&self.positions, &self.cell)?;
        let mut edges = PaddedEdges::default();
        edges.assemble(&[Part { search: &search, rotation }])?;
        Ok(edges)
    }

    /// The same edges, one of them and its reverse of length zero.
    fn collapsed(&self) -> Result<PaddedEdges> {
        let mut edges = self.edges(1.0, None)?;
        if edges.mask[0] {
            for edge in [0, edges.reverse[0] as usize] {
                edges.edge_vectors[3 * edge..3 * edge + 3].fill(0.0);
            }
        }
        Ok(edges)
    }

    /// Runs on `edges`, whose rows beyond the probe's atoms are padding.
    fn run(
        &self,
        session: &mut NetworkSession,
        edges: &PaddedEdges,
        rotation: Option<&Rotation>,
        outputs: &[Output],
    ) -> Result<Values> {
        let real = self.positions.len();
        let mut species = self.species.clone();
        species.resize(edges.atoms, 0);
        let mut masses: Vec<f32> = self.masses.iter().map(|&m| m as f32).collect();
        masses.resize(edges.atoms, 1.0);
        let frame = |&p: &Vec3| rotation.map_or(p, |r| r.apply(p)).map(|x| x as f32);
        let mut momenta: Vec<f32> = self.momenta.iter().flat_map(frame).collect();
        momenta.resize(3 * edges.atoms, 0.0);
        let system = vec![0; edges.atoms];
        let batch = Batch {
            edges,
            species: &species,
            momenta: &momenta,
            masses: &masses,
            system: &system,
            head: &self.head,
            legendre_orders: self.legendre_orders,
        };
        let mut computed = Outputs::default();
        session.run(batch, outputs, &mut computed)?;
        for &output in outputs {
            check_finite(output, computed.get(output), edges.atoms)?;
        }
        let values = |&output: &Output| {
            let data = computed.get(output);
            let kept: Vec<f64> = match output.spec().is_per_edge() {
                true => (0..real * edges.max_neighbors)
                    .filter(|&edge| edges.mask[edge] && self.within_cutoff(edges, edge))
                    .flat_map(|edge| (0..3).map(move |c| f64::from(data[3 * edge + c])))
                    .collect(),
                false => data[..data.len() / edges.atoms * real].iter().map(|&x| f64::from(x)).collect(),
            };
            (output, kept)
        };
        Ok(Values(outputs.iter().map(values).collect()))
    }

    fn within_cutoff(&self, edges: &PaddedEdges, edge: usize) -> bool {
        let v: Vec3 = std::array::from_fn(|c| f64::from(edges.edge_vectors[3 * edge + c]));
        crate::linalg::norm(v) < self.cutoff
    }
}

impl Values {
    /// The values as seen from a rotated frame.
    fn turned(&self, rotation: &Rotation) -> Self {
        let turn = |(output, values): &(Output, Vec<f64>)| {
            let turned = match output.spec().is_vector {
                false => values.clone(),
                true => values.chunks_exact(3).flat_map(|v| rotation.apply([v[0], v[1], v[2]])).collect(),
            };
            (*output, turned)
        };
        Self(self.0.iter().map(turn).collect())
    }
}

/// Checks that the values differ by no more than `allowed`, as a share of the largest.
fn compare(wanted: &Values, got: &Values, allowed: f64, fault: fn(Deviation) -> ModelFault) -> Result<()> {
    for ((output, a), (_, b)) in wanted.0.iter().zip(&got.0) {
        let largest = a.iter().fold(0.0f64, |m, x| m.max(x.abs()));
        let difference = a.iter().zip(b).fold(0.0f64, |m, (x, y)| m.max((x - y).abs()));
        if a.len() != b.len() || difference > allowed * largest + ROUNDING {
            return Err(fault(Deviation { output: output.name(), difference, largest, allowed }).into());
        }
    }
    Ok(())
}
