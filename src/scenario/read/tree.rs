//! YAML as a tree of scalars, lists and mappings, each with its place.
//!
//! Refused here, each with its place: syntax errors, duplicate keys, keys that are no
//! scalars, tags, a second document, references to a value from inside itself, and aliases
//! that multiply to more than [`NODES_MAX`] values.

use std::collections::HashMap;
use std::rc::Rc;

use serde_saphyr::granit_parser::{self, ErrorKind, Event, Parser, ScalarStyle, ScanError, Span};

use super::env;
use super::names::cut;
use super::source::{Mistakes, Place, Sources, Stretch};

/// Values in one file, those behind aliases counted as often as they are used, long ones as
/// several.
const NODES_MAX: usize = 100_000;
/// Bytes of a text that count as one value more.
const VALUE_BYTES: usize = 32;
/// Mappings and lists inside each other; the format needs 5.
const DEPTH_MAX: usize = 32;

/// One value and where it stands.
#[derive(Clone, Debug)]
pub(in crate::scenario) struct Node {
    /// Its first line.
    pub(in crate::scenario) place: Place,
    /// All of it.
    pub(in crate::scenario) stretch: Stretch,
    pub(in crate::scenario) kind: Kind,
    /// How many values it holds, itself included; see [`NODES_MAX`].
    weight: usize,
}

#[derive(Clone, Debug)]
pub(in crate::scenario) enum Kind {
    Scalar(Scalar),
    Seq(Vec<Rc<Node>>),
    Map(Vec<Entry>),
}

#[derive(Clone, Debug)]
pub(in crate::scenario) struct Scalar {
    /// As written.
    pub(in crate::scenario) raw: String,
    /// With references to the environment replaced.
    pub(in crate::scenario) value: String,
    /// Written without quotes: `~` and nothing at all mean "left out".
    pub(in crate::scenario) plain: bool,
    /// Must not be quoted in a message.
    pub(in crate::scenario) secret: bool,
    /// Has no value, and a mistake says why: nothing more is to be said of it.
    pub(in crate::scenario) broken: bool,
}

impl Scalar {
    /// A scalar as written.
    pub(in crate::scenario) fn new(raw: String, plain: bool) -> Self {
        Scalar {
            value: raw.clone(),
            raw,
            plain,
            secret: false,
            broken: false,
        }
    }

    /// The scalar as messages may quote it: never a value from the environment.
    pub(in crate::scenario) fn shown(&self) -> String {
        if self.secret {
            "***".to_owned()
        } else {
            cut(&self.raw)
        }
    }

    pub(in crate::scenario) fn is_null(&self) -> bool {
        self.plain && matches!(self.raw.as_str(), "" | "~" | "null" | "Null" | "NULL")
    }
}

#[derive(Clone, Debug)]
pub(in crate::scenario) struct Entry {
    pub(in crate::scenario) key: String,
    pub(in crate::scenario) key_place: Place,
    pub(in crate::scenario) value: Rc<Node>,
}

impl Node {
    /// A node that no file has, for values given by flags.
    pub(in crate::scenario) fn new(place: Place, kind: Kind) -> Self {
        let weight = 1 + match &kind {
            Kind::Scalar(scalar) => scalar.raw.len() / VALUE_BYTES,
            Kind::Seq(items) => items.iter().map(|item| item.weight).sum(),
            Kind::Map(entries) => entries.iter().map(|entry| entry.value.weight).sum(),
        };
        let end = place.column + place.width;
        Node {
            place,
            stretch: Stretch {
                source: place.source,
                start: (place.line, place.column),
                end: (place.line, end),
            },
            kind,
            weight,
        }
    }

    /// Whether nothing was written here.
    pub(in crate::scenario) fn is_null(&self) -> bool {
        matches!(&self.kind, Kind::Scalar(scalar) if scalar.is_null())
    }

    /// What it is, for messages.
    pub(in crate::scenario) fn kind_name(&self) -> &'static str {
        match &self.kind {
            Kind::Scalar(_) if self.is_null() => "nothing",
            Kind::Scalar(_) => "a single value",
            Kind::Seq(_) => "a list",
            Kind::Map(_) => "a mapping",
        }
    }
}

