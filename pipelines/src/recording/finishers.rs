//! Files that are finalised while their recording goes on in others.

use parking_lot::Mutex;
use std::{
    sync::Arc,
    thread::{self, JoinHandle},
};

/// The threads that finalise files.
#[derive(Debug, Default)]
pub(super) struct Finishers(Vec<JoinHandle<()>>);

impl Finishers {
    /// Does `work` on this thread, which is to be started, or here where there is none to be had: a
    /// file that isn't finalised would be lost.
    pub(super) fn run(&mut self, thread: thread::Builder, work: impl FnOnce() + Send + 'static) {
        self.0.retain(|thread| !thread.is_finished());
        // A thread that can't be started takes along what it was given.
        let work = Arc::new(Mutex::new(Some(work)));
        let given = work.clone();
        let started = thread.spawn(move || {
            let work = given.lock().take();
            if let Some(work) = work {
                work();
            }
        });
        match started {
            Ok(thread) => self.0.push(thread),
            Err(error) => {
                tracing::warn!(%error, "no thread to finalise a file: the recording waits for it");
                let work = work.lock().take();
                if let Some(work) = work {
                    work();
                }
            }
        }
    }

    /// Waits for all of them.
    pub(super) fn join(&mut self) {
        for thread in self.0.drain(..) {
            if thread.join().is_err() {
                tracing::error!("a thread that finalises a file panicked");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc::channel;

    #[test]
    fn a_file_is_finalised_with_a_thread_and_without() {
        let (done, finalised) = channel();
        let mut finishers = Finishers::default();
        // No machine has room for the second one.
        for stack in [1 << 20, usize::MAX >> 2] {
            let done = done.clone();
            let thread = thread::Builder::new().stack_size(stack);
            finishers.run(thread, move || done.send(thread::current().id()).unwrap());
        }
        finishers.join();
        let by: Vec<_> = finalised.try_iter().collect();
        let here = thread::current().id();
        assert_eq!(by.len(), 2);
        assert_eq!(by.iter().filter(|thread| **thread == here).count(), 1);
    }
}
