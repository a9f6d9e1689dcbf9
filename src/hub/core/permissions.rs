//! What a session may do, read from its role strings. Source: service "roles" pages.

use std::collections::HashSet;

/// Star characters allowed in one pattern. Source: wildcard group roles page.
const STARS_MAX: usize = 5;
/// Characters allowed in one pattern, patterns and literal grants per session, as the
/// official emulator has them. Grants beyond are ignored.
const PATTERN_CHARS_MAX: usize = 1024;
const PATTERNS_MAX: usize = 10;
const LITERALS_MAX: usize = 1000;

/// For which groups one action is allowed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Grant {
    all: bool,
    literal: HashSet<Box<str>>,
    patterns: Vec<Box<str>>,
}

impl Grant {
    fn allows(&self, group: &str) -> bool {
        self.all
            || self.literal.contains(group)
            || self.patterns.iter().any(|pattern| matches(pattern, group))
    }
}

/// The permissions of one session.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Permissions {
    send: Grant,
    join: Grant,
}

/// What a permission is for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Action {
    Send,
    Join,
}

impl Permissions {
    fn of(&mut self, action: Action) -> &mut Grant {
        match action {
            Action::Send => &mut self.send,
            Action::Join => &mut self.join,
        }
    }

    /// Grants an action at run time, for one group or for all.
    pub(crate) fn grant(&mut self, action: Action, group: Option<&str>) {
        let grant = self.of(action);
        match group {
            None => grant.all = true,
            Some(group) if grant.literal.len() < LITERALS_MAX => {
                grant.literal.insert(group.into());
            }
            Some(_) => {}
        }
    }

    /// Takes back what was granted for one group, or for all; not what patterns grant.
    pub(crate) fn revoke(&mut self, action: Action, group: Option<&str>) {
        let grant = self.of(action);
        match group {
            None => grant.all = false,
            Some(group) => {
                grant.literal.remove(group);
            }
        }
    }

    /// Whether an action is granted for a group, or for all groups.
    pub(crate) fn is_granted(&self, action: Action, group: Option<&str>) -> bool {
        let grant = match action {
            Action::Send => &self.send,
            Action::Join => &self.join,
        };
        group.map_or(grant.all, |group| grant.allows(group))
    }

    /// Everything: what an open hub (no access key, no token) grants.
    pub(crate) fn all() -> Self {
        Self::from_roles(["webpubsub.sendToGroup", "webpubsub.joinLeaveGroup"])
    }

    /// From role strings; unknown ones are ignored, as the official emulator does.
    pub(crate) fn from_roles<'a>(roles: impl IntoIterator<Item = &'a str>) -> Self {
        let mut permissions = Permissions::default();
        permissions.add_roles(roles);
        permissions
    }

    /// Adds what further roles allow.
    pub(crate) fn add_roles<'a>(&mut self, roles: impl IntoIterator<Item = &'a str>) {
        let permissions = self;
        for role in roles {
            let Some(role) = role.strip_prefix("webpubsub.") else {
                continue;
            };
            let (action, group) = role
                .split_once('.')
                .map_or((role, None), |(action, group)| (action, Some(group)));
            let (grant, is_pattern) = match action {
                "sendToGroup" => (&mut permissions.send, false),
                "joinLeaveGroup" => (&mut permissions.join, false),
                "sendToGroups" => (&mut permissions.send, true),
                "joinLeaveGroups" => (&mut permissions.join, true),
                _ => continue,
            };
            match (group, is_pattern) {
                (None, false) => grant.all = true,
                (Some(group), false) if grant.literal.len() < LITERALS_MAX => {
                    grant.literal.insert(group.into());
                }
                (Some(pattern), true)
                    if grant.patterns.len() < PATTERNS_MAX
                        && pattern.chars().count() <= PATTERN_CHARS_MAX
                        && pattern.matches('*').count() <= STARS_MAX =>
                {
                    grant.patterns.push(pattern.into());
                }
                _ => {}
            }
        }
    }

    /// Whether publishing to `group` is allowed.
    pub(crate) fn may_send(&self, group: &str) -> bool {
        self.send.allows(group)
    }

    /// Whether joining and leaving `group` is allowed.
    pub(crate) fn may_join(&self, group: &str) -> bool {
        self.join.allows(group)
    }
}

/// Wildcard match: `?` one character but `.`, `*` any run without `.`, `**` any run, `\`
/// takes the next character literally. At most five stars, so the backtracking is bounded
/// by length^5 in theory and linear in practice.
fn matches(pattern: &str, text: &str) -> bool {
    let mut chars = pattern.chars();
    match chars.next() {
        None => text.is_empty(),
        Some('*') => {
            let (rest, any) = match chars.as_str().strip_prefix('*') {
                Some(rest) => (rest, true),
                None => (chars.as_str(), false),
            };
            let mut tail = text;
            loop {
                if matches(rest, tail) {
                    return true;
                }
                let mut left = tail.chars();
                match left.next() {
                    Some(c) if any || c != '.' => tail = left.as_str(),
                    _ => return false,
                }
            }
        }
        Some('?') => {
            let mut left = text.chars();
            left.next().is_some_and(|c| c != '.') && matches(chars.as_str(), left.as_str())
        }
        Some(c) => {
            let literal = if c == '\\' {
                chars.next().unwrap_or(c)
            } else {
                c
            };
            text.strip_prefix(literal)
                .is_some_and(|left| matches(chars.as_str(), left))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn roles_grant_what_the_documentation_says() {
        let none = Permissions::from_roles(["something.else", "webpubsub.unknown"]);
        assert!(!none.may_send("g") && !none.may_join("g"));
        let one =
            Permissions::from_roles(["webpubsub.sendToGroup.a.b", "webpubsub.joinLeaveGroup"]);
        assert!(one.may_send("a.b") && !one.may_send("a") && one.may_join("anything"));
        assert!(Permissions::all().may_send("x") && Permissions::all().may_join("x"));
    }

    #[test]
    fn patterns_match_as_documented() {
        for (pattern, text, yes) in [
            ("room.*", "room.1", true),
            ("room.*", "room.1.2", false),
            ("room.**", "room.1.2", true),
            ("r?om", "room", true),
            ("r?om", "r.om", false),
            (r"a\*b", "a*b", true),
            (r"a\*b", "axb", false),
            ("*", "", true),
            ("a*b*c", "axxbyyc", true),
            ("a*b*c", "axxbyy", false),
        ] {
            let role = format!("webpubsub.joinLeaveGroups.{pattern}");
            let permissions = Permissions::from_roles([role.as_str()]);
            assert_eq!(permissions.may_join(text), yes, "{pattern} {text}");
        }
    }
}
