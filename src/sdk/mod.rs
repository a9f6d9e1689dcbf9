//! A client library: Web PubSub for Rust programs, without any scenario or verification.
//!
//! What it does on the wire is [`crate::protocol`]; this module gives that session a socket,
//! a clock and an interface. Read [`client`] for what a program calls, [`event`] for what it
//! hears, [`stream`] and [`invoke`] for group streams
//! and invocations, [`builder`] for the options and [`credential`] for ways in; `driver` is the task
//! that moves a client, `worker` the thread that all clients of a process share.
//!
//! ```
//! use hubstorm::sdk::{Client, Credential, Event};
//! # use hubstorm::{base::{Clock, Seed}, hub::{Hub, HubConfig}};
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let hub = Hub::start(HubConfig::new("127.0.0.1:0".parse()?, Seed(1), Clock::start()))?;
//! # let endpoint = format!("http://{}", hub.addr());
//! let (client, mut events) =
//!     Client::connect(Credential::endpoint(&endpoint, "chat", None)?).await?;
//! client.join("room").await?;
//! client.send_to_group("room", "hello").await?;
//! while let Some(event) = events.next().await {
//!     if let Event::GroupMessage(message) = event {
//!         assert_eq!(message.text(), Some("hello"));
//!         break;
//!     }
//! }
//! client.stop().await;
//! # Ok(())
//! # }
//! ```

pub mod builder;
pub mod client;
pub mod credential;
mod dial;
mod driver;
mod ears;
mod encode;
pub mod error;
pub mod event;
pub mod invoke;
mod link;
mod newer;
mod payload;
pub mod request;
pub mod stream;
mod worker;

pub use builder::ClientBuilder;
pub use client::{Client, State};
pub use credential::Credential;
pub use error::{ConnectError, RequestError};
pub use event::{Event, Events, Message};
pub use invoke::{Invocation, InvokeError};
pub use request::{Receipt, Request};
pub use stream::{OpenStream, StreamEnd, StreamError, StreamMark, StreamWriter};

pub use crate::protocol::{Behaviour, InvokeRefused, PartOrder, SessionConfig, StreamRefused};
pub use crate::transport::TlsOptions;
pub use crate::wire::{Data, Subprotocol};
