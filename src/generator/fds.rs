//! Open files: how many a scenario needs, and making sure they may be opened.
//!
//! A run that dies of `EMFILE` in the middle of a storm has measured nothing, so it is
//! refused before anything starts, with the numbers.

use rlimit::Resource;

use super::room::FEWER;
use crate::scenario::{ChaosEntry, REQUESTS_PER_SERVER, Scenario, TargetSpec};

/// Files open besides sockets: logs, results, runtimes, epoll, the metrics endpoint.
const FDS_BASE: u64 = 128;
/// Beside those that a fault hits at once, one in this many clients may for a moment hold
/// its dying socket and the next one.
const OVERLAP_ONE_IN: u64 = 50;

/// Why the clients of a scenario do not fit into this process.
#[derive(Debug, thiserror::Error)]
pub enum FdError {
    /// The hard limit is too low, and only an administrator can raise it.
    #[error(
        "{needed} open files are needed but this process may open {hard} at the most: raise the \
         hard limit (`ulimit -Hn {needed}`) or run fewer clients ({FEWER})",
        FEWER = FEWER
    )]
    TooFew {
        /// Open files needed.
        needed: u64,
        /// The hard limit.
        hard: u64,
    },
    /// The limit could not be read or raised.
    #[error("cannot raise the limit of open files to {needed}: {source}")]
    Limit {
        /// Open files needed.
        needed: u64,
        /// What the system said.
        source: std::io::Error,
    },
}

/// How many files a run of `scenario` may have open at once: a socket per client, two with
/// the embedded hub (both ends are here), again one for each client that a fault may hit
/// at one time and for a few more (dying sockets overlap with the next ones), and a base.
pub fn needed_fds(scenario: &Scenario) -> u64 {
    needed_sockets(scenario) + FDS_BASE
}

/// The sockets among them.
pub(super) fn needed_sockets(scenario: &Scenario) -> u64 {
    let ends = match scenario.target {
        TargetSpec::Embedded { .. } => 2,
        _ => 1,
    };
    let servers = scenario.clients() - scenario.connections();
    let requests = u64::from(servers) * REQUESTS_PER_SERVER as u64;
    let sockets = (u64::from(scenario.connections()) + requests) * ends;
    let hits = |entry: &ChaosEntry| {
        let all = scenario
            .candidates(entry)
            .iter()
            .map(|range| range.end - range.start)
            .sum();
        u64::from(entry.share.of(all))
    };
    let hit = scenario.chaos.iter().map(hits).max();
    sockets + hit.unwrap_or(0) * ends + sockets / OVERLAP_ONE_IN
}

/// Raises the soft limit of open files to `needed` if it is lower, and returns the limit
/// now in force.
///
/// # Errors
/// The hard limit is below `needed`, or the system refuses: nothing should be started.
pub fn ensure_fds(needed: u64) -> Result<u64, FdError> {
    let failed = |source| FdError::Limit { needed, source };
    let (soft, hard) = rlimit::getrlimit(Resource::NOFILE).map_err(failed)?;
    if soft >= needed {
        return Ok(soft);
    }
    if hard < needed {
        return Err(FdError::TooFew { needed, hard });
    }
    rlimit::setrlimit(Resource::NOFILE, needed, hard).map_err(failed)?;
    Ok(needed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_that_cannot_fit_is_refused_with_the_number() {
        let (_, hard) = rlimit::getrlimit(Resource::NOFILE).unwrap();
        if hard == u64::MAX {
            return; // unlimited: nothing can be too many here
        }
        let error = ensure_fds(hard + 1).unwrap_err().to_string();
        assert!(error.contains(&(hard + 1).to_string()), "{error}");
        assert!(error.contains("ulimit"), "{error}");
        assert!(
            error.contains("`--scale`; with bench-self `--clients`"),
            "{error}"
        );
    }

    #[test]
    fn what_fits_is_granted() {
        assert!(ensure_fds(64).unwrap() >= 64);
    }
}
