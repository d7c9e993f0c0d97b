//! Progress: what takes longer than a second says what it waits for and for how long, on a terminal, and leaves nothing
//! behind.

use std::sync::{Mutex, MutexGuard, PoisonError, mpsc};
use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

/// What is over by then says nothing.
const PATIENCE: Duration = Duration::from_secs(1);
/// Time between two turns of the wheel.
const TURN: Duration = Duration::from_millis(120);
/// What is said when nothing else was.
const WAITING: &str = "waiting for the agent";

/// The line of progress of one run of the command line.
#[derive(Default)]
pub struct Progress {
    /// Where it is drawn; nowhere, when nobody would see it.
    target: Option<fn() -> ProgressDrawTarget>,
    line: Mutex<Line>,
}

#[derive(Debug, Default)]
struct Line {
    /// While it is drawn.
    bar: Option<ProgressBar>,
    /// What is being done.
    said: Option<String>,
}

impl std::fmt::Debug for Progress {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Progress").field("line", &self.line).finish_non_exhaustive()
    }
}

impl Progress {
    /// Progress that is drawn on what this makes.
    #[must_use]
    pub fn on(target: fn() -> ProgressDrawTarget) -> Self {
        Self { target: Some(target), line: Mutex::default() }
    }

    /// Does something, and draws the line from one second on until it is done.
    pub async fn during<T>(&self, work: impl Future<Output = T>) -> T {
        let mut work = std::pin::pin!(work);
        let done = match tokio::time::timeout(PATIENCE, &mut work).await {
            Ok(done) => done,
            Err(_) => {
                self.draw();
                work.await
            }
        };
        self.hide();
        done
    }

    /// The same of something that does not wait on the event loop.
    pub fn beside<T>(&self, what: &str, work: impl FnOnce() -> T) -> T {
        self.say(|| what.to_owned());
        let (done, is_done) = mpsc::channel::<()>();
        std::thread::scope(|scope| {
            scope.spawn(move || {
                if is_done.recv_timeout(PATIENCE) == Err(mpsc::RecvTimeoutError::Timeout) {
                    self.draw();
                    // Until the other end is gone.
                    let _over = is_done.recv();
                }
                self.hide();
            });
            let result = work();
            drop(done);
            result
        })
    }

    /// What is being done now, for people.
    pub fn say(&self, what: impl FnOnce() -> String) {
        if self.target.is_none() {
            return;
        }
        let mut line = self.line();
        let said = line.said.insert(what()).clone();
        if let Some(bar) = &line.bar {
            bar.set_message(said);
        }
    }

    /// Writes to the terminal while the line is out of the way.
    pub fn aside<T>(&self, write: impl FnOnce() -> T) -> T {
        let bar = self.line().bar.clone();
        match bar {
            Some(bar) => bar.suspend(write),
            None => write(),
        }
    }

    fn draw(&self) {
        let Some(target) = self.target else { return };
        let mut line = self.line();
        let said = line.said.clone().unwrap_or_else(|| WAITING.to_owned());
        let bar = ProgressBar::with_draw_target(None, target()).with_message(said);
        if let Ok(style) = ProgressStyle::with_template("{spinner} {msg} ({elapsed})") {
            bar.set_style(style);
        }
        bar.tick();
        bar.enable_steady_tick(TURN);
        line.bar = Some(bar);
    }

    fn hide(&self) {
        if let Some(bar) = self.line().bar.take() {
            bar.finish_and_clear();
        }
    }

    fn line(&self) -> MutexGuard<'_, Line> {
        self.line.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests;
