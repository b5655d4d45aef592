//! Runs a job in the same qemu without Xen: a PC with a PIIX IDE controller and no hypervisor to be found.

use std::fs;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use crate::command::{Tool, describe};
use crate::error::{FileContext, RigError};
use crate::host;
use crate::images::Images;
use crate::job::{End, Job, Outcome, Progress};
use crate::machine::ConsoleFile;
use crate::qemu::escape;
use crate::qmp::{Control, connect};
use crate::setup::RigFiles;
use crate::workdir::WorkDir;

const POLL: Duration = Duration::from_millis(20);
const SPACE_MIB: u64 = 128;
const CONSOLE: &str = "console";
const COM1: &str = "com1";
const CONTROL_SOCKET: &str = "control.sock";
/// Without SMAP and SMEP as under Xen; nothing that names a hypervisor.
const CPU: &str = "EPYC,-smap,-smep,-monitor,-hypervisor";

/// Runs a job without Xen. The guest ends by an `out` of a doubleword 0 to port 0xF4, by ACPI or by a reset.
/// Of the job's disks the first four IDE names count, whatever their backends; its marks and configuration
/// lines do not apply.
///
/// # Errors
///
/// See [`RigError`]. What the guest does is never an error.
pub fn plain(files: &RigFiles, job: &Job) -> Result<Outcome, RigError> {
    plain_watched(files, job, &mut |_| {})
}

/// Does the same as [`plain`], telling `watch` what happens as it happens.
///
/// # Errors
///
/// As for [`plain`].
pub fn plain_watched(
    files: &RigFiles,
    job: &Job,
    watch: &mut dyn FnMut(Progress<'_>),
) -> Result<Outcome, RigError> {
    let start = Instant::now();
    let images = Images::lock(job)?;
    let work = WorkDir::new(&files.work)?;
    let dir = work.path();
    host::check_space(dir, "a run", SPACE_MIB)?;
    let copies = images.copy(dir)?;

    let mut tool = Tool::plain(files.qemu(), &dir.join("qemu.log"))
        .args(["-name", "plain", "-nodefaults", "-no-user-config", "-no-reboot", "-display", "none"])
        .args(["-nic", "none", "-machine", "pc", "-accel", "tcg", "-cpu", CPU, "-smp", "1"])
        .args(["-m", &format!("{}M", job.memory_mib), "-device", "isa-debug-exit,iobase=0xf4,iosize=4"])
        .args(["-debugcon", &format!("file:{CONSOLE}"), "-serial", &format!("file:{COM1}")])
        .args(["-qmp", &format!("unix:{CONTROL_SOCKET},server=on,wait=off")]);
    if let Some(kernel) = &job.kernel {
        tool = tool.arg("-kernel").arg(readable(job, kernel)?).args(["-append", &job.cmdline]);
    }
    if let Some(module) = job.module.as_ref().or(job.preloaded.as_ref()) {
        tool = tool.args(["-initrd", &escape(&readable(job, module)?)]);
    }
    for (disk, &image) in job.disks.iter().zip(&images.of_disk) {
        let index = match disk.vdev.as_str() {
            "hda" => 0,
            "hdb" => 1,
            "hdc" => 2,
            "hdd" => 3,
            other => return Err(job.bad(format!("`{other}`: without Xen there are hda to hdd only"))),
        };
        let read_only = if disk.read_only { "on" } else { "off" };
        let file = escape(&copies[image]);
        let media = if disk.cdrom { "cdrom" } else { "disk" };
        // Two disks may share one image; an IDE disk itself cannot be read-only.
        tool = tool.args([
            "-drive",
            &format!("if=ide,index={index},media={media},format=raw,cache=unsafe,file.locking=off,snapshot={read_only},file={file}"),
        ]);
    }
    watch(Progress::Step("starting plain qemu"));
    let mut qemu = tool.current_dir(dir).start()?;
    let mut control = None;
    let mut file = ConsoleFile::new(dir.join(CONSOLE));
    let mut lines = Lines::default();
    let mut reason = None;
    let mut timed_out = false;
    let status = loop {
        lines.feed(&file.more(), watch);
        if control.is_none() {
            control = connect(dir, CONTROL_SOCKET).ok().and_then(|stream| Control::new(stream).ok());
        }
        let ended = qemu.ended();
        for event in control.iter_mut().flat_map(Control::events) {
            if event["event"] == "SHUTDOWN" {
                reason = event["data"]["reason"].as_str().map(str::to_owned);
            }
        }
        if let Some(status) = ended {
            break Some(status);
        }
        if start.elapsed() > job.timeout {
            timed_out = true;
            break None;
        }
        thread::sleep(POLL);
    };
    let messages = qemu.output();
    drop(qemu);
    lines.feed(&file.more(), watch);
    lines.feed(b"\n", watch);
    let end = match (status, reason.as_deref()) {
        _ if timed_out => End::TimedOut,
        // isa-debug-exit ends qemu with an odd status: twice the value written, and one.
        (Some(status), _) if status.code() == Some(1) && messages.lines().all(is_warning) => End::PoweredOff,
        (Some(status), Some("guest-shutdown")) if status.success() => End::PoweredOff,
        (Some(status), Some("guest-reset")) if status.success() => End::Rebooted,
        (Some(status), None) if status.success() => End::Rebooted,
        (status, _) => {
            return Err(RigError::QemuEnded {
                doing: "running the guest".to_owned(),
                status: status.map_or_else(String::new, describe),
                context: messages,
            });
        }
    };
    let com1 = dir.join(COM1);
    let com1 = String::from_utf8_lossy(&fs::read(&com1).file("read", com1)?).into_owned();
    images.replace(&copies)?;
    let total_time = start.elapsed();
    Ok(Outcome {
        end,
        domain: 0,
        console: lines.whole,
        com1,
        xen_log: String::new(),
        dom0_log: String::new(),
        device_model: messages,
        before: String::new(),
        created: String::new(),
        after: String::new(),
        batch: String::new(),
        store_running: None,
        store_end: None,
        marks: Vec::new(),
        guest_time: total_time,
        total_time,
        retried_after: None,
    })
}

fn readable(job: &Job, path: &Path) -> Result<std::path::PathBuf, RigError> {
    path.canonicalize().map_err(|error| job.bad(format!("{}: {error}", path.display())))
}

/// Returns true if qemu's message is harmless (it warns of each feature its software emulation lacks).
fn is_warning(line: &str) -> bool {
    line.contains("warning: ")
}

/// Lines of the console as they are finished.
#[derive(Default)]
struct Lines {
    rest: Vec<u8>,
    whole: Vec<String>,
}

impl Lines {
    fn feed(&mut self, bytes: &[u8], watch: &mut dyn FnMut(Progress<'_>)) {
        for &byte in bytes {
            if byte != b'\n' {
                self.rest.push(byte);
            } else if !self.rest.is_empty() {
                let line = String::from_utf8_lossy(&self.rest).trim_end_matches('\r').to_owned();
                watch(Progress::Line(&line));
                self.whole.push(line);
                self.rest.clear();
            }
        }
    }
}
