//! The scenarios that come with the program: each is right, says its question and its
//! expected verdict, and keeps its word at small scale.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Mutex;
use std::time::Duration;

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

/// Longer ones are cut to a minute; the faults of their beginning stay.
const LONGEST: Duration = Duration::from_secs(120);

/// Runs one with 40 clients at the most.
fn run(path: &Path, out: &Path) -> (Option<i32>, String) {
    let scenario = scenario::load(path, &Overrides::default(), &|_| None).unwrap();
    let scale = (40.0 / f64::from(scenario.clients())).min(1.0);
    // CI runs the release build: so many at once are slow in the other.
    let program = std::env::var("HUBSTORM").unwrap_or(env!("CARGO_BIN_EXE_hubstorm").into());
    let output = Command::new(program)
        .arg("run")
        .arg(path)
        .args(["--quiet", "--no-color", "--scale", &scale.to_string()])
        .args(match scenario.duration > LONGEST {
            true => &["--duration", "60s"][..],
            false => &[],
        })
        .arg("--out")
        .arg(out)
        .output()
        .unwrap();
    let told = String::from_utf8_lossy(&output.stdout).into_owned()
        + &String::from_utf8_lossy(&output.stderr);
    (output.status.code(), told)
}

/// The exit code of the verdict that the file expects.
fn expected(path: &Path) -> i32 {
    let text = std::fs::read_to_string(path).unwrap();
    let (_, verdict) = text.split_once("Expected verdict: ").unwrap();
    match verdict.split(|c: char| !c.is_ascii_alphabetic()).next() {
        Some("pass") => 0,
        Some("fail") => 1,
        Some("inconclusive") => 4,
        other => panic!("{}: {other:?} is no verdict", path.display()),
    }
}

/// Runs at once: more would measure each other.
const AT_ONCE: usize = 4;

/// Some run side by side: they mostly wait.
#[test]
#[ignore = "takes some minutes on a quiet machine; CI runs it"]
fn every_scenario_keeps_its_word_at_small_scale() {
    let folder = tempfile::tempdir().unwrap();
    let left = Mutex::new(files());
    let wrong = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for _ in 0..AT_ONCE {
            scope.spawn(|| {
                loop {
                    let Some(path) = left.lock().unwrap().pop() else {
                        return;
                    };
                    let out = folder.path().join(path.file_stem().unwrap());
                    let (code, told) = run(&path, &out);
                    if code != Some(expected(&path)) {
                        let told = format!("{}: {code:?}\n{told}", path.display());
                        wrong.lock().unwrap().push(told);
                    }
                }
            });
        }
    });
    let wrong = wrong.into_inner().unwrap();
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
