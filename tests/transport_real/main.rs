//! The transport against real sockets: a scripted server of the test's own, on a port that
//! the system chooses, in the same process. `server` has both ends' helpers.

mod dial;
mod faults;
mod messages;
mod server;
mod tls;
