//! Flags that override what the file says. Each becomes a change of the tree before it is
//! resolved, so that a flag's value passes the same checks and has a place in its own text.

use std::fmt;
use std::rc::Rc;

use secrecy::{ExposeSecret, SecretString};

use super::secrets::{carries_a_secret, names_a_secret};
use super::source::{Mistakes, Place, Sources, Stretch};
use super::tree::{self, Entry, Kind, Node, Scalar};

/// Names in a dotted path; the format needs 6.
const STEPS_MAX: usize = 16;

/// What the command line says beside the file. Values are texts, read as the file's are.
#[derive(Clone, Default)]
pub struct Overrides {
    /// `--set`: `key=value` with a dotted path as key and YAML as value, in order.
    pub set: Vec<String>,
    /// `--seed`: a whole number.
    pub seed: Option<String>,
    /// `--duration`.
    pub duration: Option<String>,
    /// `--scale`: multiplies the clients of every pool; each keeps at least one.
    pub scale: Option<String>,
    /// `--variant`: which of the file's variants.
    pub variant: Option<String>,
    /// `--units`: service units that a preset is made for.
    pub units: Option<u32>,
    /// `--promise`.
    pub promise: Option<String>,
    /// `--verify-memory`.
    pub verify_memory: Option<String>,
    /// `--target`: an endpoint, or a client access URL when it has an `access_token`.
    pub target: Option<SecretString>,
    /// `--connection-string`; wins over `target`.
    pub connection_string: Option<SecretString>,
    /// `--hub`.
    pub hub: Option<String>,
}

impl fmt::Debug for Overrides {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Values of `--set` may be secrets; their keys are not.
        let keys = self.set.iter();
        let keys = keys.map(|set| set.split_once('=').map(|(key, _)| key));
        f.debug_struct("Overrides")
            .field("set", &keys.collect::<Vec<_>>())
            .field("seed", &self.seed)
            .field("duration", &self.duration)
            .field("scale", &self.scale)
            .field("promise", &self.promise)
            .field("verify_memory", &self.verify_memory)
            .field("target", &self.target)
            .field("connection_string", &self.connection_string)
            .field("hub", &self.hub)
            .finish()
    }
}

/// One flag in the making.
struct Flag<'a> {
    root: &'a mut Option<Rc<Node>>,
    sources: &'a mut Sources,
    mistakes: &'a mut Mistakes,
}

impl Overrides {
    /// Applies every flag but `--scale` to the tree.
    pub(in crate::scenario) fn apply(
        &self,
        root: &mut Option<Rc<Node>>,
        sources: &mut Sources,
        mistakes: &mut Mistakes,
    ) {
        let mut flag = Flag {
            root,
            sources,
            mistakes,
        };
        for set in &self.set {
            flag.set(set);
        }
        let texts = [
            ("--seed", "seed", &self.seed),
            ("--duration", "duration", &self.duration),
            ("--promise", "verify.promise", &self.promise),
            ("--verify-memory", "verify.memory", &self.verify_memory),
        ];
        for (name, path, text) in texts {
            if let Some(text) = text {
                flag.text(name, path, text);
            }
        }
        if let Some(url) = &self.target {
            flag.target(url.expose_secret());
        }
        if let Some(text) = &self.connection_string {
            flag.keep_of_target(&["hub"]);
            flag.text(
                "--connection-string",
                "target.connection_string",
                text.expose_secret(),
            );
        }
        if let Some(hub) = &self.hub {
            flag.text("--hub", "target.hub", hub);
        }
    }
}

