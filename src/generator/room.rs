//! Whether this box has room for a scenario: open files, ports, memory. Asked before anything
//! starts; what would fail in the middle of a run is said with how to mend it.

use std::fmt;

use procfs::{Current as _, Meminfo};

use super::fds::needed_fds;
use super::forecast::needed_memory;
use super::prices;
use crate::scenario::{Scenario, TargetSpec};

/// Where Linux says which ports connections come from.
const PORT_RANGE: &str = "/proc/sys/net/ipv4/ip_local_port_range";

/// What there is. A field that cannot be read is `None`, and then nothing is said about it.
#[derive(Clone, Copy, Debug, Default)]
pub struct Machine {
    /// Open files that this process may have at the most.
    pub files: Option<u64>,
    /// Bytes of memory to be had without swapping.
    pub memory: Option<u64>,
    /// Ports that connections from one address to one target can come from.
    pub ports: Option<u64>,
}

impl Machine {
    /// The box that this process runs on.
    pub fn this() -> Self {
        let hard = rlimit::getrlimit(rlimit::Resource::NOFILE);
        let range = std::fs::read_to_string(PORT_RANGE);
        Machine {
            files: hard.ok().map(|(_, hard)| hard),
            memory: Meminfo::current().ok().and_then(|info| info.mem_available),
            ports: range.ok().and_then(|text| ports(&text)),
        }
    }
}

/// The size of a range, as the kernel writes it: `32768   60999`.
fn ports(text: &str) -> Option<u64> {
    let mut ends = text.split_whitespace().map(str::parse::<u64>);
    let (first, last) = (ends.next()?.ok()?, ends.next()?.ok()?);
    (first <= last).then_some(last - first + 1)
}

/// Something that a box has too little of.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Lack {
    /// What it is.
    pub of: Resource,
    /// How much of it the scenario needs.
    pub needed: u64,
    /// How much there is.
    pub there: u64,
}

/// What a box can have too little of.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Resource {
    /// Open files.
    Files,
    /// Bytes of memory.
    Memory,
    /// Ports to connect from.
    Ports,
}

/// How to have fewer clients, in each command that says so.
pub(super) const FEWER: &str = "`--scale`; with bench-self `--clients`";

impl fmt::Display for Lack {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Lack { of, needed, there } = self;
        match of {
            Resource::Files => write!(
                f,
                "the scenario needs {needed} open files but this process may open {there} at the most: \
                 raise the hard limit (`ulimit -Hn {needed}`) or run fewer clients ({FEWER})"
            ),
            Resource::Memory => write!(
                f,
                "the scenario needs about {} MiB of memory and {} MiB are free: \
                 run fewer clients ({FEWER}), or run it on a larger box",
                needed >> 20,
                there >> 20
            ),
            Resource::Ports => write!(
                f,
                "the scenario opens {needed} connections to one target and this box has {there} ports for them: \
                 connect from more addresses (`--source-addresses 127.0.0.1-127.0.0.{}`), widen \
                 net.ipv4.ip_local_port_range, or run fewer clients ({FEWER})",
                needed.div_ceil(*there.max(&1)).clamp(2, 254)
            ),
        }
    }
}

/// Everything that `machine` has too little of for `scenario`, whose clients connect from
/// `addresses` addresses.
pub fn lacks(scenario: &Scenario, addresses: u64, machine: &Machine) -> Vec<Lack> {
    let ends = match scenario.target {
        TargetSpec::Embedded { .. } => 2,
        _ => 1,
    };
    let files = needed_fds(scenario);
    // The open files, less those that are no sockets or the hub's ends.
    let connections = super::fds::needed_sockets(scenario) / ends;
    // Of a connection one end is here, or both with the embedded hub.
    let kernel = (connections * ends) as f64 * prices::KERNEL * 1024.0 / 2.0;
    let memory = needed_memory(scenario) + kernel as u64;
    let ports = machine.ports.map(|ports| ports * addresses.max(1));
    [
        (Resource::Files, files, machine.files),
        (Resource::Memory, memory, machine.memory),
        (Resource::Ports, connections, ports),
    ]
    .into_iter()
    .filter_map(|(of, needed, there)| {
        let there = there.filter(|there| needed > *there)?;
        Some(Lack { of, needed, there })
    })
    .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scenario::{Overrides, parse};

    fn of(clients: u32) -> Scenario {
        let text = format!(
            "{{seed: 1, duration: 30s, pools: {{a: {{clients: {clients}}}}}, chaos: [{{kind: reset, at: 5s, share: 10%}}]}}"
        );
        parse(&text, "t.yaml", &Overrides::default(), &|_| None)
            .unwrap_or_else(|wrong| panic!("{wrong}"))
    }

    #[test]
    fn a_plan_too_large_for_the_box_is_told_with_each_resource_and_its_mend() {
        let machine = Machine {
            files: Some(1 << 20),
            memory: Some(1 << 30),
            ports: ports("32768\t60999\n"),
        };
        assert_eq!(machine.ports, Some(28_232));
        assert!(lacks(&of(20_000), 1, &machine).is_empty());
        let told = |clients, addresses| -> Vec<Resource> {
            let lacks = lacks(&of(clients), addresses, &machine);
            for lack in &lacks {
                let text = lack.to_string();
                assert!(
                    text.contains("`--scale`; with bench-self `--clients`"),
                    "{text}"
                );
            }
            lacks.iter().map(|lack| lack.of).collect()
        };
        assert_eq!(told(30_000, 1), [Resource::Ports]);
        assert_eq!(told(30_000, 2), []);
        assert_eq!(told(90_000, 8), [Resource::Memory]);
        assert_eq!(
            told(600_000, 1),
            [Resource::Files, Resource::Memory, Resource::Ports]
        );
        let few = lacks(&of(30_000), 1, &machine)[0].to_string();
        assert!(few.contains("127.0.0.1-127.0.0.2"), "{few}");
    }

    #[test]
    fn what_cannot_be_read_is_not_complained_about() {
        assert!(lacks(&of(1 << 20), 1, &Machine::default()).is_empty());
        assert_eq!(ports("nonsense"), None);
    }

    #[test]
    fn this_box_can_be_asked() {
        let machine = Machine::this();
        assert!(machine.files.is_some_and(|files| files > 0));
        assert!(machine.memory.is_some_and(|memory| memory > 1 << 20));
        assert!(machine.ports.is_some_and(|ports| ports > 0));
    }
}
