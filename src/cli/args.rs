//! Commands and flags: the one table. Defaults, ranges and units stand in the help texts.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use clap::{Parser, Subcommand, ValueEnum};
use secrecy::SecretString;

use crate::base::units::parse_duration;
use crate::hub::{FaultSpec, SystemEvents, UpstreamUrl};
use crate::transport::SourceList;

/// Load, soak and delivery verification for Azure Web PubSub and every hub that speaks its
/// client protocol.
#[derive(Debug, Parser)]
#[command(name = "hubstorm", version, max_term_width = 100)]
pub struct Args {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run a scenario and verify every delivery
    #[command(after_help = EXIT_CODES)]
    Run(Box<RunArgs>),
    /// Find every mistake in scenario files without running them
    Check(CheckArgs),
    /// Say what a scenario would take: connections, messages, bytes, service units, memory
    Explain(ExplainArgs),
    /// Print the JSON Schema of scenario files, for editors
    Schema,
    /// Serve the embedded hub by itself: a local stand-in for the service
    Hub(Box<HubArgs>),
    /// Show a saved result again, or tell one client's story
    Report(ReportArgs),
    /// Turn the embedded hub's faults on one at a time and show that each is named, and
    /// nothing else
    Selftest(SelftestArgs),
    /// Measure what this machine carries: the load generator against a raw socket loop
    BenchSelf(BenchArgs),
}

const EXIT_CODES: &str = "\
Exit codes:
  0    verified: no violation, every threshold met
  1    a violation was found, or a threshold missed
  2    bad usage or a bad scenario: nothing was started
  3    the target could not be reached, or refused every client
  4    inconclusive: part of the traffic could not be verified, or the generator was the bottleneck
  130  interrupted: drained, verified what was seen, and reported";

/// Flags of `run`.
#[derive(Debug, clap::Args)]
pub struct RunArgs {
    /// The scenario file, or preset:NAME, the published capacity (`explain preset:` lists them)
    pub scenario: PathBuf,
    /// Service units that a preset is made for, 1 to 100 [default: 1]
    #[arg(long, value_name = "N")]
    pub units: Option<u32>,
    /// Which of the file's variants
    #[arg(long, value_name = "NAME")]
    pub variant: Option<String>,
    /// Where to connect instead of where the scenario says: http(s)://, ws(s)://, or a
    /// client access URL with its token
    #[arg(long, value_name = "URL", value_parser = secret)]
    pub target: Option<SecretString>,
    /// A connection string, Endpoint=...;AccessKey=...;Version=1.0; unless --target is given
    #[arg(long, value_name = "S", env = "WEBPUBSUB_CONNECTION_STRING", hide_env_values = true, value_parser = secret)]
    pub connection_string: Option<SecretString>,
    /// Hub name
    #[arg(long, value_name = "NAME")]
    pub hub: Option<String>,
    /// Seed of every random choice [default: the scenario's, else drawn and printed]
    #[arg(long, value_name = "N")]
    pub seed: Option<String>,
    /// How long the load lasts, e.g. 30s
    #[arg(long, value_name = "D")]
    pub duration: Option<String>,
    /// What the hub is held to: `published` or `reference`
    #[arg(long, value_name = "PROFILE")]
    pub promise: Option<String>,
    /// The verifier's memory budget, e.g. 1GiB
    #[arg(long, value_name = "SIZE")]
    pub verify_memory: Option<String>,
    /// Multiplies the number of clients of every pool, e.g. 0.1
    #[arg(long, value_name = "FACTOR")]
    pub scale: Option<String>,
    /// Overrides a field of the scenario by its dotted path, e.g. pools.talkers.clients=10
    #[arg(long = "set", value_name = "KEY=VALUE")]
    pub set: Vec<String>,
    /// Where the results go [default: results/NAME-TIME/]
    #[arg(long, value_name = "DIR")]
    pub out: Option<PathBuf>,
    /// Serve Prometheus metrics here, e.g. 127.0.0.1:9100
    #[arg(long, value_name = "ADDR")]
    pub metrics: Option<SocketAddr>,
    /// Threads that drive clients [default: by the number of cores]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=256))]
    pub arbiters: Option<u32>,
    /// A fault of the embedded hub, `KIND[,p=P|every=N|at=T][,group=G][,count=N][,for=D][,code=C]`;
    /// `hubstorm hub --list-faults` explains them; repeatable
    #[arg(long, value_name = "SPEC")]
    pub hub_fault: Vec<FaultSpec>,
    /// Local addresses that clients take turns in, with commas between: 127.0.0.5, a range as
    /// 127.0.0.2-127.0.0.9, or an interface as eth0, which stands for all its IPv4 addresses
    /// (for a target written as an IPv6 address: its IPv6 ones); for more than 28,000
    /// connections to one target [default: the system's choice]
    #[arg(long, value_name = "ADDRESSES")]
    pub source_addresses: Option<SourceList>,
    /// Trust the certificate authorities in this PEM file, too
    #[arg(long, value_name = "FILE")]
    pub ca_file: Option<PathBuf>,
    /// Accept any TLS certificate
    #[arg(long)]
    pub insecure: bool,
    /// No progress
    #[arg(long, short)]
    pub quiet: bool,
    /// No colours; NO_COLOR in the environment does the same
    #[arg(long)]
    pub no_color: bool,
    /// What is logged to stderr
    #[arg(long, value_name = "LEVEL", default_value = "warn")]
    pub log: LogLevel,
}

