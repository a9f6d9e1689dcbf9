//! The tables of the documents name only tests that exist: what the clients can do, and what
//! the hub keeps of the protocol, of which each row also says how it stands.

use std::fs;
use std::path::Path;

fn sources(folder: &Path, all: &mut String) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            sources(&path, all);
        } else if path.extension().is_some_and(|ending| ending == "rs") {
            all.push_str(&fs::read_to_string(&path).unwrap());
        }
    }
}

/// All code in which a test may stand.
fn tests_of(root: &Path) -> String {
    let mut all = String::new();
    sources(&root.join("src"), &mut all);
    sources(&root.join("tests"), &mut all);
    all
}

#[test]
fn every_must_have_of_the_clients_names_a_test_that_exists() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let all = tests_of(root);
    let page = fs::read_to_string(root.join("docs/client-features.md")).unwrap();
    let (_, table) = page.split_once("## What each is held by").unwrap();
    let mut rows = 0;
    for line in table.lines().filter(|line| line.starts_with("| ")) {
        let cells: Vec<&str> = line.trim_matches('|').split(" | ").map(str::trim).collect();
        let [feature, tests] = cells[..] else {
            panic!("not two cells: {line}");
        };
        if matches!(feature, "must have" | "---") {
            continue;
        }
        rows += 1;
        for name in tests.split(", ") {
            let name = name.trim_matches('`');
            let exists = all.contains(&format!("fn {name}("));
            assert!(exists, "there is no test {name}: {line}");
        }
    }
    assert!(rows > 35, "only {rows} rows were read");
}

#[test]
fn every_row_of_the_hubs_conformance_names_a_test_that_exists_and_a_state() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let all = tests_of(root);
    let table = fs::read_to_string(root.join("docs/hub-conformance.md")).unwrap();
    let mut rows = 0;
    for line in table.lines().filter(|line| line.starts_with("| ")) {
        let cells: Vec<&str> = line.trim_matches('|').split(" | ").map(str::trim).collect();
        let [statement, tests, state] = cells[..] else {
            panic!("not three cells: {line}");
        };
        if matches!(statement, "statement" | "---") {
            continue;
        }
        rows += 1;
        assert!(matches!(state, "yes" | "assumed" | "no"), "{line}");
        assert!(tests != "-" || state != "yes", "no test: {line}");
        for name in tests.split(", ").filter(|&name| name != "-") {
            let name = name.trim_matches('`');
            let exists = match name.strip_prefix("official/") {
                Some("python") => root.join("tests/official/python").is_dir(),
                Some("python-service") => {
                    root.join("tests/official/python/service_sdk.py").is_file()
                }
                Some(script) => root
                    .join(format!("tests/official/js/{script}.mjs"))
                    .is_file(),
                None => all.contains(&format!("fn {name}(")),
            };
            assert!(exists, "there is no test {name}: {line}");
        }
    }
    assert!(rows > 80, "only {rows} rows were read");
}
