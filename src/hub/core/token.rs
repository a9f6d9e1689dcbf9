//! Reconnection tokens: opaque to clients, good for one connectionId and a week at most.
//! Source: client-spec 2.2.
//!
//! A token is the time of its end and a MAC over that and the connectionId, so that the hub
//! keeps nothing per token. Without an access key the MAC key is no secret; but then
//! anyone may connect as anyone anyway.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hmac::{Hmac, KeyInit, Mac};
use secrecy::{ExposeSecret, SecretString};
use sha2::Sha256;

use crate::base::{Seed, Time};

/// How long a token is valid, unless the access token wishes for less: a week.
pub(crate) const TOKEN_LIFETIME_MAX: Duration = Duration::from_secs(7 * 24 * 3600);

/// The lifetime for which an access token's `webpubsub.rtoken.ttl` asks, in seconds: at
/// least one second, at most [`TOKEN_LIFETIME_MAX`].
pub(crate) fn token_lifetime(wish_s: f64) -> Duration {
    let max = TOKEN_LIFETIME_MAX.as_secs();
    Duration::from_secs((wish_s.max(1.0) as u64).min(max))
}

/// Issues and checks reconnection tokens.
pub(crate) struct TokenMint {
    mac: Hmac<Sha256>,
}

impl TokenMint {
    pub(crate) fn new(access_key: Option<&SecretString>, seed: Seed) -> Self {
        let mut key = seed.0.to_be_bytes().to_vec();
        if let Some(access_key) = access_key {
            key.extend_from_slice(access_key.expose_secret().as_bytes());
        }
        TokenMint {
            // HMAC takes keys of every length.
            mac: Hmac::new_from_slice(&key).expect("HMAC takes keys of every length"),
        }
    }

    /// A token for `connection` that is valid until `end`, URL-safe.
    pub(crate) fn issue(&self, connection: u128, end: Time) -> String {
        let end = end.as_micros();
        let mac = self.signed(connection, end).finalize().into_bytes();
        format!("{end:x}.{}", URL_SAFE_NO_PAD.encode(mac))
    }

    /// Whether `token` was issued here for `connection` and has not ended.
    pub(crate) fn is_valid(&self, token: &str, connection: u128, now: Time) -> bool {
        let Some((end, mac)) = token.split_once('.') else {
            return false;
        };
        let (Ok(end), Ok(mac)) = (u64::from_str_radix(end, 16), URL_SAFE_NO_PAD.decode(mac)) else {
            return false;
        };
        self.signed(connection, end).verify_slice(&mac).is_ok() && now <= Time::from_micros(end)
    }

    fn signed(&self, connection: u128, end: u64) -> Hmac<Sha256> {
        let mut mac = self.mac.clone();
        mac.update(&connection.to_be_bytes());
        mac.update(&end.to_be_bytes());
        mac
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_opens_its_own_session_only_and_only_for_its_lifetime() {
        let mint = TokenMint::new(Some(&"key".into()), Seed(1));
        let now = Time::from_secs(10);
        let end = now + TOKEN_LIFETIME_MAX;
        let token = mint.issue(7, end);
        assert!(
            token
                .chars()
                .all(|c| c.is_ascii_alphanumeric() || "._-".contains(c))
        );
        assert!(mint.is_valid(&token, 7, end));
        assert!(!mint.is_valid(&token, 7, end + Duration::from_micros(1)));
        assert!(!mint.is_valid(&token, 8, now));
        assert!(!TokenMint::new(Some(&"other".into()), Seed(1)).is_valid(&token, 7, now));
        for bad in ["", ".", "zz.zz", &token[1..], &token[..token.len() - 1]] {
            assert!(!mint.is_valid(bad, 7, now), "{bad}");
        }
    }

    #[test]
    fn a_wished_lifetime_is_kept_within_its_bounds() {
        assert_eq!(token_lifetime(90.0), Duration::from_secs(90));
        assert_eq!(token_lifetime(-5.0), Duration::from_secs(1));
        assert_eq!(token_lifetime(1e18), TOKEN_LIFETIME_MAX);
    }
}
