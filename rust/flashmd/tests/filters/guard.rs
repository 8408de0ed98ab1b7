//! The guard: what it finds, and what becomes of it.

use crate::common::{AnalyticEnergy, FreeFlight, Harmonic, Rollout, lattice, numbers, thermal};
use flashmd::State;
use flashmd::error::Result;
use flashmd::filters::guard::{self, GuardPolicy};
use flashmd::propagators::{Outcome, Propagator, verlet};
use flashmd::random::Key;
use flashmd::run::{Frame, Observer, System};
use flashmd::units::FS;
use flashmd::violation::{Quantity, Violation};

const STRIDE_FS: f64 = 4.0;
const KELVIN: f64 = 90.0;

fn argon(seed: u64) -> State {
    let mut state = lattice(4, 3.9, 0.05, [39.948, 39.948], seed);
    thermal(&mut state, KELVIN, &mut numbers(seed + 1));
    state.key = Key { seed: 5, replica: seed };
    state
}

/// Free flight that finds fault with chosen steps.
struct Fault {
    at: Vec<u64>,
    flight: FreeFlight,
    seen: Vec<u64>,
}

impl Propagator for Fault {
    fn stride_fs(&self) -> f64 {
        self.flight.stride_fs
    }

    fn advance(&mut self, states: &mut [&mut State]) -> Result<Vec<Outcome>> {
        let find = |step: u64| {
            let violation = Violation { quantity: Quantity::Density, atoms: vec![1], message: format!("at {step}") };
            if self.at.contains(&step) { vec![violation] } else { Vec::new() }
        };
        let violations: Vec<_> = states.iter().map(|state| find(state.step)).collect();
        self.seen.extend(states.iter().map(|state| state.step));
        self.flight.advance(states)?;
        Ok(violations.into_iter().map(|violations| Outcome { result: Ok(()), violations }).collect())
    }
}

/// Notes violations.
#[derive(Default)]
struct Notes(Vec<(u64, String)>);

impl Observer for Notes {
    fn frame(&mut self, _: &Frame<'_>) -> Result<()> {
        Ok(())
    }

    fn violations(&mut self, _system: usize, violations: &[Violation], state: &State) -> Result<()> {
        self.0.extend(violations.iter().map(|v| (state.step, v.message.clone())));
        Ok(())
    }
}

#[test]
fn a_fallback_takes_the_stride_back_and_lasts_as_long_as_asked() {
    let mut system = System::new(argon(3));
    system.guard = Some(GuardPolicy::fallback(2, 1.0, STRIDE_FS).unwrap());
    let mut fault = Fault { at: vec![3, 4, 8], flight: FreeFlight { stride_fs: STRIDE_FS }, seen: Vec::new() };
    let sites = system.state.positions.clone();
    let mut energy = AnalyticEnergy(Harmonic { sites, k: 0.3 });
    let mut notes = Notes::default();
    let options = Rollout { steps: 11, energy: Some(&mut energy), ..Rollout::default() };
    let mut list = vec![system];
    options.run(&mut list, &mut fault, &mut notes).unwrap();
    // Step 4 is Verlet's, so the propagator is not asked about it.
    assert_eq!(fault.seen, [0, 1, 2, 3, 5, 6, 7, 8, 10]);
    assert_eq!(notes.0, [(3, "at 3".to_owned()), (8, "at 8".to_owned())]);
    let counted = list[0].statistics.guard;
    assert_eq!((counted.fallbacks, counted.fallback_left, counted.counts[Quantity::Density as usize]), (4, 0, 2));

    // The same by hand.
    let mut by_hand = argon(3);
    let mut energy = AnalyticEnergy(Harmonic { sites: by_hand.positions.clone(), k: 0.3 });
    for step in 0..11 {
        if [3, 4, 8, 9].contains(&step) {
            verlet::advance(&mut by_hand, STRIDE_FS, 1.0, &mut energy).unwrap();
        } else {
            FreeFlight { stride_fs: STRIDE_FS }.advance(&mut [&mut by_hand]).unwrap();
        }
    }
    assert_eq!(by_hand.positions, list[0].state.positions);
    assert_eq!(by_hand.momenta, list[0].state.momenta);
}

#[test]
fn stopping_ends_one_system_and_reporting_is_told_once_while_it_lasts() {
    let mut stopped = System::new(argon(3));
    stopped.guard = Some(GuardPolicy::Stop);
    let mut fault = Fault { at: vec![2], flight: FreeFlight { stride_fs: STRIDE_FS }, seen: Vec::new() };
    let mut list = vec![stopped];
    Rollout { steps: 9, ..Rollout::default() }.run(&mut list, &mut fault, &mut Notes::default()).unwrap();
    let e = list[0].failure.as_ref().unwrap();
    assert_eq!((e.quantity.as_str(), e.atoms.as_slice(), e.step), ("density", &[1][..], 3));

    let mut reported = System::new(argon(3));
    reported.guard = Some(GuardPolicy::Report);
    let mut fault = Fault { at: vec![2, 3, 6], flight: FreeFlight { stride_fs: STRIDE_FS }, seen: Vec::new() };
    let (mut notes, mut list) = (Notes::default(), vec![reported]);
    Rollout { steps: 9, ..Rollout::default() }.run(&mut list, &mut fault, &mut notes).unwrap();
    assert_eq!(notes.0.iter().map(|n| n.0).collect::<Vec<_>>(), [2, 6]);
    assert_eq!(list[0].statistics.guard.counts[Quantity::Density as usize], 3);
}

