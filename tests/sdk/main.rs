//! The client library against the embedded hub over real sockets: what a program sees.

mod endings;
mod life;
mod lines;
mod requests;
mod rig;
mod streams;
mod ways_in;
