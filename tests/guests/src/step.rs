//! Progress: a step is named when it begins, shows that it lives, and has its time when it ends.

use std::{
    sync::mpsc::{self, RecvTimeoutError, Sender},
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use anyhow::{Context, Result};

/// Time between two messages of a step that goes on.
const PULSE: Duration = Duration::from_secs(30);
/// Columns of a step's name.
const WIDTH: usize = 44;

/// A step that runs: it was named when it began, and prints a line every half minute until it is dropped.
pub struct Running {
    name: String,
    started: Instant,
    /// Hung up when the step ends.
    end: Option<Sender<()>>,
    pulse: Option<JoinHandle<()>>,
}

impl Running {
    /// Names a step that begins.
    pub fn begin(name: &str) -> Self {
        Self::every(PULSE, name, &|line| println!("{line}"))
    }

    fn every(pulse: Duration, name: &str, say: &'static (dyn Fn(String) + Sync)) -> Self {
        say(format!("begin   {name}"));
        let (name, started) = (name.to_owned(), Instant::now());
        let (end, ended) = mpsc::channel::<()>();
        let of = name.clone();
        let pulse = thread::spawn(move || {
            while ended.recv_timeout(pulse) == Err(RecvTimeoutError::Timeout) {
                say(line("…", &of, started));
            }
        });
        Self { name, started, end: Some(end), pulse: Some(pulse) }
    }

    /// Ends the step: returns its line, which begins with how it went.
    pub fn end(self, how: &str) -> String {
        line(how, &self.name, self.started)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        drop(self.end.take());
        if let Some(pulse) = self.pulse.take() {
            // It prints only: a panic of it changes nothing.
            let _ = pulse.join();
        }
    }
}

fn line(how: &str, name: &str, started: Instant) -> String {
    format!("{how:<7} {name:<WIDTH$} {:>7.1} s", started.elapsed().as_secs_f32())
}

/// Runs `work` as a step; a failure carries the step's name.
///
/// # Errors
/// Those of `work`.
pub fn step<T>(name: &str, work: impl FnOnce() -> Result<T>) -> Result<T> {
    let running = Running::begin(name);
    let result = work();
    println!("{}", running.end(if result.is_ok() { "done" } else { "FAILED" }));
    result.with_context(|| name.to_owned())
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;

    static SAID: Mutex<Vec<String>> = Mutex::new(Vec::new());

    #[test]
    fn a_step_is_named_lives_and_ends() {
        let say = |line| SAID.lock().expect("not poisoned").push(line);
        let running = Running::every(Duration::from_millis(20), "clippy", Box::leak(Box::new(say)));
        let begun = || SAID.lock().expect("not poisoned").clone();
        assert_eq!(begun(), ["begin   clippy"]);
        while begun().len() < 3 {
            thread::sleep(Duration::from_millis(5));
        }
        assert!(begun()[1].starts_with("…       clippy "), "{:?}", begun());
        let end = running.end("ok");
        assert!(end.starts_with("ok      clippy ") && end.ends_with(" s"), "{end}");
        let lines = begun().len();
        thread::sleep(Duration::from_millis(60));
        assert_eq!(begun().len(), lines, "it goes on after its end");
    }
}
