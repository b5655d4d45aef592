//! Runs the `bootcfg` program on files in a folder of its own.

#![expect(dead_code, reason = "each test file uses a part")]

pub(crate) mod schema;

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Output},
};

/// A boot.ini as Windows Server 2003 x64 writes it.
pub(crate) const BOOT_INI: &[u8] = b"[boot loader]\r\ntimeout=30\r\ndefault=multi(0)disk(0)rdisk(0)partition(1)\\WINDOWS\r\n\
    [operating systems]\r\n\
    multi(0)disk(0)rdisk(0)partition(1)\\WINDOWS=\"Windows Server 2003, Enterprise x64\" /noexecute=optout /fastdetect\r\n";

/// The line that `add` puts behind it.
pub(crate) const PV_LINE: &[u8] = b"multi(0)disk(0)rdisk(0)partition(1)\\WINDOWS=\"Windows Server 2003, Enterprise x64 (PV disks)\" /noexecute=optout /fastdetect /GPLPV\r\n";

/// A folder that goes with the test.
pub(crate) struct Folder(tempfile::TempDir);

impl Folder {
    pub(crate) fn new() -> Folder {
        Folder(tempfile::tempdir().expect("a folder"))
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// Writes a file, and the folders on the way.
    pub(crate) fn write(&self, name: &str, content: &[u8]) -> PathBuf {
        let path = self.path(name);
        fs::create_dir_all(path.parent().expect("a folder")).expect("made");
        fs::write(&path, content).expect("written");
        path
    }

    pub(crate) fn read(&self, name: &str) -> Vec<u8> {
        fs::read(self.path(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
    }

    /// Returns the names in it.
    pub(crate) fn names(&self) -> Vec<String> {
        let entries = fs::read_dir(self.0.path()).expect("listed");
        let mut names: Vec<_> =
            entries.map(|entry| entry.expect("an entry").file_name().into_string().expect("text")).collect();
        names.sort();
        names
    }

    /// Runs bootcfg in it, with arguments separated by spaces.
    pub(crate) fn run(&self, arguments: &str) -> Ran {
        let words: Vec<_> = arguments.split(' ').collect();
        self.run_words(&words)
    }

    pub(crate) fn run_words(&self, arguments: &[&str]) -> Ran {
        Ran::of(self.command().args(arguments))
    }

    /// bootcfg, which keeps backups of a running system's store in this folder too.
    pub(crate) fn command(&self) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_xenguard"));
        command
            .current_dir(self.0.path())
            .env("SystemRoot", self.0.path())
            .env("ProgramData", self.path("of-users"))
            .stdin(std::process::Stdio::null());
        command
    }

    pub(crate) fn as_path(&self) -> &Path {
        self.0.path()
    }
}

/// Outcome of a run.
#[derive(Debug)]
pub(crate) struct Ran {
    pub code: i32,
    pub out: String,
    pub err: String,
}

impl Ran {
    pub(crate) fn of(command: &mut Command) -> Ran {
        let Output { status, stdout, stderr } = command.output().expect("started");
        Ran {
            code: status.code().expect("an exit code"),
            out: String::from_utf8(stdout).expect("text"),
            err: String::from_utf8(stderr).expect("text"),
        }
    }

    /// Returns the run ended with this code.
    pub(crate) fn gives(self, code: i32) -> Ran {
        assert_eq!(self.code, code, "out: {}\nerr: {}", self.out, self.err);
        self
    }

    /// Asserts that the run failed with this code and that the message has this text.
    pub(crate) fn fails(self, code: i32, text: &str) -> Ran {
        assert!(self.err.contains(text), "code {}: {}", self.code, self.err);
        self.gives(code)
    }

    /// Returns the one JSON document of the output, which is of the documented form.
    pub(crate) fn json(&self) -> serde_json::Value {
        let document =
            serde_json::from_str(&self.out).unwrap_or_else(|error| panic!("{error}: {}", self.out));
        schema::check(&document);
        document
    }

    /// Returns the part of the document that is about the command itself.
    pub(crate) fn result(&self) -> serde_json::Value {
        self.json()["result"].clone()
    }
}
