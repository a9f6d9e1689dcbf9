//! Slots with generations: a key of something that is gone finds nothing, even after its
//! place was given to another.

/// A key into one [`Arena`].
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub(crate) struct Key {
    index: u32,
    generation: u32,
}

impl Key {
    /// The place, for side tables kept beside the arena.
    pub(crate) fn index(self) -> usize {
        self.index as usize
    }
}

struct Place<T> {
    generation: u32,
    value: Option<T>,
}

/// Values under keys that are never reused (until one place has been used 2^32 times).
pub(crate) struct Arena<T> {
    places: Vec<Place<T>>,
    free: Vec<u32>,
}

impl<T> Arena<T> {
    pub(crate) fn new() -> Self {
        Arena {
            places: Vec::new(),
            free: Vec::new(),
        }
    }

    /// Values held.
    pub(crate) fn len(&self) -> usize {
        self.places.len() - self.free.len()
    }

    pub(crate) fn insert(&mut self, value: T) -> Key {
        if let Some(index) = self.free.pop() {
            let place = &mut self.places[index as usize];
            place.value = Some(value);
            return Key {
                index,
                generation: place.generation,
            };
        }
        // A process runs out of sockets and memory long before 2^32 places.
        let index = u32::try_from(self.places.len()).unwrap_or(u32::MAX);
        self.places.push(Place {
            generation: 0,
            value: Some(value),
        });
        Key {
            index,
            generation: 0,
        }
    }

    pub(crate) fn remove(&mut self, key: Key) -> Option<T> {
        let place = self.places.get_mut(key.index())?;
        if place.generation != key.generation {
            return None;
        }
        let value = place.value.take()?;
        place.generation = place.generation.wrapping_add(1);
        self.free.push(key.index);
        Some(value)
    }

    pub(crate) fn get(&self, key: Key) -> Option<&T> {
        let place = self.places.get(key.index())?;
        (place.generation == key.generation)
            .then_some(place.value.as_ref())
            .flatten()
    }

    pub(crate) fn get_mut(&mut self, key: Key) -> Option<&mut T> {
        let place = self.places.get_mut(key.index())?;
        (place.generation == key.generation)
            .then_some(place.value.as_mut())
            .flatten()
    }

    /// The keys of all values, in order of their places.
    pub(crate) fn keys(&self) -> impl Iterator<Item = Key> + '_ {
        self.places.iter().enumerate().filter_map(|(index, place)| {
            place.value.as_ref().map(|_| Key {
                index: index as u32,
                generation: place.generation,
            })
        })
    }

    /// The first value at or after place `from`, wrapping around, that `wanted` accepts.
    pub(crate) fn find_from(
        &self,
        from: usize,
        mut wanted: impl FnMut(Key, &T) -> bool,
    ) -> Option<Key> {
        let count = self.places.len();
        (0..count)
            .map(|offset| (from + offset) % count)
            .find_map(|index| {
                let place = &self.places[index];
                let key = Key {
                    index: index as u32,
                    generation: place.generation,
                };
                let value = place.value.as_ref()?;
                wanted(key, value).then_some(key)
            })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_key_of_a_gone_session_never_finds_its_successor() {
        let mut arena = Arena::new();
        let first = arena.insert('a');
        assert_eq!(arena.remove(first), Some('a'));
        let second = arena.insert('b');
        assert_eq!(first.index(), second.index());
        assert_eq!((arena.get(first), arena.get(second)), (None, Some(&'b')));
        assert_eq!(arena.remove(first), None);
        assert_eq!(arena.len(), 1);
        assert_eq!(arena.find_from(0, |_, &v| v == 'b'), Some(second));
    }
}
