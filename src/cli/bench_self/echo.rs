//! The delay of the generator itself: an idle client hears its own message. Beside it what
//! waking up twice costs on this machine, without which the figure means little.

use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::time::Duration;

use anyhow::{Context as _, Result};

use super::Size;
use super::process::{Against, part};
use crate::base::Clock;
use crate::cli::args::BenchPart;

/// How long both ends have been asleep when a message comes.
const PAUSE: Duration = Duration::from_millis(50);
/// Bytes of a message, about what a client sends.
const BYTES: usize = 230;
const BARE_MESSAGES: usize = 100;

/// What the message takes from its intended time on, and what the bare machine takes.
pub(super) fn echo(size: Size) -> Result<()> {
    let size = Size {
        clients: 1,
        group: 1,
        rate: 20,
        ..size
    };
    let bare_s = bare_s()?;
    let whole = part(BenchPart::Whole, Against::Hub, size)?;
    let p50_s = whole.p50_s.unwrap_or(f64::NAN);
    println!(
        "echo of an idle client: p50 {:.3} ms, p99 {:.3} ms ({} messages)",
        p50_s * 1e3,
        whole.p99_s.unwrap_or(f64::NAN) * 1e3,
        whole.deliveries
    );
    println!(
        "two threads that only read and write: p50 {:.3} ms ({BARE_MESSAGES} messages); {:.3} ms are ours and the hub's",
        bare_s * 1e3,
        (p50_s - bare_s) * 1e3
    );
    Ok(())
}

/// The median of the same bytes there and back between two threads that are asleep, s.
fn bare_s() -> Result<f64> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let mut socket = TcpStream::connect(listener.local_addr()?)?;
    socket.set_nodelay(true)?;
    let peer = std::thread::spawn(move || -> std::io::Result<()> {
        let (mut peer, _) = listener.accept()?;
        peer.set_nodelay(true)?;
        let mut bytes = [0; BYTES];
        for _ in 0..BARE_MESSAGES {
            peer.read_exact(&mut bytes)?;
            peer.write_all(&bytes)?;
        }
        Ok(())
    });
    let clock = Clock::start();
    let (mut bytes, mut took) = ([0; BYTES], Vec::new());
    for _ in 0..BARE_MESSAGES {
        std::thread::sleep(PAUSE);
        let start = clock.now();
        socket.write_all(&bytes)?;
        socket.read_exact(&mut bytes)?;
        took.push(clock.now().since(start).as_secs_f64());
    }
    let ended = peer.join().ok().context("the other thread panicked")?;
    ended.context("the other thread failed")?;
    took.sort_by(f64::total_cmp);
    Ok(took[took.len() / 2])
}
