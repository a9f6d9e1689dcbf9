//! How the clients of a pool behave where the protocol leaves it to them.

use std::time::Duration;

use crate::protocol::{Behaviour, SessionConfig};
use crate::wire::Subprotocol;

/// How the clients of a pool behave where the protocol leaves it to them.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ClientSpec {
    /// Whose habits they have; the policies below start from it.
    pub behaviour: Behaviour,
    /// Every policy of their sessions. A first connection is always tried again, whatever
    /// the behaviour: behind a real client there is a program that starts it again.
    pub session: SessionConfig,
    /// How long opening one connection may take.
    pub connect_timeout: Duration,
    /// Each client has a user id of its own, `u-SLOT`; otherwise none has any.
    pub user_ids: bool,
    /// The roles in their tokens, where tokens are signed.
    pub roles: Vec<String>,
    /// How long their tokens are valid.
    pub token_lifetime: Duration,
}

impl ClientSpec {
    /// The defaults of a behaviour.
    pub fn of(behaviour: Behaviour, subprotocol: Subprotocol) -> Self {
        let mut session = SessionConfig::of(behaviour, subprotocol);
        session.reconnect.retry_start = true;
        ClientSpec {
            behaviour,
            session,
            connect_timeout: match behaviour {
                Behaviour::Spec => Duration::from_secs(15),
                Behaviour::Python | Behaviour::Java => Duration::from_secs(30),
                // They have none: TCP's own patience, about two minutes, ends a silent one.
                Behaviour::Js | Behaviour::Dotnet => Duration::from_secs(120),
            },
            user_ids: true,
            roles: vec![
                "webpubsub.joinLeaveGroup".into(),
                "webpubsub.sendToGroup".into(),
            ],
            // The official service SDKs' default.
            token_lifetime: Duration::from_secs(3600),
        }
    }
}
