//! A running machine with Xen in it: starting it fresh or from a snapshot, its control socket, dom0's shell.

use std::fs;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::command::{Running, Tool, describe, tail};
use crate::error::RigError;
use crate::qemu::{CONSOLE, CONTROL_SOCKET, Machine, Qemu, SHELL_SOCKET};
use crate::qmp::{Control, Failure, Lines, connect};

const POLL: Duration = Duration::from_millis(20);
const START_LIMIT: Duration = Duration::from_secs(60);
/// qemu says this for every feature of the processor it cannot emulate.
const LACKING: &str = "TCG doesn't support requested feature";
/// Number of bytes of the console that an error quotes.
const QUOTE: u64 = 3000;

/// qemu with its two sockets. Dropping it ends it.
pub(crate) struct Live {
    qemu: Running,
    control: Control,
    shell: Lines,
    dir: PathBuf,
}

impl Live {
    /// Starts qemu in `dir`, which receives its sockets and the console. With `incoming` the machine waits
    /// for a state to be loaded.
    pub(crate) fn start(
        qemu: &Qemu,
        machine: &Machine<'_>,
        dir: &Path,
        incoming: bool,
    ) -> Result<Self, RigError> {
        let log = dir.join("qemu.log");
        let mut tool = Tool::plain(qemu.run(), &log).args(machine.arguments()).current_dir(dir);
        if incoming {
            tool = tool.args(["-incoming", "defer"]);
        }
        let mut running = tool.start()?;
        let start = Instant::now();
        let (control, shell) = loop {
            if let (Ok(control), Ok(shell)) = (connect(dir, CONTROL_SOCKET), connect(dir, SHELL_SOCKET)) {
                break (control, shell);
            }
            if let Some(status) = running.ended() {
                return Err(RigError::QemuEnded {
                    doing: "starting".to_owned(),
                    status: describe(status),
                    context: running.output(),
                });
            }
            if start.elapsed() > START_LIMIT {
                return Err(RigError::TimedOut {
                    what: "qemu's control socket".to_owned(),
                    seconds: START_LIMIT.as_secs(),
                    context: running.output(),
                });
            }
            thread::sleep(POLL);
        };
        let context = dir.join(CONSOLE);
        let control =
            Control::new(control).map_err(|failure| explain(failure, "starting", &mut running, &context))?;
        Ok(Self { qemu: running, control, shell: Lines::new(shell), dir: dir.to_owned() })
    }

    pub(crate) fn console(&self) -> PathBuf {
        self.dir.join(CONSOLE)
    }

    /// Returns the end of the console and of qemu's own messages.
    pub(crate) fn context(&self) -> String {
        context(&self.qemu, &self.console())
    }

    fn command(&mut self, doing: &str, name: &str, arguments: &Value) -> Result<Value, RigError> {
        let console = self.console();
        self.control
            .command(name, arguments)
            .map_err(|failure| explain(failure, doing, &mut self.qemu, &console))
    }

    /// Returns an error if qemu has ended.
    pub(crate) fn check(&mut self, doing: &str) -> Result<(), RigError> {
        match self.qemu.ended() {
            None => Ok(()),
            Some(status) => Err(RigError::QemuEnded {
                doing: doing.to_owned(),
                status: describe(status),
                context: self.context(),
            }),
        }
    }

    /// Stops the machine and writes the state of its devices to `file`; its memory is in the file behind it.
    pub(crate) fn save(&mut self, file: &Path) -> Result<(), RigError> {
        const DOING: &str = "saving the snapshot";
        self.command(DOING, "stop", &json!({}))?;
        self.set_capability(DOING)?;
        self.command(DOING, "migrate", &json!({"uri": format!("exec:cat > {}", quote(file))}))?;
        self.migrated(DOING)?;
        self.quit();
        Ok(())
    }

    /// Loads what [`Self::save`] wrote; the machine then runs.
    pub(crate) fn load(&mut self, file: &Path) -> Result<(), RigError> {
        const DOING: &str = "loading the snapshot";
        self.set_capability(DOING)?;
        self.command(DOING, "migrate-incoming", &json!({"uri": format!("exec:cat {}", quote(file))}))?;
        self.migrated(DOING)?;
        // It was stopped when it was saved, and that is part of the state.
        self.command(DOING, "cont", &json!({})).map(drop)
    }

    /// Leaves the memory, which is in a file of its own, out of the state.
    fn set_capability(&mut self, doing: &str) -> Result<(), RigError> {
        let capability = json!({"capability": "x-ignore-shared", "state": true});
        self.command(doing, "migrate-set-capabilities", &json!({"capabilities": [capability]})).map(drop)
    }

