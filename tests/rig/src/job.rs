//! A job for a run, and the outcome that the run brings back.

use std::path::PathBuf;
use std::time::Duration;

use crate::error::RigError;
use crate::qemu::GUEST_SLOTS;
use crate::report::Report;
use crate::store::Store;

/// One boot of a guest.
#[derive(Clone, Debug)]
pub struct Job {
    /// Names the job in messages.
    pub name: String,
    /// Multiboot image the guest boots, linked at 16 MiB or above (below, it would overwrite hvmloader). `None`: the
    /// firmware starts the first disk.
    pub kernel: Option<PathBuf>,
    /// The firmware is OVMF instead of SeaBIOS. Only under Xen.
    pub uefi: bool,
    /// Handed to the kernel as its only multiboot module. Under Xen that takes 6 s for a MiB.
    pub module: Option<PathBuf>,
    /// Put into the guest's memory, behind a page with [`PRELOADED_MARK`] at a page boundary between 1 MiB
    /// and 16 MiB: the kernel has to look for it. Without Xen it is the multiboot module.
    pub preloaded: Option<PathBuf>,
    /// The kernel's command line; one that the firmware starts has none.
    pub cmdline: String,
    /// Boots before this one, on the same disks and in the same dom0, each ended after a minute and a half. Their consoles
    /// come first; of each guest Xen's firmware says `HVM Loader` first. Only under Xen.
    pub batch: Vec<BatchBoot>,
    /// Disks, at most six different images.
    pub disks: Vec<Disk>,
    /// The guest's memory in MiB.
    pub memory_mib: u32,
    /// Its processors.
    pub vcpus: u32,
    /// More lines for the guest's xl configuration.
    pub config: Vec<String>,
    /// More files for the job's directory in dom0, by their names there; they are executable.
    pub files: Vec<(String, PathBuf)>,
    /// A script for dom0's bash that runs to its end before the guest is created.
    pub before: Option<String>,
    /// A script for dom0's bash that runs to its end when the guest has been created, and before it runs;
    /// `DOMID` is its number. Where it fails, the guest does not run.
    pub created: Option<String>,
    /// A script for dom0's bash that runs to its end when the guest has ended, before its disks are taken out.
    pub after: Option<String>,
    /// Commands run in dom0 when the guest prints something.
    pub marks: Vec<Mark>,
    /// xenstore is dumped when a line of the guest's console contains this.
    pub dump_at: String,
    /// Time that the guest may run, from its creation.
    pub timeout: Duration,
}

impl Job {
    /// Returns a job without disks, with 128 MiB and two minutes; xenstore is dumped at `@xg up`.
    pub fn new(name: impl Into<String>, kernel: impl Into<PathBuf>) -> Self {
        Self {
            name: name.into(),
            kernel: Some(kernel.into()),
            uefi: false,
            module: None,
            preloaded: None,
            cmdline: String::new(),
            batch: Vec::new(),
            disks: Vec::new(),
            memory_mib: 128,
            vcpus: 1,
            config: Vec::new(),
            files: Vec::new(),
            before: None,
            created: None,
            after: None,
            marks: Vec::new(),
            dump_at: "@xg up".to_owned(),
            timeout: Duration::from_secs(120),
        }
    }

    /// Returns a job as [`Job::new`] does, whose guest the firmware starts from its first disk.
    pub fn from_disk(name: impl Into<String>) -> Self {
        Self { kernel: None, ..Self::new(name, "") }
    }

    pub(crate) fn bad(&self, reason: impl Into<String>) -> RigError {
        RigError::BadJob { job: self.name.clone(), reason: reason.into() }
    }
}

/// A boot of a batch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BatchBoot {
    /// The kernel's command line.
    pub cmdline: String,
    /// The end of its power; without one it goes on until it ends.
    pub cut: Option<Cut>,
}

impl BatchBoot {
    /// Returns the line of the batch that dom0 reads.
    pub(crate) fn line(&self) -> String {
        let cut = self
            .cut
            .map_or("-".to_owned(), |cut| format!("{}:{}:{}", cut.after.as_millis(), cut.kept, cut.seed));
        format!("{cut} {}\n", self.cmdline)
    }
}

/// The end of a guest's power.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cut {
    /// The moment, from the guest's creation.
    pub after: Duration,
    /// Of a hundred pages of the disk that were written and not flushed, the number that reach it all the same. Only with
    /// a cache that [`Job::before`] has made by `bash cache.sh start`; without one all of them do.
    pub kept: u32,
    /// Draws those pages.
    pub seed: u64,
}

