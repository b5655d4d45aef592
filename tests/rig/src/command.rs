//! Child processes that cannot outlive us: each in a process group of its own, under a time limit, killed
//! when dropped and by the kernel when the thread that started it dies.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::{self, Read, Seek, SeekFrom};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process_group};

use crate::error::{FileContext, RigError};

const POLL: Duration = Duration::from_millis(20);
/// Number of bytes of a failed program's output that an error quotes.
const QUOTE: u64 = 4000;

/// A running child; dropping it kills its whole process group.
pub(crate) struct Running {
    child: Child,
    program: String,
    log: PathBuf,
}

/// A command to run, with both output streams going to a log file.
pub(crate) struct Tool {
    command: Command,
    program: String,
    log: PathBuf,
}

impl Tool {
    /// `signal` (a name such as `KILL`) is what the kernel sends the child when our thread dies.
    fn new(program: &Path, log: &Path, signal: &str) -> Self {
        let mut command = Command::new("setpriv");
        command.arg("--pdeathsig").arg(signal).arg("--").arg(program);
        command.process_group(0).stdin(Stdio::null());
        Self { command, program: program.display().to_string(), log: log.to_owned() }
    }

    /// Returns a program that may clean up after itself when we die: it gets SIGTERM.
    pub(crate) fn polite(program: impl AsRef<Path>, log: &Path) -> Self {
        Self::new(program.as_ref(), log, "TERM")
    }

    /// Returns a program that is simply killed when we die.
    pub(crate) fn plain(program: impl AsRef<Path>, log: &Path) -> Self {
        Self::new(program.as_ref(), log, "KILL")
    }

    pub(crate) fn arg(mut self, arg: impl AsRef<OsStr>) -> Self {
        self.command.arg(arg);
        self
    }

    pub(crate) fn args<S: AsRef<OsStr>>(mut self, args: impl IntoIterator<Item = S>) -> Self {
        self.command.args(args);
        self
    }

    pub(crate) fn current_dir(mut self, dir: &Path) -> Self {
        self.command.current_dir(dir);
        self
    }

    pub(crate) fn env(mut self, name: &str, value: &str) -> Self {
        self.command.env(name, value);
        self
    }

    pub(crate) fn start(mut self) -> Result<Running, RigError> {
        let log = File::create(&self.log).file("create", &self.log)?;
        let err = log.try_clone().file("open again", &self.log)?;
        let child = self
            .command
            .stdout(log)
            .stderr(err)
            .spawn()
            .map_err(|source| RigError::CannotStart { program: self.program.clone(), source })?;
        Ok(Running { child, program: self.program, log: self.log })
    }

    /// Runs to the end and returns the output of both streams.
    pub(crate) fn run(self, limit: Duration) -> Result<String, RigError> {
        let mut running = self.start()?;
        let status = running.wait(limit)?;
        if !status.success() {
            return Err(RigError::CommandFailed {
                program: running.program.clone(),
                status: describe(status),
                output: running.output(),
            });
        }
        let bytes = fs::read(&running.log).file("read", &running.log)?;
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    }
}

impl Running {
    /// Returns the exit status if it has ended.
    pub(crate) fn ended(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().ok().flatten()
    }

    /// Returns the end of what it has printed.
    pub(crate) fn output(&self) -> String {
        tail(&self.log, QUOTE)
    }

    /// Waits; a child that takes longer than `limit` is killed.
    pub(crate) fn wait(&mut self, limit: Duration) -> Result<ExitStatus, RigError> {
        let start = Instant::now();
        loop {
            if let Some(status) = self.ended() {
                return Ok(status);
            }
            if start.elapsed() > limit {
                self.kill();
                return Err(RigError::TimedOut {
                    what: self.program.clone(),
                    seconds: limit.as_secs(),
                    context: self.output(),
                });
            }
            thread::sleep(POLL);
        }
    }

    fn kill(&mut self) {
        if self.ended().is_none() {
            if let Some(group) = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw) {
                // Fails only if the group is gone already.
                let _ = kill_process_group(group, Signal::KILL);
            }
            let _ = self.child.wait();
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Returns an exit status in words.
pub(crate) fn describe(status: ExitStatus) -> String {
    match (status.code(), status.signal()) {
        (Some(code), _) => format!("exit status {code}"),
        (None, Some(signal)) => format!("signal {signal}"),
        (None, None) => "unknown status".to_owned(),
    }
}

/// Returns the last `bytes` bytes of a file as text; empty if there is none.
pub(crate) fn tail(path: &Path, bytes: u64) -> String {
    let read = || -> io::Result<Vec<u8>> {
        let mut file = File::open(path)?;
        let length = file.metadata()?.len();
        file.seek(SeekFrom::Start(length.saturating_sub(bytes)))?;
        let mut text = Vec::new();
        file.read_to_end(&mut text)?;
        Ok(text)
    };
    String::from_utf8_lossy(&read().unwrap_or_default()).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn log(name: &str) -> PathBuf {
        std::env::temp_dir().join(format!("rig-command-{}-{name}", std::process::id()))
    }

    #[test]
    fn output_of_a_failed_program_is_quoted() {
        let log = log("failed");
        let error = Tool::plain("sh", &log).args(["-c", "echo why >&2; exit 3"]).run(Duration::from_secs(10));
        fs::remove_file(&log).unwrap();
        match error {
            Err(RigError::CommandFailed { status, output, .. }) => {
                assert_eq!((status.as_str(), output.as_str()), ("exit status 3", "why\n"));
            }
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_program_over_its_limit_is_killed_with_its_children() {
        let log = log("limit");
        let mut running = Tool::plain("sh", &log).args(["-c", "sleep 987 & echo $!; wait"]).start().unwrap();
        let error = running.wait(Duration::from_millis(500)).unwrap_err();
        let child = fs::read_to_string(&log).unwrap();
        fs::remove_file(&log).unwrap();
        assert!(matches!(error, RigError::TimedOut { .. }));
        // The signal is sent when `wait` returns; on another processor the child may take a moment to die of
        // it.
        let stat = || fs::read_to_string(format!("/proc/{}/stat", child.trim())).unwrap_or_default();
        let deadline = Instant::now() + Duration::from_secs(10);
        while !(stat().is_empty() || stat().contains(") Z ")) {
            assert!(Instant::now() < deadline, "still there: {}", stat());
            thread::sleep(POLL);
        }
    }
}
