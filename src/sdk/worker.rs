//! The thread that moves all clients of a process: sockets are bound to one thread, programs
//! need not be.

use std::cell::RefCell;
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::{Mutex, PoisonError};

use tokio::sync::mpsc;
use tokio::task::LocalSet;

use super::error::ConnectError;
use crate::base::Clock;
use crate::transport::{Dialer, ReadBuffer, TlsError, TlsOptions};

/// Clients made but not yet taken over by the thread.
const NEW_MAX: usize = 1024;

type Task = Pin<Box<dyn Future<Output = ()>>>;
type Job = Box<dyn FnOnce(Rc<Worker>) -> Task + Send>;

/// What the clients share.
pub(super) struct Worker {
    pub(super) clock: Clock,
    pub(super) read: RefCell<ReadBuffer>,
    /// The dialer of clients without TLS options of their own: loading the system's
    /// authorities takes some 10 ms.
    common: RefCell<Option<Rc<Dialer>>>,
}

impl Worker {
    pub(super) fn dialer(&self, options: &TlsOptions) -> Result<Rc<Dialer>, TlsError> {
        if options.ca_file.is_some() || options.insecure {
            return Dialer::new(options).map(Rc::new);
        }
        let mut common = self.common.borrow_mut();
        if let Some(dialer) = &*common {
            return Ok(dialer.clone());
        }
        let dialer = Rc::new(Dialer::new(options)?);
        *common = Some(dialer.clone());
        Ok(dialer)
    }
}

/// Has the thread run a client's task to its end.
pub(super) fn spawn<F>(
    make: impl FnOnce(Rc<Worker>) -> F + Send + 'static,
) -> Result<(), ConnectError>
where
    F: Future<Output = ()> + 'static,
{
    let job: Job = Box::new(move |worker| Box::pin(make(worker)));
    jobs()?
        .try_send(job)
        .map_err(|_| ConnectError::NoWorker("too many clients are being made at once".into()))
}

/// The way to the thread, which is started when it is first needed.
fn jobs() -> Result<mpsc::Sender<Job>, ConnectError> {
    static JOBS: Mutex<Option<mpsc::Sender<Job>>> = Mutex::new(None);
    let mut jobs = JOBS.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(jobs) = jobs.as_ref().filter(|jobs| !jobs.is_closed()) {
        return Ok(jobs.clone());
    }
    let fail = |error: std::io::Error| ConnectError::NoWorker(error.to_string());
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(fail)?;
    let (sender, receiver) = mpsc::channel(NEW_MAX);
    std::thread::Builder::new()
        .name("hubstorm-sdk".into())
        .spawn(move || LocalSet::new().block_on(&runtime, serve(receiver)))
        .map_err(fail)?;
    *jobs = Some(sender.clone());
    Ok(sender)
}

async fn serve(mut jobs: mpsc::Receiver<Job>) {
    let worker = Rc::new(Worker {
        clock: Clock::start(),
        read: RefCell::new(ReadBuffer::new()),
        common: RefCell::new(None),
    });
    while let Some(job) = jobs.recv().await {
        tokio::task::spawn_local(job(worker.clone()));
    }
}
