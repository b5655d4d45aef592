//! qemu's control socket (QMP: one JSON object per line, a greeting first, events between the answers).

use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::error::RigError;

/// Connects to a socket in `dir` however long the path is (an address has room for 107 bytes).
pub(crate) fn connect(dir: &Path, name: &str) -> io::Result<UnixStream> {
    let dir = File::open(dir)?;
    let stream = UnixStream::connect(format!("/proc/self/fd/{}/{name}", dir.as_raw_fd()))?;
    stream.set_nonblocking(true)?;
    Ok(stream)
}

/// Lines from a socket that is not waited for.
pub(crate) struct Lines {
    stream: UnixStream,
    buffer: Vec<u8>,
}

impl Lines {
    pub(crate) fn new(stream: UnixStream) -> Self {
        Self { stream, buffer: Vec::new() }
    }

    pub(crate) fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        // Commands are short: waiting for the other side to take them is waiting for a healthy one.
        self.stream.set_nonblocking(false)?;
        self.stream.set_write_timeout(Some(Duration::from_secs(10)))?;
        let result = self.stream.write_all(bytes);
        self.stream.set_nonblocking(true)?;
        result
    }

    /// Returns the next whole line, if it is there.
    pub(crate) fn next(&mut self) -> io::Result<Option<String>> {
        loop {
            if let Some(end) = self.buffer.iter().position(|&byte| byte == b'\n') {
                let line: Vec<u8> = self.buffer.drain(..=end).collect();
                return Ok(Some(String::from_utf8_lossy(&line).trim_end().to_owned()));
            }
            let mut chunk = [0; 4096];
            match self.stream.read(&mut chunk) {
                Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(read) => self.buffer.extend_from_slice(&chunk[..read]),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(None),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }
}

/// A connection past its greeting.
pub(crate) struct Control {
    lines: Lines,
    events: VecDeque<Value>,
}

/// The reason why a command has no result.
pub(crate) enum Failure {
    /// The socket closed: qemu is gone.
    Gone,
    /// No answer in time.
    Silent(String),
    /// qemu says no.
    Refused(RigError),
}

impl Control {
    /// Takes a fresh connection through the greeting.
    pub(crate) fn new(stream: UnixStream) -> Result<Self, Failure> {
        let mut control = Self { lines: Lines::new(stream), events: VecDeque::new() };
        control.receive("the greeting", |message| message.get("QMP").is_some())?;
        control.command("qmp_capabilities", &json!({}))?;
        Ok(control)
    }

    fn receive(&mut self, what: &str, wanted: impl Fn(&Value) -> bool) -> Result<Value, Failure> {
        const LIMIT: Duration = Duration::from_secs(30);
        let start = Instant::now();
        loop {
            match self.lines.next() {
                Ok(Some(line)) => {
                    let message: Value = serde_json::from_str(&line).unwrap_or_default();
                    if wanted(&message) {
                        return Ok(message);
                    }
                    if message.get("event").is_some() {
                        self.events.push_back(message);
                    }
                }
                Ok(None) if start.elapsed() > LIMIT => return Err(Failure::Silent(what.to_owned())),
                Ok(None) => std::thread::sleep(Duration::from_millis(5)),
                Err(_) => return Err(Failure::Gone),
            }
        }
    }

    /// Sends a command and returns what it returns.
    pub(crate) fn command(&mut self, name: &str, arguments: &Value) -> Result<Value, Failure> {
        let request = format!("{}\n", json!({"execute": name, "arguments": arguments}));
        self.lines.send(request.as_bytes()).map_err(|_| Failure::Gone)?;
        let mut answer = self.receive(name, |m| m.get("return").is_some() || m.get("error").is_some())?;
        if let Some(error) = answer.get("error") {
            return Err(Failure::Refused(RigError::QemuRefused {
                command: name.to_owned(),
                reason: error["desc"].as_str().unwrap_or("no reason given").to_owned(),
            }));
        }
        Ok(answer["return"].take())
    }

    /// Events that have arrived since the last call.
    pub(crate) fn events(&mut self) -> Vec<Value> {
        while let Ok(Some(line)) = self.lines.next() {
            if let Ok(message) = serde_json::from_str::<Value>(&line)
                && message.get("event").is_some()
            {
                self.events.push_back(message);
            }
        }
        self.events.drain(..).collect()
    }
}
