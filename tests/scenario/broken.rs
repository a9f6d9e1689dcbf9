//! Wrong scenarios: every mistake with its place and its mend. One file per mistake in
//! `broken/`, its messages beside it in `snapshots/`.

use std::fs;
use std::path::PathBuf;

use super::{no_env, parse};
use hubstorm::scenario::{self, Overrides};

fn folder() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/scenario/broken")
}

#[test]
fn every_broken_file_says_what_is_wrong_and_how_to_mend_it() {
    let mut files: Vec<_> = fs::read_dir(folder())
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    files.sort();
    assert!(files.len() >= 40, "only {} files", files.len());
    for path in files {
        let name = path.file_stem().unwrap().to_str().unwrap().to_owned();
        let text = String::from_utf8_lossy(&fs::read(&path).unwrap()).into_owned();
        let file = format!("{name}.yaml");
        match scenario::parse(&text, &file, &Overrides::default(), &no_env) {
            Ok(_) => panic!("{name} is said to be right"),
            Err(wrong) => insta::assert_snapshot!(name, wrong.to_string()),
        }
    }
}

#[test]
fn files_that_cannot_be_read_are_told_by_name() {
    let folder = tempfile::tempdir().unwrap();
    let told = |name: &str, bytes: Option<&[u8]>| {
        let path = folder.path().join(name);
        if let Some(bytes) = bytes {
            fs::write(&path, bytes).unwrap();
        }
        let wrong = scenario::load(&path, &Overrides::default(), &no_env).unwrap_err();
        wrong
            .to_string()
            .replace(&folder.path().display().to_string(), "")
    };
    assert!(told("none.yaml", None).starts_with("/none.yaml: cannot be read"));
    assert!(told("", None).contains("cannot be read"));
    assert!(told("big.yaml", Some(&vec![b'#'; 2 << 20])).contains("larger than 1048576 bytes"));
    assert_eq!(
        told("latin.yaml", Some(b"a: b\nname: caf\xe9\n")),
        "/latin.yaml: not UTF-8 text: line 2 has other bytes"
    );
}

#[test]
fn a_thousand_mistakes_are_counted_and_not_all_told() {
    let lines: String = (0..1000).map(|n| format!("wrong{n}: 1\n")).collect();
    let wrong = parse(&lines).unwrap_err();
    assert_eq!((wrong.list.len(), wrong.more), (100, 901));
    assert!(wrong.to_string().ends_with("and 901 more"));
}

#[test]
fn an_alias_bomb_is_refused_at_once() {
    let mut text = String::from("a0: &a0 [x, x, x, x, x, x, x, x, x]\n");
    for n in 1..20 {
        let item = format!("*a{},", n - 1).repeat(9);
        text += &format!("a{n}: &a{n} [{item}]\n");
    }
    let told = parse(&text).unwrap_err().to_string();
    assert!(told.contains("aliases counted as often as used"), "{told}");
}
