//! A time limit on opening a session: ONNX Runtime computes constants while it loads, and a hostile graph makes that take for
//! ever. What cannot be stopped, such as one enormous product, is left behind in its thread.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use super::session::{Device, NetworkSession, Terminator};
use super::{Contract, load_check};
use crate::error::{Error, ModelFault, Result};

/// What opening a session and running the network on a few tens of atoms may take.
#[derive(Debug, Clone, Copy)]
struct Limit {
    /// Processor time of the thread that opens it: a tenth of it is enough for a network, however busy the machine is.
    computing: Duration,
    /// Time on the clock, in which that processor time should have been had.
    waiting: Duration,
}

const CPU: Limit = Limit { computing: Duration::from_secs(1), waiting: Duration::from_secs(20) };
/// A GPU's libraries are gigabytes, read and compiled on first use.
const CUDA: Limit = Limit { computing: Duration::from_secs(180), waiting: Duration::from_secs(180) };
/// Bytes of a file that are worth another second of both.
const BYTES_PER_SECOND: u64 = 1 << 20;
/// How often the clocks are read.
const LOOK: Duration = Duration::from_millis(20);
/// Subgraphs within subgraphs are walked recursively by ONNX Runtime.
const STACK: usize = 16 << 20;

/// A session whose network keeps the contract.
///
/// # Errors
/// As [`NetworkSession::open`] and [`load_check::check`]; `Model` if they take too long.
pub(crate) fn open_and_check(
    bytes: &[u8],
    contract: &Contract,
    device: Device,
    threads: Option<usize>,
) -> Result<NetworkSession> {
    let base = if device == Device::Cuda { CUDA } else { CPU };
    let more = Duration::from_secs(bytes.len() as u64 / BYTES_PER_SECOND);
    let limit = Limit { computing: base.computing + more, waiting: base.waiting + more };
    let (bytes, contract) = (bytes.to_vec(), contract.clone());
    within(limit, move |handle| {
        let mut session = NetworkSession::open(&bytes, &contract, device, threads)?;
        drop(bytes);
        handle.take(session.terminator())?;
        load_check::check(&mut session, &contract)?;
        Ok(session)
    })
}

/// How the thread that waits stops the thread that works.
#[derive(Default)]
struct WatchdogHandle {
    given_up: AtomicBool,
    terminator: OnceLock<Terminator>,
    clock: OnceLock<ThreadClock>,
}

impl WatchdogHandle {
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

/// The processor time of one thread, read from another: Linux's `/proc`; elsewhere only the clock on the wall counts.
#[derive(Debug)]
struct ThreadClock(PathBuf);

impl ThreadClock {
    /// The clock of the calling thread.
    fn mine() -> Option<Self> {
        let task = std::fs::read_link("/proc/thread-self").ok()?;
        Some(Self(Path::new("/proc").join(task).join("stat")))
    }

    /// User and system time so far; `None` once the thread has ended.
    fn read(&self) -> Option<Duration> {
        // proc(5): fields 14 and 15, in hundredths of a second; the name in field 2 may hold anything but ends with ')'.
        let line = std::fs::read_to_string(&self.0).ok()?;
        let fields: Vec<&str> = line.rsplit_once(')')?.1.split_ascii_whitespace().collect();
        let ticks = |index: usize| fields.get(index)?.parse::<u64>().ok();
        Some(Duration::from_millis(10 * (ticks(11)? + ticks(12)?)))
    }
}

/// Waits for a result until either limit is reached.
fn wait<T>(
    receiver: &mpsc::Receiver<T>,
    limit: Limit,
    handle: &WatchdogHandle,
) -> std::result::Result<T, mpsc::RecvTimeoutError> {
    let start = Instant::now();
    loop {
        let result = receiver.recv_timeout(LOOK);
        let computed = handle.clock.get().and_then(ThreadClock::read).unwrap_or_default();
        let in_time = start.elapsed() < limit.waiting && computed < limit.computing;
        if !(in_time && matches!(result, Err(mpsc::RecvTimeoutError::Timeout))) {
            return result;
        }
    }
}

/// Runs `work` in a thread of its own and waits for at most `limit`.
fn within<T: Send + 'static>(
    limit: Limit,
    work: impl FnOnce(&WatchdogHandle) -> Result<T> + Send + 'static,
) -> Result<T> {
    let handle = Arc::new(WatchdogHandle::default());
    let (sender, receiver) = mpsc::sync_channel(1);
    let theirs = Arc::clone(&handle);
    let job = move || {
        if let Some(clock) = ThreadClock::mine() {
            let _ = theirs.clock.set(clock);
        }
        // Nobody listens any more if the wait is over: the session is closed here.
        let _ = sender.send(work(&theirs));
    };
    let worker = thread::Builder::new()
        .name("flashmd".into()) // ONNX Runtime's threads inherit it
        .stack_size(STACK)
        .spawn(job)
        .map_err(|e| Error::RuntimeLibrary(format!("no thread could be started to open the model: {e}")))?;
    match wait(&receiver, limit, &handle) {
        Ok(result) => {
            // It has nothing left to do: nobody should see it any more.
            let _ = worker.join();
            result
        }
        Err(mpsc::RecvTimeoutError::Timeout) => {
            handle.give_up();
            let (computing_s, waiting_s) = (limit.computing.as_secs_f64(), limit.waiting.as_secs());
            Err(ModelFault::TooSlow { computing_s, waiting_s }.into())
        }
        Err(mpsc::RecvTimeoutError::Disconnected) => Err(ModelFault::OpeningPanicked.into()),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    const AN_HOUR: Duration = Duration::from_secs(3600);
    const AMPLE: Limit = Limit { computing: AN_HOUR, waiting: AN_HOUR };

    fn until_given_up(handle: &WatchdogHandle, mut once: impl FnMut()) -> Result<()> {
        while !handle.given_up.load(Ordering::SeqCst) {
            once();
        }
        Ok(())
    }

    #[test]
    fn a_result_in_time_is_handed_on() {
        assert_eq!(within(AMPLE, |_| Ok(7)).unwrap(), 7);
    }

    #[test]
    fn what_waits_too_long_is_left_behind() {
        let limit = Limit { waiting: Duration::from_millis(20), ..AMPLE };
        let slow = |handle: &WatchdogHandle| until_given_up(handle, || thread::sleep(Duration::from_millis(1)));
        let error = within(limit, slow).unwrap_err();
        assert!(matches!(&error, Error::Model { fault: ModelFault::TooSlow { waiting_s: 0, .. }, .. }), "{error}");
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn what_computes_too_long_is_left_behind() {
        let limit = Limit { computing: Duration::from_millis(100), ..AMPLE };
        let error = within(limit, |handle| until_given_up(handle, std::hint::spin_loop)).unwrap_err();
        assert!(matches!(&error, Error::Model { fault: ModelFault::TooSlow { .. }, .. }), "{error}");
        assert!(error.to_string().contains("0.1 s of computing"), "{error}");
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn waiting_for_a_busy_machine_is_not_computing() {
        let limit = Limit { computing: Duration::from_millis(100), ..AMPLE };
        let idle = |_: &WatchdogHandle| {
            thread::sleep(Duration::from_millis(300));
            Ok(7)
        };
        assert_eq!(within(limit, idle).unwrap(), 7);
    }

    #[test]
    fn a_panic_is_an_error() {
        #[allow(clippy::panic)]
        let error = within::<()>(AMPLE, |_| panic!("on purpose")).unwrap_err();
        assert!(matches!(&error, Error::Model { fault: ModelFault::OpeningPanicked, .. }), "{error}");
    }
}
