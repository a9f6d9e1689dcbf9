//! A fault as the user writes it: `KIND[,p=0.01|every=N|at=T][,group=G][,count=N]`.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use super::FaultKind;
use crate::base::units::{format_duration, parse_duration};

/// Which opportunities of a fault are taken.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Trigger {
    /// The first ones, from the start. The default; once unless `count` says otherwise.
    First,
    /// Each with this probability, above 0 and at most 1.
    Probability(f64),
    /// The Nth, the 2Nth, ...; at least 1.
    Every(u64),
    /// The first ones at or after this time since the hub's start; once unless `count`.
    At(Duration),
}

/// One fault that the hub shall commit.
#[derive(Clone, Debug, PartialEq)]
pub struct FaultSpec {
    /// What to do wrong.
    pub kind: FaultKind,
    /// When.
    pub trigger: Trigger,
    /// Only at opportunities that belong to this group; left out: at all.
    pub group: Option<String>,
    /// How long it lasts, for the kinds that last; left out: as the kind says.
    pub lasting: Option<Duration>,
    /// The close code, for `close` only, 1000 to 4999; left out: 1001.
    pub code: Option<u16>,
    /// At most this often; left out: once for [`Trigger::First`] and [`Trigger::At`],
    /// without limit for the others.
    pub count: Option<u64>,
}

/// Why a fault could not be read. Each says what would be right.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FaultSpecError {
    /// No fault has this name.
    #[error(
        "fault {got:?} is unknown; did you mean `{nearest}`? (`hubstorm hub --list-faults` explains all)"
    )]
    Kind {
        /// What was written.
        got: String,
        /// The most similar name.
        nearest: &'static str,
    },
    /// No fault parameter has this name.
    #[error(
        "fault `{kind}`: parameter {got:?} is unknown; did you mean `{nearest}`? (p, every, at, group, count, for, code)"
    )]
    Parameter {
        /// The fault.
        kind: &'static str,
        /// What was written.
        got: String,
        /// The most similar name.
        nearest: &'static str,
    },
    /// A parameter's value is not what it must be.
    #[error("fault `{kind}`: `{parameter}={got}` is wrong; write {expected}")]
    Value {
        /// The fault.
        kind: &'static str,
        /// The parameter.
        parameter: &'static str,
        /// What was written.
        got: String,
        /// What is right.
        expected: &'static str,
    },
    /// A parameter twice, or two triggers.
    #[error(
        "fault `{kind}`: `{parameter}` is one too many; give each parameter once, and only one of p, every, at"
    )]
    Repeated {
        /// The fault.
        kind: &'static str,
        /// The parameter that came too late.
        parameter: &'static str,
    },
}

const PARAMETERS: [&str; 7] = ["p", "every", "at", "group", "count", "for", "code"];

impl FaultSpec {
    /// The fault `kind` at its first opportunity, once.
    pub fn once(kind: FaultKind) -> Self {
        FaultSpec {
            kind,
            trigger: Trigger::First,
            group: None,
            lasting: None,
            code: None,
            count: None,
        }
    }

    /// How often it may fire at most.
    pub fn limit(&self) -> u64 {
        self.count.unwrap_or(match self.trigger {
            Trigger::First | Trigger::At(_) => 1,
            Trigger::Probability(_) | Trigger::Every(_) => u64::MAX,
        })
    }

