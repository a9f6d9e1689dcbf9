//! The results folder: `report.json`, `scenario.yaml`, `events.jsonl`, `metrics.prom`.
//!
//! It is made before the run, so that a bad path fails at once and not after an hour. A
//! report is written beside its place and renamed, so that it is always whole.

use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use serde::Serialize;

use super::results::{IncidentRecord, Results};

/// The most lines in `events.jsonl`; what comes later is counted.
pub const EVENTS_MAX: usize = 200_000;
/// The most of them about single clients: they must not crowd faults and incidents out.
const CLIENT_EVENTS_MAX: usize = 100_000;
/// How many folders of one name and second are told apart.
const SAME_SECOND_MAX: u32 = 99;

/// Why results could not be written.
#[derive(Debug, thiserror::Error)]
#[error("cannot {what} {}: {source}; choose another folder with --out", path.display())]
pub struct WriteError {
    what: &'static str,
    path: PathBuf,
    source: io::Error,
}

/// An open results folder.
#[derive(Debug)]
pub struct ResultsDir {
    path: PathBuf,
}

impl ResultsDir {
    /// Opens `path`, made if need be, and proves that it can be written to. A report of an
    /// earlier run in it is removed: beside the new files it would be a lie.
    ///
    /// # Errors
    /// The folder cannot be made or written to.
    pub fn open(path: impl Into<PathBuf>) -> Result<Self, WriteError> {
        let dir = ResultsDir { path: path.into() };
        let failed = |what, path: &Path| {
            let path = path.to_owned();
            move |source| WriteError { what, path, source }
        };
        fs::create_dir_all(&dir.path).map_err(failed("make", &dir.path))?;
        match fs::remove_file(dir.report()) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                return Err(failed("replace", &dir.report())(error));
            }
            _ => {}
        }
        let probe = dir.path.join(".writable");
        File::create(&probe).map_err(failed("write to", &dir.path))?;
        fs::remove_file(&probe).map_err(failed("write to", &dir.path))?;
        Ok(dir)
    }

    /// Opens a new folder `<parent>/<name>-<time>`, e.g. `results/soak-20261122T205800Z`.
    ///
    /// # Errors
    /// The folder cannot be made or written to.
    pub fn open_new(parent: &Path, name: &str, now: SystemTime) -> Result<Self, WriteError> {
        let stamp = humantime::format_rfc3339_seconds(now).to_string();
        let stamp = stamp.replace(['-', ':'], "");
        let first = parent.join(format!("{name}-{stamp}"));
        let taken = |path: &Path| path.exists();
        let path = (2..=SAME_SECOND_MAX)
            .map(|n| parent.join(format!("{name}-{stamp}-{n}")))
            .fold(first, |path, next| if taken(&path) { next } else { path });
        ResultsDir::open(path)
    }

    /// The folder.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Where the report is, or will be.
    pub fn report(&self) -> PathBuf {
        self.path.join("report.json")
    }

    /// Writes `report.json`.
    ///
    /// # Errors
    /// The file system refuses; an older report stays as it was.
    pub fn write_report(&self, results: &Results) -> Result<(), WriteError> {
        let mut json = serde_json::to_vec_pretty(results).map_err(|error| WriteError {
            what: "write",
            path: self.report(),
            source: error.into(),
        })?;
        json.push(b'\n');
        self.replace("report.json", &json)
    }

    /// Writes `scenario.yaml`: the scenario as resolved, secrets masked by the caller.
    ///
    /// # Errors
    /// The file system refuses.
    pub fn write_scenario(&self, yaml: &str) -> Result<(), WriteError> {
        self.replace("scenario.yaml", yaml.as_bytes())
    }

    /// Writes `metrics.prom`: the page of the metrics endpoint after the run's end, for
    /// those whose last scrape came before it.
    ///
    /// # Errors
    /// The file system refuses.
    pub fn write_metrics(&self, page: &str) -> Result<(), WriteError> {
        self.replace("metrics.prom", page.as_bytes())
    }

    /// Opens `events.jsonl`.
    ///
    /// # Errors
    /// The file cannot be made.
    pub fn events(&self) -> Result<EventLog, WriteError> {
        let path = self.path.join("events.jsonl");
        match File::create(&path) {
            Ok(file) => Ok(EventLog::new(file, path)),
            Err(source) => Err(WriteError {
                what: "make",
                path,
                source,
            }),
        }
    }

    /// Writes a file beside its place, then renames it.
    fn replace(&self, name: &str, content: &[u8]) -> Result<(), WriteError> {
        let path = self.path.join(name);
        let beside = self.path.join(format!(".{name}.part"));
        let write = || {
            let mut file = File::create(&beside)?;
            file.write_all(content)?;
            file.sync_all()?;
            fs::rename(&beside, &path)
        };
        write().map_err(|source| WriteError {
            what: "write",
            path: path.clone(),
            source,
        })
    }
}

