//! The scenarios that come with the program: each is right, says its question and its
//! expected verdict, and keeps its word at small scale.

use std::path::{Path, PathBuf};
use std::process::Command;

use hubstorm::scenario::{self, ChaosKind, Overrides};

fn files() -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("scenarios");
    let mut files: Vec<_> = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|end| end == "yaml"))
        .collect();
    files.sort();
    files
}

#[test]
fn every_scenario_asks_a_question_and_says_what_to_expect() {
    let files = files();
    assert!(files.len() >= 12, "only {} scenarios", files.len());
    for path in files {
        let text = std::fs::read_to_string(&path).unwrap();
        let comment: Vec<&str> = text
            .lines()
            .take_while(|line| line.starts_with('#'))
            .collect();
        let comment = comment.join("\n");
        let shown = path.display();
        assert!(
            comment.contains('?'),
            "{shown}: which question does it answer?"
        );
        assert!(comment.contains("Expected verdict: "), "{shown}");
        let scenario = scenario::load(&path, &Overrides::default(), &|_| None)
            .unwrap_or_else(|wrong| panic!("{wrong}"));
        assert_eq!(
            Some(scenario.name.as_str()),
            path.file_stem().and_then(|s| s.to_str())
        );
        assert!(!scenario.seed_drawn, "{shown}: the seed is drawn");
        assert!(!scenario.thresholds.is_empty(), "{shown}");
    }
}

/// Runs one at a tenth of its clients or less. Faults later than that are put off by the
/// shorter duration, so each keeps those of its beginning.
fn run(path: &Path, out: &Path) -> (Option<i32>, String) {
    let scenario = scenario::load(path, &Overrides::default(), &|_| None).unwrap();
    let scale = (40.0 / f64::from(scenario.clients())).min(1.0);
    let output = Command::new(env!("CARGO_BIN_EXE_hubstorm"))
        .arg("run")
        .arg(path)
        .args(["--quiet", "--no-color", "--scale", &scale.to_string()])
        .arg("--out")
        .arg(out)
        .output()
        .unwrap();
    let told = String::from_utf8_lossy(&output.stdout).into_owned()
        + &String::from_utf8_lossy(&output.stderr);
    (output.status.code(), told)
}

/// All run side by side: they mostly wait.
#[test]
#[ignore = "takes two minutes; CI runs it"]
fn every_scenario_keeps_its_word_at_small_scale() {
    let folder = tempfile::tempdir().unwrap();
    let short = files().into_iter().filter(|path| {
        let scenario = scenario::load(path, &Overrides::default(), &|_| None).unwrap();
        scenario.duration.as_secs() <= 120
    });
    let running: Vec<_> = short
        .map(|path| {
            let out = folder.path().join(path.file_stem().unwrap());
            std::thread::spawn(move || (run(&path, &out), path))
        })
        .collect();
    assert!(running.len() >= 12);
    let mut wrong = Vec::new();
    for one in running {
        let ((code, told), path) = one.join().unwrap();
        if code != Some(0) {
            wrong.push(format!("{}: {code:?}\n{told}", path.display()));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n\n"));
}

/// Whoever adds a way to break a connection must show that no honest hub is accused for it.
#[test]
fn the_brutal_scenario_breaks_connections_in_every_way_there_is() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("scenarios/brutal.yaml");
    let scenario = scenario::load(&path, &Overrides::default(), &|_| None).unwrap();
    for kind in ChaosKind::ALL {
        assert!(
            scenario.chaos.iter().any(|entry| entry.kind == kind),
            "brutal.yaml has no {}",
            kind.name()
        );
    }
}
