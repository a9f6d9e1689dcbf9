//! Who may call the service API: a JWT signed with the access key for this very URL.

use http::StatusCode;
use http::request::Parts;
use percent_encoding::percent_decode_str;

use super::Refused;
use crate::hub::config::HubConfig;
use crate::hub::server::access_token;
use crate::hub::server::handshake::{bearer, host};

/// Checks the token of a request. Without an access key everyone may call.
///
/// # Errors
/// 401 with what is wrong with it.
pub(super) fn check(head: &Parts, config: &HubConfig) -> Result<(), Refused> {
    let keys = config.keys();
    if keys.is_empty() {
        return Ok(());
    }
    let unauthorized = |why: &str| Refused::new(StatusCode::UNAUTHORIZED, why);
    let token = bearer(&head.headers)
        .ok_or_else(|| unauthorized("no token; send it as Authorization: Bearer ..."))?;
    let host = host(&head.headers);
    let path_and_query = head.uri.path_and_query().map_or("/", |it| it.as_str());
    let now = config.clock.unix_now();
    access_token::verified_for(token, &keys, now, |audience| {
        is_url(audience, host, path_and_query)
    })
    .map(|_| ())
    .map_err(|why| {
        unauthorized(if why == access_token::BAD_AUDIENCE {
            "the token's aud is not the URL of this request"
        } else {
            why
        })
    })
}

/// Whether `audience` is the URL of a request, with or without its query. The
/// documentation leaves the query out, the SDKs sign it; encoding and case differ too.
fn is_url(audience: &str, host: &str, path_and_query: &str) -> bool {
    let plain = |text: &str| {
        let decoded = percent_decode_str(text).decode_utf8_lossy();
        decoded.replace('+', " ").to_lowercase()
    };
    let Some((authority, rest)) = ["http://", "https://"]
        .into_iter()
        .find_map(|scheme| {
            let start = audience.get(..scheme.len())?;
            start
                .eq_ignore_ascii_case(scheme)
                .then(|| &audience[scheme.len()..])
        })
        .and_then(|rest| rest.find('/').map(|at| rest.split_at(at)))
    else {
        return false;
    };
    let path = |text: &str| text.split('?').next().unwrap_or_default().to_owned();
    access_token::is_same_host(authority, host)
        && if rest.contains('?') {
            plain(rest) == plain(path_and_query)
        } else {
            plain(rest) == plain(&path(path_and_query))
        }
}

#[cfg(test)]
mod tests {
    use super::is_url;

    #[test]
    fn the_audience_is_the_url_however_it_is_written() {
        let request = "/api/hubs/Chat/groups/a%2Fb/:send?api-version=2024-12-01&filter=x%20y";
        for good in [
            "http://h:8080/api/hubs/Chat/groups/a%2Fb/:send?api-version=2024-12-01&filter=x%20y",
            "http://h:8080/api/hubs/chat/groups/a/b/%3Asend",
            "HTTPS://H:8080/api/hubs/Chat/groups/a/b/:send?api-version=2024-12-01&filter=x+y",
        ] {
            assert!(is_url(good, "h:8080", request), "{good}");
        }
        for bad in [
            "http://h:8080/api/hubs/Chat/groups/a%2Fb/:send?api-version=2021",
            "http://h:8080/api/hubs/Chat/:send",
            "http://other/api/hubs/Chat/groups/a%2Fb/:send",
            "http://h:8080",
            "é",
        ] {
            assert!(!is_url(bad, "h:8080", request), "{bad}");
        }
    }
}
