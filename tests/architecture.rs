//! Keeps the layers apart: what a module may import is written here, once, and every
//! `crate::` and `super::` path of the sources is held against it. ARCHITECTURE.md explains
//! the table.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use syn::visit::{self, Visit};

/// Module, what it may import, and what must not be named anywhere in it.
const LAYERS: &[(&str, &[&str], &[&str])] = &[
    ("base", &[], &["actix", "awc", "serde_json", "hyper"]),
    ("wire", &["base"], &["tokio", "actix", "awc", "rand"]),
    (
        "payload",
        &["base", "wire"],
        &["tokio", "actix", "awc", "rand"],
    ),
    (
        "protocol",
        &["base", "wire"],
        &["tokio", "actix", "awc", "rand"],
    ),
    (
        "verify",
        &["base", "wire", "payload"],
        &["tokio", "actix", "awc", "rand"],
    ),
    ("transport", &["base", "wire"], &["rand"]),
    (
        "scenario",
        &["base", "wire", "payload", "protocol", "verify"],
        &["tokio", "actix", "awc", "clap"],
    ),
    ("chaos", &["base", "scenario"], &["tokio", "actix", "awc"]),
    ("load", &["base", "scenario"], &["tokio", "actix", "awc"]),
    ("metrics", &["base", "scenario"], &["tokio", "actix", "awc"]),
    (
        "exporter",
        &["base", "generator", "metrics", "scenario", "verify"],
        &["actix", "awc"],
    ),
    // awc calls event handlers; the hub serves with hyper.
    ("hub", &["base", "wire"], &["actix"]),
    (
        "client",
        &[
            "base",
            "wire",
            "payload",
            "protocol",
            "transport",
            "metrics",
            "scenario",
            "chaos",
            "verify",
        ],
        &["rand"],
    ),
    ("sdk", &["base", "wire", "protocol", "transport"], &["rand"]),
    (
        "fleet",
        &[
            "base",
            "client",
            "chaos",
            "load",
            "metrics",
            "scenario",
            "transport",
            "verify",
        ],
        &["rand"],
    ),
    (
        "coordinator",
        &[
            "base", "chaos", "fleet", "hub", "metrics", "scenario", "verify",
        ],
        &["rand"],
    ),
    (
        "generator",
        &["base", "load", "metrics", "scenario"],
        &["actix", "awc"],
    ),
    (
        "report",
        &[
            "base",
            "chaos",
            "generator",
            "load",
            "metrics",
            "scenario",
            "verify",
        ],
        &["actix", "awc", "tokio"],
    ),
];

/// Modules that wire the others together and may import all of them.
const WIRING: &[&str] = &["run", "selftest", "cli", "lib", "main"];

struct Paths {
    /// The module path of the file, e.g. `["hub", "core", "session"]`.
    at: Vec<String>,
    crates: BTreeSet<String>,
    modules: BTreeSet<String>,
}

impl Paths {
    fn note(&mut self, segments: &[String]) {
        let supers = segments
            .iter()
            .take_while(|segment| *segment == "super")
            .count();
        let first = &segments[0];
        if first == "crate" {
            self.modules.extend(segments.get(1).cloned());
        } else if supers > 0 && supers >= self.at.len() {
            self.modules.extend(segments.get(supers).cloned());
        } else if supers == 0 && first != "self" {
            self.crates.insert(first.clone());
        }
    }

    fn tree(&mut self, tree: &syn::UseTree, before: &mut Vec<String>) {
        match tree {
            syn::UseTree::Path(path) => {
                before.push(path.ident.to_string());
                self.tree(&path.tree, before);
                before.pop();
            }
            syn::UseTree::Name(name) => self.leaf(&name.ident, before),
            syn::UseTree::Rename(rename) => self.leaf(&rename.ident, before),
            syn::UseTree::Glob(_) => self.note(before),
            syn::UseTree::Group(group) => {
                group.items.iter().for_each(|tree| self.tree(tree, before))
            }
        }
    }

    fn leaf(&mut self, ident: &syn::Ident, before: &mut Vec<String>) {
        before.push(ident.to_string());
        self.note(before);
        before.pop();
    }
}

