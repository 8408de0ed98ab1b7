//! Opening a session under a time limit: ONNX Runtime computes constants while it loads, and a hostile graph makes that
//! take for ever. What cannot be stopped, such as one enormous product, is left behind in its thread.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock, mpsc};
use std::thread;
use std::time::Duration;

use super::session::{Device, Session, Terminator};
use super::{Contract, check};
use crate::error::{Error, Result};

/// Time to open a session and to run the network on a few tens of atoms.
const TIME: Duration = Duration::from_secs(20);
/// A GPU's libraries are gigabytes, read on first use.
const TIME_CUDA: Duration = Duration::from_secs(180);
/// Bytes of a file that are worth another second.
const BYTES_PER_SECOND: u64 = 4 << 20;
/// Subgraphs within subgraphs are walked recursively by ONNX Runtime.
const STACK: usize = 16 << 20;

/// A session whose network keeps the contract.
///
/// # Errors
/// As [`Session::open`] and [`check::check`]; `Model` if they take too long.
pub(crate) fn open_and_check(
    bytes: &[u8],
    contract: &Contract,
    device: Device,
    threads: Option<usize>,
) -> Result<Session> {
    let base = if device == Device::Cuda { TIME_CUDA } else { TIME };
    let limit = base + Duration::from_secs(bytes.len() as u64 / BYTES_PER_SECOND);
    let (bytes, contract) = (bytes.to_vec(), contract.clone());
    within(limit, move |reins| {
        let mut session = Session::open(&bytes, &contract, device, threads)?;
        drop(bytes);
        reins.take(session.terminator())?;
        check::check(&mut session, &contract)?;
        Ok(session)
    })
}

/// How the thread that waits stops the thread that works.
#[derive(Default)]
struct Reins {
    given_up: AtomicBool,
    terminator: OnceLock<Terminator>,
}

impl Reins {
    /// Hands over the means to end a run; fails if the wait is over already.
    fn take(&self, terminator: Terminator) -> Result<()> {
        let _ = self.terminator.set(terminator);
        match self.given_up.load(Ordering::SeqCst) {
            true => Err(Error::Interrupted { step: 0 }),
            false => Ok(()),
        }
    }

    fn give_up(&self) {
        self.given_up.store(true, Ordering::SeqCst);
        if let Some(terminator) = self.terminator.get() {
            terminator.terminate();
        }
    }
}

/// Runs `work` in a thread of its own and waits for at most `limit`.
fn within<T: Send + 'static>(limit: Duration, work: impl FnOnce(&Reins) -> Result<T> + Send + 'static) -> Result<T> {
    let reins = Arc::new(Reins::default());
    let (sender, receiver) = mpsc::sync_channel(1);
    let theirs = Arc::clone(&reins);
    let job = move || {
        // Nobody listens any more if the wait is over: the session is closed here.
        let _ = sender.send(work(&theirs));
    };
    let worker = thread::Builder::new()
        .name("flashmd".into()) // ONNX Runtime's threads inherit it
        .stack_size(STACK)
        .spawn(job)
        .map_err(|e| Error::RuntimeLibrary(format!("no thread could be started to open the model: {e}")))?;
    match receiver.recv_timeout(limit) {
        Ok(result) => {
            // It has nothing left to do: nobody should see it any more.
            let _ = worker.join();
            result
        }
        Err(mpsc::RecvTimeoutError::Timeout) => {
            reins.give_up();
            Err(Error::Model(format!(
                "ONNX Runtime did not open it and run it on a few atoms within {} s; it is no network for dynamics",
                limit.as_secs()
            )))
        }
        Err(mpsc::RecvTimeoutError::Disconnected) => {
            Err(Error::Model("opening it panicked, which is a defect of flashmd-rs; please report it".into()))
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_result_in_time_is_handed_on() {
        assert_eq!(within(Duration::from_secs(5), |_| Ok(7)).unwrap(), 7);
    }

    #[test]
    fn what_takes_too_long_is_left_behind() {
        let slow = |reins: &Reins| {
            while !reins.given_up.load(Ordering::SeqCst) {
                thread::yield_now();
            }
            Ok(())
        };
        let error = within(Duration::from_millis(20), slow).unwrap_err();
        assert!(matches!(&error, Error::Model(message) if message.contains("within 0 s")), "{error}");
    }

    #[test]
    fn a_panic_is_an_error() {
        #[allow(clippy::panic)]
        let error = within::<()>(Duration::from_secs(5), |_| panic!("on purpose")).unwrap_err();
        assert!(error.to_string().contains("panicked"), "{error}");
    }
}
