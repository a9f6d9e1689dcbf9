//! What an event handler wants to be reminded of with each call of one connection: its
//! connection state and its cookies. Source: docs, cloud events; cookies as the official
//! emulator keeps them.

/// Cookies kept for one connection; more are not taken.
const COOKIES_MAX: usize = 20;
/// Bytes of their names and values together.
const COOKIE_BYTES_MAX: usize = 4096;

/// What goes along with every call about one connection.
#[derive(Clone, Default, PartialEq, Eq, Debug)]
pub(crate) struct Remembered {
    /// The connection state, as the handler wrote it.
    pub(crate) state: Option<Box<str>>,
    pub(crate) cookies: Cookies,
}

impl Remembered {
    /// Takes over what an answer says. Returns how many cookies found no room.
    pub(crate) fn update(&mut self, said: &Said) -> u64 {
        if said.state.is_some() {
            self.state.clone_from(&said.state);
        }
        let set = said
            .cookies
            .iter()
            .filter(|cookie| !self.cookies.set(cookie));
        set.count() as u64
    }
}

/// What an answer says to be remembered.
#[derive(Default, PartialEq, Eq, Debug)]
pub(crate) struct Said {
    pub(crate) state: Option<Box<str>>,
    /// Values of `Set-Cookie` headers.
    pub(crate) cookies: Vec<Box<str>>,
}

/// Cookies by name, in the order in which they were first set. Their attributes do not
/// matter, but for those that end a cookie: there is one handler, and it is asked soon.
#[derive(Clone, Default, PartialEq, Eq, Debug)]
pub(crate) struct Cookies(Vec<(Box<str>, Box<str>)>);

impl Cookies {
    /// Obeys one `Set-Cookie` header; whether there was room for it.
    fn set(&mut self, header: &str) -> bool {
        let mut parts = header.split(';');
        let Some((name, value)) = parts.next().and_then(|pair| pair.split_once('=')) else {
            return true;
        };
        let (name, value) = (name.trim(), value.trim());
        if name.is_empty() {
            return true;
        }
        self.0.retain(|(known, _)| **known != *name);
        let is_over = parts
            .filter_map(|attribute| attribute.split_once('='))
            .filter(|(attribute, _)| attribute.trim().eq_ignore_ascii_case("max-age"))
            .any(|(_, seconds)| seconds.trim().parse().is_ok_and(|s: i64| s <= 0));
        if is_over {
            return true;
        }
        let bytes: usize = self.0.iter().map(|(n, v)| n.len() + v.len()).sum();
        let has_room =
            self.0.len() < COOKIES_MAX && bytes + name.len() + value.len() <= COOKIE_BYTES_MAX;
        if has_room {
            self.0.push((name.into(), value.into()));
        }
        has_room
    }

    /// The `Cookie` header; `None` without cookies.
    pub(crate) fn header(&self) -> Option<String> {
        let pairs: Vec<String> = self.0.iter().map(|(n, v)| format!("{n}={v}")).collect();
        (!pairs.is_empty()).then(|| pairs.join("; "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cookies_are_replaced_ended_and_bounded() {
        let mut cookies = Cookies::default();
        assert_eq!(cookies.header(), None);
        for header in ["a=1; Path=/; HttpOnly", "b = x=y ", "a=2", "nonsense", "=3"] {
            assert!(cookies.set(header), "{header}");
        }
        assert_eq!(cookies.header().unwrap(), "b=x=y; a=2");
        assert!(cookies.set("b=gone; Max-Age=0"));
        assert_eq!(cookies.header().unwrap(), "a=2");
        assert!(!cookies.set(&format!("big={}", "x".repeat(COOKIE_BYTES_MAX))));
        let taken = (0..30).filter(|n| cookies.set(&format!("c{n}=1"))).count();
        assert_eq!(taken, COOKIES_MAX - 1);
    }

    #[test]
    fn an_answer_without_a_state_keeps_the_old_one() {
        let mut kept = Remembered::default();
        let said = |state: Option<&str>| Said {
            state: state.map(Into::into),
            cookies: vec!["a=1".into()],
        };
        kept.update(&said(Some("s")));
        kept.update(&said(None));
        assert_eq!(kept.state.as_deref(), Some("s"));
    }
}
