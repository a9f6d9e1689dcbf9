//! Client access tokens: JWTs signed with the access key. Source: client-spec 2.1 and what
//! the official service SDKs sign.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hmac::{Hmac, KeyInit, Mac};
use percent_encoding::percent_decode_str;
use serde::Deserialize;
use sha2::Sha256;

/// Difference between the clocks of issuer and hub that is forgiven, in seconds, as the
/// official emulator does.
const SKEW_S: f64 = 300.0;

/// One string or a list of them.
#[derive(Deserialize, Default, Debug)]
#[serde(untagged)]
pub(crate) enum OneOrMany {
    #[default]
    None,
    One(String),
    Many(Vec<String>),
}

impl OneOrMany {
    pub(crate) fn into_vec(self) -> Vec<String> {
        match self {
            OneOrMany::None => Vec::new(),
            OneOrMany::One(one) => vec![one],
            OneOrMany::Many(many) => many,
        }
    }
}

/// A number of seconds, written as a JSON number or as text.
#[derive(Deserialize, Clone, Copy, PartialEq, Debug)]
#[serde(try_from = "serde_json::Value")]
pub(crate) struct Seconds(pub(crate) f64);

impl TryFrom<serde_json::Value> for Seconds {
    type Error = &'static str;

    fn try_from(value: serde_json::Value) -> Result<Self, &'static str> {
        match &value {
            serde_json::Value::Number(number) => number.as_f64(),
            serde_json::Value::String(text) => text.parse().ok(),
            _ => None,
        }
        .filter(|seconds: &f64| seconds.is_finite())
        .map(Seconds)
        .ok_or("no number of seconds")
    }
}

/// The claims that this hub reads.
#[derive(Deserialize, Default, Debug)]
pub(crate) struct Claims {
    #[serde(default)]
    pub(crate) sub: Option<String>,
    #[serde(default, rename = "role")]
    pub(crate) roles: OneOrMany,
    #[serde(default, rename = "webpubsub.group")]
    pub(crate) groups: OneOrMany,
    /// Wanted lifetime of the reconnection tokens. Assumed: in seconds.
    #[serde(default, rename = "webpubsub.rtoken.ttl")]
    pub(crate) reconnection_ttl: Option<Seconds>,
    #[serde(default)]
    aud: OneOrMany,
    #[serde(default)]
    exp: Option<f64>,
    #[serde(default)]
    nbf: Option<f64>,
}

#[derive(Deserialize)]
struct Header {
    alg: String,
}

const MALFORMED: &str = "the access token is not a JWT";

/// The claims of a token, taken on trust.
///
/// # Errors
/// It is not a JWT.
pub(crate) fn unverified(token: &str) -> Result<Claims, &'static str> {
    let mut parts = token.split('.');
    let (_, Some(claims), Some(_), None) = (parts.next(), parts.next(), parts.next(), parts.next())
    else {
        return Err(MALFORMED);
    };
    decode(claims).ok_or(MALFORMED)
}

/// The claims of a token signed with one of `keys` for `hub` at `host` and valid at `now`,
/// in seconds since the Unix epoch.
///
/// # Errors
/// What is wrong with it, without any of it.
pub(crate) fn verified(
    token: &str,
    keys: &[&[u8]],
    host: &str,
    hub: &str,
    now: u64,
) -> Result<Claims, &'static str> {
    verified_for(token, keys, now, |audience| {
        is_audience(audience, host, hub)
    })
}

/// The token's `aud` is not what it must be.
pub(crate) const BAD_AUDIENCE: &str =
    "the access token's aud is not http(s)://HOST/client/hubs/HUB of this hub";