/// Reads a text; `None` when it holds nothing or cannot be read on (then a mistake says so).
pub(in crate::scenario) fn parse(
    text: &str,
    source: u32,
    sources: &mut Sources,
    mistakes: &mut Mistakes,
) -> Option<Rc<Node>> {
    let masked = env::protect(text);
    let mut options = granit_parser::options! {
        flow_nesting_limit: DEPTH_MAX,
        block_nesting_limit: DEPTH_MAX,
        disallow_directives: true,
    };
    options.set_emit_comments(false);
    let mut builder = Builder {
        parser: Parser::new_from_str_with_options(&masked, options),
        source,
        anchors: HashMap::new(),
        nodes: 0,
        sources,
        mistakes,
        text,
    };
    let read = builder.document();
    if read.is_none() {
        builder.sources.mark_unread(source);
    }
    read.flatten()
}

type Events<'t> = Parser<'t, granit_parser::StrInput<'t>>;

struct Builder<'t, 'm> {
    parser: Events<'t>,
    source: u32,
    /// Finished anchored nodes; the number of open ones is not in it.
    anchors: HashMap<usize, Rc<Node>>,
    nodes: usize,
    sources: &'m mut Sources,
    mistakes: &'m mut Mistakes,
    text: &'t str,
}

impl<'t> Builder<'t, '_> {
    /// The one document; `None` after a mistake that ends reading, `Some(None)` when empty.
    fn document(&mut self) -> Option<Option<Rc<Node>>> {
        let mut root = None;
        loop {
            let (event, span) = self.next()?;
            match event {
                Event::StreamEnd => return Some(root),
                Event::DocumentStart(..) if root.is_some() => {
                    let place = self.place(span);
                    self.mistakes
                        .add(place, "a second YAML document starts here")
                        .expected("one scenario per file")
                        .mend("move it to a file of its own");
                    return Some(root);
                }
                event if is_node(&event) => root = Some(self.node(event, span)?),
                _ => {}
            }
        }
    }

    /// The next event; `None` ends reading, with a mistake noted.
    fn next(&mut self) -> Option<(Event<'t>, Span)> {
        match self.parser.next_event()? {
            Ok(next) => Some(next),
            Err(error) => {
                self.syntax_error(&error);
                None
            }
        }
    }

    fn syntax_error(&mut self, error: &ScanError) {
        let at = *error.marker();
        let place = self.place(Span::new(at, at));
        let what = format!("not valid YAML: {}", env::restore(&error.info()));
        let line = self.text.lines().nth(at.line().saturating_sub(1));
        let mend = mend(error.kind(), line.unwrap_or(""));
        let noted = self.mistakes.add(place, what);
        noted.maybe_mend(mend.map(str::to_owned));
    }

    fn place(&self, span: Span) -> Place {
        let one_line = span.start.line() == span.end.line();
        let width = if one_line {
            span.end.col().saturating_sub(span.start.col())
        } else {
            1
        };
        Place {
            source: self.source,
            line: span.start.line() as u32,
            column: span.start.col() as u32 + 1,
            width: width.max(1) as u32,
        }
    }

    fn node(&mut self, event: Event<'t>, span: Span) -> Option<Rc<Node>> {
        let place = self.place(span);
        if event.tag().is_some() {
            let tag = span.tag_span().map_or(place, |tag| self.place(tag));
            self.mistakes
                .add(tag, "YAML tags (`!name`) mean nothing here")
                .mend("leave the tag out");
        }
        let anchor = event.anchor_id();
        let mut end = span.end;
        let kind = match event {
            Event::Alias(id) => return self.alias(id, place),
            Event::SequenceStart(..) => {
                let (items, last) = self.sequence()?;
                end = last;
                Kind::Seq(items)
            }
            Event::MappingStart(..) => {
                let (entries, last) = self.mapping()?;
                end = last;
                Kind::Map(entries)
            }
            Event::Scalar(text, style, ..) => {
                let plain = style == ScalarStyle::Plain;
                Kind::Scalar(Scalar::new(env::restore(&text), plain))
            }
            // Only called for nodes; StreamEnd and the like cannot come here.
            _ => return None,
        };
        let mut node = Node::new(place, kind);
        node.stretch.end = (end.line() as u32, end.col() as u32 + 1);
        let own = match &node.kind {
            Kind::Scalar(_) => node.weight,
            _ => 1,
        };
        self.count(own, place)?;
        let node = Rc::new(node);
        if let Some(id) = anchor {
            self.anchors.insert(id, Rc::clone(&node));
        }
        Some(node)
    }

    fn alias(&mut self, id: usize, place: Place) -> Option<Rc<Node>> {
        let Some(node) = self.anchors.get(&id) else {
            self.mistakes
                .add(place, "this alias refers to the value that it is part of");
            return None;
        };
        let node = Rc::clone(node);
        self.count(node.weight, place)?;
        Some(node)
    }

    fn count(&mut self, nodes: usize, place: Place) -> Option<()> {
        self.nodes = self.nodes.saturating_add(nodes);
        if self.nodes <= NODES_MAX {
            return Some(());
        }
        let what = format!("too much: {NODES_MAX} values, aliases counted as often as used");
        self.mistakes.add(place, what);
        None
    }

    fn sequence(&mut self) -> Option<(Vec<Rc<Node>>, granit_parser::Marker)> {
        let mut items = Vec::new();
        loop {
            let (event, span) = self.next()?;
            match event {
                Event::SequenceEnd => return Some((items, span.end)),
                event if is_node(&event) => items.push(self.node(event, span)?),
                _ => {}
            }
        }
    }

    fn mapping(&mut self) -> Option<(Vec<Entry>, granit_parser::Marker)> {
        let mut entries: Vec<Entry> = Vec::new();
        let mut lines = HashMap::new();
        let mut key: Option<Rc<Node>> = None;
        let mut skipped = false;
        loop {
            let (event, span) = self.next()?;
            if event == Event::MappingEnd {
                return Some((entries, span.end));
            }
            if !is_node(&event) {
                continue;
            }
            let marked = event.anchor_id().is_some() || event.tag().is_some();
            let anchored = key.is_none() && marked;
            let node = self.node(event, span)?;
            if anchored {
                // `&access_key: hush` names an anchor `access_key:`, and the secret the key.
                self.mistakes
                    .add(node.place, "an anchor or a tag before a key")
                    .mend("leave it out, or put `&name` before the value that `*name` repeats");
                self.sources.hide(node.stretch);
                skipped = true;
            }
            match key.take() {
                None => key = Some(node),
                Some(_) if std::mem::take(&mut skipped) => self.sources.hide(node.stretch),
                Some(key) => self.entry(&mut entries, &mut lines, &key, node),
            }
        }
    }

    /// Adds an entry unless its key is no name; notes a key that was there before.
    fn entry(
        &mut self,
        entries: &mut Vec<Entry>,
        lines: &mut HashMap<String, u32>,
        key: &Node,
        value: Rc<Node>,
    ) {
        let Kind::Scalar(name) = &key.kind else {
            let what = format!("{} cannot be a key", key.kind_name());
            self.mistakes.add(key.place, what).expected("a name");
            // Nobody can say what they hold.
            self.sources.hide(key.stretch);
            self.sources.hide(value.stretch);
            return;
        };
        if let Some(first) = lines.insert(name.raw.clone(), key.place.line) {
            let what = format!("duplicate key `{}`", cut(&name.raw));
            let mend = format!("the one before is in line {first}");
            self.mistakes.add(key.place, what).mend(mend);
        }
        // A duplicate stays, so that its own mistakes are found, too.
        entries.push(Entry {
            key: name.raw.clone(),
            key_place: key.place,
            value,
        });
    }
}

