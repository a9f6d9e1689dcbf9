//! Ways in: how each connection gets its URL and token.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use percent_encoding::percent_decode_str;
use secrecy::{ExposeSecret as _, SecretString};

use super::error::ConnectError;
use crate::transport::{ClientIdentity, Target, TargetError};

type UrlFuture = Pin<Box<dyn Future<Output = Result<String, String>> + Send>>;
type Provider = Arc<dyn Fn() -> UrlFuture + Send + Sync>;

/// Where to connect and with what right. Shows no secret in `Debug`.
#[derive(Clone)]
pub struct Credential {
    access: Access,
    identity: ClientIdentity,
}

#[derive(Clone)]
enum Access {
    Target(Target),
    Provider(Provider),
}

impl Credential {
    /// A client access URL, as a portal or a service SDK hands it out. It is used for every
    /// connection, so reconnects fail once its token has expired; [`Credential::provider`]
    /// has no such end.
    ///
    /// # Errors
    /// Not a URL, or one that names no hub.
    pub fn url(url: &str) -> Result<Self, TargetError> {
        Target::from_client_access_url(&url.to_owned().into()).map(Self::target)
    }

    /// An endpoint and a hub; with the access key a token is signed for each connection.
    ///
    /// # Errors
    /// Not an endpoint, or not a hub name.
    pub fn endpoint(url: &str, hub: &str, key: Option<&str>) -> Result<Self, TargetError> {
        let key = key.map(|key| SecretString::from(key.to_owned()));
        Target::from_endpoint(url, hub, key).map(Self::target)
    }

    /// A connection string, `Endpoint=...;AccessKey=...;Version=1.0;`, and a hub.
    ///
    /// # Errors
    /// A part is missing or cannot be read.
    pub fn connection_string(text: &str, hub: &str) -> Result<Self, TargetError> {
        Target::from_connection_string(&text.to_owned().into(), hub).map(Self::target)
    }

    /// A function that fetches a client access URL; called anew for every new connection
    /// and every attempt at a recovery. Its error text is reported, so keep secrets out.
    ///
    /// ```
    /// use hubstorm::sdk::Credential;
    /// let credential = Credential::provider(|| async {
    ///     // Ask your own service here.
    ///     Ok::<_, String>("wss://example.com/client/hubs/chat?access_token=...".to_owned())
    /// });
    /// assert_eq!(format!("{credential:?}"), "Credential(provider)");
    /// ```
    pub fn provider<F, R, E>(fetch: F) -> Self
    where
        F: Fn() -> R + Send + Sync + 'static,
        R: Future<Output = Result<String, E>> + Send + 'static,
        E: fmt::Display,
    {
        let fetch = move || -> UrlFuture {
            let url = fetch();
            Box::pin(async move { url.await.map_err(|error| error.to_string()) })
        };
        Self::new(Access::Provider(Arc::new(fetch)))
    }

    fn target(target: Target) -> Self {
        Self::new(Access::Target(target))
    }

    fn new(access: Access) -> Self {
        Credential {
            access,
            identity: ClientIdentity {
                user_id: None,
                roles: vec![
                    "webpubsub.joinLeaveGroup".into(),
                    "webpubsub.sendToGroup".into(),
                ],
                groups: Vec::new(),
                lifetime: Duration::from_secs(3600),
            },
        }
    }

    /// The user id in signed tokens; none by default. Without effect on URLs.
    #[must_use]
    pub fn user_id(mut self, user_id: impl Into<String>) -> Self {
        self.identity.user_id = Some(user_id.into());
        self
    }

    /// The roles in signed tokens; by default joining, leaving and sending to every group.
    #[must_use]
    pub fn roles<R: Into<String>>(mut self, roles: impl IntoIterator<Item = R>) -> Self {
        self.identity.roles = roles.into_iter().map(Into::into).collect();
        self
    }

    /// Groups that the hub joins for the client at connect; they are not joined again by
    /// the client itself.
    #[must_use]
    pub fn groups<G: Into<String>>(mut self, groups: impl IntoIterator<Item = G>) -> Self {
        self.identity.groups = groups.into_iter().map(Into::into).collect();
        self
    }

    /// How long signed tokens are valid; an hour by default, whole seconds count.
    #[must_use]
    pub fn lifetime(mut self, lifetime: Duration) -> Self {
        self.identity.lifetime = lifetime;
        self
    }

    /// The URL for a new connection.
    pub(super) async fn connect_url(&self, unix_now: u64) -> Result<SecretString, ConnectError> {
        match &self.access {
            Access::Target(target) => Ok(target.connect_url(&self.identity, unix_now)),
            Access::Provider(fetch) => {
                let url = fetch().await.map_err(ConnectError::Provider)?;
                // The same checks and scheme changes as for a URL given at once.
                let target = Target::from_client_access_url(&url.into())
                    .map_err(|error| ConnectError::Provider(error.to_string()))?;
                Ok(target.connect_url(&self.identity, unix_now))
            }
        }
    }
}

impl fmt::Debug for Credential {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.access {
            Access::Target(target) => write!(f, "Credential({target})"),
            Access::Provider(_) => f.write_str("Credential(provider)"),
        }
    }
}

/// Takes the access token out of a URL, for the `Authorization` header.
pub(super) fn split_token(url: &SecretString) -> (SecretString, Option<SecretString>) {
    let text = url.expose_secret();
    let Some((path, query)) = text.split_once('?') else {
        return (url.clone(), None);
    };
    let mut token = None;
    let mut rest = Vec::new();
    for pair in query.split('&').filter(|pair| !pair.is_empty()) {
        match pair.strip_prefix("access_token=") {
            Some(value) => {
                token = Some(percent_decode_str(value).decode_utf8_lossy().into_owned());
            }
            None => rest.push(pair),
        }
    }
    let url = match rest.as_slice() {
        [] => path.to_owned(),
        rest => format!("{path}?{}", rest.join("&")),
    };
    (url.into(), token.map(Into::into))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_in_the_header_must_be_gone_from_the_url_or_it_ends_in_access_logs() {
        let url = "wss://h/client/hubs/x?a=1&access_token=ey.b%2Ec&awps_connection_id=c".to_owned();
        let (url, token) = split_token(&url.into());
        assert_eq!(
            url.expose_secret(),
            "wss://h/client/hubs/x?a=1&awps_connection_id=c"
        );
        assert_eq!(token.unwrap().expose_secret(), "ey.b.c");
        let (url, token) = split_token(&"ws://h/client/hubs/x".to_owned().into());
        assert_eq!(url.expose_secret(), "ws://h/client/hubs/x");
        assert!(token.is_none());
    }

    #[test]
    fn no_secret_shows_in_debug() {
        let key = "k".repeat(32);
        let credential = Credential::endpoint("http://h", "chat", Some(&key)).unwrap();
        assert!(!format!("{credential:?}").contains(&key));
        let url = "wss://h/client/hubs/chat?access_token=secret";
        assert!(!format!("{:?}", Credential::url(url).unwrap()).contains("secret"));
    }
}
