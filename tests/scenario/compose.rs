//! Files that include others, and variants of one file.

use std::fs;
use std::time::Duration;

use hubstorm::scenario::{self, Overrides, Scenario};

use super::{no_env, parse};

const BASE: &str = "seed: 1\nduration: 20s\npools:\n  a: {clients: 10, groups: {count: 2}}\nthresholds: [ack.p99 < 1s]\n";

fn load(files: &[(&str, &str)], overrides: &Overrides) -> Result<Scenario, String> {
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir(folder.path().join("shared")).unwrap();
    for (name, text) in files {
        fs::write(folder.path().join(name), text).unwrap();
    }
    let told = |wrong: scenario::Diagnostics| {
        let folder = format!("{}/", folder.path().display());
        wrong.to_string().replace(&folder, "")
    };
    scenario::load(&folder.path().join(files[0].0), overrides, &no_env).map_err(told)
}

#[test]
fn a_file_is_laid_over_what_it_includes() {
    let over = "include: [shared/base.yaml]\npools:\n  a: {clients: 30}\n  b: {clients: 1}\nthresholds: [ack.p50 < 1s]\n";
    let files = [("main.yaml", over), ("shared/base.yaml", BASE)];
    let scenario = load(&files, &Overrides::default()).unwrap();
    assert_eq!((scenario.clients(), scenario.groups.len()), (31, 2));
    assert_eq!(scenario.thresholds.len(), 1, "lists are replaced");
    assert_eq!(scenario.thresholds[0].expr, "ack.p50 < 1s");
}

#[test]
fn mistakes_are_told_in_the_file_where_they_stand() {
    let main = ("main.yaml", "include: shared/base.yaml\n");
    let wrong = load(
        &[main, ("shared/base.yaml", "pools: {a: {clinets: 1}}")],
        &Overrides::default(),
    );
    assert!(
        wrong
            .unwrap_err()
            .contains("shared/base.yaml:1:13: unknown key `clinets`")
    );
    let wrong = load(&[main], &Overrides::default()).unwrap_err();
    assert!(
        wrong.contains("main.yaml:1:10: `shared/base.yaml` cannot be read"),
        "{wrong}"
    );
    let wrong = load(
        &[("main.yaml", "include: main.yaml\n")],
        &Overrides::default(),
    )
    .unwrap_err();
    assert!(wrong.contains("more than 16 files included"), "{wrong}");
}

#[test]
fn a_variant_is_laid_over_the_rest_and_all_are_checked() {
    let text = format!(
        "{BASE}variants:\n  long: {{duration: 1h}}\n  big: {{pools: {{a: {{clients: 500}}}}}}\n"
    );
    let with = |name: &str| {
        let overrides = Overrides {
            variant: Some(name.into()),
            ..Overrides::default()
        };
        scenario::parse(&text, "t.yaml", &overrides, &no_env)
    };
    assert_eq!(with("long").unwrap().duration, Duration::from_secs(3600));
    assert_eq!(with("big").unwrap().clients(), 500);
    assert_eq!(parse(&text).unwrap().clients(), 10);
    let wrong = with("log").unwrap_err().to_string();
    assert!(
        wrong.contains("no variant `log`") && wrong.contains("`long`"),
        "{wrong}"
    );
    let wrong = parse(&format!("{BASE}variants: {{x: {{duration: soon}}}}")).unwrap_err();
    assert!(
        wrong.to_string().contains("`soon` is not a duration"),
        "{wrong}"
    );
}