/// Flags of `check`.
#[derive(Debug, clap::Args)]
pub struct CheckArgs {
    /// The scenario files
    #[arg(required = true)]
    pub scenarios: Vec<PathBuf>,
    /// Print the plan of faults: who, when, what
    #[arg(long)]
    pub plan: bool,
    /// The runs are meant for another box: do not ask whether this one has room for them
    #[arg(long)]
    pub elsewhere: bool,
}

/// Flags of `explain`.
#[derive(Debug, clap::Args)]
pub struct ExplainArgs {
    /// The scenario file, or preset:NAME, the published capacity (`preset:` alone lists them)
    pub scenario: PathBuf,
    /// Service units that a preset is made for, 1 to 100 [default: 1]
    #[arg(long, value_name = "N")]
    pub units: Option<u32>,
    /// Which of the file's variants
    #[arg(long, value_name = "NAME")]
    pub variant: Option<String>,
    /// Multiplies the number of clients of every pool, e.g. 0.1
    #[arg(long, value_name = "FACTOR")]
    pub scale: Option<String>,
    /// How long the load lasts, e.g. 30s
    #[arg(long, value_name = "D")]
    pub duration: Option<String>,
    /// Overrides a field of the scenario by its dotted path, e.g. pools.talkers.clients=10
    #[arg(long, value_name = "KEY=VALUE")]
    pub set: Vec<String>,
}

/// Flags of `hub`.
#[derive(Debug, clap::Args)]
pub struct HubArgs {
    /// Where to listen; port 0 takes a free one
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:8080", value_parser = listen_address)]
    pub listen: SocketAddr,
    /// Allow an address other than loopback
    #[arg(long)]
    pub expose: bool,
    /// Check the tokens of clients against this key
    #[arg(long, value_name = "K", env = "HUBSTORM_ACCESS_KEY", hide_env_values = true, value_parser = access_key)]
    pub access_key: Option<SecretString>,
    /// Take tokens signed with this key, too
    #[arg(long, value_name = "K", env = "HUBSTORM_SECONDARY_ACCESS_KEY", hide_env_values = true, value_parser = access_key, requires = "access_key")]
    pub secondary_access_key: Option<SecretString>,
    /// Let in clients without a token, too, with no role at all
    #[arg(long, requires = "access_key")]
    pub allow_anonymous: bool,
    /// Refuse connections beyond so many with 429 [default: no limit]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub max_connections: Option<u32>,
    /// Send events to this webhook; `{hub}` and `{event}` in it are replaced
    #[arg(long, value_name = "URL")]
    pub upstream: Option<UpstreamUrl>,
    /// Which events of its own the hub tells the webhook: some of connect, connected,
    /// disconnected, joined, left with commas between, or none
    #[arg(
        long,
        value_name = "LIST",
        default_value = "connect,connected,disconnected",
        requires = "upstream"
    )]
    pub system_events: SystemEvents,
    /// Who answers events when there is no webhook
    #[arg(long, value_name = "WHO", default_value = "echo")]
    pub events: Events,
    /// Serve by TLS with this certificate (PEM)
    #[arg(long, value_name = "FILE", requires = "tls_key")]
    pub tls_cert: Option<PathBuf>,
    /// The certificate's private key (PEM)
    #[arg(long, value_name = "FILE", requires = "tls_cert")]
    pub tls_key: Option<PathBuf>,
    /// Serve by TLS with a certificate made now, and write it here
    #[arg(long, value_name = "FILE", conflicts_with = "tls_cert")]
    pub tls_self_signed: Option<PathBuf>,
    /// Time between WebSocket pings, 1s to 120s; who is silent for two is cut off
    #[arg(long, value_name = "D", default_value = "20s", value_parser = keep_alive)]
    pub keep_alive: Duration,
    /// How long a dropped session can be recovered
    #[arg(long, value_name = "D", default_value = "30s", value_parser = parse_duration)]
    pub recovery_window: Duration,
    /// A fault, `KIND[,p=P|every=N|at=T][,group=G][,count=N][,for=D][,code=C]`; repeatable
    #[arg(long, value_name = "SPEC")]
    pub fault: Vec<FaultSpec>,
    /// Explain every kind of fault, and end
    #[arg(long)]
    pub list_faults: bool,
    /// Seed of the faults
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub seed: u64,
    /// Write what the hub really did here, at exit and on SIGUSR1
    #[arg(long, value_name = "FILE")]
    pub truth: Option<PathBuf>,
    /// What is logged to stderr
    #[arg(long, value_name = "LEVEL", default_value = "warn")]
    pub log: LogLevel,
}