/// A disk of the guest. For `hda` to `hdd` Xen presents it twice, emulated and as a vbd; `xvda` and later are
/// vbds only.
#[derive(Clone, Debug)]
pub struct Disk {
    /// Raw image, a whole number of sectors of 512 bytes. When the run has succeeded the file is replaced by
    /// what the guest made of it; give a working copy. An image may appear more than once: its disks
    /// share it.
    pub image: PathBuf,
    /// Xen's name of the virtual device, such as `hda`.
    pub vdev: String,
    /// The program that serves the vbd.
    pub backend: Backend,
    /// The guest may only read.
    pub read_only: bool,
    /// The medium of a CD-ROM drive instead of a disk; served by the device model, and read-only.
    pub cdrom: bool,
    /// Present from the start. Otherwise a [`Mark`] may attach it by `bash attach-<n>.sh`, n being its index
    /// among the job's disks.
    pub at_start: bool,
}

impl Disk {
    /// Returns a writable disk served by blkback, present from the start.
    pub fn new(image: impl Into<PathBuf>, vdev: impl Into<String>) -> Self {
        Self {
            image: image.into(),
            vdev: vdev.into(),
            backend: Backend::Blkback,
            read_only: false,
            cdrom: false,
            at_start: true,
        }
    }

    /// Returns a CD-ROM drive with this medium, present from the start.
    pub fn cdrom(image: impl Into<PathBuf>, vdev: impl Into<String>) -> Self {
        Self { cdrom: true, read_only: true, backend: Backend::Qdisk, ..Self::new(image, vdev) }
    }

    /// Returns the same disk served otherwise.
    pub fn with_backend(self, backend: Backend) -> Self {
        Self { backend, ..self }
    }
}

/// Xen's implementations of the other end of a vbd.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Backend {
    /// dom0's kernel.
    Blkback,
    /// The device model.
    Qdisk,
}

/// A command for dom0's bash, run once, when the first line of the guest's console that contains `when`
/// appears. Its working directory is that of the job (the helper is `./dom0`); `DOMID` is the guest's number.
#[derive(Clone, Debug)]
pub struct Mark {
    /// Part of a console line.
    pub when: String,
    /// The command.
    pub run: String,
}

/// The end of a guest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// It powered itself off.
    PoweredOff,
    /// It reset itself; a triple fault counts as that.
    Rebooted,
    /// It suspended itself.
    Suspended,
    /// Xen or the guest itself declared it crashed.
    Crashed,
    /// Its watchdog fired.
    Watchdog,
    /// It ran longer than the job allows and was destroyed.
    TimedOut,
    /// Destroyed from dom0 before it ended.
    Destroyed,
    /// Ended for a reason with this code (Xen: public/sched.h, SHUTDOWN_*).
    Other(u32),
}

impl End {
    /// Makes an end of Xen's SHUTDOWN_* (public/sched.h).
    pub(crate) fn from_reason(code: u32) -> Self {
        match code {
            0 => Self::PoweredOff,
            1 => Self::Rebooted,
            2 => Self::Suspended,
            3 => Self::Crashed,
            4 => Self::Watchdog,
            other => Self::Other(other),
        }
    }
}

/// Result of a [`Mark`].
#[derive(Clone, Debug)]
pub struct MarkResult {
    /// Index into [`Job::marks`].
    pub mark: usize,
    /// Its exit status; `None` if it was still running when the guest ended.
    pub status: Option<i32>,
    /// Its output, both streams.
    pub output: String,
}

/// Results of a run.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// The end of the guest.
    pub end: End,
    /// The guest's number in Xen; 0 without Xen.
    pub domain: u32,
    /// Lines the guest wrote to port 0xE9, with those of its firmware.
    pub console: Vec<String>,
    /// The guest's output on its first serial port.
    pub com1: String,
    /// Xen's own messages; empty without Xen.
    pub xen_log: String,
    /// Messages of dom0's kernel; empty without Xen.
    pub dom0_log: String,
    /// Messages of the device model; empty without Xen.
    pub device_model: String,
    /// Output of [`Job::before`], both streams.
    pub before: String,
    /// Output of [`Job::created`], both streams.
    pub created: String,
    /// Output of [`Job::after`], both streams.
    pub after: String,
    /// Ends of the boots of [`Job::batch`]: for each a line `@boot <number> <how> <milliseconds>`, where `how` is `whole`,
    /// `late` for one that did not end in its time, `cut`, or `ended` for one that had ended before its power went.
    pub batch: String,
    /// The guest's nodes when [`Job::dump_at`] appeared.
    pub store_running: Option<Store>,
    /// The guest's nodes after it ended.
    pub store_end: Option<Store>,
    /// Marks that fired.
    pub marks: Vec<MarkResult>,
    /// From the guest's creation to its end.
    pub guest_time: Duration,
    /// The whole run.
    pub total_time: Duration,
    /// The failure of a first attempt, if this is the second.
    pub retried_after: Option<String>,
}

