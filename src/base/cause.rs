//! Why a request was written to a transport: the word that clients put into their messages
//! and that the verifier judges repetitions by.

/// Why a message was transmitted (again).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
#[repr(u8)]
pub enum Cause {
    /// The first transmission.
    First = 0,
    /// The same ackId on the recovered connection, its answer lost with the old transport.
    AfterRecovery = 1,
    /// The same ackId after an error answer that may be retried.
    AfterError = 2,
    /// The same ackId on a live transport that did not answer in time.
    AfterTimeout = 3,
    /// On a new connection: the ackId means nothing there.
    NewConnection = 4,
    /// A fresh ackId on the same connection, as the official Python and JS clients do.
    FreshAckId = 5,
}

impl Cause {
    /// The cause with this number, if there is one.
    pub fn from_bits(bits: u8) -> Option<Self> {
        [
            Cause::First,
            Cause::AfterRecovery,
            Cause::AfterError,
            Cause::AfterTimeout,
            Cause::NewConnection,
            Cause::FreshAckId,
        ]
        .into_iter()
        .find(|cause| *cause as u8 == bits)
    }
}
