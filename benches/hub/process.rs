//! The measured server as a process of its own: starting it, and what it uses.

use std::io::{BufRead as _, BufReader};
use std::net::SocketAddr;
use std::process::{Child, ChildStdout, Command, Stdio};

use procfs::process::Process;

use crate::Failed;
use crate::load::Shape;

/// Who answers.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Kind {
    /// The hub as it is shipped: `hubstorm hub`.
    Hub,
    /// The bare loop of `bare.rs`.
    Bare,
}

/// A running server; dropping it ends the process.
pub(crate) struct Server {
    child: Child,
    pub(crate) addr: SocketAddr,
    // Held so that the server can go on printing.
    _stdout: BufReader<ChildStdout>,
}

/// What a process has used so far.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Usage {
    pub(crate) resident_bytes: u64,
    pub(crate) cpu_ns: u64,
}

impl Server {
    pub(crate) fn start(kind: Kind, shape: &Shape) -> Result<Server, Failed> {
        let mut command = match kind {
            Kind::Hub => {
                let mut command = Command::new(env!("CARGO_BIN_EXE_hubstorm"));
                command.args(["hub", "--listen", "127.0.0.1:0"]);
                command
            }
            Kind::Bare => {
                let mut command = Command::new(std::env::current_exe()?);
                command.arg(crate::BARE).args([
                    shape.connections.to_string(),
                    shape.group.to_string(),
                    shape.no_echo.to_string(),
                ]);
                command
            }
        };
        let mut child = command.stdout(Stdio::piped()).spawn()?;
        let mut stdout = BufReader::new(child.stdout.take().ok_or("the server has no stdout")?);
        let mut line = String::new();
        stdout.read_line(&mut line)?;
        let addr = line.trim().strip_prefix("listening on http://");
        let addr = addr.ok_or("the server is not ready")?.parse()?;
        Ok(Server {
            child,
            addr,
            _stdout: stdout,
        })
    }

    /// CPU time by the scheduler's own account (user and kernel, all threads): the clock
    /// ticks of `stat` are too coarse for lone deliveries.
    pub(crate) fn usage(&self) -> Result<Usage, Failed> {
        usage(&Process::new(self.child.id().try_into()?)?)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // It may be gone already; then its figures were refused before.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// What this process has used: the load's own share.
pub(crate) fn own_usage() -> Result<Usage, Failed> {
    usage(&Process::myself()?)
}

fn usage(process: &Process) -> Result<Usage, Failed> {
    let mut cpu_ns = 0;
    for task in process.tasks()? {
        cpu_ns += task?.schedstat()?.sum_exec_runtime;
    }
    Ok(Usage {
        resident_bytes: process.stat()?.rss * procfs::page_size(),
        cpu_ns,
    })
}
