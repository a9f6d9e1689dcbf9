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

#[test]
#[expect(
    clippy::disallowed_methods,
    reason = "the time taken is what is tested"
)]
fn hostile_files_are_refused_in_a_moment() {
    let start = std::time::Instant::now();
    // Each of these is a megabyte that a careless reader takes minutes or gigabytes for.
    let many = |part: &str| part.repeat(1_000_000 / part.len());
    let keys: String = (0..90_000).map(|n| format!("k{n}: \n")).collect();
    let texts = [
        many("${"),
        many("${A:-"),
        many("["),
        many("a: {"),
        many("\n"),
        format!("x: [\n{}", many("y\n")),
        format!("access_key: [\n{}:", many("\n")),
        format!(
            "a: &a '{}'\nb: [{}]",
            many("x")[..500_000].to_owned(),
            "*a,".repeat(90_000)
        ),
        format!("{{access_key: [{}]}}", many("'x',")[..300_000].to_owned()),
        keys,
        format!("pools: {{a: {{clients: 1, protocol: '{}'}}}}", many("x")),
        many("- &a x\n"),
    ];
    for text in texts {
        let wrong = parse(&text).map(|_| ()).unwrap_err();
        assert!(wrong.to_string().len() < 200_000, "{:?}", &text[..40]);
    }
    let set = Overrides {
        set: vec![many("a.") + "=1"],
        ..Overrides::default()
    };
    assert!(scenario::parse("pools: {a: {clients: 1}}", "t.yaml", &set, &no_env).is_err());
    let big = |_: &str| Some("x".repeat(100_000));
    let text = format!("name: {}", "${A}".repeat(50_000));
    let wrong = scenario::parse(&text, "t.yaml", &Overrides::default(), &big).unwrap_err();
    assert!(wrong.to_string().contains("more than 1048576 bytes"));
    // All together take two seconds unoptimised; a quadratic reader takes an hour.
    assert!(start.elapsed() < std::time::Duration::from_secs(60));
}