#[test]
fn explosion_and_freezing_are_told_from_fluctuations() {
    let state = argon(4);
    let kelvin = state.temperature();
    assert!(guard::check_temperature(&state, None, kelvin).is_none());
    for (factor, quantity) in [(3.5, Quantity::Explosion), (0.28, Quantity::Freezing)] {
        let mut other = state.clone();
        other.momenta.iter_mut().flatten().for_each(|p| *p *= factor);
        assert_eq!(guard::check_temperature(&other, None, kelvin).unwrap().quantity, quantity);
        assert_eq!(guard::check_temperature(&other, Some(kelvin), kelvin).unwrap().quantity, quantity);
        // A thermostat at its temperature, or a start from it, is no reason to worry.
        assert!(guard::check_temperature(&other, Some(factor * factor * kelvin), kelvin).is_none());
    }
    assert!(guard::check_temperature(&state, None, 0.0).is_none(), "a start at rest says nothing");
}

#[test]
fn a_stride_into_the_absurd_ends_a_system_of_any_size() {
    let before = argon(4);
    let (kelvin, time) = (before.temperature(), STRIDE_FS * FS);
    let check = |state: &State, target| guard::check_absurd(&before, state, time, target, kelvin);
    let mut drifting = before.clone();
    drifting.drift(time);
    assert!(check(&drifting, None).is_ok());

    // All of it, which is none if that was asked for.
    let mut hot = drifting.clone();
    hot.momenta.iter_mut().flatten().for_each(|p| *p *= 40.0);
    let e = check(&hot, Some(KELVIN)).unwrap_err().to_string();
    assert!(e.contains("has exploded: its temperature is 1.") && e.contains("e5 K"), "{e}");
    assert!(check(&hot, Some(1e4)).is_ok());
    assert!(guard::check_absurd(&hot, &hot, time, None, hot.temperature()).is_ok());

    // One of many, by its momentum or by its way.
    let mut fast = drifting.clone();
    fast.momenta[5][1] = (2.0 * 39.948 * 200.0_f64).sqrt();
    assert!(fast.temperature() < 5e4);
    let mut thrown = drifting.clone();
    thrown.positions[5][2] += 40.0;
    for state in [&fast, &thrown] {
        let e = check(state, None).unwrap_err().to_string();
        assert!(e.contains("atom 5 moved faster in this stride than any atom at"), "{e}");
    }

    // A whole that flies fast is no hotter for it, and one atom is never hot.
    let mut flying = before.clone();
    flying.momenta.iter_mut().for_each(|p| p[0] += 400.0);
    let mut flown = flying.clone();
    flown.drift(time);
    assert!(guard::check_absurd(&flying, &flown, time, None, kelvin).is_ok());
}

#[test]
fn an_absurd_stride_stops_a_report_and_is_taken_back_by_a_fallback() {
    /// Throws the first atom out in every stride.
    struct Throw(FreeFlight);
    impl Propagator for Throw {
        fn stride_fs(&self) -> f64 {
            self.0.stride_fs
        }
        fn advance(&mut self, states: &mut [&mut State]) -> Result<Vec<Outcome>> {
            states.iter_mut().for_each(|state| state.positions[0][0] += 90.0);
            self.0.advance(states)
        }
    }
    let mut throw = Throw(FreeFlight { stride_fs: STRIDE_FS });
    for (policy, fails) in [
        (Some(GuardPolicy::Report), true),
        (Some(GuardPolicy::Stop), true),
        (Some(GuardPolicy::fallback(1, 1.0, STRIDE_FS).unwrap()), false),
        (None, false),
    ] {
        let mut system = System::new(argon(3));
        system.guard = policy;
        let mut energy = AnalyticEnergy(Harmonic { sites: system.state.positions.clone(), k: 0.3 });
        let options = Rollout { steps: 4, energy: Some(&mut energy), ..Rollout::default() };
        let mut list = vec![system];
        options.run(&mut list, &mut throw, &mut Notes::default()).unwrap();
        assert_eq!(list[0].failure.is_some(), fails, "{policy:?}");
        let fallbacks = list[0].statistics.guard.fallbacks;
        assert_eq!(fallbacks, if matches!(policy, Some(GuardPolicy::Fallback { .. })) { 4 } else { 0 });
        if let Some(e) = &list[0].failure {
            assert_eq!((e.quantity.as_str(), e.atoms.as_slice(), e.step), ("explosion", &[0][..], 1));
        }
    }
}