/// How the usual syntax errors are mended.
fn mend(kind: &ErrorKind, line: &str) -> Option<&'static str> {
    if line.contains("${") {
        return Some("put quotes around values that hold ${...}");
    }
    if line.trim_start_matches(' ').starts_with('\t') {
        return Some("indent with spaces, not with tabs");
    }
    match kind {
        ErrorKind::ExpectedFlowMappingSeparator
        | ErrorKind::ExpectedFlowSequenceSeparator
        | ErrorKind::UnexpectedEofFlowMapping
        | ErrorKind::UnexpectedEofFlowSequence
        | ErrorKind::UnclosedFlowCollection { .. } => Some("close what `{` or `[` opened above"),
        ErrorKind::MappingValueNotAllowed => Some("put quotes around a value with `: ` in it"),
        ErrorKind::InvalidIndentation | ErrorKind::ExpectedBlockMappingKey => {
            Some("keys of one mapping start in the same column")
        }
        ErrorKind::UnknownAnchor => Some("write `&name` before the value that `*name` repeats"),
        _ => None,
    }
}

fn is_node(event: &Event<'_>) -> bool {
    matches!(
        event,
        Event::Alias(_) | Event::Scalar(..) | Event::SequenceStart(..) | Event::MappingStart(..)
    )
}
