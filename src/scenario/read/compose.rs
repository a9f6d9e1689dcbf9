//! `include` and `variants`: one tree out of several, before anything is resolved.
//!
//! Mappings are merged key by key, everything else is replaced whole; every value keeps its
//! place, so that a mistake is told where it stands.

use std::path::{Path, PathBuf};
use std::rc::Rc;

use super::names::{cut, did_you_mean};
use super::secrets;
use super::source::{Mistakes, Place, Sources};
use super::tree::{self, Kind, Node};

/// Files that one scenario may include, those of the included counted.
const INCLUDES_MAX: usize = 16;
/// Variants of one scenario.
const VARIANTS_MAX: usize = 64;

/// Reads a file's text, or says why not.
pub(in crate::scenario) type Reader<'r> = &'r dyn Fn(&Path) -> Result<String, String>;

/// What composing needs beside the tree.
pub(in crate::scenario) struct Composer<'c> {
    pub(in crate::scenario) read: Reader<'c>,
    pub(in crate::scenario) sources: &'c mut Sources,
    pub(in crate::scenario) mistakes: &'c mut Mistakes,
    /// Files included so far.
    pub(in crate::scenario) included: usize,
}

impl Composer<'_> {
    /// Puts what `root` includes below it; paths are seen from the folder of `file`.
    pub(in crate::scenario) fn include(&mut self, root: &mut Rc<Node>, file: &Path) {
        let Some(list) = take(root, "include") else {
            return;
        };
        let items = match &list.kind {
            Kind::Seq(items) => items.clone(),
            _ => vec![Rc::clone(&list)],
        };
        let mut base: Option<Rc<Node>> = None;
        for item in items {
            let Some(tree) = self.included(&item, file) else {
                continue;
            };
            base = Some(match base {
                Some(base) => merge(&base, &tree),
                None => tree,
            });
        }
        if let Some(base) = base {
            *root = merge(&base, root);
        }
    }

    fn included(&mut self, item: &Node, file: &Path) -> Option<Rc<Node>> {
        let path = match &item.kind {
            Kind::Scalar(scalar) if !scalar.is_null() => PathBuf::from(&scalar.raw),
            _ => {
                let what = format!("{} cannot be included", item.kind_name());
                self.mistakes
                    .add(item.place, what)
                    .expected("a file's path, or a list of them");
                return None;
            }
        };
        self.included += 1;
        if self.included > INCLUDES_MAX {
            let what = format!("more than {INCLUDES_MAX} files included");
            self.mistakes
                .add(item.place, what)
                .mend("does a file include itself?");
            return None;
        }
        let path = file.parent().unwrap_or(Path::new("")).join(path);
        let text = match (self.read)(&path) {
            Ok(text) => text,
            Err(why) => {
                let what = format!("`{}` {why}", cut(&path.display().to_string()));
                let mend = "paths are seen from the file that includes";
                self.mistakes.add(item.place, what).mend(mend);
                return None;
            }
        };
        let source = self.sources.add(&path.display().to_string(), &text);
        let mut tree = tree::parse(&text, source, self.sources, self.mistakes)?;
        secrets::mark(&mut tree, self.sources);
        self.include(&mut tree, &path);
        Some(tree)
    }

    /// Takes the variants out of the tree: `wanted` is merged over it; without one, every
    /// variant comes back merged, to be checked.
    pub(in crate::scenario) fn variants(
        &mut self,
        root: &mut Rc<Node>,
        wanted: Option<&str>,
        head: Place,
    ) -> Vec<Rc<Node>> {
        let list = take(root, "variants");
        let entries = match list.as_deref().map(|node| (&node.kind, node)) {
            None => &[][..],
            Some((Kind::Map(entries), _)) if entries.len() <= VARIANTS_MAX => entries,
            Some((_, node)) => {
                let what = "variants are names, each with what is different";
                self.mistakes.add(node.place, what).expected(format!(
                    "at most {VARIANTS_MAX}, e.g. `variants: {{long: {{duration: 1h}}}}`"
                ));
                return Vec::new();
            }
        };
        let Some(wanted) = wanted else {
            return entries
                .iter()
                .map(|entry| merge(root, &entry.value))
                .collect();
        };
        match entries.iter().find(|entry| entry.key == wanted) {
            Some(entry) => *root = merge(root, &entry.value),
            None => {
                let names = entries.iter().map(|entry| entry.key.as_str());
                let mend = did_you_mean(wanted, names);
                let what = format!("there is no variant `{}` here", cut(wanted));
                let place = list.as_ref().map_or(head, |node| node.place);
                self.mistakes.add(place, what).maybe_mend(mend);
            }
        }
        Vec::new()
    }
}

/// Takes an entry out of a mapping.
fn take(root: &mut Rc<Node>, key: &str) -> Option<Rc<Node>> {
    let Kind::Map(entries) = &root.kind else {
        return None;
    };
    let at = entries.iter().position(|entry| entry.key == key)?;
    let Kind::Map(entries) = &mut Rc::make_mut(root).kind else {
        return None;
    };
    let entry = entries.remove(at);
    (!entry.value.is_null()).then_some(entry.value)
}

/// `over` on top of `base`.
fn merge(base: &Rc<Node>, over: &Rc<Node>) -> Rc<Node> {
    let (Kind::Map(below), Kind::Map(above)) = (&base.kind, &over.kind) else {
        return Rc::clone(over);
    };
    let mut merged = below.clone();
    for entry in above {
        match merged.iter_mut().find(|known| known.key == entry.key) {
            Some(known) => {
                known.value = merge(&known.value, &entry.value);
                known.key_place = entry.key_place;
            }
            None => merged.push(entry.clone()),
        }
    }
    let mut node = Node::clone(over);
    node.kind = Kind::Map(merged);
    Rc::new(node)
}
