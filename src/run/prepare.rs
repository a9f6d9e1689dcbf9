//! Everything that can fail before anything is started, and what follows after the end.

use std::io::IsTerminal as _;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use secrecy::{ExposeSecret as _, SecretString};

use crate::base::Clock;
use crate::base::Slot;
use crate::chaos;
use crate::client::shared::user_id;
use crate::client::{Directory, Sabotage, SharedConfig};
use crate::exporter::ExporterState;
use crate::exporter::{self, MetricsServer};
use crate::generator;
use crate::hub::{DEVELOPMENT_KEY, FaultSpec, Hub, HubConfig};
use crate::report::terminal::Paint;
use crate::report::write::WriteError;
use crate::report::{Results, ResultsDir, RunFacts, RunInfo};
use crate::scenario::{self, Destination, Scenario, TargetSpec};
use crate::transport::{
    Dialer, SourceAddresses, SourceError, SourceList, Target, TargetError, TlsError, TlsOptions,
};
use crate::verify;

use super::execute::{Job, execute};
use super::watch::{Shown, Watch, show};

/// A client that acknowledges as seldom as this by its scenario may lose its session for it.
const ACKS_SLOW: Duration = Duration::from_secs(1);

/// What a run needs beside its scenario.
#[derive(Debug, Default)]
pub struct Options {
    /// Where results go; `None`: a folder by name and time below `results/`.
    pub out: Option<PathBuf>,
    /// Where to serve metrics; `None`: nowhere.
    pub metrics: Option<SocketAddr>,
    /// Threads that drive clients; `None`: by the number of cores.
    pub arbiters: Option<u32>,
    /// Faults of the embedded hub.
    pub hub_faults: Vec<FaultSpec>,
    /// How TLS certificates are judged.
    pub tls: TlsOptions,
    /// Where clients connect from; `None`: the kernel chooses.
    pub sources: Option<SourceList>,
    /// No progress.
    pub quiet: bool,
    /// No summary on stdout at the end.
    pub no_summary: bool,
    /// No colours.
    pub no_color: bool,
    /// How to run this again, without the seed.
    pub again: String,
}