/// Who answers events.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
pub enum Events {
    /// The hub itself: the payload comes back as a server message
    Echo,
    /// Nobody: events fail
    None,
}

/// Flags of `report`.
#[derive(Debug, clap::Args)]
pub struct ReportArgs {
    /// A report.json, or the folder with it
    pub result: PathBuf,
    /// Tell the story of the client in this slot: faults injected, incidents with all evidence
    #[arg(long, value_name = "ID")]
    pub client: Option<u32>,
    /// No colours; NO_COLOR in the environment does the same
    #[arg(long)]
    pub no_color: bool,
}

/// Flags of `selftest`.
#[derive(Debug, clap::Args)]
pub struct SelftestArgs {
    /// The short form, about a minute: shorter honest worlds, no row under churn
    #[arg(long)]
    pub short: bool,
    /// Only the rows under churn: each lie again while connections break and members come and go
    #[arg(long)]
    pub churn: bool,
    /// Seed of every row
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub seed: u64,
    /// Only this row: a fault's name, or one of the honest-* and own-* rows; repeatable
    #[arg(long, value_name = "FAULT")]
    pub only: Vec<String>,
    /// Rows that run at once
    #[arg(long, value_name = "N", default_value_t = 32, value_parser = at_once)]
    pub at_once: usize,
    /// Where the results of wrong rows stay [default: a folder for temporary files]
    #[arg(long, value_name = "DIR")]
    pub out: Option<PathBuf>,
    /// Overrides a field of every row's scenario, as with `run`; `verify.mode=counts` must fail
    #[arg(long = "set", value_name = "KEY=VALUE")]
    pub set: Vec<String>,
    /// What is logged to stderr
    #[arg(long, value_name = "LEVEL", default_value = "error")]
    pub log: LogLevel,
}

/// Reads how many rows run at once.
fn at_once(text: &str) -> Result<usize, String> {
    text.parse()
        .ok()
        .filter(|n| (1..=64).contains(n))
        .ok_or_else(|| "write a number from 1 to 64".to_owned())
}

/// Flags of `bench-self`.
#[derive(Debug, clap::Args)]
pub struct BenchArgs {
    /// Clients
    #[arg(long, value_name = "N", default_value_t = 1000, value_parser = clap::value_parser!(u64).range(1..=1_000_000))]
    pub clients: u64,
    /// Members of each group
    #[arg(long, value_name = "N", default_value_t = 10, value_parser = clap::value_parser!(u64).range(1..=1_000_000))]
    pub group: u64,
    /// Deliveries per second, all clients together
    #[arg(long, value_name = "N", default_value_t = 10_000, value_parser = clap::value_parser!(u64).range(1..=100_000_000))]
    pub deliveries: u64,
    /// How long each half measures, s
    #[arg(long, value_name = "N", default_value_t = 10, value_parser = clap::value_parser!(u64).range(1..=86_400))]
    pub seconds: u64,
    /// How often both halves are measured
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u64).range(1..=100))]
    pub rounds: u64,
    /// Leave the raw loop out
    #[arg(long)]
    pub no_raw: bool,
    /// Measure one figure alone, at its own size
    #[arg(long, value_name = "FIGURE")]
    pub only: Option<BenchFigure>,
    /// One part by itself, against the hub at --hub; prints JSON
    #[arg(long, hide = true, requires = "hub")]
    pub part: Option<BenchPart>,
    /// Where the hub of --part listens
    #[arg(long, hide = true, requires = "part")]
    pub hub: Option<String>,
    /// The load of --part, as JSON
    #[arg(long, hide = true, requires = "part")]
    pub load: Option<String>,
}

