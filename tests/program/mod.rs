//! The real program, run as a user runs it, in a folder of the test's own.

use std::env;
use std::fs::{self, OpenOptions};
use std::io::{self, BufRead as _, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

use serde_json::Value;
use tempfile::TempDir;

/// A folder with a scenario, in which the program runs.
pub(crate) struct Bench {
    dir: TempDir,
}

impl Bench {
    pub(crate) fn new(scenario: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("scenario.yaml"), scenario).unwrap();
        Bench { dir }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub(crate) fn command(&self, args: &[&str]) -> Command {
        let mut command = hubstorm();
        command.current_dir(self.dir.path()).args(args);
        command
    }

    /// Runs the scenario; the result goes to `out`.
    pub(crate) fn run(&self, args: &[&str]) -> Output {
        let mut all = vec!["run", "scenario.yaml", "--out", "out"];
        all.extend_from_slice(args);
        self.command(&all).output().unwrap()
    }

    /// Starts the scenario; its plain progress lines, one by one.
    pub(crate) fn narrated(
        &self,
        args: &[&str],
    ) -> (Running, impl Iterator<Item = String> + use<>) {
        let mut command = self.command(&["run", "scenario.yaml", "--out", "out"]);
        command
            .args(args)
            .env("CI", "true")
            .stderr(Stdio::piped())
            .stdout(Stdio::null());
        let mut running = Running(command.spawn().unwrap());
        let stderr = BufReader::new(running.0.stderr.take().unwrap());
        (running, stderr.lines().map_while(Result::ok))
    }

    /// The report of a run that ended with `output`.
    pub(crate) fn report(&self, output: &Output) -> Value {
        report(&self.path("out"), output)
    }

    /// Runs the scenario to a pass: what it printed, and its report.
    pub(crate) fn pass(&self, args: &[&str]) -> (String, Value) {
        let output = self.run(args);
        let report = self.report(&output);
        assert_passed(&output, &report);
        (text(&output), report)
    }
}

/// The program without what the environment may say about its target.
pub(crate) fn hubstorm() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_hubstorm"));
    command
        .env_remove("WEBPUBSUB_CONNECTION_STRING")
        .stdin(Stdio::null());
    command
}

pub(crate) fn code(output: &Output) -> i32 {
    output.status.code().unwrap_or(-1)
}

/// What was printed, to both streams.
pub(crate) fn text(output: &Output) -> String {
    format!(
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    )
}

/// The report in the folder of a run that ended with `output`.
pub(crate) fn report(folder: &Path, output: &Output) -> Value {
    report_in(folder, &text(output))
}

/// The report in the folder of a run that printed this.
pub(crate) fn report_in(folder: &Path, printed: &str) -> Value {
    let report =
        fs::read(folder.join("report.json")).unwrap_or_else(|error| panic!("{error}: {printed}"));
    serde_json::from_slice(&report).unwrap()
}

/// A number of a report, by its JSON pointer.
pub(crate) fn count(report: &Value, path: &str) -> u64 {
    report
        .pointer(path)
        .and_then(Value::as_u64)
        .unwrap_or_else(|| panic!("no count at {path} of {report}"))
}

/// The part of a report that is about one pool.
pub(crate) fn pool<'a>(report: &'a Value, name: &str) -> &'a Value {
    let pools = report["pools"].as_array().unwrap();
    let found = pools.iter().find(|pool| pool["name"] == name);
    found.unwrap_or_else(|| panic!("no pool {name} in {report}"))
}

/// Whether a run is inconclusive for nothing but the machine that it ran on: one that has
/// other work pauses the generator for longer than it may be late.
pub(crate) fn was_only_limited(report: &Value) -> bool {
    let reasons = report["reasons"].as_array().unwrap();
    let is_limit = |reason: &Value| reason.as_str().unwrap().starts_with("generator limited");
    report["exit_code"] == 4 && !reasons.is_empty() && reasons.iter().all(is_limit)
}

/// The run passed, or would have on a quieter machine: what it saw of the hub stands all the
/// same, so everything else can be asked of it.
pub(crate) fn assert_passed(output: &Output, report: &Value) {
    if was_only_limited(report) {
        forgive(&format!("passed all the same: {}", report["reasons"]));
    } else {
        let exit = report["exit_code"].as_i64();
        assert_eq!((code(output), exit), (0, Some(0)), "{}", text(output));
        assert_eq!(report["verdict"], "pass", "{}", text(output));
    }
}

/// Says what the machine was forgiven, past the capture of a test's output; `.ci/run` lists
/// it at its end.
pub(crate) fn forgive(what: &str) {
    let current = std::thread::current();
    let line = format!("FORGIVEN: {}: {what}\n", current.name().unwrap_or("a test"));
    io::stderr().write_all(line.as_bytes()).unwrap();
    if let Some(path) = env::var_os("HUBSTORM_FORGIVEN") {
        let file = OpenOptions::new().create(true).append(true).open(path);
        file.unwrap().write_all(line.as_bytes()).unwrap();
    }
}

/// A process that is ended, by its id, when the test ends.
pub(crate) struct Running(pub(crate) Child);

impl Running {
    pub(crate) fn signal(&self, name: &str) {
        let sent = Command::new("kill")
            .args([name, &self.0.id().to_string()])
            .status()
            .unwrap();
        assert!(sent.success());
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A hub of its own in a folder, and its URL.
pub(crate) fn start_hub(dir: &Path, args: &[&str]) -> (Running, String) {
    start_hub_at(dir, "127.0.0.1:0", args)
}

/// The same at a given address.
pub(crate) fn start_hub_at(dir: &Path, listen: &str, args: &[&str]) -> (Running, String) {
    let mut command = hubstorm();
    command
        .current_dir(dir)
        .args(["hub", "--listen", listen])
        .args(args)
        .stdout(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let mut line = String::new();
    BufReader::new(child.stdout.take().unwrap())
        .read_line(&mut line)
        .unwrap();
    let url = line
        .trim()
        .strip_prefix("listening on ")
        .expect("the ready line")
        .to_owned();
    (Running(child), url)
}