    fn set(
        &mut self,
        name: &'static str,
        value: &str,
        trigger_seen: bool,
    ) -> Result<(), FaultSpecError> {
        let kind = self.kind.name();
        let wrong = |expected| FaultSpecError::Value {
            kind,
            parameter: name,
            got: value.chars().take(60).collect(),
            expected,
        };
        let repeated = FaultSpecError::Repeated {
            kind,
            parameter: name,
        };
        if trigger_seen && matches!(name, "p" | "every" | "at")
            || name == "group" && self.group.is_some()
            || name == "count" && self.count.is_some()
            || name == "for" && self.lasting.is_some()
            || name == "code" && self.code.is_some()
        {
            return Err(repeated);
        }
        let whole = |text: &str| text.parse().ok().filter(|&number: &u64| number > 0);
        match name {
            "p" => {
                self.trigger = Trigger::Probability(
                    value
                        .parse()
                        .ok()
                        .filter(|&p: &f64| p > 0.0 && p <= 1.0)
                        .ok_or_else(|| wrong("a probability above 0 and at most 1, e.g. p=0.01"))?,
                );
            }
            "every" => {
                self.trigger = Trigger::Every(
                    whole(value)
                        .ok_or_else(|| wrong("a whole number from 1 on, e.g. every=1000"))?,
                );
            }
            "at" => {
                self.trigger = Trigger::At(
                    parse_duration(value)
                        .map_err(|_| wrong("a time since the hub's start, e.g. at=5s"))?,
                );
            }
            "group" if value.is_empty() => return Err(wrong("a group's name, e.g. group=group-0")),
            "group" => self.group = Some(value.to_owned()),
            "for" if self.kind.default_lasting().is_none() => {
                return Err(wrong("it without `for`: this fault does not last"));
            }
            "for" => {
                self.lasting = Some(
                    parse_duration(value)
                        .map_err(|_| wrong("how long it lasts, e.g. for=500ms"))?,
                );
            }
            "code" if self.kind != FaultKind::Close => {
                return Err(wrong("it without `code`: only `close` has one"));
            }
            "code" => {
                let code = value.parse().ok();
                let sendable = |code: &u16| matches!(code, 1000..=1003 | 1007..=1014 | 3000..=4999);
                self.code = Some(
                    code.filter(sendable)
                        .ok_or_else(|| wrong("a close code that may be sent, e.g. code=1001"))?,
                );
            }
            _ => {
                self.count = Some(
                    whole(value).ok_or_else(|| wrong("a whole number from 1 on, e.g. count=1"))?,
                );
            }
        }
        Ok(())
    }
}

impl FromStr for FaultSpec {
    type Err = FaultSpecError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let mut parts = text.split(',').map(str::trim);
        let name = parts.next().unwrap_or_default();
        let kind = FaultKind::from_name(name).ok_or_else(|| FaultSpecError::Kind {
            got: name.chars().take(60).collect(),
            nearest: FaultKind::nearest(name).name(),
        })?;
        let mut spec = FaultSpec::once(kind);
        let mut trigger_seen = false;
        for part in parts {
            let (name, value) = part.split_once('=').unwrap_or((part, ""));
            let Some(&known) = PARAMETERS.iter().find(|&&known| known == name) else {
                let nearest = PARAMETERS
                    .into_iter()
                    .max_by(|a, b| {
                        strsim::jaro_winkler(name, a).total_cmp(&strsim::jaro_winkler(name, b))
                    })
                    .unwrap_or("p");
                return Err(FaultSpecError::Parameter {
                    kind: kind.name(),
                    got: name.chars().take(60).collect(),
                    nearest,
                });
            };
            spec.set(known, value, trigger_seen)?;
            trigger_seen |= matches!(known, "p" | "every" | "at");
        }
        Ok(spec)
    }
}

impl fmt::Display for FaultSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.kind)?;
        match self.trigger {
            Trigger::First => {}
            Trigger::Probability(p) => write!(f, ",p={p}")?,
            Trigger::Every(n) => write!(f, ",every={n}")?,
            Trigger::At(at) => write!(f, ",at={}", format_duration(at))?,
        }
        if let Some(group) = &self.group {
            write!(f, ",group={group}")?;
        }
        if let Some(lasting) = self.lasting {
            write!(f, ",for={}", format_duration(lasting))?;
        }
        if let Some(code) = self.code {
            write!(f, ",code={code}")?;
        }
        if let Some(count) = self.count {
            write!(f, ",count={count}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_printed_is_read_back() {
        for text in [
            "drop",
            "drop,p=0.01",
            "corrupt,every=1000,group=group-0",
            "recovery_deny,at=5s,count=3",
            "stall,every=2,for=1m500ms",
            "close,code=4000",
        ] {
            assert_eq!(text.parse::<FaultSpec>().unwrap().to_string(), text);
        }
    }

    #[test]
    fn a_mistake_is_answered_with_what_would_be_right() {
        for (text, says) in [
            ("dorp", "`drop`"),
            ("", "unknown"),
            ("drop,probability=1", "`p`"),
            ("drop,evry=3", "`every`"),
            ("drop,p=2", "p=0.01"),
            ("drop,p", "p=0.01"),
            ("drop,every=0", "every=1000"),
            ("drop,at=5", "at=5s"),
            ("drop,count=x", "count=1"),
            ("drop,group=", "group=group-0"),
            ("drop,for=1s", "does not last"),
            ("stall,for=1", "for=500ms"),
            ("drop,code=1001", "only `close`"),
            ("close,code=1005", "code=1001"),
            ("drop,p=0.1,every=3", "one too many"),
            ("drop,count=1,count=2", "one too many"),
        ] {
            let error = text.parse::<FaultSpec>().unwrap_err().to_string();
            assert!(error.contains(says), "{text}: {error}");
        }
    }
}