/// The claims of a token signed with one of `keys`, valid at `now`, and meant for an audience
/// that `is_meant` accepts.
///
/// # Errors
/// What is wrong with it, without any of it; [`BAD_AUDIENCE`] for the audience.
pub(crate) fn verified_for(
    token: &str,
    keys: &[&[u8]],
    now: u64,
    is_meant: impl Fn(&str) -> bool,
) -> Result<Claims, &'static str> {
    let claims = unverified(token)?;
    let (signed, signature) = token.rsplit_once('.').ok_or(MALFORMED)?;
    let header = signed.split('.').next().unwrap_or_default();
    let header: Header = decode(header).ok_or(MALFORMED)?;
    if header.alg != "HS256" {
        return Err("the access token is not signed with HS256");
    }
    let signature = URL_SAFE_NO_PAD.decode(signature).map_err(|_| MALFORMED)?;
    let is_signed_with = |key: &&[u8]| {
        // HMAC takes keys of every length.
        let mut mac: Hmac<Sha256> =
            Hmac::new_from_slice(key).expect("HMAC takes keys of every length");
        mac.update(signed.as_bytes());
        mac.verify_slice(&signature).is_ok()
    };
    if !keys.iter().any(is_signed_with) {
        return Err("the access token is signed with another key");
    }
    let now = now as f64;
    match claims.exp {
        None => return Err("the access token has no exp claim"),
        Some(exp) if exp + SKEW_S < now => return Err("the access token has expired"),
        Some(_) => {}
    }
    if claims.nbf.is_some_and(|nbf| nbf - SKEW_S > now) {
        return Err("the access token is not valid yet");
    }
    let audiences = match &claims.aud {
        OneOrMany::None => &[],
        OneOrMany::One(one) => std::slice::from_ref(one),
        OneOrMany::Many(many) => many.as_slice(),
    };
    if !audiences.iter().any(|audience| is_meant(audience)) {
        return Err(BAD_AUDIENCE);
    }
    Ok(claims)
}

/// All claims of a token, checked or not; none when it is not a JWT.
pub(crate) fn claim_map(token: &str) -> serde_json::Map<String, serde_json::Value> {
    token.split('.').nth(1).and_then(decode).unwrap_or_default()
}

/// A token with these claims, signed with `key`.
pub(crate) fn signed(claims: &serde_json::Value, key: &[u8]) -> String {
    let encode = |text: String| URL_SAFE_NO_PAD.encode(text);
    let header = serde_json::json!({"alg": "HS256", "typ": "JWT"});
    let signed = format!(
        "{}.{}",
        encode(header.to_string()),
        encode(claims.to_string())
    );
    // HMAC takes keys of every length.
    let mut mac: Hmac<Sha256> = Hmac::new_from_slice(key).expect("HMAC takes keys of every length");
    mac.update(signed.as_bytes());
    let signature = URL_SAFE_NO_PAD.encode(mac.finalize().into_bytes());
    format!("{signed}.{signature}")
}

fn decode<T: for<'de> Deserialize<'de>>(part: &str) -> Option<T> {
    // Some issuers pad.
    let bytes = URL_SAFE_NO_PAD.decode(part.trim_end_matches('=')).ok()?;
    serde_json::from_slice(&bytes).ok()
}

/// Whether `audience` names this hub. `host` is what the client called it (the Host
/// header), so that a proxy in front does no harm; case and default ports do not matter.
fn is_audience(audience: &str, host: &str, hub: &str) -> bool {
    let audience = audience.to_ascii_lowercase();
    let Some((authority, path)) = ["http://", "https://"]
        .into_iter()
        .find_map(|scheme| audience.strip_prefix(scheme))
        .and_then(|rest| rest.split_once('/'))
    else {
        return false;
    };
    let path = percent_decode_str(path).decode_utf8_lossy();
    let named = path
        .strip_prefix("client/hubs/")
        .is_some_and(|name| name.eq_ignore_ascii_case(hub));
    named && is_same_host(authority, host)
}

/// Whether two authorities are the same: case and default ports do not matter.
pub(crate) fn is_same_host(a: &str, b: &str) -> bool {
    without_default_port(a).eq_ignore_ascii_case(without_default_port(b))
}

