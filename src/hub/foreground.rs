//! A hub as a program of its own: ready line, signals, truth file.

use std::io::Write as _;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use tokio::signal::unix::{SignalKind, signal};

use super::config::{HubConfig, HubError};
use super::handle::Hub;
use super::truth::Truth;

/// The line that says that a hub is ready; its form is part of the public contract.
pub fn ready_line(addr: SocketAddr, is_tls: bool) -> String {
    let scheme = if is_tls { "https" } else { "http" };
    format!("listening on {scheme}://{addr}")
}

/// Runs a hub until SIGINT or SIGTERM, then stops it in good order. Prints the ready line
/// on stdout; writes the truth to `truth_path` at once, on SIGUSR1, and at the end.
///
/// # Errors
/// The hub could not start, or the truth file not be written.
pub fn run_foreground(config: HubConfig, truth_path: Option<PathBuf>) -> Result<(), HubError> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(HubError::Signals)?;
    let hub = runtime.block_on(async {
        let mut interrupt = signal(SignalKind::interrupt()).map_err(HubError::Signals)?;
        let mut terminate = signal(SignalKind::terminate()).map_err(HubError::Signals)?;
        let mut user = signal(SignalKind::user_defined1()).map_err(HubError::Signals)?;
        let (is_tls, shown) = (config.tls.is_some(), config.clone());
        let hub = Hub::start(config)?;
        // A path that cannot be written is better known now than at the end.
        if let Some(path) = &truth_path {
            write_truth(&hub.truth().await, path)?;
        }
        // A closed stdout (nobody reads the line) is no reason not to serve.
        let mut stdout = std::io::stdout().lock();
        let mut lines = ready_line(hub.addr(), is_tls);
        if let Some(connection_string) = shown.connection_string(hub.addr()) {
            lines.push_str("\nconnection string ");
            lines.push_str(&connection_string);
        }
        let _ = writeln!(stdout, "{lines}").and_then(|()| stdout.flush());
        drop(stdout);
        loop {
            tokio::select! {
                _ = interrupt.recv() => return Ok(hub),
                _ = terminate.recv() => return Ok(hub),
                _ = user.recv() => {
                    if let Some(path) = &truth_path {
                        let truth = hub.truth().await;
                        if let Err(error) = write_truth(&truth, path) {
                            tracing::error!(%error, "the hub goes on");
                        }
                    }
                }
            }
        }
    })?;
    let truth = hub.stop();
    match &truth_path {
        Some(path) => write_truth(&truth, path),
        None => Ok(()),
    }
}

/// Writes beside and renames, so that a reader never sees half a file.
fn write_truth(truth: &Truth, path: &Path) -> Result<(), HubError> {
    let failed = |source| HubError::Truth {
        path: path.to_owned(),
        source,
    };
    let mut text =
        serde_json::to_vec_pretty(truth).map_err(|error| failed(std::io::Error::other(error)))?;
    text.push(b'\n');
    let mut beside = path.as_os_str().to_owned();
    beside.push(".new");
    std::fs::write(&beside, text).map_err(failed)?;
    std::fs::rename(&beside, path).map_err(failed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_truth_file_is_replaced_as_a_whole() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("truth.json");
        for seed in [1, 2] {
            write_truth(&Truth::new(seed), &path).unwrap();
            let text = std::fs::read_to_string(&path).unwrap();
            let value: serde_json::Value = serde_json::from_str(&text).unwrap();
            assert_eq!(
                (&value["seed"], &value["schema"]),
                (&seed.into(), &"hubstorm.truth/1".into())
            );
        }
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1);
        let missing = dir.path().join("no/such/dir");
        assert!(
            write_truth(&Truth::new(1), &missing)
                .unwrap_err()
                .to_string()
                .contains("no/such/dir")
        );
    }
}
