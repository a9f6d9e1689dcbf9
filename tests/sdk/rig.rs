//! A hub, and lines to it that can be cut.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use hubstorm::base::{Clock, Seed};
use hubstorm::hub::{Hub, HubConfig};
use hubstorm::sdk::{Client, Credential, Event, Events};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

/// A test that waits longer than this for anything has failed.
const PATIENCE: Duration = Duration::from_secs(20);

pub(crate) fn hub() -> Hub {
    hub_with(|_| {})
}

pub(crate) fn hub_with(change: impl FnOnce(&mut HubConfig)) -> Hub {
    let mut config = HubConfig::new("127.0.0.1:0".parse().unwrap(), Seed(7), Clock::start());
    change(&mut config);
    Hub::start(config).unwrap()
}

pub(crate) fn open(addr: SocketAddr) -> Credential {
    Credential::endpoint(&format!("http://{addr}"), "chat", None).unwrap()
}

pub(crate) async fn connect(addr: SocketAddr) -> (Client, Events) {
    Client::connect(open(addr)).await.unwrap()
}

/// The next event that `pick` picks; others are passed over.
pub(crate) async fn wait_for<T>(events: &mut Events, pick: impl Fn(&Event) -> Option<T>) -> T {
    let search = async {
        loop {
            let event = events.next().await.expect("the client lives");
            if let Some(found) = pick(&event) {
                return found;
            }
        }
    };
    tokio::time::timeout(PATIENCE, search)
        .await
        .expect("the event comes")
}

/// The text of the next group message.
pub(crate) async fn text(events: &mut Events) -> String {
    wait_for(events, |event| match event {
        Event::GroupMessage(message) => message.text().map(str::to_owned),
        _ => None,
    })
    .await
}

/// A TCP line to the hub that can be cut.
pub(crate) struct Line {
    pub(crate) addr: SocketAddr,
    cuts: watch::Sender<u32>,
    closed: Arc<AtomicBool>,
}

impl Line {
    pub(crate) async fn to(hub: SocketAddr) -> Line {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addr = listener.local_addr().unwrap();
        let (cuts, cut) = watch::channel(0);
        let closed = Arc::new(AtomicBool::new(false));
        let is_closed = closed.clone();
        tokio::spawn(async move {
            while let Ok((mut near, _)) = listener.accept().await {
                if is_closed.load(Ordering::Relaxed) {
                    continue;
                }
                let mut cut = cut.clone();
                cut.mark_unchanged();
                tokio::spawn(async move {
                    let Ok(mut far) = TcpStream::connect(hub).await else {
                        return;
                    };
                    tokio::select! {
                        _ = tokio::io::copy_bidirectional(&mut near, &mut far) => {}
                        _ = cut.changed() => {}
                    }
                });
            }
        });
        Line { addr, cuts, closed }
    }

    /// Ends every connection without a WebSocket goodbye; new ones are let through.
    pub(crate) fn cut(&self) {
        self.cuts.send_modify(|cuts| *cuts += 1);
    }

    /// Cuts, and lets nothing new through.
    pub(crate) fn close(&self) {
        self.closed.store(true, Ordering::Relaxed);
        self.cut();
    }

    /// Lets new connections through again.
    pub(crate) fn open(&self) {
        self.closed.store(false, Ordering::Relaxed);
    }
}