/// One line of `events.jsonl`.
#[derive(Debug, Serialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum Event<'a> {
    /// A phase of the run begins.
    Phase {
        /// Its name: `connect`, `load`, `heal`, `drain`, `verdict`.
        name: &'a str,
    },
    /// A fault was injected.
    Chaos {
        /// Its kind.
        kind: &'a str,
        /// Whose clients; null: of every pool.
        pool: Option<&'a str>,
        /// The slots hit.
        slots: &'a [u32],
        /// For how long, s, where it lasts.
        for_s: Option<f64>,
    },
    /// Something happened to a client.
    Client {
        /// Which.
        slot: u32,
        /// What.
        what: &'a str,
    },
    /// A violation was found.
    Incident(&'a IncidentRecord),
}

/// A line with its time.
#[derive(Serialize)]
struct Line<'a> {
    /// Seconds after the start of the run.
    at_s: f64,
    #[serde(flatten)]
    event: &'a Event<'a>,
}

/// The writer of `events.jsonl`. At most [`EVENTS_MAX`] lines; what does not fit, or cannot
/// be written, is counted, and the last line says so.
///
/// Lines are written as they come, a second or so late and some after later ones; when the
/// log ends they are put in the order of their times.
#[derive(Debug)]
pub struct EventLog {
    path: PathBuf,
    file: BufWriter<File>,
    /// The time and the length of each line.
    written: Vec<(f64, usize)>,
    /// Those about single clients.
    of_clients: usize,
    dropped: u64,
}

impl EventLog {
    fn new(file: File, path: PathBuf) -> Self {
        EventLog {
            path,
            file: BufWriter::new(file),
            written: Vec::new(),
            of_clients: 0,
            dropped: 0,
        }
    }

    /// Adds a line, `at_s` seconds after the start of the run.
    pub fn push(&mut self, at_s: f64, event: &Event<'_>) {
        let of_client = matches!(event, Event::Client { .. });
        let full = of_client && self.of_clients >= CLIENT_EVENTS_MAX;
        if full || self.written.len() >= EVENTS_MAX {
            self.dropped += 1;
            return;
        }
        self.of_clients += usize::from(of_client);
        match self.write(&Line { at_s, event }) {
            Ok(length) => self.written.push((at_s, length)),
            Err(_) => self.dropped += 1,
        }
    }

    /// Lines that were dropped before they came here.
    pub fn dropped_before(&mut self, n: u64) {
        self.dropped += n;
    }

    /// Lines that are not in the file.
    pub fn dropped(&self) -> u64 {
        self.dropped
    }