/// One part of `bench-self`, in a process of its own.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
pub enum BenchPart {
    /// The raw loop
    Raw,
    /// The load generator
    Whole,
    /// One connection that is flooded
    Flood,
    /// The same, only read
    RawFlood,
}

/// A figure of `bench-self`.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
pub enum BenchFigure {
    /// CPU time per delivery at 1,000, 9,000 and 18,000 clients, at one rate and at one rate per client (3 min)
    Cpu,
    /// Memory per client, plain and with TLS (2 min a round)
    Memory,
    /// What one arbiter takes in, messages/s (10 s)
    Flood,
    /// The highest rate that arrives, for the raw loop too, and what ended it (3 min)
    Knee,
    /// 70,000 deliveries/s with the hub in the same process (20 s)
    Embedded,
    /// How long 9,000 clients take to connect and join (20 s)
    Connect,
    /// What the forecast counts with, each measured by two runs (5 min a round)
    Prices,
    /// The delay of the generator itself (15 s)
    Echo,
}

/// How much is logged.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
pub enum LogLevel {
    /// Nothing
    Off,
    /// What fails the run
    Error,
    /// What a person should know
    Warn,
    /// Phases
    Info,
    /// State changes of clients
    Debug,
    /// Everything
    Trace,
}

/// Reads a secret, so that no error or debug print can show it.
fn secret(text: &str) -> Result<SecretString, std::convert::Infallible> {
    Ok(SecretString::from(text))
}

/// Reads an access key. An empty one is refused: it stands for a variable that was not set,
/// not for a key.
fn access_key(text: &str) -> Result<SecretString, &'static str> {
    if text.is_empty() {
        return Err("the key is empty; leave the flag and its variable out to take everyone");
    }
    Ok(SecretString::from(text))
}

/// Reads where to listen; `localhost` stands for 127.0.0.1.
fn listen_address(text: &str) -> Result<SocketAddr, &'static str> {
    let text = match text.strip_prefix("localhost:") {
        Some(port) => format!("127.0.0.1:{port}"),
        None => text.to_owned(),
    };
    text.parse()
        .map_err(|_| "write ADDRESS:PORT, e.g. 127.0.0.1:8080, or 127.0.0.1:0 for a free port")
}

/// Reads the time between pings, as the service's setting bounds it.
fn keep_alive(text: &str) -> Result<Duration, String> {
    let period = parse_duration(text).map_err(|error| error.to_string())?;
    let allowed = Duration::from_secs(1)..=Duration::from_secs(120);
    if allowed.contains(&period) {
        Ok(period)
    } else {
        Err("write a time from 1s to 120s".to_owned())
    }
}

/// Whether an address can be reached from other machines.
pub(super) fn is_exposed(address: SocketAddr) -> bool {
    match address.ip() {
        IpAddr::V4(ip) => !ip.is_loopback(),
        IpAddr::V6(ip) => !ip.is_loopback(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;
    use std::str::FromStr;

    #[test]
    fn the_table_of_flags_is_consistent() {
        Args::command().debug_assert();
    }

    #[test]
    fn secrets_show_neither_in_debug_nor_in_errors() {
        let canary = "c4n4ry-key";
        let args = Args::try_parse_from(["hubstorm", "hub", "--access-key", canary]).unwrap();
        assert!(!format!("{args:?}").contains(canary));
        let error = Args::try_parse_from(["hubstorm", "hub", "--access-key", canary, "--nonsense"])
            .unwrap_err();
        assert!(!error.to_string().contains(canary));
    }

    #[test]
    fn only_loopback_is_not_exposed() {
        for (address, exposed) in [
            ("127.0.0.1:1", false),
            ("[::1]:1", false),
            ("0.0.0.0:1", true),
            ("10.0.0.1:1", true),
        ] {
            assert_eq!(
                is_exposed(SocketAddr::from_str(address).unwrap()),
                exposed,
                "{address}"
            );
        }
    }
}
