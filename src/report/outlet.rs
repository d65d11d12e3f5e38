//! A queue with a thread that writes what is put into it: who puts something there never waits for who reads.

use std::collections::VecDeque;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

/// What the thread does with the items.
pub(super) trait Write<T>: Send + 'static {
    /// Takes the next of them out of the queue.
    fn take(items: &mut VecDeque<T>) -> Vec<T>;
    /// Writes them. `left` wait behind them; `lost` before them found no room, or were in hand at a panic.
    fn write(&mut self, items: Vec<T>, left: usize, lost: usize);
}

/// The queue. Its thread ends when it is dropped and all is written.
#[derive(Debug)]
pub(super) struct Outlet<T> {
    shared: Arc<Shared<T>>,
}

#[derive(Debug)]
struct Shared<T> {
    queue: Mutex<Queue<T>>,
    /// Something came into the queue, or nothing more will.
    came: Condvar,
    went: Condvar,
}

#[derive(Debug)]
struct Queue<T> {
    items: VecDeque<T>,
    /// Items that are being written.
    in_hand: usize,
    /// Items that will not be, of which the writer has not been told.
    lost: usize,
    closed: bool,
}

impl<T: Send + 'static> Outlet<T> {
    /// Starts the thread. It goes on after a panic, of which `died` is told.
    pub(super) fn start(mut writer: impl Write<T>, died: impl Fn() + Send + 'static) -> io::Result<Self> {
        let queue = Queue { items: VecDeque::new(), in_hand: 0, lost: 0, closed: false };
        let shared = Arc::new(Shared { queue: Mutex::new(queue), came: Condvar::new(), went: Condvar::new() });
        let theirs = Arc::clone(&shared);
        thread::Builder::new().spawn(move || {
            // What there is to say of the panic is written here too.
            while catch_unwind(AssertUnwindSafe(|| theirs.serve(&mut writer))).is_err() {
                died();
            }
        })?;
        Ok(Self { shared })
    }

    /// Puts an item at the end, unless `most` are waiting; says how many wait now.
    pub(super) fn put(&self, item: T, most: usize) -> usize {
        let mut queue = self.shared.lock();
        if queue.items.len() < most {
            queue.items.push_back(item);
        } else {
            queue.lost += 1;
        }
        self.shared.came.notify_one();
        queue.items.len()
    }

    /// Waits until all is written, at most for so long; says how much is not.
    pub(super) fn wait(&self, at_most: Duration) -> usize {
        let queue = self.shared.lock();
        let waited = self.shared.went.wait_timeout_while(queue, at_most, |queue| queue.unwritten() > 0);
        waited.map_or_else(|poisoned| poisoned.into_inner().0, |(queue, _)| queue).unwritten()
    }
}

impl<T> Drop for Outlet<T> {
    fn drop(&mut self) {
        self.shared.lock().closed = true;
        self.shared.came.notify_one();
    }
}

impl<T> Queue<T> {
    fn unwritten(&self) -> usize {
        self.items.len() + self.in_hand + self.lost
    }
}

impl<T> Shared<T> {
    /// No panic happens while it is locked.
    fn lock(&self) -> MutexGuard<'_, Queue<T>> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn serve<W: Write<T>>(&self, writer: &mut W) {
        loop {
            let mut queue = self.lock();
            // They were in hand at a panic.
            queue.lost += std::mem::take(&mut queue.in_hand);
            while queue.items.is_empty() && queue.lost == 0 {
                if queue.closed {
                    return;
                }
                queue = self.came.wait(queue).unwrap_or_else(PoisonError::into_inner);
            }
            let items = W::take(&mut queue.items);
            let lost = std::mem::take(&mut queue.lost);
            let left = queue.items.len();
            queue.in_hand = items.len() + lost;
            drop(queue);
            writer.write(items, left, lost);
            self.lock().in_hand = 0;
            self.went.notify_all();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc::{Receiver, Sender, channel};

    const LONG: Duration = Duration::from_secs(60);

    /// Hands out what it is given to write, and waits at each writing until it may go on.
    struct Slow {
        wrote: Sender<(Vec<u32>, usize, usize)>,
        go: Receiver<bool>,
    }

    impl Write<u32> for Slow {
        fn take(items: &mut VecDeque<u32>) -> Vec<u32> {
            items.drain(..items.len().min(2)).collect()
        }

        fn write(&mut self, items: Vec<u32>, left: usize, lost: usize) {
            self.wrote.send((items, left, lost)).expect("the test listens");
            assert!(self.go.recv().unwrap_or(true), "the test wants it");
        }
    }

    type Wrote = Receiver<(Vec<u32>, usize, usize)>;

    fn slow() -> (Outlet<u32>, Wrote, Sender<bool>, Receiver<()>) {
        let ((wrote, written), (go, may_go), (died, deaths)) = (channel(), channel(), channel());
        let outlet = Outlet::start(Slow { wrote, go: may_go }, move || died.send(()).expect("the test listens"));
        (outlet.expect("a thread"), written, go, deaths)
    }

    #[test]
    fn nobody_waits_for_who_reads_and_what_is_not_written_is_counted() {
        let (outlet, written, go, _deaths) = slow();
        assert_eq!(outlet.put(0, 3), 1);
        assert_eq!(written.recv_timeout(LONG), Ok((vec![0], 0, 0)));
        let waiting = [1, 2, 3, 4, 5].map(|item| outlet.put(item, 3));
        assert_eq!(waiting, [1, 2, 3, 3, 3]);
        assert_eq!(outlet.wait(Duration::ZERO), 6);
        go.send(true).expect("it waits");
        // Two found no room, and are told once.
        assert_eq!(written.recv_timeout(LONG), Ok((vec![1, 2], 1, 2)));
        go.send(true).expect("it waits");
        assert_eq!(written.recv_timeout(LONG), Ok((vec![3], 0, 0)));
        assert_eq!(outlet.wait(Duration::ZERO), 1);
        go.send(true).expect("it waits");
        assert_eq!(outlet.wait(LONG), 0);
    }

    #[test]
    fn a_panic_is_told_and_what_comes_after_it_is_written() {
        let (outlet, written, go, deaths) = slow();
        outlet.put(0, 3);
        assert_eq!(written.recv_timeout(LONG), Ok((vec![0], 0, 0)));
        outlet.put(1, 3);
        go.send(false).expect("it waits");
        assert_eq!(deaths.recv_timeout(LONG), Ok(()));
        assert_eq!(written.recv_timeout(LONG), Ok((vec![1], 0, 1)));
        drop(outlet);
        drop(go);
        // The thread has ended.
        assert!(written.recv_timeout(LONG).is_err());
    }
}