fn without_default_port(authority: &str) -> &str {
    authority
        .strip_suffix(":80")
        .or_else(|| authority.strip_suffix(":443"))
        .unwrap_or(authority)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    const KEY: &[u8] = b"0123456789abcdef0123456789abcdef";

    fn sign(header: &Value, claims: &Value, key: &[u8]) -> String {
        let encode = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
        let signed = format!("{}.{}", encode(header), encode(claims));
        let mut mac: Hmac<Sha256> = Hmac::new_from_slice(key).unwrap();
        mac.update(signed.as_bytes());
        format!(
            "{signed}.{}",
            URL_SAFE_NO_PAD.encode(mac.finalize().into_bytes())
        )
    }

    fn check(claims: Value) -> Result<Claims, &'static str> {
        let token = sign(&json!({"alg": "HS256", "typ": "JWT"}), &claims, KEY);
        verified(&token, &[KEY], "localhost:8080", "Chat", 1_000_000)
    }

    #[test]
    fn tokens_of_the_official_sdks_are_taken() {
        let claims = check(json!({
            "aud": "http://localhost:8080/client/hubs/Chat", "iat": 1_000_000, "exp": 1_003_600,
            "sub": "u1", "role": ["webpubsub.sendToGroup"], "webpubsub.group": "g"
        }))
        .unwrap();
        assert_eq!(claims.sub.as_deref(), Some("u1"));
        assert_eq!(claims.roles.into_vec(), ["webpubsub.sendToGroup"]);
        assert_eq!(claims.groups.into_vec(), ["g"]);
    }

    #[test]
    fn a_wrong_token_is_refused_for_what_is_wrong_with_it() {
        let aud = "https://LOCALHOST:8080/client/hubs/chat";
        assert!(check(json!({"aud": [aud], "exp": 999_800})).is_ok(), "skew");
        for (claims, says) in [
            (json!({"aud": aud, "exp": 999_000}), "expired"),
            (json!({"aud": aud}), "exp"),
            (
                json!({"aud": aud, "exp": 2e6, "nbf": 1_001_000}),
                "not valid yet",
            ),
            (json!({"exp": 2e6}), "aud"),
            (
                json!({"aud": "http://localhost:8080/client/hubs/other", "exp": 2e6}),
                "aud",
            ),
            (
                json!({"aud": "http://elsewhere/client/hubs/chat", "exp": 2e6}),
                "aud",
            ),
            (
                json!({"aud": "ws://localhost:8080/client/hubs/chat", "exp": 2e6}),
                "aud",
            ),
        ] {
            let error = check(claims.clone()).unwrap_err();
            assert!(error.contains(says), "{claims}: {error}");
        }
        let good = json!({"aud": aud, "exp": 2e6});
        let at = |token: &str| {
            let keys = [&b"primary"[..], KEY];
            verified(token, &keys, "localhost:8080", "chat", 1_000_000)
        };
        let header = json!({"alg": "HS256"});
        assert!(at(&sign(&header, &good, b"primary")).is_ok(), "either key");
        assert!(at(&sign(&header, &good, KEY)).is_ok(), "either key");
        assert!(at(&sign(&header, &good, b"another")).is_err());
        assert!(at(&sign(&json!({"alg": "none"}), &good, KEY)).is_err());
        for bad in ["", "a.b", "a.b.c", "..", "a.b.c.d"] {
            assert_eq!(at(bad).unwrap_err(), MALFORMED, "{bad}");
        }
    }

    #[test]
    fn default_ports_and_proxies_do_not_matter() {
        assert!(is_audience("https://h/client/hubs/c", "h:443", "c"));
        assert!(is_audience("http://h:80/client/hubs/c", "H", "C"));
        assert!(!is_audience("http://h:81/client/hubs/c", "h", "c"));
    }
}
