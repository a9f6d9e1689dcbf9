//! Local addresses to connect from.
//!
//! One address has some 28,000 ports for one target (`net.ipv4.ip_local_port_range`); more
//! connections to it need more addresses. On Linux all of 127.0.0.0/8 is there without set-up.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, UdpSocket};
use std::str::FromStr;

/// The most addresses: a range that was mistyped must not fill the memory.
pub const SOURCES_MAX: usize = 1024;

/// What connections take turns in: addresses, ranges of them and interfaces, as written.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SourceList {
    text: String,
    parts: Vec<Part>,
}

#[derive(Clone, PartialEq, Eq, Debug)]
enum Part {
    Addresses(Vec<IpAddr>),
    Interface { name: String, has: Vec<IpAddr> },
}

/// Addresses that connections take turns in. At least one.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SourceAddresses(Vec<IpAddr>);

/// Why a list of addresses cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum SourceError {
    /// Neither an address nor an interface.
    #[error(
        "{given:?} is neither an IP address nor an interface of this machine ({}); \
         write e.g. 127.0.0.2-127.0.0.9, 10.0.0.5,10.0.0.6 or an interface's name",
        .interfaces.join(", ")
    )]
    Unknown {
        /// What was written.
        given: String,
        /// The interfaces that there are.
        interfaces: Vec<String>,
    },
    /// A range that is not one of ascending IPv4 addresses.
    #[error("{0:?} is not a range: both ends must be IPv4 addresses, the lower one first")]
    NotARange(String),
    /// Too many.
    #[error("more than {SOURCES_MAX} addresses")]
    TooMany,
    /// An interface without an address of the target's family.
    #[error("interface {name} has no {family} address, as the target needs; name another")]
    NoneOfFamily {
        /// The interface.
        name: String,
        /// What the target needs.
        family: &'static str,
    },
    /// Nothing can connect from there.
    #[error("{address} cannot be connected from: {source}; is it an address of this machine?")]
    NotOurs {
        /// The address.
        address: IpAddr,
        /// Why.
        source: std::io::Error,
    },
}

impl SourceList {
    /// Reads a list with commas between: addresses, ranges, and the names of `interfaces`,
    /// which come with their addresses.
    fn read(text: &str, interfaces: &[(String, Vec<IpAddr>)]) -> Result<Self, SourceError> {
        let part = |part: &str| -> Result<Part, SourceError> {
            if let Some((name, has)) = interfaces.iter().find(|(name, _)| name == part) {
                return Ok(Part::Interface {
                    name: name.clone(),
                    has: has.clone(),
                });
            }
            if let Ok(address) = part.parse() {
                return Ok(Part::Addresses(vec![address]));
            }
            let ends = part.split_once('-');
            match ends.map(|(first, last)| (first.trim(), last.trim())) {
                Some((first, last)) if first.parse::<IpAddr>().is_ok() => range(first, last)
                    .ok_or_else(|| SourceError::NotARange(part.to_owned()))?
                    .map(Part::Addresses),
                _ => Err(SourceError::Unknown {
                    given: part.to_owned(),
                    interfaces: interfaces.iter().map(|(name, _)| name.clone()).collect(),
                }),
            }
        };
        let parts = text.split(',').map(str::trim).map(part);
        Ok(SourceList {
            text: text.to_owned(),
            parts: parts.collect::<Result<_, _>>()?,
        })
    }

    /// The addresses, for a target of IPv6 or of IPv4: an interface gives those of that
    /// family. Each is tried once, so that nobody waits for connects that cannot succeed.
    ///
    /// # Errors
    /// An interface has no such address, an address is none of this machine, or there are
    /// too many.
    pub fn resolve(&self, ipv6: bool) -> Result<SourceAddresses, SourceError> {
        let mut all = Vec::new();
        for part in &self.parts {
            match part {
                Part::Addresses(addresses) => all.extend(addresses),
                Part::Interface { name, has } => {
                    let before = all.len();
                    all.extend(has.iter().filter(|address| address.is_ipv6() == ipv6));
                    if all.len() == before {
                        return Err(SourceError::NoneOfFamily {
                            name: name.clone(),
                            family: if ipv6 { "IPv6" } else { "IPv4" },
                        });
                    }
                }
            }
        }
        if all.len() > SOURCES_MAX {
            return Err(SourceError::TooMany);
        }
        for &address in &all {
            UdpSocket::bind((address, 0))
                .map_err(|source| SourceError::NotOurs { address, source })?;
        }
        Ok(SourceAddresses(all))
    }
}

