//! A time limit on opening a session: ONNX Runtime computes constants while it loads, and a hostile graph makes that take for
//! ever. What cannot be stopped, such as one enormous product, is left behind in its thread.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock, mpsc};
use std::thread;
use std::time::Duration;

use super::{Device, Kernels, NetworkSession, Placement, Terminator, load_check};
use crate::error::{Error, ModelFault, Result};
use crate::model::contract::Contract;

/// What opening a session and running the network on a few tens of atoms may take.
///
/// Time on the clock is no measure: the process may be stopped, or get next to nothing of a busy machine.
#[derive(Debug, Clone, Copy)]
struct Limit {
    /// Processor time of the thread that opens it. A network needs a tenth of a second, three times that in a crowd.
    computing: Duration,
    /// Time that thread sleeps while this process has a processor, seen in looks.
    waiting: Duration,
}

const CPU: Limit = Limit { computing: Duration::from_millis(1500), waiting: Duration::from_secs(20) };
/// A GPU's libraries are gigabytes, read and compiled on first use.
const CUDA: Limit = Limit { computing: Duration::from_secs(180), waiting: Duration::from_secs(180) };
/// Bytes of a file that are worth another second of both.
const BYTES_PER_SECOND: u64 = 1 << 20;
/// How often the thread is looked at. While the process is stopped or starved there are no looks, and no time goes by.
const LOOK: Duration = Duration::from_millis(20);
/// Subgraphs within subgraphs are walked recursively by ONNX Runtime.
const STACK: usize = 16 << 20;

/// A session whose network keeps the contract.
///
/// # Errors
/// As [`NetworkSession::open`] and [`load_check::check`]; `Model` if they take too long.
pub(crate) fn open_and_check(bytes: &[u8], contract: &Contract, placement: Placement) -> Result<NetworkSession> {
    let base = if placement.device == Device::Cuda { CUDA } else { CPU };
    let more = Duration::from_secs(bytes.len() as u64 / BYTES_PER_SECOND);
    let limit = Limit { computing: base.computing + more, waiting: base.waiting + more };
    let (bytes, contract) = (bytes.to_vec(), contract.clone());
    within(limit, move |handle| {
        let plain = Placement { kernels: Kernels::Off, ..placement };
        let mut session = NetworkSession::open(&bytes, &contract, plain)?;
        handle.take(session.terminator())?;
        load_check::check(&mut session, &contract)?;
        Ok(with_kernels(&bytes, &contract, placement, &mut session).unwrap_or(session))
    })
}

/// A session with kernels; `None` where they are off or do nothing, or do not give what ONNX Runtime alone gives.
fn with_kernels(
    bytes: &[u8],
    contract: &Contract,
    placement: Placement,
    plain: &mut NetworkSession,
) -> Option<NetworkSession> {
    if placement.kernels == Kernels::Off {
        return None;
    }
    let mut staged =
        NetworkSession::open(bytes, contract, placement).ok().filter(|staged| staged.kernels().is_some())?;
    load_check::agree(plain, &mut staged, contract).ok()?.then_some(staged)
}

/// How the thread that waits stops the thread that works.
#[derive(Default)]
struct WatchdogHandle {
    given_up: AtomicBool,
    terminator: OnceLock<Terminator>,
    worker: OnceLock<WorkerThread>,
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

/// The thread that works, as Linux's `/proc` shows it; elsewhere every look counts as waiting.
#[derive(Debug)]
struct WorkerThread(PathBuf);

/// What a look at a thread finds.
#[derive(Debug, Clone, Copy)]
struct Look {
    /// User and system time so far.
    computed: Duration,
    /// It neither runs nor waits for a processor or a disk.
    asleep: bool,
}

impl WorkerThread {
    /// The calling thread.
    fn mine() -> Option<Self> {
        let task = std::fs::read_link("/proc/thread-self").ok()?;
        Some(Self(Path::new("/proc").join(task).join("stat")))
    }