    /// Hands the lines so far to the operating system. Call it once a second.
    ///
    /// # Errors
    /// The file system refuses; lines may be missing then.
    pub fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }

    /// Ends the file: lines in the order of their times, and a last one about dropped ones if
    /// there are any.
    ///
    /// # Errors
    /// The file system refuses.
    pub fn finish(mut self) -> io::Result<()> {
        self.file.flush()?;
        if !self.written.is_sorted_by(|one, next| one.0 <= next.0) {
            self.sort()?;
        }
        if self.dropped > 0 {
            let dropped = self.dropped;
            self.write(&serde_json::json!({"event": "dropped", "lines": dropped}))?;
        }
        self.file.flush()
    }

    /// Writes the lines anew, beside the file, and goes on there. One line is held at a time:
    /// a fault that hits ten thousand clients names them all.
    fn sort(&mut self) -> io::Result<()> {
        let mut from = 0;
        let mut lines: Vec<(f64, u64, usize)> = Vec::with_capacity(self.written.len());
        for &(at_s, length) in &self.written {
            lines.push((at_s, from, length));
            from += length as u64;
        }
        lines.sort_by(|one, other| one.0.total_cmp(&other.0));
        let unsorted = File::open(&self.path)?;
        let beside = self.path.with_file_name(".events.jsonl.part");
        let mut sorted = BufWriter::new(File::create(&beside)?);
        let mut line = Vec::new();
        for (_, from, length) in lines {
            line.resize(length, 0);
            unsorted.read_exact_at(&mut line, from)?;
            sorted.write_all(&line)?;
        }
        sorted.flush()?;
        fs::rename(&beside, &self.path)?;
        self.file = sorted;
        Ok(())
    }

    /// Returns the length of the line.
    fn write(&mut self, line: &impl Serialize) -> io::Result<usize> {
        let mut json = serde_json::to_vec(line)?;
        json.push(b'\n');
        self.file.write_all(&json)?;
        Ok(json.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::results::tests::results;

    #[test]
    fn a_report_is_whole_and_reads_back_as_the_same_result() {
        let folder = tempfile::tempdir().unwrap();
        let dir = ResultsDir::open(folder.path().join("a/b")).unwrap();
        let results = results();
        dir.write_report(&results).unwrap();
        let text = fs::read_to_string(dir.report()).unwrap();
        assert_eq!(serde_json::from_str::<Results>(&text).unwrap(), results);
        let names: Vec<_> = fs::read_dir(dir.path())
            .unwrap()
            .map(|entry| entry.unwrap().file_name())
            .collect();
        assert_eq!(names, ["report.json"], "nothing is left beside it");
        ResultsDir::open(dir.path()).unwrap();
        assert!(!dir.report().exists(), "a stale report must not survive");
    }

    #[test]
    fn a_bad_path_fails_before_the_run_and_says_how_to_mend_it() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("file");
        fs::write(&file, "x").unwrap();
        let error = ResultsDir::open(file.join("sub")).unwrap_err().to_string();
        assert!(
            error.contains("file/sub") && error.contains("--out"),
            "{error}"
        );
    }

    #[test]
    fn two_runs_in_one_second_get_two_folders() {
        let folder = tempfile::tempdir().unwrap();
        let now = SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(1_800_000_000);
        let open = || ResultsDir::open_new(folder.path(), "quick", now).unwrap();
        let name = |dir: ResultsDir| dir.path().file_name().unwrap().to_owned();
        assert_eq!(name(open()), "quick-20270115T080000Z");
        assert_eq!(name(open()), "quick-20270115T080000Z-2");
        assert_eq!(name(open()), "quick-20270115T080000Z-3");
    }

    #[test]
    fn events_are_lines_of_json_and_what_is_dropped_is_said() {
        let folder = tempfile::tempdir().unwrap();
        let dir = ResultsDir::open(folder.path()).unwrap();
        let mut log = dir.events().unwrap();
        log.push(0.0, &Event::Phase { name: "load" });
        let chaos = Event::Chaos {
            kind: "reset",
            pool: Some("talkers"),
            slots: &[4, 7],
            for_s: None,
        };
        log.push(5.5, &chaos);
        // Heard of later, and began before.
        log.push(2.5, &Event::Phase { name: "drain" });
        let lines = std::mem::replace(&mut log.written, vec![(6.0, 0); EVENTS_MAX]);
        log.push(6.0, &chaos);
        log.written = lines;
        assert_eq!(log.dropped(), 1);
        // Clients have a share of their own, and leave the rest to faults and incidents.
        log.of_clients = CLIENT_EVENTS_MAX;
        log.push(
            6.0,
            &Event::Client {
                slot: 4,
                what: "recovered",
            },
        );
        log.dropped_before(3);
        assert_eq!((log.dropped(), log.written.len()), (5, 3));
        log.finish().unwrap();
        let text = fs::read_to_string(dir.path().join("events.jsonl")).unwrap();
        let lines: Vec<serde_json::Value> = text
            .lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect();
        let times: Vec<_> = lines.iter().map(|line| line["at_s"].as_f64()).collect();
        assert_eq!(times, [Some(0.0), Some(2.5), Some(5.5), None]);
        assert_eq!(lines[1]["name"], "drain");
        assert_eq!(lines[2]["event"], "chaos");
        assert_eq!(lines[2]["slots"], serde_json::json!([4, 7]));
        assert_eq!(
            lines[3],
            serde_json::json!({"event": "dropped", "lines": 5})
        );
    }
}
