//! The handle of a running hub.

use std::net::{SocketAddr, TcpListener as StdListener};
use std::sync::Arc;
use std::thread::JoinHandle;

use socket2::{Domain, Protocol, Socket, Type};
use tokio::net::TcpListener;
use tokio::task::LocalSet;

use super::config::{HubConfig, HubError};
use super::server::{Control, acceptor, serve};
use super::truth::Truth;

/// Connections that may wait to be accepted.
const BACKLOG: i32 = 4096;

/// A running hub: one thread of its own. Dropping the handle stops it without waiting.
#[derive(Debug)]
pub struct Hub {
    addr: SocketAddr,
    control: Arc<Control>,
    thread: Option<JoinHandle<Truth>>,
}

impl Hub {
    /// Starts a hub; it is listening when this returns.
    ///
    /// # Errors
    /// The address cannot be listened on, or the thread not be made.
    pub fn start(config: HubConfig) -> Result<Hub, HubError> {
        let tls = config.tls.as_ref().map(acceptor).transpose()?;
        let listener = listen(config.listen).map_err(|source| HubError::Listen {
            addr: config.listen,
            source,
        })?;
        let addr = listener.local_addr().map_err(HubError::Thread)?;
        let control = Arc::new(Control::default());
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(HubError::Thread)?;
        let listener = {
            let _entered = runtime.enter();
            TcpListener::from_std(listener).map_err(HubError::Thread)?
        };
        let orders = control.clone();
        let thread = std::thread::Builder::new()
            .name("hub".into())
            .spawn(move || {
                let local = LocalSet::new();
                runtime.block_on(local.run_until(serve(listener, config, tls, &orders)))
            })
            .map_err(HubError::Thread)?;
        Ok(Hub {
            addr,
            control,
            thread: Some(thread),
        })
    }

    /// Where it listens, with the port that the system chose.
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// Throws all state away and resets (RST) every connection, as a crash would, but goes
    /// on listening. Returns before it has happened.
    pub fn restart(&self) {
        self.control.restart();
    }

    /// What it has done so far.
    ///
    /// # Panics
    /// If the hub's thread has panicked.
    pub async fn truth(&self) -> Truth {
        // The thread ends only by stop(), which takes the handle, or by a panic.
        self.control
            .ask_truth()
            .await
            .expect("the hub's thread lives as long as its handle")
    }

    /// Stops it: every client is told and closed with 1001, for at most 2 s. Blocks until
    /// the thread is gone.
    ///
    /// # Panics
    /// If the hub's thread has panicked.
    pub fn stop(mut self) -> Truth {
        self.control.stop();
        let thread = self.thread.take().map(JoinHandle::join);
        match thread {
            Some(Ok(truth)) => truth,
            Some(Err(panic)) => std::panic::resume_unwind(panic),
            // stop() takes the handle, so the thread is still there.
            None => unreachable!("a hub is stopped once"),
        }
    }
}

impl Drop for Hub {
    fn drop(&mut self) {
        self.control.stop();
    }
}

fn listen(addr: SocketAddr) -> std::io::Result<StdListener> {
    let socket = Socket::new(Domain::for_address(addr), Type::STREAM, Some(Protocol::TCP))?;
    // A hub that was just stopped leaves sockets in TIME_WAIT on its port.
    socket.set_reuse_address(true)?;
    socket.bind(&addr.into())?;
    socket.listen(BACKLOG)?;
    socket.set_nonblocking(true)?;
    Ok(socket.into())
}
