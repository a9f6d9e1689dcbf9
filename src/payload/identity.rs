//! The 36 bytes that name one transmission of one message.
//!
//! ```text
//! magic u16 | run u32 | publisher u24 | group u24 | seq u32 | tx u32 | epoch u16
//!   | transport u16 | flags u8 | intended u40 | lag u16 | crc u32        (big-endian)
//! ```
//! The CRC-32C covers the first 32 bytes and the padding that follows the identity, so a
//! change anywhere in the payload shows.

use crate::base::{Cause, GroupId, Slot};

/// Bytes of an encoded identity.
pub const IDENTITY_BYTES: usize = 36;
/// Bytes of an identity before its CRC.
pub(super) const CHECKED_BYTES: usize = 32;
/// Marks a payload as one of ours.
const MAGIC: u16 = 0x6873; // "hs"
/// `intended` wraps at 2^40 µs (12.7 days).
const INTENDED_MASK: u64 = (1 << 40) - 1;
/// The unit of `lag`, µs.
const LAG_UNIT_US: u64 = 100;

/// A publisher's messages to one group, numbered 1, 2, 3, ... over all its connections.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct StreamId {
    /// Who publishes.
    pub publisher: Slot,
    /// To which group.
    pub group: GroupId,
}

/// Names one transmission of one message.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Identity {
    /// The run, so that traffic of another run is not mistaken for ours.
    pub run: u32,
    /// The publisher's slot (24 bits).
    pub publisher: Slot,
    /// The group (24 bits).
    pub group: GroupId,
    /// The message's number in its stream, from 1; never above 2^31.
    pub seq: u32,
    /// Counts the transmissions of this publisher, from 1.
    pub tx: u32,
    /// Which connection of the publisher, from 0.
    pub epoch: u16,
    /// Which transport of that connection, from 0; above 0 after recoveries.
    pub transport: u16,
    /// The publisher asked to be spared its own message.
    pub no_echo: bool,
    /// Why this transmission.
    pub cause: Cause,
    /// Which transmission of this message, from 1; 15 means 15 or more.
    pub attempt: u8,
    /// When the schedule wanted the message sent: µs on the publishing worker's clock,
    /// modulo 2^40. See [`Identity::unwrap_intended`].
    pub intended: u64,
    /// This transmission's stamp minus `intended`, µs, rounded down to three digits.
    pub lag_us: u64,
}

impl Identity {
    /// The stream that the message belongs to.
    pub fn stream(&self) -> StreamId {
        StreamId {
            publisher: self.publisher,
            group: self.group,
        }
    }

    /// The identity's bytes up to the CRC.
    pub(super) fn encode_checked(&self) -> [u8; CHECKED_BYTES] {
        let mut out = [0; CHECKED_BYTES];
        out[0..2].copy_from_slice(&MAGIC.to_be_bytes());
        out[2..6].copy_from_slice(&self.run.to_be_bytes());
        out[6..9].copy_from_slice(&self.publisher.0.to_be_bytes()[1..]);
        out[9..12].copy_from_slice(&self.group.0.to_be_bytes()[1..]);
        out[12..16].copy_from_slice(&self.seq.to_be_bytes());
        out[16..20].copy_from_slice(&self.tx.to_be_bytes());
        out[20..22].copy_from_slice(&self.epoch.to_be_bytes());
        out[22..24].copy_from_slice(&self.transport.to_be_bytes());
        out[24] = u8::from(self.no_echo) | (self.cause as u8) << 1 | self.attempt.min(15) << 4;
        out[25..30].copy_from_slice(&(self.intended & INTENDED_MASK).to_be_bytes()[3..]);
        out[30..32].copy_from_slice(&encode_lag(self.lag_us).to_be_bytes());
        out
    }

    /// Reads the identity's bytes; `None` when the magic is not ours or a field has a value
    /// that is never written. The caller checks the CRC.
    pub(super) fn decode(bytes: &[u8; IDENTITY_BYTES]) -> Option<Self> {
        let u16_at = |at: usize| u16::from_be_bytes([bytes[at], bytes[at + 1]]);
        let u24_at = |at: usize| u32::from_be_bytes([0, bytes[at], bytes[at + 1], bytes[at + 2]]);
        let u32_at = |at: usize| {
            u32::from_be_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
        };
        if u16_at(0) != MAGIC {
            return None;
        }
        let mut intended = [0; 8];
        intended[3..].copy_from_slice(&bytes[25..30]);
        Some(Identity {
            run: u32_at(2),
            publisher: Slot(u24_at(6)),
            group: GroupId(u24_at(9)),
            seq: u32_at(12),
            tx: u32_at(16),
            epoch: u16_at(20),
            transport: u16_at(22),
            no_echo: bytes[24] & 1 != 0,
            cause: Cause::from_bits(bytes[24] >> 1 & 7)?,
            attempt: bytes[24] >> 4,
            intended: u64::from_be_bytes(intended),
            lag_us: decode_lag(u16_at(30)),
        })
    }

    /// The full intended time, µs, nearest to `near` (the receiver's own clock).
    pub fn unwrap_intended(&self, near: u64) -> u64 {
        const SPAN: u64 = INTENDED_MASK + 1;
        let base = near & !INTENDED_MASK;
        let candidates = [base.checked_sub(SPAN), Some(base), base.checked_add(SPAN)];
        candidates
            .into_iter()
            .flatten()
            .map(|base| base + self.intended)
            .min_by_key(|time| time.abs_diff(near))
            .unwrap_or(self.intended)
    }
}

/// 12-bit mantissa, 4-bit exponent, in units of 100 µs, rounded down; at most 3.7 h.
fn encode_lag(lag_us: u64) -> u16 {
    let units = lag_us / LAG_UNIT_US;
    let exponent = (64 - units.leading_zeros()).saturating_sub(12);
    if exponent > 15 {
        return u16::MAX;
    }
    // The shift leaves at most 12 bits.
    (exponent as u16) << 12 | (units >> exponent) as u16
}

fn decode_lag(bits: u16) -> u64 {
    (u64::from(bits & 0xfff) << (bits >> 12)) * LAG_UNIT_US
}

#[cfg(test)]
pub(super) fn example() -> Identity {
    Identity {
        run: 0xdead_beef,
        publisher: Slot(0x01_02_03),
        group: GroupId(0x04_05_06),
        seq: 1841,
        tx: 5120,
        epoch: 3,
        transport: 1,
        no_echo: true,
        cause: Cause::AfterRecovery,
        attempt: 2,
        intended: 123_456_789,
        lag_us: 800_000,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lag_rounds_down_and_saturates() {
        for lag in [0, 99, 100, 4_095 * 100, 1_234_567, 3_600_000_000] {
            let read = decode_lag(encode_lag(lag));
            assert!(
                read <= lag && lag - read <= 100 + lag / 2048,
                "{lag} read back as {read}"
            );
        }
        assert_eq!(encode_lag(u64::MAX), u16::MAX);
    }

    #[test]
    fn intended_time_is_unwrapped_to_the_nearest() {
        let at = |intended| Identity {
            intended,
            ..example()
        };
        let span = 1u64 << 40;
        assert_eq!(at(5).unwrap_intended(7), 5);
        assert_eq!(at(span - 5).unwrap_intended(span + 7), span - 5);
        assert_eq!(at(3).unwrap_intended(3 * span - 9), 3 * span + 3);
    }

    #[test]
    fn the_layout_never_changes() {
        let hex: String = example()
            .encode_checked()
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect();
        assert_eq!(
            hex,
            "6873deadbeef010203040506000007310000140000030001230007 5bcd151fa0".replace(' ', "")
        );
    }
}
