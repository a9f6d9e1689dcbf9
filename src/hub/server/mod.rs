//! Real WebSockets around the core: one thread, one current-thread runtime, no locks.
//!
//! Everything here shares one [`Shell`] by `Rc`; the core sits in a `RefCell` that is never
//! borrowed across an await. hyper reads the HTTP request and hands the socket over; from
//! then on a connection is one small task with buffers of the thread, so that an idle one
//! costs little. Read [`shell`] first, then [`connection`].

mod accept;
mod access_token;
mod connection;
mod handshake;
mod inbound;
mod shell;

pub(crate) use shell::{Control, serve};