/// Why nothing was started.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// The target makes no sense.
    #[error("target: {0}")]
    Target(#[from] TargetError),
    /// There is no connecting from there.
    #[error("--source-addresses: {0}")]
    Sources(#[from] SourceError),
    /// The TLS options cannot be used.
    #[error("TLS: {0}")]
    Tls(#[from] TlsError),
    /// The results folder cannot be used.
    #[error(transparent)]
    Results(#[from] WriteError),
    /// This box is too small.
    #[error("{}", lines(.0))]
    NoRoom(Vec<generator::Lack>),
    /// Not enough file descriptors.
    #[error(transparent)]
    Descriptors(#[from] generator::FdError),
    /// The metrics endpoint cannot listen.
    #[error("metrics endpoint {addr}: {source}; choose another address with --metrics")]
    Metrics {
        /// Where.
        addr: SocketAddr,
        /// Why.
        source: std::io::Error,
    },
    /// The embedded hub cannot start.
    #[error("embedded hub: {0}")]
    Hub(#[from] crate::hub::HubError),
    /// Faults of the embedded hub were asked for, and the target is another.
    #[error(
        "--hub-fault works on the embedded hub only, and the target is {0}; leave out one of them"
    )]
    FaultsElsewhere(String),
}

fn lines(lacks: &[generator::Lack]) -> String {
    let lines: Vec<String> = lacks.iter().map(ToString::to_string).collect();
    lines.join("\n")
}

/// Runs a scenario and writes its report.
///
/// # Errors
/// Nothing was started; the error says how to mend it. What goes wrong later is in the
/// results.
pub fn run(scenario: Scenario, options: &Options) -> Result<Results, RunError> {
    run_with(scenario, options, None)
}

/// The same, while the harness does something to itself: for the selftest.
pub(crate) fn run_with(
    scenario: Scenario,
    options: &Options,
    sabotage: Option<Sabotage>,
) -> Result<Results, RunError> {
    let clock = Clock::start();
    let started_at = clock.wall(clock.now());
    let scenario = Arc::new(scenario);
    let sources = (options.sources.as_ref())
        .map(|list| list.resolve(is_ipv6(&scenario.target)))
        .transpose()?;
    let addresses = sources.as_ref().map_or(1, SourceAddresses::count);
    let lacks = generator::lacks(&scenario, addresses as u64, &generator::Machine::this());
    if !lacks.is_empty() {
        return Err(RunError::NoRoom(lacks));
    }
    generator::ensure_fds(generator::needed_fds(&scenario))?;
    Dialer::new(&options.tls)?;
    let dir = match &options.out {
        Some(path) => ResultsDir::open(path)?,
        None => ResultsDir::open_new(&PathBuf::from("results"), &scenario.name, started_at)?,
    };
    let (target, hub) = target(&scenario, options, clock)?;
    let plan = Arc::new(chaos::plan(&scenario));
    // Two runs with one seed must not take each other's messages for their own.
    let run_id = scenario
        .seed
        .stream("run", clock.unix_now() ^ u64::from(std::process::id()));
    let run_number = run_number(run_id);
    let info = RunInfo {
        id: format!("{run_number:08x}"),
        name: scenario.name.clone(),
        seed: scenario.seed.0,
        version: env!("CARGO_PKG_VERSION").into(),
        started_at,
        duration_s: 0.0,
        load_s: 0.0,
        target: if hub.is_some() {
            "embedded".into()
        } else {
            target.display()
        },
        protocol: protocols(&scenario),
        load: loops(&scenario).into(),
        plan_hash: plan.hash.clone(),
    };
    let arbiters = arbiters(options.arbiters, hub.is_some(), &scenario);
    let verify = Arc::new(verify_plan(
        &scenario,
        run_number,
        &target,
        &plan,
        arbiters,
        hub.is_some(),
    ));
    let exporter = ExporterState::new(info.id.clone(), &scenario).shared();
    let metrics = options
        .metrics
        .map(|addr| serve_metrics(addr, exporter.clone()))
        .transpose()?;
    dir.write_scenario(&scenario::to_yaml(&scenario))?;
    let shown = Shown {
        quiet: options.quiet,
        lies: options.hub_faults.iter().map(ToString::to_string).collect(),
        progress: Paint::detect(std::io::stderr().is_terminal(), options.no_color),
    };
    let watch = Watch::new(&scenario, &info, &dir, exporter, metrics.as_ref(), shown)?;
    let job = Job {
        shared: SharedConfig {
            clock,
            scenario: scenario.clone(),
            run: run_number,
            target: Arc::new(target),
            tls: options.tls.clone(),
            sources: sources.map(Arc::new),
            directory: Arc::new(Directory::new(&scenario)),
            sabotage,
        },
        plan,
        verify,
        hub,
        arbiters,
    };
    let (finished, mut watch) = execute(job, watch);
    let duration_s = (clock.now() - crate::base::Time::ZERO).as_secs_f64();
    let mut verification = finished.verification;
    verification.inconclusive.extend(finished.doubts);
    let mut failures = finished.failures;
    failures.extend(finished.given_up);
    let results = Results::build(RunFacts {
        run: RunInfo {
            duration_s,
            load_s: finished.load.as_secs_f64(),
            ..info
        },
        scenario: &scenario,
        snapshot: &finished.snapshot,
        connected_peak: finished.connected_peak,
        away_at_end: finished.away_at_end,
        verification: &verification,
        hub_truth: finished
            .truth
            .and_then(|truth| serde_json::to_value(truth).ok()),
        timeline: watch
            .take_timeline()
            .finish(verification.violations.total()),
        generator: watch.generator(&finished.snapshot),
        interrupted: finished.interrupted,
        unreachable: finished.unreachable.then(|| unreachable(&finished.notes)),
        windows: watch.worst(),
        failures,
    });
    if metrics.is_some()
        && let Some(page) = watch.last_page(&finished.snapshot, &verification, &results.groups)
    {
        dir.write_metrics(&page)?;
    }
    let paint = Paint::detect(std::io::stdout().is_terminal(), options.no_color);
    watch.finish(&dir, &results)?;
    if !options.no_summary {
        show(&dir, &results, &options.again, paint);
    }
    Ok(results)
}

fn serve_metrics(
    addr: SocketAddr,
    state: exporter::SharedState,
) -> Result<MetricsServer, RunError> {
    exporter::serve(addr, state).map_err(|source| RunError::Metrics { addr, source })
}

fn run_number(mut rng: rand_chacha::ChaCha8Rng) -> u32 {
    use rand_chacha::rand_core::Rng as _;
    rng.next_u32()
}

fn unreachable(notes: &[String]) -> String {
    match notes.last() {
        Some(last) => format!("no client got a connection; the last error: {last}"),
        None => "no client got a connection, and no attempt came to an end".into(),
    }
}

fn protocols(scenario: &Scenario) -> String {
    let mut names: Vec<_> = scenario
        .pools
        .iter()
        .map(|pool| pool.protocol.name())
        .collect();
    names.sort_unstable();
    names.dedup();
    names.join(", ")
}

/// Whether clients publish by their schedules or wait for the hub.
fn loops(scenario: &Scenario) -> &'static str {
    let publishers = || scenario.pools.iter().filter_map(|p| p.publish.as_ref());
    let open = publishers().any(|publish| publish.after_ack.is_none());
    let closed = publishers().any(|publish| publish.after_ack.is_some());
    match (open, closed) {
        (true, true) => "mixed",
        (true, false) => "open",
        (false, true) => "closed",
        (false, false) => "none",
    }
}

/// Whether the target is written as an IPv6 address.
fn is_ipv6(target: &TargetSpec) -> bool {
    let written = match target {
        TargetSpec::Embedded { .. } => "",
        TargetSpec::Endpoint { url, .. } => url,
        TargetSpec::ConnectionString { value, .. } => value.expose_secret(),
        TargetSpec::ClientAccessUrl(url) => url.expose_secret(),
    };
    written.contains("://[")
}

/// Where the clients connect; starts the embedded hub when that is the target.
fn target(
    scenario: &Scenario,
    options: &Options,
    clock: Clock,
) -> Result<(Target, Option<Hub>), RunError> {
    let target = match &scenario.target {
        TargetSpec::Embedded { hub } => {
            let mut config = HubConfig::new(
                (Ipv4Addr::LOCALHOST, 0).into(),
                scenario.seed.child("hub"),
                clock,
            );
            // The published key of the official emulator, no secret: clients have user ids and
            // roles, as with the service.
            config.access_key = Some(SecretString::from(DEVELOPMENT_KEY));
            config.faults = options.hub_faults.clone();
            let running = Hub::start(config)?;
            let key = Some(SecretString::from(DEVELOPMENT_KEY));
            let target = Target::from_endpoint(&format!("http://{}", running.addr()), hub, key)?;
            return Ok((target, Some(running)));
        }
        TargetSpec::Endpoint {
            url,
            hub,
            access_key,
        } => Target::from_endpoint(url, hub, access_key.clone())?,
        TargetSpec::ConnectionString { value, hub } => Target::from_connection_string(value, hub)?,
        TargetSpec::ClientAccessUrl(url) => Target::from_client_access_url(url)?,
    };
    if !options.hub_faults.is_empty() {
        return Err(RunError::FaultsElsewhere(target.display()));
    }
    Ok((target, None))
}

/// One thread per core that the hub leaves, at least one; no more than clients.
fn arbiters(wanted: Option<u32>, embedded: bool, scenario: &Scenario) -> u32 {
    let cores = std::thread::available_parallelism()
        .map_or(1, |cores| u32::try_from(cores.get()).unwrap_or(1));
    let by_cores = cores.saturating_sub(1 + u32::from(embedded)).max(1);
    wanted.unwrap_or(by_cores).min(scenario.clients().max(1))
}

fn verify_plan(
    scenario: &Scenario,
    run: u32,
    target: &Target,
    plan: &chaos::Plan,
    arbiters: u32,
    exclusive: bool,
) -> verify::Plan {
    let mut slots = Vec::with_capacity(scenario.clients() as usize);
    let audiences = scenario::Audiences::of(scenario);
    for (number, pool) in (0..).zip(&scenario.pools) {
        let owed = |to: &Destination| !matches!(to, Destination::Event { reply: false, .. });
        let publish = pool.publish.as_ref().filter(|publish| owed(&publish.to));
        let event = |to: &Destination| matches!(to, Destination::Event { .. });
        for slot in pool.slots() {
            slots.push(verify::SlotPlan {
                pool: number,
                user_id: (target.mints_tokens() && pool.client.user_ids && !pool.server)
                    .then(|| user_id(scenario.user_of(Slot(slot))).into()),
                reliable: pool.protocol.is_reliable(),
                no_echo: publish.is_some_and(|publish| publish.no_echo && !event(&publish.to)),
                hears: match pool.server {
                    true => Vec::new(),
                    false => audiences.heard_by(Slot(slot)),
                },
                data_type: publish.map(|publish| publish.payload.data_type),
                withholds_acks: pool.client.session.sequence_ack.interval >= ACKS_SLOW,
            });
        }
    }
    let withheld = plan
        .injections
        .iter()
        .filter(|injection| injection.kind == scenario::ChaosKind::NoSequenceAck);
    for slot in withheld.flat_map(|injection| &injection.slots) {
        slots[slot.index()].withholds_acks = true;
    }
    verify::Plan {
        run,
        promise: scenario.promise,
        mode: scenario.mode,
        memory_budget: scenario.verify_memory / u64::from(arbiters),
        drain: scenario.drain,
        late_after: verify::LATE_AFTER,
        ack_within: scenario.ack_within,
        exclusive,
        groups: scenario
            .groups
            .iter()
            .map(|name| name.as_str().into())
            .collect(),
        audiences: audiences.names().into_iter().map(Into::into).collect(),
        slots,
    }
}
