//! Sends a text to a group through the service's REST API, without a connection of its own:
//! `cargo run --example rest_sender -- ENDPOINT KEY HUB GROUP TEXT`, e.g. with `hubstorm hub
//! --access-key KEY` running and `http://127.0.0.1:8080` as endpoint.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64_URL;
use hmac::{Hmac, KeyInit as _, Mac as _};
use hubstorm::base::Clock;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::json;
use sha2::Sha256;

/// A token for one request: its audience is the URL, its life a minute.
fn token(url: &str, key: &str) -> Result<String, Box<dyn std::error::Error>> {
    let now = Clock::start().unix_now();
    let header = BASE64_URL.encode(json!({"alg": "HS256", "typ": "JWT"}).to_string());
    let claims = json!({"aud": url, "iat": now, "exp": now + 60}).to_string();
    let text = format!("{header}.{}", BASE64_URL.encode(claims));
    let mut mac = Hmac::<Sha256>::new_from_slice(key.as_bytes())?;
    mac.update(text.as_bytes());
    let signature = BASE64_URL.encode(mac.finalize().into_bytes());
    Ok(format!("{text}.{signature}"))
}

#[actix_rt::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let [endpoint, key, hub, group, text] = args.as_slice() else {
        return Err("usage: rest_sender ENDPOINT KEY HUB GROUP TEXT".into());
    };
    let endpoint = endpoint.trim_end_matches('/');
    let group = utf8_percent_encode(group, NON_ALPHANUMERIC);
    let url = format!("{endpoint}/api/hubs/{hub}/groups/{group}/:send?api-version=2024-12-01");
    let request = awc::Client::default()
        .post(url.as_str())
        .bearer_auth(token(&url, key)?)
        .content_type("text/plain");
    let mut answer = request
        .send_body(text.clone())
        .await
        .map_err(|error| error.to_string())?;
    let body = answer.body().await?;
    println!("{} {}", answer.status(), String::from_utf8_lossy(&body));
    if answer.status() == 202 {
        Ok(())
    } else {
        Err("the service did not accept the message".into())
    }
}
