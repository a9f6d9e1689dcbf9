//! The table of what the clients can do names only tests that exist.

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

#[test]
fn every_must_have_names_a_test_that_exists() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut all = String::new();
    sources(&root.join("src"), &mut all);
    sources(&root.join("tests"), &mut all);
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