impl Flag<'_> {
    /// `--set key=value`.
    fn set(&mut self, text: &str) {
        let source = self.sources.add("--set", text);
        let place = |column: usize, width: usize| Place {
            source,
            line: 1,
            column: column as u32 + 1,
            width: width as u32,
        };
        let Some((path, value)) = text.split_once('=') else {
            // Without a key nothing tells whether the text is a secret.
            self.sources.mark_unread(source);
            self.mistakes
                .add(place(0, 1), "`--set` needs a key and a value")
                .expected("key=value, e.g. --set pools.talkers.clients=10");
            return;
        };
        if path.split('.').any(names_a_secret) || carries_a_secret(value) {
            let start = path.chars().count() as u32 + 2;
            self.sources.hide(Stretch {
                source,
                start: (1, start),
                end: (u32::MAX, 0),
            });
        }
        // Spaces in front, so that columns count from the start of the flag's text.
        let skip = path.chars().count() + 1;
        let padded = format!("{}{value}", " ".repeat(skip));
        let before = self.mistakes.len();
        let mut value = tree::parse(&padded, source, self.sources, self.mistakes);
        if value.is_none() {
            if self.mistakes.len() > before {
                return;
            }
            let nothing = Scalar::new(String::new(), true);
            value = Some(Rc::new(Node::new(place(skip, 1), Kind::Scalar(nothing))));
        }
        self.put(path, value, place);
    }

    /// A flag whose value is a text of its own.
    fn text(&mut self, flag: &str, path: &str, text: &str) {
        let source = self.sources.add(flag, text);
        let place = Place {
            source,
            line: 1,
            column: 1,
            width: text.chars().count().max(1) as u32,
        };
        let scalar = Scalar::new(text.to_owned(), false);
        let node = Rc::new(Node::new(place, Kind::Scalar(scalar)));
        self.put(path, Some(node), |_, _| place);
    }

    /// `--target URL`: the file's hub and key stay, unless the URL says it all.
    fn target(&mut self, url: &str) {
        if url.to_ascii_lowercase().contains("access_token=") {
            self.keep_of_target(&[]);
            self.text("--target", "target.client_access_url", url);
        } else {
            self.keep_of_target(&["hub", "access_key"]);
            self.text("--target", "target.endpoint", url);
        }
    }

    /// Drops every key of `target` but these.
    fn keep_of_target(&mut self, keys: &[&str]) {
        let Some(root) = self.root.as_mut() else {
            return;
        };
        let Kind::Map(entries) = &mut Rc::make_mut(root).kind else {
            return;
        };
        for entry in entries.iter_mut().filter(|entry| entry.key == "target") {
            if let Kind::Map(entries) = &mut Rc::make_mut(&mut entry.value).kind {
                entries.retain(|entry| keys.contains(&entry.key.as_str()));
            }
        }
    }

    /// Puts a value at a dotted path. `place` tells where a part of the path stands.
    fn put(&mut self, path: &str, value: Option<Rc<Node>>, place: impl Fn(usize, usize) -> Place) {
        let Some(value) = value else { return };
        let mut skip = 0;
        let mut steps = Vec::new();
        for key in path.split('.') {
            if steps.len() == STEPS_MAX {
                self.mistakes.add(
                    place(skip, 1),
                    format!("a path of more than {STEPS_MAX} names"),
                );
                return;
            }
            let width = key.chars().count();
            let at = place(skip, width.max(1));
            if key.is_empty() {
                self.mistakes
                    .add(at, "an empty name in a dotted path")
                    .expected("key=value, e.g. --set pools.talkers.clients=10");
                return;
            }
            steps.push((key, at));
            skip += width + 1;
        }
        let first = steps.first().map_or_else(|| place(0, 1), |(_, at)| *at);
        let root = self
            .root
            .get_or_insert_with(|| Rc::new(Node::new(first, Kind::Map(Vec::new()))));
        put(root, &steps, value, self.mistakes);
    }
}

fn put(node: &mut Rc<Node>, steps: &[(&str, Place)], value: Rc<Node>, mistakes: &mut Mistakes) {
    let Some(((key, at), rest)) = steps.split_first() else {
        *node = value;
        return;
    };
    let node = Rc::make_mut(node);
    if node.is_null() {
        node.kind = empty(key);
    }
    match &mut node.kind {
        Kind::Map(entries) => {
            if let Some(entry) = entries.iter_mut().find(|entry| entry.key == *key) {
                put(&mut entry.value, rest, value, mistakes);
                return;
            }
            let mut below = below(*at, rest);
            put(&mut below, rest, value, mistakes);
            entries.push(Entry {
                key: (*key).to_owned(),
                key_place: *at,
                value: below,
            });
        }
        Kind::Seq(items) => match key.parse::<usize>() {
            Ok(nth) if nth < items.len() => put(&mut items[nth], rest, value, mistakes),
            Ok(nth) if nth == items.len() => {
                let mut below = below(*at, rest);
                put(&mut below, rest, value, mistakes);
                items.push(below);
            }
            _ => {
                let what = format!("`{key}` is no place in a list of {}", items.len());
                let expected = format!("a number from 0 to {} (which adds one)", items.len());
                mistakes.add(*at, what).expected(expected);
            }
        },
        Kind::Scalar(_) => {
            let what = format!("there is no `{key}` here: the path leads into a single value");
            mistakes.add(*at, what);
        }
    }
}

/// What a path leads through where the file has nothing yet.
fn below(at: Place, rest: &[(&str, Place)]) -> Rc<Node> {
    let next = rest.first().map_or("", |(key, _)| *key);
    Rc::new(Node::new(at, empty(next)))
}

/// A list when the next step is a number, else a mapping.
fn empty(next: &str) -> Kind {
    if !next.is_empty() && next.bytes().all(|b| b.is_ascii_digit()) {
        Kind::Seq(Vec::new())
    } else {
        Kind::Map(Vec::new())
    }
}