    fn migrated(&mut self, doing: &str) -> Result<(), RigError> {
        let start = Instant::now();
        loop {
            let answer = self.command(doing, "query-migrate", &json!({}))?;
            match answer["status"].as_str() {
                Some("completed") => return Ok(()),
                Some("failed" | "cancelled") => {
                    return Err(RigError::QemuRefused {
                        command: doing.to_owned(),
                        reason: format!("{} {}", answer["error-desc"], self.context()),
                    });
                }
                _ if start.elapsed() > START_LIMIT => {
                    return Err(RigError::TimedOut {
                        what: doing.to_owned(),
                        seconds: START_LIMIT.as_secs(),
                        context: self.context(),
                    });
                }
                _ => thread::sleep(POLL),
            }
        }
    }

    /// Ends qemu with its files closed.
    pub(crate) fn quit(&mut self) {
        // Whatever the answer: what does not end by itself is killed.
        let _ = self.control.command("quit", &json!({}));
        let _ = self.qemu.wait(Duration::from_secs(10));
    }

    /// Hands a line to dom0's shell.
    pub(crate) fn shell(&mut self, line: &str) -> Result<(), RigError> {
        let sent = self.shell.send(format!("{line}\n").as_bytes());
        sent.map_err(|_| self.silent("taking a command", Duration::from_secs(10)))
    }

    /// Returns the next line dom0 reports, without its mark.
    pub(crate) fn reported(&mut self) -> Option<String> {
        while let Ok(Some(line)) = self.shell.next() {
            if let Some(report) = line.strip_prefix("@rig ") {
                return Some(report.to_owned());
            }
        }
        None
    }

    /// Waits until dom0 reports `what`.
    pub(crate) fn wait_for(&mut self, what: &str, doing: &str, limit: Duration) -> Result<(), RigError> {
        let start = Instant::now();
        loop {
            while let Some(report) = self.reported() {
                if report == what {
                    return Ok(());
                }
            }
            self.check(doing)?;
            if start.elapsed() > limit {
                return Err(self.silent(doing, limit));
            }
            thread::sleep(POLL);
        }
    }

    /// Waits until the shell answers. What is sent while nobody reads the serial port is lost, so it is asked
    /// again.
    pub(crate) fn wait_for_shell(&mut self, doing: &str, limit: Duration) -> Result<(), RigError> {
        const AGAIN: Duration = Duration::from_secs(1);
        let start = Instant::now();
        loop {
            // The quotes keep an echo of the command from looking like its result.
            self.shell("echo '@rig 'answer")?;
            match self.wait_for("answer", doing, AGAIN) {
                Err(RigError::Dom0Silent { .. }) if start.elapsed() < limit => {}
                Err(RigError::Dom0Silent { .. }) => return Err(self.silent(doing, limit)),
                result => return result,
            }
        }
    }

    pub(crate) fn silent(&self, doing: &str, limit: Duration) -> RigError {
        RigError::Dom0Silent { doing: doing.to_owned(), seconds: limit.as_secs(), context: self.context() }
    }
}

fn context(qemu: &Running, console: &Path) -> String {
    let messages: Vec<String> =
        qemu.output().lines().filter(|line| !line.contains(LACKING)).map(str::to_owned).collect();
    format!("qemu: {}\nconsole: {}", messages.join("\n"), tail(console, QUOTE).trim_end())
}

fn explain(failure: Failure, doing: &str, qemu: &mut Running, console: &Path) -> RigError {
    match failure {
        Failure::Refused(error) => error,
        Failure::Silent(what) => RigError::TimedOut {
            what: format!("qemu's answer to {what} while {doing}"),
            seconds: 30,
            context: context(qemu, console),
        },
        Failure::Gone => {
            let status = qemu.wait(Duration::from_secs(5)).map_or_else(|_| "killed".to_owned(), describe);
            RigError::QemuEnded { doing: doing.to_owned(), status, context: context(qemu, console) }
        }
    }
}

/// Returns a path as a word of a shell's command.
fn quote(path: &Path) -> String {
    format!("'{}'", path.display().to_string().replace('\'', r"'\''"))
}

/// Reads the machine's console as it grows.
pub(crate) struct ConsoleFile {
    path: PathBuf,
    read: u64,
}

impl ConsoleFile {
    pub(crate) fn new(path: PathBuf) -> Self {
        Self { path, read: 0 }
    }

    /// Returns the bytes that were written since the last call.
    pub(crate) fn more(&mut self) -> Vec<u8> {
        use std::io::{Read, Seek, SeekFrom};
        let mut bytes = Vec::new();
        if let Ok(mut file) = fs::File::open(&self.path)
            && file.seek(SeekFrom::Start(self.read)).is_ok()
            && let Ok(read) = file.read_to_end(&mut bytes)
        {
            self.read += read as u64;
        }
        bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_quoted_for_the_shell() {
        assert_eq!(quote(Path::new("/a b/it's")), r"'/a b/it'\''s'");
    }
}
