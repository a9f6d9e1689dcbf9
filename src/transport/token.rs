//! Client access tokens: JWT with HS256, minted per client from an access key.
//!
//! Written by hand because it is one HMAC over two base64 texts, and because the claims'
//! exact spelling is what a hub checks. Verifying tokens is the hub's work, not ours.
//! Source: what the official service SDKs (Python, JS) write.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64_URL;
use hmac::{Hmac, KeyInit as _, Mac as _};
use secrecy::{ExposeSecret as _, SecretString};
use serde::Serialize;
use sha2::Sha256;

use super::endpoint::ClientIdentity;

/// `{"alg":"HS256","typ":"JWT"}`, the only header ever written.
const HEADER: &str = "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9";

/// The claims of a client access token. Fields without a value are left out.
#[derive(Serialize)]
struct Claims<'a> {
    aud: &'a str,
    iat: u64,
    exp: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    sub: Option<&'a str>,
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    role: &'a [String],
    #[serde(rename = "webpubsub.group", skip_serializing_if = "<[_]>::is_empty")]
    groups: &'a [String],
}

/// Mints a token for `audience`, valid from `unix_now` (seconds) for the identity's
/// lifetime, cut to whole seconds.
///
/// The HMAC key is the access key's text itself, not what it would decode to as base64.
pub(super) fn mint(
    key: &SecretString,
    audience: &str,
    identity: &ClientIdentity,
    unix_now: u64,
) -> SecretString {
    let claims = Claims {
        aud: audience,
        iat: unix_now,
        exp: unix_now.saturating_add(identity.lifetime.as_secs()),
        sub: identity.user_id.as_deref(),
        role: &identity.roles,
        groups: &identity.groups,
    };
    // Text, numbers and lists of text always serialise.
    let claims = serde_json::to_vec(&claims).expect("claims are plain JSON");

    let mut token = String::with_capacity(HEADER.len() + claims.len() * 2 + 64);
    token.push_str(HEADER);
    token.push('.');
    BASE64_URL.encode_string(&claims, &mut token);
    let signature = sign(key, token.as_bytes());
    token.push('.');
    BASE64_URL.encode_string(signature, &mut token);
    token.into()
}

fn sign(key: &SecretString, text: &[u8]) -> [u8; 32] {
    let mut mac = Hmac::<Sha256>::new_from_slice(key.expose_secret().as_bytes())
        .expect("HMAC takes a key of any length");
    mac.update(text);
    mac.finalize().into_bytes().into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn identity() -> ClientIdentity {
        ClientIdentity {
            user_id: Some("user-1".into()),
            roles: vec![
                "webpubsub.sendToGroup".into(),
                "webpubsub.joinLeaveGroup".into(),
            ],
            groups: vec!["group-0".into()],
            lifetime: Duration::from_secs(3600),
        }
    }

    #[test]
    fn a_hub_that_checks_tokens_would_refuse_every_client_if_this_changed() {
        // The signature was computed with another implementation (Python's hmac module)
        // over the same text.
        let token = mint(
            &"ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789ABCDEFGH".into(),
            "http://localhost:8080/client/hubs/Chat",
            &identity(),
            1_700_000_000,
        );
        let parts: Vec<&str> = token.expose_secret().split('.').collect();
        let text = |part: &str| String::from_utf8(BASE64_URL.decode(part).unwrap()).unwrap();
        assert_eq!(text(parts[0]), r#"{"alg":"HS256","typ":"JWT"}"#);
        assert_eq!(
            text(parts[1]),
            concat!(
                r#"{"aud":"http://localhost:8080/client/hubs/Chat","iat":1700000000,"exp":1700003600,"#,
                r#""sub":"user-1","role":["webpubsub.sendToGroup","webpubsub.joinLeaveGroup"],"#,
                r#""webpubsub.group":["group-0"]}"#
            )
        );
        assert_eq!(parts[2], "pR2DJYgXLMijUfLfdAvfbsy2gzkqNQJscNO0_jK3T4c");
    }

    #[test]
    fn claims_without_a_value_are_left_out() {
        // An empty `sub` would give the client an empty user id, a null one breaks hubs.
        let nobody = ClientIdentity {
            user_id: None,
            roles: vec![],
            groups: vec![],
            ..identity()
        };
        let token = mint(&"k".repeat(32).into(), "http://h/client/hubs/x", &nobody, 5);
        let claims = token.expose_secret().split('.').nth(1).unwrap();
        assert_eq!(
            String::from_utf8(BASE64_URL.decode(claims).unwrap()).unwrap(),
            r#"{"aud":"http://h/client/hubs/x","iat":5,"exp":3605}"#
        );
    }
}