impl Outcome {
    /// Returns the report lines among the console's.
    pub fn report(&self) -> Report {
        Report::parse(self.console.iter().map(String::as_str))
    }
}

/// An event of a run, as it happens.
#[derive(Clone, Copy, Debug)]
pub enum Progress<'a> {
    /// The rig starts a step.
    Step(&'a str),
    /// The guest printed a line.
    Line(&'a str),
}

/// The bytes at offset 8 of the page before a preloaded file.
pub const PRELOADED_MARK: &[u8; 16] = b"preloaded file: ";

/// The firmware's file among a job's.
pub(crate) const OVMF: &str = "OVMF.fd";

/// Lines for OVMF, which asks the keyboard's controller, and a serial port if there is one, fifty times a second: there is
/// none. Where the machine is slow, ticks of the timer that were missed are not made up for.
const FOR_OVMF: &str = "timer_mode = \"no_missed_ticks_pending\"\n\
                        device_model_args = [ \"-machine\", \"i8042=off\" ]\n";

/// Returns a preloaded file as hvmloader is to have it: as the one SMBIOS structure, behind its length, of a
/// type that hvmloader never asks for (126, inactive).
pub(crate) fn preloaded(content: &[u8]) -> Vec<u8> {
    const PAGE: usize = 4096;
    let mut bytes = vec![0; PAGE];
    bytes[..4].copy_from_slice(&((PAGE - 4 + content.len()) as u32).to_le_bytes());
    bytes[4..6].copy_from_slice(&[126, 4 + PRELOADED_MARK.len() as u8]);
    bytes[8..24].copy_from_slice(PRELOADED_MARK);
    bytes.extend_from_slice(content);
    bytes
}

/// Returns the guest's xl configuration. `targets` are dom0's paths of the disks.
pub(crate) fn config(job: &Job, targets: &[String]) -> Result<String, RigError> {
    let mut text =
        format!("name = \"guest\"\ntype = \"hvm\"\nmemory = {}\nvcpus = {}\n", job.memory_mib, job.vcpus);
    match &job.kernel {
        Some(_) => {
            text += &format!("kernel = \"/run/job/kernel\"\ncmdline = {}\n", quote(job, &job.cmdline)?)
        }
        None => text += "boot = \"c\"\n",
    }
    if job.uefi {
        text += &format!("bios = \"ovmf\"\nbios_path_override = \"/run/job/{OVMF}\"\n{FOR_OVMF}");
    }
    if job.module.is_some() {
        text += "ramdisk = \"/run/job/module\"\n";
    }
    if job.preloaded.is_some() {
        text += "smbios_firmware = \"/run/job/preloaded\"\n";
    }
    // No screen: each write to its memory would be an exit to the device model.
    let serial = if job.uefi { "none" } else { "file:/run/job/com1" };
    text += &format!("serial = \"{serial}\"\n");
    text += "vga = \"none\"\nvnc = 0\nusb = 0\ntsc_mode = \"native\"\n";
    for event in ["poweroff", "reboot", "crash", "watchdog"] {
        text += &format!("on_{event} = \"preserve\"\n");
    }
    let mut disks = Vec::new();
    for (disk, target) in job.disks.iter().zip(targets) {
        if disk.vdev.is_empty() || !disk.vdev.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit()) {
            return Err(job.bad(format!("`{}` is not the name of a virtual device, such as hda", disk.vdev)));
        }
        if disk.at_start {
            disks.push(format!("\"{}\"", specification(disk, target)));
        }
    }
    text += &format!("disk = [ {} ]\n", disks.join(", "));
    for line in &job.config {
        text += line;
        text.push('\n');
    }
    Ok(text)
}

