//! How full reads from sockets are: counted where sockets are read, shown in reports.

/// Reads from the sockets of an arbiter: how full its one buffer was.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct ReadCounts {
    /// Reads that brought something.
    pub reads: u64,
    /// Bytes read.
    pub bytes: u64,
    /// Reads that filled the buffer: more was waiting.
    pub full: u64,
    /// The most that one read brought, bytes.
    pub peak_bytes: u64,
}

impl ReadCounts {
    /// Counts one read of `bytes` with room for `room`.
    pub fn count(&mut self, bytes: usize, room: usize) {
        self.reads += 1;
        self.bytes += bytes as u64;
        self.full += u64::from(bytes >= room);
        self.peak_bytes = self.peak_bytes.max(bytes as u64);
    }

    /// Adds the reads of another arbiter.
    pub fn merge(&mut self, other: &ReadCounts) {
        self.reads += other.reads;
        self.bytes += other.bytes;
        self.full += other.full;
        self.peak_bytes = self.peak_bytes.max(other.peak_bytes);
    }
}
