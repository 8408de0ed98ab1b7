//! Energy rescaling: after a stride, momenta are scaled so that the conserved energy is what it should be.
//!
//! | symbol | here | unit |
//! |---|---|---|
//! | H* | `target`: K + V at the start, plus the heat of the thermostat and the work of the barostat | eV |
//! | V | `potential` | eV |
//! | K′ | `internal`: kinetic energy of the internal motion; K − K′ is that of the centre of mass | eV |
//! | α = √((H* − V − (K − K′))/K′) | `alpha`: the factor on all internal momenta | |
//! | 3(N_g − M_g/M) | `freedom`: degrees of freedom of a group of atoms | |

use crate::error::{Error, Result};
use crate::linalg::{add, dot, scale, sub};
use crate::state::State;

/// Furthest the momenta may be scaled in one stride by default, |α − 1|.
pub const DEFAULT_LIMIT: f64 = 0.25;

/// Which momenta share a factor.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Scope {
    /// One factor α on all internal momenta.
    Global,
    /// One factor per group of atoms, `[N]` labels from 0: a missing energy is given to the groups by their degrees of
    /// freedom, as heat would be, and not by the kinetic energy they happen to have.
    Groups(Vec<u32>),
}

/// What to do when a stride cannot be rescaled: the kinetic energy wanted is not positive, or |α − 1| is too large.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BeyondLimit {
    /// End the run with a `Stability` error.
    Stop,
    /// Leave the momenta as they are; the energy stays owed, and later strides may pay.
    Skip,
    /// Scale as far as allowed; the rest stays owed.
    Clamp,
}

/// A rescaling policy.
#[derive(Debug, Clone)]
pub struct Rescaling {
    /// Which momenta share a factor.
    pub scope: Scope,
    /// Largest |α − 1| of a stride.
    pub limit: f64,
    /// What happens beyond it.
    pub beyond_limit: BeyondLimit,
}

impl Default for Rescaling {
    fn default() -> Self {
        Self { scope: Scope::Global, limit: DEFAULT_LIMIT, beyond_limit: BeyondLimit::Stop }
    }
}

/// What the rescaling of a run did.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct RescalingStatistics {
    /// Strides rescaled, the limited ones included.
    pub count: u64,
    /// Strides beyond the limit, left alone.
    pub skipped: u64,
    /// Strides scaled only up to the limit.
    pub clamped: u64,
    /// Smallest factor on all momenta, α = √(K′/K).
    pub alpha_min: f64,
    /// Largest factor.
    pub alpha_max: f64,
}

impl Default for RescalingStatistics {
    fn default() -> Self {
        Self { count: 0, skipped: 0, clamped: 0, alpha_min: f64::INFINITY, alpha_max: f64::NEG_INFINITY }
    }
}

impl Rescaling {
    /// A checked policy.
    ///
    /// # Errors
    /// `Input` if the limit is not in (0, 1].
    pub fn new(scope: Scope, limit: f64, beyond_limit: BeyondLimit) -> Result<Self> {
        if !(limit > 0.0 && limit <= 1.0) {
            return Err(Error::Input(format!("the largest |α − 1| of rescaling is {limit}; it must be in (0, 1]")));
        }
        Ok(Self { scope, limit, beyond_limit })
    }

    /// Scales internal momenta so that K + V equals `target` (eV), V = `potential`; counted in `statistics`.
    ///
    /// α² = (target − V − K_frame)/K_internal; the motion of the centre of mass is left alone.
    ///
    /// # Errors
    /// `Stability` if that cannot be done and the policy is to stop; the state is then unchanged.
    pub fn apply(
        &self,
        state: &mut State,
        target: f64,
        potential: f64,
        statistics: &mut RescalingStatistics,
    ) -> Result<()> {
        let internal = state.internal_kinetic_energy();
        let wanted = target - potential - (state.kinetic_energy() - internal);
        let alpha = (wanted / internal).sqrt();
        let possible = wanted > 0.0 && internal > 0.0 && (alpha - 1.0).abs() <= self.limit;
        let alpha = match self.beyond_limit {
            _ if possible => alpha,
            BeyondLimit::Skip => {
                statistics.skipped += 1;
                return Ok(());
            }
            BeyondLimit::Clamp if internal > 0.0 => {
                statistics.clamped += 1;
                if wanted > internal { 1.0 + self.limit } else { 1.0 - self.limit }
            }
            BeyondLimit::Clamp | BeyondLimit::Stop => return Err(self.impossible(target, potential, wanted, internal)),
        };
        if let Scope::Groups(labels) = &self.scope {
            share_by_freedom(state, labels, (alpha * alpha - 1.0) * internal);
        }
        let goal = alpha * alpha * internal;
        let now = if self.scope == Scope::Global { internal } else { state.internal_kinetic_energy() };
        state.scale_internal_momenta((goal / now).sqrt());
        statistics.count += 1;
        statistics.alpha_min = statistics.alpha_min.min(alpha);
        statistics.alpha_max = statistics.alpha_max.max(alpha);
        Ok(())
    }

    fn impossible(&self, target: f64, potential: f64, wanted: f64, internal: f64) -> Error {
        let (alpha, limit) = ((wanted / internal).sqrt(), self.limit);
        let message = format!(
            "conserving {target:.6} eV needs an internal kinetic energy of {wanted:.6} eV, but it is {internal:.6} eV \
             (potential {potential:.6} eV): a factor of {alpha:.4} on the momenta, allowed within 1 ± {limit}; \
             relax the structure, use a thermostat, or turn rescale_energy off"
        );
        Error::unstable("energy rescaling", Vec::new(), message)
    }
}

/// Gives `heat` (eV) to the groups in proportion to their degrees of freedom 3(N_g − M_g/M), keeping the total momentum.
///
/// A group that would have to give more than it has gives nothing. Restoring the total momentum changes the kinetic
/// energy a little: the caller makes it exact with one factor for all.
fn share_by_freedom(state: &mut State, labels: &[u32], heat: f64) {
    let groups = labels.iter().fold(0, |m, &g| m.max(g as usize + 1));
    let total_mass = if state.has_fixed() { f64::INFINITY } else { state.total_mass() };
    let (mut freedom, mut kinetic) = (vec![0.0; groups], vec![0.0; groups]);
    for (i, p) in state.internal_momenta().enumerate().filter(|&(i, _)| !state.is_fixed(i)) {
        let (group, m) = (labels[i] as usize, state.masses[i]);
        freedom[group] += 3.0 * (1.0 - m / total_mass);
        kinetic[group] += dot(p, p) / (2.0 * m);
    }
    let all: f64 = freedom.iter().sum();
    let factor = |g: usize| {
        let square = 1.0 + heat * freedom[g] / (all * kinetic[g]);
        if square > 0.0 && square.is_finite() { square.sqrt() } else { 1.0 }
    };
    let factors: Vec<f64> = (0..groups).map(factor).collect();
    let velocity = state.frame_velocity();
    let before = state.total_momentum();
    for i in 0..state.len() {
        let drift = scale(state.masses[i], velocity);
        state.momenta[i] = add(drift, scale(factors[labels[i] as usize], sub(state.momenta[i], drift)));
    }
    if !state.has_fixed() {
        let excess = scale(1.0 / state.total_mass(), sub(state.total_momentum(), before));
        for (p, &m) in state.momenta.iter_mut().zip(&state.masses) {
            *p = sub(*p, scale(m, excess));
        }
    }
}
