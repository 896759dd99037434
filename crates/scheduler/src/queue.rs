//! The units of one run that want a lease.

use std::collections::VecDeque;

/// Two lines: units on which somebody works already go first, so that units end early and few are open
/// at a time; then units that nobody has touched.
#[derive(Debug, Default)]
pub(crate) struct Queue {
    started: VecDeque<u32>,
    fresh: VecDeque<u32>,
    /// Never leased units need no place in a line: they are all from here on, in order.
    next_fresh: u32,
    end_fresh: u32,
}

/// How many units of a line are looked at for one lease. A worker that knows all of them is offered the
/// next line instead; looking rotates the line, so the next look sees others.
const LOOKS_MAX: usize = 64;

impl Queue {
    /// All of `0..inputs` are fresh.
    pub(crate) fn fresh(inputs: u32) -> Self {
        Self { end_fresh: inputs, ..Self::default() }
    }

    pub(crate) fn push(&mut self, unit: u32, started: bool) {
        if started { self.started.push_back(unit) } else { self.fresh.push_back(unit) }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.started.is_empty() && self.fresh.is_empty() && self.next_fresh == self.end_fresh
    }

    /// Takes the first unit that `fits`. Those that are `gone` leave the line.
    pub(crate) fn take(&mut self, mut look: impl FnMut(u32) -> Look) -> Option<u32> {
        for line in [&mut self.started, &mut self.fresh] {
            for _ in 0..line.len().min(LOOKS_MAX) {
                let Some(unit) = line.pop_front() else { break };
                match look(unit) {
                    Look::Fits => return Some(unit),
                    Look::NotThisWorker => line.push_back(unit),
                    Look::Gone => {}
                }
            }
        }
        while self.next_fresh < self.end_fresh {
            let unit = self.next_fresh;
            self.next_fresh += 1;
            match look(unit) {
                Look::Fits => return Some(unit),
                Look::NotThisWorker => self.fresh.push_back(unit),
                Look::Gone => {}
            }
        }
        None
    }
}

pub(crate) enum Look {
    Fits,
    NotThisWorker,
    Gone,
}
