//! One boot from the command line.

use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use clap::Args;
use rig::{Backend, Disk, End, Job, Mark, Progress, RigError, RigFiles};

/// The guest.
#[derive(Args)]
pub(crate) struct Guest {
    /// Multiboot image; without one the firmware starts the first disk.
    kernel: Option<PathBuf>,
    /// Start it by OVMF, and not by SeaBIOS.
    #[arg(long)]
    uefi: bool,
    /// File handed to it as its module.
    #[arg(long)]
    module: Option<PathBuf>,
    /// Its command line.
    #[arg(long, default_value = "")]
    cmdline: String,
    /// A disk, as `hda=file` or, served by the device model, `hda=qdisk:file`.
    #[arg(long = "disk")]
    disks: Vec<DiskArgument>,
    /// Memory in MiB.
    #[arg(long, default_value_t = 128)]
    memory: u32,
    /// A line for its xl configuration.
    #[arg(long)]
    config: Vec<String>,
    /// A command for dom0 when a line of the console contains a text, as `<text>=><command>`.
    #[arg(long = "mark")]
    marks: Vec<MarkArgument>,
    /// Seconds it may run.
    #[arg(long, default_value_t = 120)]
    timeout: u64,
    /// Without Xen.
    #[arg(long)]
    plain: bool,
    /// Print Xen's messages, those of the device model and the guest's nodes as well.
    #[arg(long)]
    all: bool,
}

#[derive(Clone)]
struct DiskArgument(Disk);

impl FromStr for DiskArgument {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (vdev, image) = text.split_once('=').ok_or("expected <vdev>=<image>, such as hda=disk.img")?;
        let (image, backend) = match image.strip_prefix("qdisk:") {
            Some(image) => (image, Backend::Qdisk),
            None => (image, Backend::Blkback),
        };
        Ok(Self(Disk::new(image, vdev).with_backend(backend)))
    }
}

#[derive(Clone)]
struct MarkArgument(Mark);

impl FromStr for MarkArgument {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (when, run) = text.split_once("=>").ok_or("expected <text>=><command>")?;
        Ok(Self(Mark { when: when.to_owned(), run: run.to_owned() }))
    }
}

impl Guest {
    /// Returns how many guests did not power themselves off.
    pub(crate) fn run(self, files: &RigFiles, say: &(dyn Fn(&str) + Sync)) -> Result<u32, RigError> {
        let mut job = Job { kernel: self.kernel, uefi: self.uefi, ..Job::from_disk("guest") };
        job.module = self.module;
        job.cmdline = self.cmdline;
        job.disks = self.disks.into_iter().map(|disk| disk.0).collect();
        job.memory_mib = self.memory;
        job.config = self.config;
        job.marks = self.marks.into_iter().map(|mark| mark.0).collect();
        job.timeout = Duration::from_secs(self.timeout);
        let mut watch = |progress: Progress<'_>| match progress {
            Progress::Step(step) => say(step),
            Progress::Line(line) => say(&format!("| {line}")),
        };
        let outcome = if self.plain {
            rig::plain_watched(files, &job, &mut watch)?
        } else {
            rig::run_watched(files, &job, &mut watch)?
        };
        for result in &outcome.marks {
            println!("--- `{}`: {:?}\n{}", job.marks[result.mark].run, result.status, result.output);
        }
        if self.all {
            for (name, text) in
                [("Xen", &outcome.xen_log), ("device model", &outcome.device_model), ("COM1", &outcome.com1)]
            {
                println!("--- {name}\n{text}");
            }
            println!("--- xenstore while it ran\n{:#?}", outcome.store_running);
            println!("--- xenstore at its end\n{:#?}", outcome.store_end);
        }
        if let Some(first) = &outcome.retried_after {
            println!("the first attempt failed: {first}");
        }
        say(&format!("{:?} after {:.1} s", outcome.end, outcome.guest_time.as_secs_f32()));
        Ok(u32::from(outcome.end != End::PoweredOff))
    }
}
