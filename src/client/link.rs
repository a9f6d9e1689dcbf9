//! The socket of one client, the dial that makes it, and the alarms it set.

use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

use secrecy::SecretString;

use crate::base::Slot;
use crate::scenario::ClientSpec;
use crate::transport::{DialError, DialRequest, Dialer, Poller, Socket};

use super::alarm::Armed;
use super::shared::Shared;

/// What `User-Agent` says.
const USER_AGENT: &str = concat!("hubstorm/", env!("CARGO_PKG_VERSION"));

type Dialling = Pin<Box<dyn Future<Output = Result<Socket, DialError>>>>;

/// At most one socket and one dial at a time, and the sockets that a fault keeps half-open.
#[derive(Default)]
#[repr(C)]
pub(super) struct Link {
    dial: Option<Dialling>,
    pub(super) armed: Armed,
    pub(super) socket: Option<Socket>,
    /// A half-open socket is kept until the client has a new transport: its peer must not
    /// learn from a FIN that it is gone.
    ghost: Option<Box<Socket>>,
}

impl Link {
    /// Starts a dial; one under way is given up.
    pub(super) fn dial(
        &mut self,
        shared: &Rc<Shared>,
        slot: Slot,
        url: SecretString,
        client: &ClientSpec,
    ) {
        let source = shared.sources.as_ref().map(|sources| sources.of(slot.0));
        let (subprotocol, timeout) = (client.session.subprotocol, client.connect_timeout);
        let shared = shared.clone();
        self.dial = Some(Box::pin(async move {
            let request = DialRequest {
                url: &url,
                subprotocol,
                bearer: None,
                user_agent: USER_AGENT,
                source,
                timeout,
            };
            shared.dialer.dial(request).await
        }));
    }

    /// Starts a dial whose handshake never comes to an end: the hub has a connection on
    /// which the client says no more.
    pub(super) fn hang(
        &mut self,
        shared: &Shared,
        slot: Slot,
        url: SecretString,
        until: Duration,
        client: &ClientSpec,
    ) {
        let source = shared.sources.as_ref().map(|sources| sources.of(slot.0));
        let subprotocol = client.session.subprotocol;
        let timeout = until.min(client.connect_timeout);
        self.dial = Some(Box::pin(async move {
            Dialer::hang(DialRequest {
                url: &url,
                subprotocol,
                bearer: None,
                user_agent: USER_AGENT,
                source,
                timeout,
            })
            .await
        }));
    }

    /// Gives up a dial. Returns whether there was one.
    pub(super) fn give_up_dial(&mut self) -> bool {
        self.dial.take().is_some()
    }

    pub(super) fn is_dialling(&self) -> bool {
        self.dial.is_some()
    }

    /// The dial's result, once. A good one becomes the socket.
    /// Its connection is watched by `poller`, where there is one.
    pub(super) fn poll_dial(
        &mut self,
        poller: Option<(&Poller, u32)>,
        cx: &mut Context<'_>,
    ) -> Option<Result<(), DialError>> {
        let Poll::Ready(result) = self.dial.as_mut()?.as_mut().poll(cx) else {
            return None;
        };
        self.dial = None;
        self.ghost = None;
        Some(result.map(|mut socket| {
            if let Some((poller, client)) = poller
                && let Err(error) = socket.watch(poller, client)
            {
                tracing::debug!(%error, "a connection is left to the runtime");
            }
            self.socket = Some(socket);
        }))
    }

    /// Keeps the socket open, unheard and unspoken to, until the next transport is there.
    pub(super) fn haunt(&mut self) {
        self.ghost = self.socket.take().map(Box::new);
    }
}