impl<'ast> Visit<'ast> for Paths {
    fn visit_item_use(&mut self, item: &'ast syn::ItemUse) {
        self.tree(&item.tree, &mut Vec::new());
    }

    fn visit_path(&mut self, path: &'ast syn::Path) {
        let segments: Vec<_> = path
            .segments
            .iter()
            .map(|segment| segment.ident.to_string())
            .collect();
        if segments.len() > 1 {
            self.note(&segments);
        }
        visit::visit_path(self, path);
    }

    fn visit_item_mod(&mut self, item: &'ast syn::ItemMod) {
        // Tests may use more than the code that they test.
        if !item.attrs.iter().any(|attr| attr.path().is_ident("cfg")) {
            visit::visit_item_mod(self, item);
        }
    }
}

fn sources(dir: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(dir).expect("the folder exists") {
        let path = entry.expect("a readable folder").path();
        if path.is_dir() {
            sources(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs")
            && !path.ends_with("tests.rs")
        {
            found.push(path);
        }
    }
}

fn files() -> Vec<(PathBuf, Vec<String>)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut found = Vec::new();
    sources(&root, &mut found);
    found.sort();
    let module = |path: &PathBuf| {
        let mut module: Vec<_> = path
            .strip_prefix(&root)
            .expect("below src")
            .with_extension("")
            .components()
            .map(|part| part.as_os_str().to_string_lossy().into_owned())
            .collect();
        if module.last().is_some_and(|last| last == "mod") {
            module.pop();
        }
        module
    };
    found
        .into_iter()
        .map(|path| (path.clone(), module(&path)))
        .collect()
}

fn breaches() -> Vec<String> {
    let mut breaches = Vec::new();
    for (path, at) in files() {
        if at[0] == "cli" || WIRING.contains(&at[0].as_str()) {
            continue;
        }
        let Some((_, allowed, banned)) = LAYERS.iter().find(|(name, ..)| *name == at[0]) else {
            breaches.push(format!(
                "{}: module `{}` is not in the table",
                path.display(),
                at[0]
            ));
            continue;
        };
        let text = fs::read_to_string(&path).expect("a readable file");
        let file = syn::parse_file(&text).expect("a file that compiles");
        let mut paths = Paths {
            at: at.clone(),
            crates: BTreeSet::new(),
            modules: BTreeSet::new(),
        };
        paths.visit_file(&file);
        for module in &paths.modules {
            if module != &at[0] && !allowed.contains(&module.as_str()) {
                breaches.push(format!(
                    "{}: `{}` must not import `{module}`",
                    path.display(),
                    at[0]
                ));
            }
        }
        for name in paths
            .crates
            .iter()
            .filter(|name| banned.contains(&name.as_str()))
        {
            breaches.push(format!(
                "{}: `{}` must not use the crate `{name}`",
                path.display(),
                at[0]
            ));
        }
    }
    breaches
}

#[test]
fn every_module_imports_only_what_its_layer_may() {
    let breaches = breaches();
    assert!(breaches.is_empty(), "\n{}", breaches.join("\n"));
}

#[test]
fn the_table_itself_has_no_cycle() {
    // A module may only import modules whose own imports are already placed.
    let mut placed: BTreeSet<&str> = BTreeSet::new();
    while placed.len() < LAYERS.len() {
        let before = placed.len();
        for (name, allowed, _) in LAYERS {
            if allowed.iter().all(|module| placed.contains(module)) {
                placed.insert(name);
            }
        }
        assert!(
            placed.len() > before,
            "a knot among {:?}",
            LAYERS
                .iter()
                .map(|layer| layer.0)
                .filter(|name| !placed.contains(name))
                .collect::<Vec<_>>()
        );
    }
}

#[test]
fn every_file_says_what_lives_in_it() {
    for (path, _) in files() {
        let text = fs::read_to_string(&path).expect("a readable file");
        assert!(
            text.starts_with("//!"),
            "{} does not start with `//!`",
            path.display()
        );
    }
}
