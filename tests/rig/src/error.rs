//! Errors of the rig itself. A guest that crashes or hangs is an [`Outcome`](crate::Outcome), never an error.

use std::io;
use std::path::PathBuf;

/// A failure of the rig, with what to do about it where something can be done.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RigError {
    /// Debian packages the rig needs are not installed and may not be installed from here.
    #[error("missing packages: {packages}; they can be installed by root only: run `{command}`")]
    PackagesMissing {
        /// Package names, separated by spaces.
        packages: String,
        /// Command that installs them.
        command: String,
    },
    /// Something only root may do.
    #[error("{what} needs root: run this as root, or let sudo work without a password (`sudo -v`)")]
    RootNeeded {
        /// The step.
        what: &'static str,
    },
    /// apt on this machine knows no bookworm archive.
    #[error(
        "apt on this machine knows no Debian 12 (bookworm) archive, which dom0 and qemu are taken from; \
         add one to /etc/apt/sources.list.d and run `apt-get update`"
    )]
    NoBookworm,
    /// Xen's clock says that its machine stood still, and the guest did not come to its end in time.
    #[error("Xen's machine stood still for seconds, and the guest's time ran out")]
    StoodStill,
    /// Not enough room for what is about to be made.
    #[error(
        "{path}: {needed_mib} MiB needed for {what}, {free_mib} MiB free; free some space or move the target directory"
    )]
    DiskSpace {
        /// Directory on the file system in question.
        path: PathBuf,
        /// The purpose of the space.
        what: &'static str,
        /// MiB needed.
        needed_mib: u64,
        /// MiB available.
        free_mib: u64,
    },
    /// A program of the host could not be started.
    #[error("cannot start {program}: {source}")]
    CannotStart {
        /// Program.
        program: String,
        /// The reason.
        source: io::Error,
    },
    /// A program of the host ended with an error.
    #[error("{program} failed ({status}):\n{output}")]
    CommandFailed {
        /// Command line, shortened.
        program: String,
        /// Exit status or signal.
        status: String,
        /// End of its output.
        output: String,
    },
    /// A step took longer than it may.
    #[error("{what}: no result after {seconds} s\n{context}")]
    TimedOut {
        /// The step.
        what: String,
        /// Seconds waited.
        seconds: u64,
        /// Last output seen.
        context: String,
    },
    /// A file operation failed.
    #[error("{what} {path}: {source}")]
    File {
        /// The operation, as a verb phrase.
        what: &'static str,
        /// The file.
        path: PathBuf,
        /// The reason.
        source: io::Error,
    },
    /// Someone else holds the lock on a file.
    #[error("{path} is in use by another run; wait for it to end")]
    InUse {
        /// The locked file.
        path: PathBuf,
    },
    /// The job cannot be run as described.
    #[error("job {job}: {reason}")]
    BadJob {
        /// Name of the job.
        job: String,
        /// The defect, and what would be right.
        reason: String,
    },
    /// An unpacked tree lacks something that the packages should have brought.
    #[error("the unpacked {what} lacks {path}; remove it and set the rig up again")]
    TreeIncomplete {
        /// Name of the tree.
        what: &'static str,
        /// File or directory that is missing.
        path: PathBuf,
    },
    /// An unpacked file is not the one that the rig was made for.
    #[error("{file}: expected {expected}, found {found}; the archive has another build of the package")]
    OtherBytes {
        /// The file.
        file: PathBuf,
        /// The bytes that were looked for.
        expected: String,
        /// The bytes that were there.
        found: String,
    },
    /// qemu ended on its own while it was needed.
    #[error("qemu ended while {doing} ({status})\n{context}")]
    QemuEnded {
        /// The action under way.
        doing: String,
        /// Exit status or signal.
        status: String,
        /// End of its messages and of Xen's console.
        context: String,
    },
    /// qemu refused a command on its control socket.
    #[error("qemu refused `{command}`: {reason}")]
    QemuRefused {
        /// Command name.
        command: String,
        /// qemu's description.
        reason: String,
    },
    /// dom0's shell does not answer.
    #[error("dom0 does not answer while {doing} ({seconds} s)\n{context}")]
    Dom0Silent {
        /// The action under way.
        doing: String,
        /// Seconds waited.
        seconds: u64,
        /// End of Xen's console.
        context: String,
    },
    /// `xl create` failed, so there was no guest.
    #[error("xl create failed:\n{log}")]
    CreateFailed {
        /// xl's messages.
        log: String,
    },
    /// The results from dom0 are not in the form that it sends.
    #[error("results of the job: {reason}")]
    BadResults {
        /// Expected and found values.
        reason: String,
    },
}

impl RigError {
    /// Returns true if the same run may well succeed if repeated: the machinery broke down, rather than being
    /// missing, refused or asked for something it cannot do.
    pub fn is_transient(&self) -> bool {
        matches!(
            self,
            Self::TimedOut { .. }
                | Self::QemuEnded { .. }
                | Self::Dom0Silent { .. }
                | Self::CreateFailed { .. }
                | Self::BadResults { .. }
                | Self::StoodStill
        )
    }
}

/// Attaches the operation and the path to an I/O error.
pub(crate) trait FileContext<T> {
    fn file(self, what: &'static str, path: impl Into<PathBuf>) -> Result<T, RigError>;
}

impl<T> FileContext<T> for io::Result<T> {
    fn file(self, what: &'static str, path: impl Into<PathBuf>) -> Result<T, RigError> {
        self.map_err(|source| RigError::File { what, path: path.into(), source })
    }
}