/// Returns a disk as xl wants it described; the target comes last. `target` is dom0's path of it.
pub(crate) fn specification(disk: &Disk, target: &str) -> String {
    let access = if disk.read_only { "ro" } else { "rw" };
    let backend = match disk.backend {
        Backend::Blkback => "backendtype=phy,script=/run/job/block-fast.sh",
        Backend::Qdisk => "backendtype=qdisk",
    };
    let kind = if disk.cdrom { ",devtype=cdrom" } else { "" };
    format!("format=raw,vdev={}{kind},access={access},{backend},target={target}", disk.vdev)
}

/// Returns a string of xl's configuration language.
fn quote(job: &Job, text: &str) -> Result<String, RigError> {
    if text.chars().any(|c| c.is_control() || c == '"' || c == '\\') {
        return Err(job.bad(format!(
            "command line {text:?}: quotes, backslashes and control characters have no place"
        )));
    }
    Ok(format!("\"{text}\""))
}

/// Returns for each disk the index of its image among the different ones, and those images.
pub(crate) fn images(job: &Job) -> Result<(Vec<usize>, Vec<PathBuf>), RigError> {
    let mut images: Vec<PathBuf> = Vec::new();
    let mut indices = Vec::new();
    for disk in &job.disks {
        let path =
            disk.image.canonicalize().map_err(|e| job.bad(format!("{}: {e}", disk.image.display())))?;
        let index = images.iter().position(|known| *known == path).unwrap_or_else(|| {
            images.push(path);
            images.len() - 1
        });
        indices.push(index);
    }
    if images.len() > GUEST_SLOTS.len() {
        return Err(job.bad(format!("{} images, {} fit", images.len(), GUEST_SLOTS.len())));
    }
    Ok((indices, images))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_configuration_names_backends_and_access() {
        let mut job = Job::new("t", "/k");
        job.cmdline = "entry=2 fault=x".to_owned();
        job.disks = vec![Disk::new("/i", "hda"), Disk::new("/j", "hdb").with_backend(Backend::Qdisk)];
        job.disks[1].read_only = true;
        let text = config(&job, &["/dev/guest-disk0".to_owned(), "/dev/guest-disk1".to_owned()]).unwrap();
        assert!(text.contains("cmdline = \"entry=2 fault=x\"\n"));
        assert!(text.contains(
            "disk = [ \"format=raw,vdev=hda,access=rw,backendtype=phy,script=/run/job/block-fast.sh,\
             target=/dev/guest-disk0\", \"format=raw,vdev=hdb,access=ro,backendtype=qdisk,target=/dev/guest-disk1\" ]"
        ));
        job.disks[1] = Disk::cdrom("/k", "hdc");
        assert!(
            config(&job, &["a".to_owned(), "/cd".to_owned()])
                .unwrap()
                .contains("\"format=raw,vdev=hdc,devtype=cdrom,access=ro,backendtype=qdisk,target=/cd\"")
        );
        job.disks[1] = Disk::new("/j", "hdb");
        job.disks[1].at_start = false;
        assert!(!config(&job, &["a".to_owned(), "b".to_owned()]).unwrap().contains("hdb"));
    }

    #[test]
    fn a_job_without_a_kernel_starts_from_its_disk() {
        let mut job = Job::from_disk("t");
        job.disks = vec![Disk::new("/i", "hda")];
        let text = config(&job, &["/dev/guest-disk0".to_owned()]).unwrap();
        assert!(text.contains("boot = \"c\"\n"));
        assert!(!text.contains("kernel") && !text.contains("cmdline") && !text.contains("bios"));
        job.uefi = true;
        let text = config(&job, &["/dev/guest-disk0".to_owned()]).unwrap();
        assert!(text.contains("bios = \"ovmf\"\nbios_path_override = \"/run/job/OVMF.fd\"\n"));
    }

    #[test]
    fn a_line_of_a_batch_has_the_end_of_its_power() {
        let mut boot = BatchBoot { cmdline: "entry=2 hive=1".to_owned(), cut: None };
        assert_eq!(boot.line(), "- entry=2 hive=1\n");
        boot.cut = Some(Cut { after: Duration::from_millis(7250), kept: 30, seed: 9 });
        assert_eq!(boot.line(), "7250:30:9 entry=2 hive=1\n");
    }

    #[test]
    fn what_would_break_the_configuration_is_refused() {
        let mut job = Job::new("t", "/k");
        job.cmdline = "a\"b".to_owned();
        assert!(matches!(config(&job, &[]), Err(RigError::BadJob { .. })));
        job.cmdline.clear();
        job.disks = vec![Disk::new("/i", "hda,access=ro")];
        assert!(matches!(config(&job, &["x".to_owned()]), Err(RigError::BadJob { .. })));
    }
}
