//! Real WebSockets around the core: one thread, one current-thread runtime, no locks.
//!
//! Everything here shares one [`Shell`] by `Rc`; the core sits in a `RefCell` that is never
//! borrowed across an await. hyper reads the HTTP request and hands the socket over; from
//! then on a connection is one small task with buffers of the thread, so that an idle one
//! costs little. Read [`shell`] first, then [`connection`].

mod accept;
mod access_token;
mod admin;
mod answer;
mod connection;
mod handshake;
mod inbound;
mod io;
mod metrics;
mod query;
mod rest;
mod shell;
mod tls;
mod upstream;

pub(crate) use shell::{Control, serve};
pub(crate) use tls::acceptor;
