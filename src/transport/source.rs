//! Local addresses to connect from.
//!
//! One address has some 28,000 ports for one target (`net.ipv4.ip_local_port_range`); more
//! connections to it need more addresses. On Linux all of 127.0.0.0/8 is there without set-up.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr};
use std::str::FromStr;

/// The most addresses: a range that was mistyped must not fill the memory.
pub const SOURCES_MAX: usize = 1024;

/// Addresses that connections take turns in. At least one.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SourceAddresses(Vec<IpAddr>);

/// Why a list of addresses cannot be used.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum SourceError {
    /// Not an address.
    #[error("{0:?} is not an IP address; write e.g. 127.0.0.2-127.0.0.9 or 10.0.0.5,10.0.0.6")]
    NotAnAddress(String),
    /// A range that is not one of ascending IPv4 addresses.
    #[error("{0:?} is not a range: both ends must be IPv4 addresses, the lower one first")]
    NotARange(String),
    /// Too many.
    #[error("more than {SOURCES_MAX} addresses")]
    TooMany,
}

impl SourceAddresses {
    /// How many addresses, at least one.
    pub fn count(&self) -> usize {
        self.0.len()
    }

    /// The address for the `n`-th client: round robin, the same in every run.
    pub fn of(&self, n: u32) -> IpAddr {
        // At least one, by construction.
        self.0[n as usize % self.0.len()]
    }
}

impl FromStr for SourceAddresses {
    type Err = SourceError;

    fn from_str(text: &str) -> Result<Self, SourceError> {
        let mut all = Vec::new();
        for part in text.split(',').map(str::trim) {
            match part.split_once('-') {
                Some((first, last)) => {
                    let end = |text: &str| text.trim().parse::<Ipv4Addr>().map(u32::from);
                    let (Ok(first), Ok(last)) = (end(first), end(last)) else {
                        return Err(SourceError::NotARange(part.to_owned()));
                    };
                    if first > last {
                        return Err(SourceError::NotARange(part.to_owned()));
                    }
                    if (last - first) as usize >= SOURCES_MAX {
                        return Err(SourceError::TooMany);
                    }
                    all.extend((first..=last).map(|bits| IpAddr::V4(bits.into())));
                }
                None => all.push(
                    part.parse()
                        .map_err(|_| SourceError::NotAnAddress(part.to_owned()))?,
                ),
            }
        }
        if all.len() > SOURCES_MAX {
            return Err(SourceError::TooMany);
        }
        Ok(SourceAddresses(all))
    }
}

impl fmt::Display for SourceAddresses {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (n, address) in self.0.iter().enumerate() {
            write!(f, "{}{address}", if n == 0 { "" } else { "," })?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clients_take_turns_in_every_address_of_the_list() {
        let sources: SourceAddresses = "127.0.0.2-127.0.0.4, ::1".parse().unwrap();
        let taken: Vec<_> = (0..5).map(|n| sources.of(n).to_string()).collect();
        let expected = ["127.0.0.2", "127.0.0.3", "127.0.0.4", "::1", "127.0.0.2"];
        assert_eq!(taken, expected);
        assert_eq!(sources.to_string().parse(), Ok(sources));
    }

    #[test]
    fn what_is_no_address_is_refused_with_the_reason() {
        let refused = |text: &str| text.parse::<SourceAddresses>().unwrap_err();
        assert!(matches!(refused(""), SourceError::NotAnAddress(_)));
        assert!(matches!(refused("eth0"), SourceError::NotAnAddress(_)));
        for text in ["127.0.0.9-127.0.0.2", "::1-::2", "127.0.0.1-9"] {
            assert!(matches!(refused(text), SourceError::NotARange(_)), "{text}");
        }
        assert_eq!(refused("0.0.0.0-255.255.255.255"), SourceError::TooMany);
    }
}
