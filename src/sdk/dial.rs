//! Opening a transport for a client.

use std::rc::Rc;
use std::sync::Arc;

use super::builder::Options;
use super::credential::split_token;
use super::error::ConnectError;
use super::link::Dialling;
use super::worker::Worker;
use crate::protocol::Dial;
use crate::transport::{DialRequest, Target};

/// Opens a transport: fetches the URL, dials, checks the subprotocol; all within the connect
/// timeout.
pub(super) fn open(worker: Rc<Worker>, options: Options, dial: Dial) -> Dialling {
    let timeout = options.connect_timeout;
    let open = async move {
        let dialer = worker
            .dialer(&options.tls)
            .map_err(|error| ConnectError::Tls(Arc::new(error)))?;
        let now = worker.clock.unix_now();
        let mut url = options.credential.connect_url(now).await?;
        if let Dial::Recover {
            connection_id,
            token,
        } = &dial
        {
            url = Target::recovery_url(&url, connection_id, token);
        }
        let (url, bearer) = if options.bearer {
            split_token(&url)
        } else {
            (url, None)
        };
        let request = DialRequest {
            url: &url,
            subprotocol: options.session.subprotocol,
            bearer: bearer.as_ref(),
            user_agent: &options.user_agent,
            source: None,
            timeout: options.connect_timeout,
        };
        dialer
            .dial(request)
            .await
            .map_err(|error| ConnectError::Dial(Arc::new(error)))
    };
    Box::pin(async move {
        // The provider's time counts, too.
        tokio::time::timeout(timeout, open)
            .await
            .unwrap_or_else(|_| {
                Err(ConnectError::Dial(Arc::new(
                    crate::transport::DialError::Timeout(timeout),
                )))
            })
    })
}
