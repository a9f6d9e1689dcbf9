//! The order of incoming stream parts: what a member can say of each. Source: client-spec 3.6.5.

use rustc_hash::FxHashMap;

use crate::wire::StreamPart;

/// Streams followed at a time; beyond, the one that was silent longest is forgotten.
pub const STREAMS_FOLLOWED_MAX: usize = 1024;

/// Where a part stands in its stream, as far as this member has seen it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum PartOrder {
    /// The stream's first.
    First,
    /// The one after the last.
    Next,
    /// Not the first, of a stream not seen before: its beginning was missed.
    Midway,
    /// So many parts between the last and this one never came.
    Gap(u64),
    /// Not above the last: the publisher's hub has sent it again.
    Repeated,
}

#[derive(Debug)]
struct Followed {
    group: Box<str>,
    /// The number of the next part.
    next: u64,
    last_use: u64,
}

/// Follows the streams of one client, by group and name.
#[derive(Debug, Default)]
pub struct StreamOrder {
    streams: FxHashMap<Box<str>, Vec<Followed>>,
    followed: usize,
    uses: u64,
    forgotten: u64,
}

impl StreamOrder {
    /// Notes a part that came in `group`.
    pub fn part(&mut self, group: &str, part: &StreamPart<'_>) -> PartOrder {
        self.uses += 1;
        let uses = self.uses;
        let known = self.streams.get_mut(&*part.stream_id);
        let known = known.and_then(|streams| streams.iter_mut().find(|s| *s.group == *group));
        let order = match known {
            Some(stream) => {
                stream.last_use = uses;
                let order = match part.number {
                    number if number == stream.next => PartOrder::Next,
                    number if number > stream.next => PartOrder::Gap(number - stream.next),
                    _ => PartOrder::Repeated,
                };
                stream.next = stream.next.max(part.number.saturating_add(1));
                order
            }
            None => {
                if !part.end_of_stream {
                    self.follow(group, part);
                }
                return if part.number == 1 {
                    PartOrder::First
                } else {
                    PartOrder::Midway
                };
            }
        };
        if part.end_of_stream {
            self.forget(group, &part.stream_id);
        }
        order
    }

    /// Streams forgotten to make room for others.
    pub fn forgotten(&self) -> u64 {
        self.forgotten
    }

    fn follow(&mut self, group: &str, part: &StreamPart<'_>) {
        if self.followed >= STREAMS_FOLLOWED_MAX {
            let all = self.streams.iter();
            let all = all.flat_map(|(id, list)| list.iter().map(move |stream| (id, stream)));
            if let Some((id, stream)) = all.min_by_key(|(_, stream)| stream.last_use) {
                let (id, group) = (id.clone(), stream.group.clone());
                self.forget(&group, &id);
                self.forgotten += 1;
            }
        }
        self.followed += 1;
        let streams = self.streams.entry(part.stream_id.as_ref().into());
        streams.or_default().push(Followed {
            group: group.into(),
            next: part.number.saturating_add(1),
            last_use: self.uses,
        });
    }

    fn forget(&mut self, group: &str, id: &str) {
        if let Some(streams) = self.streams.get_mut(id) {
            let before = streams.len();
            streams.retain(|stream| *stream.group != *group);
            self.followed -= before - streams.len();
            if streams.is_empty() {
                self.streams.remove(id);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn part(id: &str, number: u64, end_of_stream: bool) -> StreamPart<'_> {
        StreamPart {
            stream_id: id.into(),
            number,
            end_of_stream,
            error: None,
        }
    }

    #[test]
    fn a_missing_part_is_told_and_so_is_a_missed_beginning() {
        let mut order = StreamOrder::default();
        let mut see = |group: &str, number, end| order.part(group, &part("s", number, end));
        assert_eq!(see("g", 1, false), PartOrder::First);
        assert_eq!(see("g", 2, false), PartOrder::Next);
        assert_eq!(see("g", 5, false), PartOrder::Gap(2));
        assert_eq!(see("g", 5, false), PartOrder::Repeated);
        assert_eq!(
            see("h", 5, false),
            PartOrder::Midway,
            "another group, another stream"
        );
        assert_eq!(see("g", 6, true), PartOrder::Next);
        assert_eq!(
            see("g", 1, false),
            PartOrder::First,
            "the name is free again"
        );
        assert_eq!(see("g", 3, true), PartOrder::Gap(1));
        assert_eq!(see("h", 6, true), PartOrder::Next);
        assert_eq!(order.followed, 0);
    }

    #[test]
    fn streams_that_never_end_do_not_fill_the_memory() {
        let mut order = StreamOrder::default();
        for n in 0..STREAMS_FOLLOWED_MAX + 10 {
            order.part("g", &part(&format!("s{n}"), 1, false));
        }
        assert_eq!(order.followed, STREAMS_FOLLOWED_MAX);
        assert_eq!(order.forgotten(), 10);
        assert_eq!(order.part("g", &part("s0", 2, false)), PartOrder::Midway);
        let last = format!("s{}", STREAMS_FOLLOWED_MAX + 9);
        assert_eq!(order.part("g", &part(&last, 2, false)), PartOrder::Next);
    }
}
