//! The observer of a run: it keeps frames, saves checkpoints, and may end the run.

use std::ops::ControlFlow;

use super::system::System;
use crate::error::Result;
use crate::linalg::Mat3;
use crate::state::State;
use crate::violation::Violation;

/// One system at one step, as observers see it.
#[derive(Debug, Clone, Copy)]
pub struct Frame<'a> {
    /// Which system of the run it belongs to.
    pub system: usize,
    /// The state; its positions are unwrapped.
    pub state: &'a State,
    /// Simulated time, fs.
    pub time_fs: f64,
    /// Potential energy, eV; of frames to keep, if there is an energy model; of others, if it is known already.
    pub potential_energy: Option<f64>,
    /// Virial, eV, of a cell that is periodic along all axes; of the same frames, if the energy model has one.
    pub virial: Option<Mat3>,
    /// Kinetic plus potential energy minus the heat of the thermostat and the work of the barostat, eV.
    pub conserved_energy: Option<f64>,
}

impl Frame<'_> {
    /// The stress −(Ξ + Σ p⊗p/m)/V with the virial Ξ, symmetric, eV/Å³: positive where the cell is stretched, as in ASE.
    pub fn stress(&self) -> Option<Mat3> {
        let (virial, kinetic) = (self.virial?, self.state.kinetic_tensor());
        let volume = self.state.cell.volume();
        let element = |a: usize, b: usize| -(0.5 * (virial[a][b] + virial[b][a]) + kinetic[a][b]) / volume;
        Some(std::array::from_fn(|a| std::array::from_fn(|b| element(a, b))))
    }
}

/// Keeps frames, saves checkpoints, and may end the run.
pub trait Observer {
    /// Everything was found good, and the run begins: the place to open files.
    ///
    /// # Errors
    /// `Callback`; it ends the run and passes through.
    fn begin(&mut self) -> Result<()> {
        Ok(())
    }

    /// A frame to keep: the first, those at multiples of the interval, and the current one when the run is finished.
    ///
    /// # Errors
    /// `Callback`; it passes through, and the frame is given again if the run goes on.
    fn frame(&mut self, frame: &Frame<'_>) -> Result<()>;

    /// Quantities of a system that have just left their bounds, and the state that did so.
    ///
    /// # Errors
    /// `Callback`; it passes through.
    fn violations(&mut self, _system: usize, _violations: &[Violation], _state: &State) -> Result<()> {
        Ok(())
    }

    /// A point to restart from, after the frames of its step.
    ///
    /// # Errors
    /// `Callback` or `File`; it passes through.
    fn checkpoint(&mut self, _systems: &[System]) -> Result<()> {
        Ok(())
    }

    /// The systems that live after a stride, when its frames are kept and its checkpoint is saved: the place to look, to
    /// end the run, and to notice Ctrl-C.
    ///
    /// # Errors
    /// `Callback` or `Interrupted`; a checkpoint is saved, and it passes through.
    fn stride(&mut self, _living: &[Frame<'_>]) -> Result<ControlFlow<()>> {
        Ok(ControlFlow::Continue(()))
    }
}

/// Keeps nothing.
impl Observer for () {
    fn frame(&mut self, _frame: &Frame<'_>) -> Result<()> {
        Ok(())
    }
}
