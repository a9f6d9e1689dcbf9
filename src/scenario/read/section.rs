//! Mappings with a fixed set of keys, and lists.

use std::rc::Rc;

use super::names::{cut, nearest, one_of};
use super::source::{Mistakes, Place};
use super::tree::{Entry, Kind, Node};

/// A mapping whose keys have been checked.
pub(in crate::scenario) struct Section<'n> {
    /// Where its mistakes as a whole belong: its key in the mapping above.
    pub(in crate::scenario) place: Place,
    path: String,
    entries: &'n [Entry],
    /// Keys that were meant by unknown ones: they are not missing as well.
    meant: Vec<String>,
}

impl<'n> Section<'n> {
    /// Opens a mapping, refusing keys that are not among `keys`. `head` is the key that leads
    /// to it, `path` its dotted path for messages (empty for the file).
    pub(in crate::scenario) fn open(
        node: &'n Node,
        head: Place,
        path: &str,
        keys: &[&str],
        mistakes: &mut Mistakes,
    ) -> Option<Self> {
        let entries = entries(node, path, &one_of(keys.iter().copied()), mistakes)?;
        let mut meant = Vec::new();
        for entry in entries {
            if keys.contains(&entry.key.as_str()) {
                continue;
            }
            let (key, shown) = (&entry.key, cut(&entry.key));
            let what = match path {
                "" => format!("unknown key `{shown}`"),
                _ => format!("unknown key `{shown}` in {path}"),
            };
            let near = nearest(key, keys.iter().copied());
            meant.extend(near.map(str::to_owned));
            let mend = match key.as_str() {
                "<<" => Some("merge keys are not supported; write the values out".into()),
                _ => near.map(|name| format!("did you mean `{name}`?")),
            };
            mistakes
                .add(entry.key_place, what)
                .expected(one_of(keys.iter().copied()))
                .maybe_mend(mend);
        }
        Some(Section {
            place: head,
            path: path.to_owned(),
            entries,
            meant,
        })
    }

    /// The entry of a key; `None` when it is left out or has no value.
    pub(in crate::scenario) fn entry(&self, key: &str) -> Option<&'n Entry> {
        let mut entries = self.entries.iter();
        entries.find(|entry| entry.key == key && !entry.value.is_null())
    }

    /// The value of a key; `None` when it is left out or has no value.
    pub(in crate::scenario) fn get(&self, key: &str) -> Option<&'n Node> {
        self.entry(key).map(|entry| &*entry.value)
    }

    /// The value of a key that must be there. `example` shows the whole line.
    pub(in crate::scenario) fn required(
        &self,
        key: &str,
        example: &str,
        mistakes: &mut Mistakes,
    ) -> Option<&'n Node> {
        let found = self.get(key);
        if found.is_none() && !self.meant.iter().any(|meant| meant == key) {
            let what = match self.path.as_str() {
                "" => format!("`{key}` is missing"),
                path => format!("`{key}` is missing in {path}"),
            };
            mistakes
                .add(self.place, what)
                .mend(format!("add {example}"));
        }
        found
    }

    /// The dotted path of a key in this section.
    pub(in crate::scenario) fn path(&self, key: &str) -> String {
        match self.path.as_str() {
            "" => key.to_owned(),
            path => format!("{path}.{key}"),
        }
    }

    /// Opens the mapping under a key, when it is there.
    pub(in crate::scenario) fn section(
        &self,
        key: &str,
        keys: &[&str],
        mistakes: &mut Mistakes,
    ) -> Option<Section<'n>> {
        let entry = self.entry(key)?;
        Section::open(
            &entry.value,
            entry.key_place,
            &self.path(key),
            keys,
            mistakes,
        )
    }

    /// Notes two keys that cannot stand together, at the second; whether they do.
    pub(in crate::scenario) fn conflict(
        &self,
        first: &str,
        second: &str,
        why: &str,
        mistakes: &mut Mistakes,
    ) -> bool {
        let (Some(_), Some(entry)) = (self.entry(first), self.entry(second)) else {
            return false;
        };
        let what = format!("`{second}` cannot stand beside `{first}`");
        mistakes.add(entry.key_place, what).mend(why);
        true
    }
}

/// The entries of a mapping whose keys are the user's own.
pub(in crate::scenario) fn entries<'n>(
    node: &'n Node,
    path: &str,
    expected: &str,
    mistakes: &mut Mistakes,
) -> Option<&'n [Entry]> {
    match &node.kind {
        Kind::Map(entries) => Some(entries),
        _ => {
            let name = if path.is_empty() { "the file" } else { path };
            let what = format!("{name} should be a mapping, this is {}", node.kind_name());
            mistakes.add(node.place, what).expected(expected);
            None
        }
    }
}

/// The items of a list.
pub(in crate::scenario) fn items<'n>(
    node: &'n Node,
    path: &str,
    example: &str,
    mistakes: &mut Mistakes,
) -> Option<&'n [Rc<Node>]> {
    match &node.kind {
        Kind::Seq(items) => Some(items),
        _ => {
            let what = format!("{path} should be a list, this is {}", node.kind_name());
            mistakes.add(node.place, what).expected(example);
            None
        }
    }
}
