//! Reconnection tokens: opaque to clients, good for one connectionId and one week.
//! Source: client-spec 2.2.
//!
//! A token is its time of issue and a MAC over that and the connectionId, so that the hub
//! keeps nothing per token. Without an access key the MAC key is no secret; but then
//! anyone may connect as anyone anyway.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hmac::{Hmac, KeyInit, Mac};
use secrecy::{ExposeSecret, SecretString};
use sha2::Sha256;

use crate::base::{Seed, Time};

/// How long a token is valid after its issue.
const LIFETIME: std::time::Duration = std::time::Duration::from_secs(7 * 24 * 3600);

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

    /// A token for `connection`, URL-safe.
    pub(crate) fn issue(&self, connection: u128, now: Time) -> String {
        let issued = now.as_micros();
        let mac = self.signed(connection, issued).finalize().into_bytes();
        format!("{issued:x}.{}", URL_SAFE_NO_PAD.encode(mac))
    }

    /// Whether `token` was issued here for `connection` and is not too old.
    pub(crate) fn is_valid(&self, token: &str, connection: u128, now: Time) -> bool {
        let Some((issued, mac)) = token.split_once('.') else {
            return false;
        };
        let (Ok(issued), Ok(mac)) = (u64::from_str_radix(issued, 16), URL_SAFE_NO_PAD.decode(mac))
        else {
            return false;
        };
        self.signed(connection, issued).verify_slice(&mac).is_ok()
            && now <= Time::from_micros(issued) + LIFETIME
    }

    fn signed(&self, connection: u128, issued: u64) -> Hmac<Sha256> {
        let mut mac = self.mac.clone();
        mac.update(&connection.to_be_bytes());
        mac.update(&issued.to_be_bytes());
        mac
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_opens_its_own_session_only_and_only_for_a_week() {
        let mint = TokenMint::new(Some(&"key".into()), Seed(1));
        let now = Time::from_secs(10);
        let token = mint.issue(7, now);
        assert!(
            token
                .chars()
                .all(|c| c.is_ascii_alphanumeric() || "._-".contains(c))
        );
        assert!(mint.is_valid(&token, 7, now + LIFETIME));
        assert!(!mint.is_valid(&token, 7, now + LIFETIME + LIFETIME));
        assert!(!mint.is_valid(&token, 8, now));
        assert!(!TokenMint::new(Some(&"other".into()), Seed(1)).is_valid(&token, 7, now));
        for bad in ["", ".", "zz.zz", &token[1..], &token[..token.len() - 1]] {
            assert!(!mint.is_valid(bad, 7, now), "{bad}");
        }
    }
}