    /// `None` once the thread has ended.
    fn look(&self) -> Option<Look> {
        // proc(5): field 3, a letter, and 14 and 15, in hundredths of a second; the name in field 2 may hold anything but
        // ends with ')'.
        let line = std::fs::read_to_string(&self.0).ok()?;
        let fields: Vec<&str> = line.rsplit_once(')')?.1.split_ascii_whitespace().collect();
        let ticks = |index: usize| fields.get(index)?.parse::<u64>().ok();
        let computed = Duration::from_millis(10 * (ticks(11)? + ticks(12)?));
        Some(Look { computed, asleep: fields.first() == Some(&"S") })
    }
}

/// Why nobody waits any longer.
enum Ended {
    /// This much time was spent, on this.
    TimeIsUp(Duration, &'static str),
    Panicked,
}

/// Waits for a result until either limit is reached.
fn wait<T>(receiver: &mpsc::Receiver<T>, limit: Limit, handle: &WatchdogHandle) -> std::result::Result<T, Ended> {
    let mut waited = Duration::ZERO;
    loop {
        match receiver.recv_timeout(LOOK) {
            Ok(result) => return Ok(result),
            Err(mpsc::RecvTimeoutError::Disconnected) => return Err(Ended::Panicked),
            Err(mpsc::RecvTimeoutError::Timeout) => {}
        }
        let seen = handle.worker.get().and_then(WorkerThread::look);
        let look = seen.unwrap_or(Look { computed: Duration::ZERO, asleep: true });
        if look.asleep {
            waited += LOOK;
        }
        if look.computed >= limit.computing {
            return Err(Ended::TimeIsUp(limit.computing, "computing"));
        }
        if waited >= limit.waiting {
            return Err(Ended::TimeIsUp(limit.waiting, "waiting"));
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
        if let Some(worker) = WorkerThread::mine() {
            let _ = theirs.worker.set(worker);
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
        Err(Ended::TimeIsUp(spent, doing)) => {
            handle.give_up();
            Err(ModelFault::TooSlow { seconds: spent.as_secs_f64(), doing }.into())
        }
        Err(Ended::Panicked) => Err(ModelFault::OpeningPanicked.into()),
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
        assert!(matches!(&error, Error::Model { fault: ModelFault::TooSlow { doing: "waiting", .. }, .. }), "{error}");
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn what_computes_too_long_is_left_behind() {
        let limit = Limit { computing: Duration::from_millis(100), ..AMPLE };
        let error = within(limit, |handle| until_given_up(handle, std::hint::spin_loop)).unwrap_err();
        assert!(
            matches!(&error, Error::Model { fault: ModelFault::TooSlow { doing: "computing", .. }, .. }),
            "{error}"
        );
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

    /// This program runs this test once more, and stops that one in the middle of it.
    #[cfg(target_os = "linux")]
    #[test]
    fn a_stopped_process_is_not_waiting() {
        use std::io::{BufRead, BufReader};
        use std::process::{Command, Stdio};

        const CHILD: &str = "FLASHMD_STOPPED_CHILD";
        if std::env::var_os(CHILD).is_some() {
            let limit = Limit { waiting: Duration::from_millis(500), ..AMPLE };
            let idle = |_: &WatchdogHandle| {
                println!("begun");
                thread::sleep(Duration::from_millis(300));
                Ok(7)
            };
            assert_eq!(within(limit, idle).unwrap(), 7);
            return;
        }
        let name = "model::session::watchdog::tests::a_stopped_process_is_not_waiting";
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", name, "--nocapture"])
            .env(CHILD, "1")
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        assert!(lines.any(|line| line.unwrap().contains("begun")));
        let signal = |name: &str| Command::new("kill").args([name, &child.id().to_string()]).status().unwrap();
        assert!(signal("-STOP").success());
        thread::sleep(Duration::from_secs(1));
        assert!(signal("-CONT").success());
        assert!(child.wait().unwrap().success());
    }

    #[test]
    fn a_panic_is_an_error() {
        #[allow(clippy::panic)]
        let error = within::<()>(AMPLE, |_| panic!("on purpose")).unwrap_err();
        assert!(matches!(&error, Error::Model { fault: ModelFault::OpeningPanicked, .. }), "{error}");
    }
}
