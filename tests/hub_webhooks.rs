//! Event handlers over real HTTP: which answers are tried again, what a handler is reminded
//! of, and which events it hears.

#[allow(
    dead_code,
    reason = "each of the hub's test programs uses a part of it"
)]
mod hub_support;

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use hub_support::{Raw, hub_with, status_of};
use hubstorm::hub::{Hub, HubConfig};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

const OK: &str = "200 OK";

/// An event handler that answers by a script, and remembers what it was asked.
#[derive(Clone, Default)]
struct Handler {
    /// Statuses of the next answers to user events; then all is well.
    script: Arc<Mutex<VecDeque<&'static str>>>,
    /// Headers of every answer.
    headers: &'static str,
    /// The heads of the requests, in lower case, with their bodies.
    seen: Arc<Mutex<Vec<String>>>,
}

impl Handler {
    /// A hub with this handler; `change` may set more.
    async fn hub(&self, change: impl FnOnce(&mut HubConfig)) -> Hub {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addr = listener.local_addr().unwrap();
        let handler = self.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(handler.clone().serve(stream));
            }
        });
        hub_with(|config| {
            config.upstream = Some(format!("http://{addr}/{{hub}}/{{event}}").parse().unwrap());
            config.handler_retries = vec![Duration::from_millis(1); 3];
            change(config);
        })
    }

    async fn serve(self, mut stream: TcpStream) {
        let mut bytes = Vec::new();
        let head = loop {
            if let Some(end) = bytes.windows(4).position(|w| w == b"\r\n\r\n") {
                break end + 4;
            }
            if stream.read_buf(&mut bytes).await.unwrap_or(0) == 0 {
                return;
            }
        };
        let text = String::from_utf8_lossy(&bytes[..head]).to_lowercase();
        let length = text
            .split("content-length: ")
            .nth(1)
            .and_then(|rest| rest.split("\r\n").next()?.parse().ok())
            .unwrap_or(0);
        while bytes.len() < head + length {
            if stream.read_buf(&mut bytes).await.unwrap_or(0) == 0 {
                return;
            }
        }
        let status = if text.contains("ce-type: azure.webpubsub.user.") {
            self.script.lock().unwrap().pop_front().unwrap_or(OK)
        } else {
            OK
        };
        let body = String::from_utf8_lossy(&bytes[head..]).into_owned();
        self.seen.lock().unwrap().push(text + &body);
        let answer = format!(
            "HTTP/1.1 {status}\r\nWebHook-Allowed-Origin: *\r\n{}Content-Length: 0\r\nConnection: close\r\n\r\n",
            self.headers
        );
        // The hub may have gone away.
        let _ = stream.write_all(answer.as_bytes()).await;
    }

    fn seen(&self, what: &str) -> Vec<String> {
        let seen = self.seen.lock().unwrap();
        seen.iter()
            .filter(|it| it.contains(what))
            .cloned()
            .collect()
    }

    /// Waits until `count` requests that contain `what` have come.
    async fn until(&self, what: &str, count: usize) -> Vec<String> {
        let wait = async {
            while self.seen(what).len() < count {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        };
        let waited = tokio::time::timeout(Duration::from_secs(20), wait).await;
        assert!(waited.is_ok(), "{what}: {:?}", self.seen.lock().unwrap());
        self.seen(what)
    }
}

const EVENT: &str = r#"{"type":"event","event":"e","ackId":1,"dataType":"text","data":"x"}"#;

#[tokio::test]
async fn trouble_is_tried_again_and_a_refusal_is_not() {
    const BUSY: &str = "503 Service Unavailable";
    // answers of the handler, requests made, whether the event was taken
    for (script, requests, taken) in [
        (&[BUSY, "408 Request Timeout", "500 Oops"][..], 4, true),
        (&[BUSY, BUSY, BUSY, BUSY], 4, false),
        (&["400 Bad Request"], 1, false),
        (&["404 Not Found"], 1, false),
        (&["204 No Content"], 1, true),
    ] {
        let handler = Handler::default();
        handler.script.lock().unwrap().extend(script);
        let hub = handler.hub(|_| {}).await;
        let mut raw = Raw::connect(&hub, "/client/hubs/chat").await;
        raw.json().await;
        raw.send(EVENT).await;
        let ack = raw.json().await;
        assert_eq!(ack["success"], taken, "{script:?}: {ack}");
        if !taken {
            assert_eq!(ack["error"]["name"], "InternalServerError");
        }
        assert_eq!(
            handler.seen("ce-type: azure.webpubsub.user.e").len(),
            requests
        );
        let truth = hub.truth().await;
        assert_eq!(
            (truth.events_handled, truth.events_failed),
            (u64::from(taken), u64::from(!taken)),
            "{script:?}"
        );
    }
}

#[tokio::test]
async fn the_handler_gets_its_cookies_and_its_state_back() {
    let handler = Handler {
        headers: "Set-Cookie: ARRAffinity=7; Path=/; HttpOnly\r\nSet-Cookie: b=1\r\nce-connectionState: c2VjcmV0\r\n",
        ..Handler::default()
    };
    let hub = handler.hub(|_| {}).await;
    let mut raw = Raw::connect(&hub, "/client/hubs/chat").await;
    raw.json().await;
    raw.send(EVENT).await;
    assert_eq!(raw.json().await["success"], true);
    let connect = handler.seen("ce-type: azure.webpubsub.sys.connect\r\n");
    assert!(!connect[0].contains("\r\ncookie:"), "{connect:?}");
    for kind in ["sys.connected", "user.e"] {
        let seen = handler
            .until(&format!("azure.webpubsub.{kind}\r\n"), 1)
            .await;
        assert!(
            seen[0].contains("cookie: arraffinity=7; b=1\r\n")
                && seen[0].contains("ce-connectionstate: c2vjcmv0\r\n"),
            "{seen:?}"
        );
    }
    // Another connection is another conversation.
    assert_eq!(status_of(&hub, "/client/hubs/chat").await, 101);
    let second = handler.until("azure.webpubsub.sys.connect\r\n", 2).await;
    assert!(!second[1].contains("\r\ncookie:"), "{second:?}");
}

#[tokio::test]
async fn only_the_system_events_asked_for_are_sent() {
    let handler = Handler::default();
    let hub = handler
        .hub(|config| config.system_events = "joined,left".parse().unwrap())
        .await;
    let mut raw = Raw::joined(&hub, "g").await;
    let joined = handler.until("azure.webpubsub.gp.joined\r\n", 1).await;
    assert!(
        joined[0].starts_with("post /chat/joined ") && joined[0].ends_with(r#"{"group":"g"}"#),
        "{joined:?}"
    );
    raw.close(Some(1000)).await;
    raw.until_end().await;
    let left = handler.until("azure.webpubsub.gp.left\r\n", 1).await;
    assert!(left[0].ends_with(r#"{"group":"g"}"#), "{left:?}");
    assert!(handler.seen("azure.webpubsub.sys.").is_empty());
}
