//! Numbers of descriptors on their way into slots: the kernel reads each, and puts the number of
//! its slot in its place.

use std::os::fd::RawFd;
use std::sync::atomic::{AtomicI32, Ordering};

/// Numbers by place, in memory that requests name: none moves or goes until the rings are closed.
/// There are as many as were ever in use at once.
pub(super) struct Numbers {
    #[expect(clippy::vec_box, reason = "the kernel has their addresses")]
    places: Vec<Box<AtomicI32>>,
    free: Vec<u32>,
}

impl Numbers {
    /// None.
    pub(super) fn new() -> Numbers {
        Numbers { places: Vec::new(), free: Vec::new() }
    }

    /// Puts a descriptor's number somewhere: the place, and where that is.
    pub(super) fn put(&mut self, fd: RawFd) -> (u32, *mut RawFd) {
        let place = self.free.pop().unwrap_or_else(|| {
            self.places.push(Box::default());
            self.places.len() as u32 - 1
        });
        let number = &self.places[place as usize];
        number.store(fd, Ordering::Relaxed);
        (place, number.as_ptr())
    }

    /// Takes the number at a place that no request names any more.
    pub(super) fn take(&mut self, place: u32) -> RawFd {
        self.free.push(place);
        self.places[place as usize].load(Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_stays_where_it_is_while_others_come_and_go() {
        let mut numbers = Numbers::new();
        let (place, first) = numbers.put(7);
        for fd in 0..1000 {
            numbers.put(fd);
        }
        assert_eq!(numbers.take(place), 7);
        assert_eq!(numbers.put(8), (place, first), "it is used again where it was");
        assert_eq!(numbers.places.len(), 1001);
    }
}