/// The addresses of a range; `None`: it is none.
fn range(first: &str, last: &str) -> Option<Result<Vec<IpAddr>, SourceError>> {
    let end = |text: &str| text.parse::<Ipv4Addr>().map(u32::from).ok();
    let (first, last) = (end(first)?, end(last)?);
    let further = last.checked_sub(first)?;
    Some(match further as usize {
        SOURCES_MAX.. => Err(SourceError::TooMany),
        _ => Ok((first..=last).map(|bits| IpAddr::V4(bits.into())).collect()),
    })
}

/// The interfaces of this machine with the addresses to connect from. Addresses that mean
/// something on their own link only would need its number, too, and are left out.
fn interfaces() -> Vec<(String, Vec<IpAddr>)> {
    let mut found: Vec<(String, Vec<IpAddr>)> = Vec::new();
    // Without the list there are just no names to know.
    for interface in nix::ifaddrs::getifaddrs().into_iter().flatten() {
        let address = interface.address.as_ref();
        let v4 = address.and_then(|a| Some(IpAddr::V4(a.as_sockaddr_in()?.ip())));
        let v6 = address.and_then(|a| Some(a.as_sockaddr_in6()?.ip()));
        let v6 = v6.filter(|v6| !v6.is_unicast_link_local()).map(IpAddr::V6);
        let name = interface.interface_name;
        let at = match found.iter().position(|(known, _)| *known == name) {
            Some(at) => at,
            None => {
                found.push((name, Vec::new()));
                found.len() - 1
            }
        };
        found[at].1.extend(v4.or(v6));
    }
    found
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

impl FromStr for SourceList {
    type Err = SourceError;

    fn from_str(text: &str) -> Result<Self, SourceError> {
        SourceList::read(text, &interfaces())
    }
}

impl fmt::Display for SourceList {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn machine() -> Vec<(String, Vec<IpAddr>)> {
        let of = |name: &str, addresses: &[&str]| {
            let addresses = addresses.iter().map(|text| text.parse().unwrap());
            (name.to_owned(), addresses.collect())
        };
        vec![
            of("lo", &["127.0.0.1", "::1"]),
            of("br-7f", &["127.0.0.8", "127.0.0.9"]),
            of("wg0", &[]),
        ]
    }

    fn taken(text: &str, ipv6: bool) -> Vec<String> {
        let list = SourceList::read(text, &machine()).unwrap();
        assert_eq!(list.to_string(), text, "to be given again");
        let sources = list.resolve(ipv6).unwrap();
        let turns = 0..=sources.count() as u32;
        turns.map(|n| sources.of(n).to_string()).collect()
    }

    #[test]
    fn clients_take_turns_in_every_address_of_the_list() {
        let expected = [
            "127.0.0.2",
            "127.0.0.3",
            "127.0.0.4",
            "127.0.0.7",
            "127.0.0.2",
        ];
        assert_eq!(taken("127.0.0.2-127.0.0.4, 127.0.0.7", false), expected);
    }

    #[test]
    fn an_interface_stands_for_its_addresses_of_the_targets_family() {
        assert_eq!(taken("lo", false), ["127.0.0.1", "127.0.0.1"]);
        let mixed = ["127.0.0.8", "127.0.0.9", "127.0.0.2", "127.0.0.8"];
        assert_eq!(taken("br-7f,127.0.0.2", false), mixed);
        let none = |text: &str, ipv6| {
            let list = SourceList::read(text, &machine()).unwrap();
            list.resolve(ipv6).unwrap_err().to_string()
        };
        assert!(none("br-7f", true).contains("br-7f has no IPv6 address"));
        assert!(none("wg0", false).contains("wg0 has no IPv4 address"));
        // And this machine's own, really asked for.
        let lo = "lo".parse::<SourceList>().unwrap().resolve(false).unwrap();
        assert!(lo.of(0).is_loopback(), "{lo:?}");
    }

    #[test]
    fn an_address_of_another_machine_is_refused_at_once_by_its_name() {
        // For documentation: nobody has it.
        let list = SourceList::read("127.0.0.1,192.0.2.7", &machine()).unwrap();
        let error = list.resolve(false).unwrap_err().to_string();
        assert!(
            error.starts_with("192.0.2.7 cannot be connected from"),
            "{error}"
        );
    }

    #[test]
    fn what_is_no_address_is_refused_with_what_there_is() {
        let refused = |text: &str| SourceList::read(text, &machine()).unwrap_err();
        for text in ["", "eth-9", "127.0.0.1,eth0"] {
            let error = refused(text);
            assert!(matches!(error, SourceError::Unknown { .. }), "{text}");
            assert!(error.to_string().contains("(lo, br-7f, wg0)"), "{error}");
        }
        for text in ["127.0.0.9-127.0.0.2", "::1-::2", "127.0.0.1-9"] {
            assert!(matches!(refused(text), SourceError::NotARange(_)), "{text}");
        }
        let all = refused("0.0.0.0-255.255.255.255");
        assert!(matches!(all, SourceError::TooMany), "{all}");
    }
}
