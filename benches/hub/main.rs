//! What the hub does by itself: deliveries per second, its CPU per delivery, its memory per
//! connection. `cargo bench --bench hub`, with `-- --help` for what can be chosen.
//!
//! Three processes: the hub as it is shipped, the load (this one, one thread), and for
//! comparison a bare loop in the hub's place that moves the same bytes and knows nothing.
//! The figures of a day are in `docs/hub-performance.md`.

mod bare;
mod cases;
mod frames;
mod load;
mod process;

use std::time::Duration;

use clap::Parser as _;
use hubstorm::base::Clock;

use cases::{CASES, Case};
use load::Load;
use process::{Kind, Server, own_usage};

type Failed = Box<dyn std::error::Error>;

/// The argument that makes this program the bare loop.
const BARE: &str = "bare-loop";
/// Load before the measurement begins: buffers find their sizes.
const WARM_UP: Duration = Duration::from_secs(1);

/// Deliveries per second, CPU per delivery and memory per connection of the hub.
#[derive(clap::Parser)]
struct Args {
    /// Only these cases; all without.
    cases: Vec<String>,
    /// Seconds measured per run.
    #[arg(long, default_value_t = 5.0)]
    seconds: f64,
    /// Runs per case; the table has their median and their range.
    #[arg(long, default_value_t = 3)]
    runs: usize,
    /// Leave the bare loop out.
    #[arg(long)]
    no_bare: bool,
    /// List the cases.
    #[arg(long)]
    list: bool,
    /// Given by `cargo bench`; without it each case is only tried with a small load.
    #[arg(long, hide = true)]
    bench: bool,
}

/// What one run measured.
#[derive(Clone, Copy, Debug)]
struct Measured {
    per_second: f64,
    /// Of the server, user and kernel.
    cpu_us: f64,
    /// Of the load, as a share of one core.
    load_share: f64,
    server_share: f64,
    per_read: f64,
    idle_kib: f64,
    loaded_kib: f64,
}

fn measure(kind: Kind, case: &Case, seconds: Duration) -> Result<Measured, Failed> {
    let clock = Clock::start();
    let server = Server::start(kind, &case.shape)?;
    let empty = server.usage()?.resident_bytes;
    let mut load = Load::connect(server.addr, case.shape, clock)?;
    let idle = server.usage()?.resident_bytes;
    load.begin()?;
    let before = load.run(WARM_UP.min(seconds))?;
    let (start, used, own) = (clock.now(), server.usage()?, own_usage()?);
    let after = load.run(seconds)?;
    let took = (clock.now() - start).as_secs_f64();
    let (used_then, own_then) = (server.usage()?, own_usage()?);
    // A hub that cut a client off, or kept something, makes the figures worthless.
    load.settle()?;
    let deliveries = (after.deliveries - before.deliveries) as f64;
    let cpu_s = (used_then.cpu_ns - used.cpu_ns) as f64 / 1e9;
    let kib =
        |bytes: u64| bytes.saturating_sub(empty) as f64 / 1024.0 / case.shape.connections as f64;
    Ok(Measured {
        per_second: deliveries / took,
        cpu_us: cpu_s * 1e6 / deliveries.max(1.0),
        server_share: cpu_s / took,
        load_share: (own_then.cpu_ns - own.cpu_ns) as f64 / 1e9 / took,
        per_read: deliveries / (after.reads - before.reads).max(1) as f64,
        idle_kib: kib(idle),
        loaded_kib: kib(used_then.resident_bytes),
    })
}

/// Median and range of one figure.
fn spread(runs: &[Measured], figure: impl Fn(&Measured) -> f64) -> (f64, f64, f64) {
    let mut values: Vec<f64> = runs.iter().map(figure).collect();
    values.sort_by(f64::total_cmp);
    match values[..] {
        [] => (0.0, 0.0, 0.0),
        [first, .., last] => (values[values.len() / 2], first, last),
        [only] => (only, only, only),
    }
}

fn bench(case: &Case, args: &Args) -> Result<(), Failed> {
    let seconds = Duration::from_secs_f64(args.seconds);
    let (mut hub, mut bare) = (Vec::new(), Vec::new());
    // The two take turns, so that what else the machine does meets both.
    for _ in 0..args.runs {
        hub.push(measure(Kind::Hub, case, seconds)?);
        if !args.no_bare {
            bare.push(measure(Kind::Bare, case, seconds)?);
        }
    }
    let of = |runs: &[Measured], figure: fn(&Measured) -> f64| spread(runs, figure);
    let (rate, low, high) = of(&hub, |run| run.per_second / 1e3);
    let (cpu, cpu_low, cpu_high) = of(&hub, |run| run.cpu_us);
    let middle = |figure| of(&hub, figure).0;
    print!(
        "| {} | {rate:.0} ({low:.0}-{high:.0}) | {cpu:.2} ({cpu_low:.2}-{cpu_high:.2}) | {:.1} | {:.0} % | {:.0} % | {:.1} | {:.1} ",
        case.name,
        middle(|run| run.per_read),
        100.0 * middle(|run| run.server_share),
        100.0 * middle(|run| run.load_share),
        middle(|run| run.idle_kib),
        middle(|run| run.loaded_kib),
    );
    if bare.is_empty() {
        println!("| - | - | - |");
    } else {
        let (bare_rate, ..) = of(&bare, |run| run.per_second / 1e3);
        let (bare_cpu, ..) = of(&bare, |run| run.cpu_us);
        let ratio = 100.0 * rate / bare_rate;
        println!("| {bare_rate:.0} | {bare_cpu:.2} | {ratio:.0} % |");
    }
    Ok(())
}

fn main() -> Result<(), Failed> {
    let words: Vec<String> = std::env::args().collect();
    if let [_, first, connections, group, no_echo] = &words[..]
        && first == BARE
    {
        return bare::serve(connections.parse()?, group.parse()?, no_echo.parse()?);
    }
    let mut args = Args::parse();
    if args.list {
        CASES
            .iter()
            .for_each(|case| println!("{:<20} {}", case.name, case.what));
        return Ok(());
    }
    for name in &args.cases {
        if !CASES.iter().any(|case| case.name == name) {
            return Err(format!("there is no case {name}: --list names them").into());
        }
    }
    if !args.bench {
        (args.seconds, args.runs) = (0.2, 1);
    }
    println!(
        "| case | thousand deliveries/s | hub CPU per delivery, us | deliveries per read \
         | hub, of a core | load, of a core | KiB per connection, idle | after the load \
         | bare loop, thousand/s | its CPU, us | hub/bare |"
    );
    println!("{}|", "|---".repeat(11));
    for case in CASES {
        if args.cases.is_empty() || args.cases.iter().any(|name| name == case.name) {
            let case = if args.bench { case } else { case.small() };
            bench(&case, &args)?;
        }
    }
    Ok(())
}
