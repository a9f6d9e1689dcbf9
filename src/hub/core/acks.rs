//! Which requests of a session were executed: the last 1000 successful ackIds.
//!
//! Clients number their requests upwards, so the ids are kept as runs: a session that
//! counts 1, 2, 3 ... needs one run, 12 bytes, however much it publishes.

use std::collections::VecDeque;

use crate::base::AckId;

/// Successful ackIds remembered per session, as the official emulator does; the service's
/// own number is unknown. Source: client-spec 3.1.2.
pub(crate) const REMEMBERED_MAX: u32 = 1000;

struct Run {
    first: u64,
    length: u32,
}

/// The executed ackIds of one session, oldest forgotten first.
#[derive(Default)]
pub(crate) struct AckMemory {
    runs: VecDeque<Run>,
    remembered: u32,
}

impl AckMemory {
    /// Whether this request was executed, as far as remembered.
    pub(crate) fn contains(&self, id: AckId) -> bool {
        self.runs
            .iter()
            .rev()
            .any(|run| id.0.wrapping_sub(run.first) < u64::from(run.length))
    }

    /// Remembers an executed request; forgets the oldest beyond [`REMEMBERED_MAX`].
    pub(crate) fn remember(&mut self, id: AckId) {
        match self.runs.back_mut() {
            Some(run) if run.first.checked_add(u64::from(run.length)) == Some(id.0) => {
                run.length += 1;
            }
            _ => self.runs.push_back(Run {
                first: id.0,
                length: 1,
            }),
        }
        self.remembered += 1;
        if self.remembered > REMEMBERED_MAX
            && let Some(oldest) = self.runs.front_mut()
        {
            self.remembered -= 1;
            oldest.first = oldest.first.wrapping_add(1);
            oldest.length -= 1;
            if oldest.length == 0 {
                self.runs.pop_front();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_counting_client_costs_one_run() {
        let mut memory = AckMemory::default();
        for id in 0..5000 {
            memory.remember(AckId(id));
        }
        assert_eq!(memory.runs.len(), 1);
        assert!(!memory.contains(AckId(3999)) && memory.contains(AckId(4000)));
        assert!(memory.contains(AckId(4999)) && !memory.contains(AckId(5000)));
    }

    proptest! {
        #[test]
        fn it_agrees_with_a_plain_list(steps in prop::collection::vec((0u64..3, any::<bool>()), 0..3000), top: bool) {
            let mut id = if top { u64::MAX - 2000 } else { 0 };
            let (mut memory, mut list) = (AckMemory::default(), VecDeque::new());
            for (step, back) in steps {
                id = if back { id.wrapping_sub(step * 7) } else { id.wrapping_add(step) };
                prop_assert_eq!(memory.contains(AckId(id)), list.contains(&id));
                if !list.contains(&id) {
                    memory.remember(AckId(id));
                    list.push_back(id);
                    if list.len() > REMEMBERED_MAX as usize { list.pop_front(); }
                }
            }
            prop_assert_eq!(memory.remembered as usize, list.len());
        }
    }
}
