//! The frames that wait for one peer.

use std::{collections::VecDeque, sync::Arc};

/// An encoded message on its way out.
#[derive(Debug, Clone)]
pub struct Frame {
    /// The content.
    pub content: Arc<[u8]>,
    /// Not to be given up for others when room runs out, as opposed to gossip that the next round
    /// repeats.
    pub control: bool,
    /// Counts the frames that are not written yet, by the references to it.
    pub ticket: Arc<()>,
}

/// What became of a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Pushed {
    /// It waits.
    Queued,
    /// There was no room: this frame or a less important one was given up.
    Shed,
    /// There was no room too often in a row. The peer does not read.
    Wedged,
}

/// A bounded queue that keeps order, gives up gossip before control, and notices a reader that is stuck.
#[derive(Debug)]
pub(crate) struct Queue {
    frames: VecDeque<Frame>,
    frames_max: usize,
    full_pushes: u32,
    full_pushes_max: u32,
}

impl Queue {
    pub(crate) fn new(frames_max: usize, full_pushes_max: u32) -> Self {
        Self {
            frames: VecDeque::new(),
            frames_max,
            full_pushes: 0,
            full_pushes_max,
        }
    }

    pub(crate) fn push(&mut self, frame: Frame) -> Pushed {
        if self.frames.len() < self.frames_max {
            // Only a row without a break: a burst alone does not make a peer slow.
            self.full_pushes = 0;
            self.frames.push_back(frame);
            return Pushed::Queued;
        }
        self.full_pushes += 1;
        if self.full_pushes >= self.full_pushes_max {
            return Pushed::Wedged;
        }
        // Gossip is said again in the next round anyway; what changes a view is said once.
        if frame.control
            && let Some(gossip) = self.frames.iter().position(|queued| !queued.control)
        {
            self.frames.remove(gossip);
            self.frames.push_back(frame);
        }
        Pushed::Shed
    }

    pub(crate) fn pop(&mut self) -> Option<Frame> {
        self.frames.pop_front()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.frames.is_empty()
    }

    pub(crate) fn clear(&mut self) {
        self.frames.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(n: u8, control: bool) -> Frame {
        Frame {
            content: Arc::new([n]),
            control,
            ticket: Arc::new(()),
        }
    }

    fn drain(queue: &mut Queue) -> Vec<u8> {
        std::iter::from_fn(|| queue.pop())
            .map(|frame| frame.content[0])
            .collect()
    }

    #[test]
    fn order_is_kept() {
        let mut queue = Queue::new(8, 8);
        for n in 0..4 {
            assert_eq!(queue.push(frame(n, n % 2 == 0)), Pushed::Queued);
        }
        assert_eq!(drain(&mut queue), [0, 1, 2, 3]);
    }

    #[test]
    fn control_takes_the_place_of_the_oldest_gossip() {
        let mut queue = Queue::new(3, 8);
        queue.push(frame(0, true));
        queue.push(frame(1, false));
        queue.push(frame(2, false));
        assert_eq!(queue.push(frame(3, true)), Pushed::Shed);
        assert_eq!(drain(&mut queue), [0, 2, 3]);
    }

    #[test]
    fn without_gossip_to_give_up_the_new_frame_is_dropped() {
        let mut queue = Queue::new(2, 8);
        queue.push(frame(0, true));
        queue.push(frame(1, true));
        assert_eq!(queue.push(frame(2, true)), Pushed::Shed);
        assert_eq!(queue.push(frame(3, false)), Pushed::Shed);
        assert_eq!(drain(&mut queue), [0, 1]);
    }

    #[test]
    fn reader_is_wedged_only_after_consecutive_full_pushes() {
        let mut queue = Queue::new(1, 3);
        queue.push(frame(0, true));
        assert_eq!(queue.push(frame(1, true)), Pushed::Shed);
        assert_eq!(queue.push(frame(2, true)), Pushed::Shed);
        queue.pop();
        assert_eq!(queue.push(frame(3, true)), Pushed::Queued);
        assert_eq!(queue.push(frame(4, true)), Pushed::Shed);
        assert_eq!(queue.push(frame(5, true)), Pushed::Shed);
        assert_eq!(queue.push(frame(6, true)), Pushed::Wedged);
    }
}
