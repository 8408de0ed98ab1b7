//! Systems that a host program moves between strides.

use crate::common::{AnalyticEnergy, LennardJones, Recorder, Verlet, lattice, numbers, thermal};
use flashmd::filters::molecules::Molecules;
use flashmd::filters::rescaling::{BeyondLimit, Rescaling, Scope};
use flashmd::linalg::{add, scale};
use flashmd::potential_energy::PotentialEnergy;
use flashmd::run::{Schedule, Simulation, System};
use flashmd::{Cell, Placement, State};

const STRIDE_FS: f64 = 4.0;

fn argon(seed: u64) -> State {
    let mut state = lattice(4, 3.9, 0.05, [39.948, 39.948], seed);
    thermal(&mut state, 90.0, &mut numbers(seed + 1));
    state
}

fn lennard_jones() -> LennardJones {
    LennardJones::new(0.0103, 3.4, 7.0)
}

fn energy() -> Option<Box<dyn PotentialEnergy>> {
    Some(Box::new(AnalyticEnergy(lennard_jones())))
}

fn simulation(system: System, defect: f64) -> Simulation<'static> {
    let propagator = Verlet { forces: lennard_jones(), stride_fs: STRIDE_FS, substeps: 2, defect };
    let mut simulation = Simulation::new(vec![system], Box::new(propagator), energy(), Schedule::default()).unwrap();
    simulation.start(&mut Recorder::default()).unwrap();
    simulation
}

fn placement(state: &State) -> Placement {
    Placement { positions: state.positions.clone(), momenta: state.momenta.clone(), cell: state.cell.clone() }
}

fn stretched(cell: &Cell) -> Cell {
    Cell::new(cell.matrix().map(|row| scale(1.02, row)), cell.pbc()).unwrap()
}

#[test]
fn the_next_stride_begins_where_atoms_were_placed() {
    let mut to = placement(&argon(2));
    to.cell = stretched(&to.cell);
    let mut placed = simulation(System::new(argon(1)), 1.0);
    let _ = placed.advance(3, &mut Recorder::default()).unwrap();
    placed.place(0, to.clone()).unwrap();
    let _ = placed.advance(2, &mut Recorder::default()).unwrap();

    let mut state = argon(2);
    state.cell = to.cell;
    let mut fresh = simulation(System::new(state), 1.0);
    let _ = fresh.advance(2, &mut Recorder::default()).unwrap();
    let (placed, fresh) = (&placed.systems()[0].state, &fresh.systems()[0].state);
    assert_eq!((&placed.positions, &placed.momenta, &placed.cell), (&fresh.positions, &fresh.momenta, &fresh.cell));
    assert_eq!((placed.step, fresh.step), (5, 2));
}

#[test]
fn what_a_host_does_to_the_energy_is_work() {
    let mut system = System::new(argon(1));
    system.rescaling = Some(Rescaling::new(Scope::Global, 0.25, BeyondLimit::Clamp).unwrap());
    // Strides that lose energy, which rescaling gives back.
    let mut simulation = simulation(system, 0.9995);
    let total = |simulation: &Simulation<'_>| {
        let state = &simulation.systems()[0].state;
        state.kinetic_energy() + AnalyticEnergy(lennard_jones()).energy(state).unwrap()
    };
    let _ = simulation.advance(5, &mut Recorder::default()).unwrap();
    let start = total(&simulation);
    let mut to = placement(&simulation.systems()[0].state);
    for (q, p) in to.positions.iter_mut().zip(&mut to.momenta) {
        (*q, *p) = (scale(1.02, *q), scale(1.1, *p));
    }
    to.cell = stretched(&to.cell);
    simulation.place(0, to).unwrap();
    let placed = total(&simulation);
    assert!((placed - start).abs() > 0.01);
    let work = simulation.systems()[0].statistics.work;
    assert!((work - (placed - start)).abs() < 1e-9, "{work}");
    let _ = simulation.advance(5, &mut Recorder::default()).unwrap();
    assert!((total(&simulation) - placed).abs() < 1e-9);
}

#[test]
fn placing_atoms_where_they_are_changes_nothing() {
    let mut simulation = simulation(System::new(argon(1)), 1.0);
    let _ = simulation.advance(3, &mut Recorder::default()).unwrap();
    let before = simulation.systems()[0].statistics;
    simulation.place(0, placement(&simulation.systems()[0].state)).unwrap();
    assert_eq!(simulation.systems()[0].statistics, before);
}

#[test]
fn molecules_stay_whole_where_a_host_wraps_atoms() {
    let mut state = argon(1);
    // Pairs of neighbours along z, some of them across the boundary.
    for (i, q) in state.positions.iter_mut().enumerate() {
        q[2] += if i % 2 == 0 { 1.2 } else { -1.2 };
    }
    let radii = vec![0.7; state.len()];
    let mut molecules = Molecules::find(&state, &radii).unwrap();
    assert_eq!(molecules.count, state.len() / 2);
    let arms = |molecules: &Molecules, state: &State| -> Vec<_> {
        let centres = molecules.centres(state);
        (0..state.len()).map(|i| molecules.arm(state, &centres, i)).collect()
    };
    let before = arms(&molecules, &state);
    let mut to = placement(&state);
    for (i, q) in to.positions.iter_mut().enumerate() {
        *q = add(*q, to.cell.translation([i as i64 % 3 - 1, 0, (i as i64 % 5) - 2]));
    }
    molecules.follow(&state, &to);
    state.place(to);
    // And half a cell away, each atom wrapped on its own.
    let mut to = placement(&state);
    let half = scale(0.5, to.cell.matrix()[0]);
    to.positions = to.positions.iter().map(|&q| to.cell.wrap(add(q, half))).collect();
    molecules.follow(&state, &to);
    state.place(to);
    for (a, b) in before.iter().zip(arms(&molecules, &state)) {
        assert!((0..3).all(|k| (a[k] - b[k]).abs() < 1e-10), "{a:?} {b:?}");
    }
}

#[test]
fn what_cannot_be_placed_is_refused() {
    let mut simulation = simulation(System::new(argon(1)), 1.0);
    let good = placement(&argon(2));
    let mut refused = |change: &dyn Fn(&mut Placement), wanted: &str| {
        let mut to = good.clone();
        change(&mut to);
        let said = simulation.place(0, to).unwrap_err().to_string();
        assert!(said.contains(wanted), "{said}");
    };
    refused(&|to| to.positions.truncate(63), "positions are given for 63 atoms, there are 64");
    refused(&|to| to.momenta.truncate(63), "momenta are given for 63 atoms");
    refused(&|to| to.positions[3][1] = f64::NAN, "positions of atom 3 are not finite");
    refused(&|to| to.cell = Cell::open(), "the cell is periodic along [false, false, false]");
    assert!(simulation.place(1, good).unwrap_err().to_string().contains("there is no system 1"));
}
