//! qemu 7.2 of Debian 12, unpacked beside whatever qemu the machine has, and the machine it emulates for Xen.
//! Later versions misbehave under Xen (guests fall silent, MWAIT faults), so the version is part of the rig.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::assertion;
use crate::cache::Key;
use crate::command::Tool;
use crate::dom0::Dom0;
use crate::error::{FileContext, RigError};
use crate::host;
use crate::release::Release;

const PACKAGES: [&str; 2] = ["qemu-system-x86", "seabios"];
/// Starts the unpacked qemu with its own loader and libraries.
const WRAPPER: &str = r#"#!/bin/sh
# Starts the unpacked qemu with its own loader and libraries.
T=$(dirname "$(readlink -f "$0")")/tree
export QEMU_MODULE_DIR="$T/usr/lib/x86_64-linux-gnu/qemu"
exec "$T/lib64/ld-linux-x86-64.so.2" \
    --library-path "$T/lib/x86_64-linux-gnu:$T/usr/lib/x86_64-linux-gnu:$T/usr/lib/x86_64-linux-gnu/pulseaudio" \
    "$T/usr/bin/qemu-system-x86_64" -L "$T/usr/share/qemu" -L "$T/usr/share/seabios" "$@"
"#;
/// Counts changes of the recipe below that its other inputs do not show.
const RECIPE: &[u8] = b"1";
const UNPACK_LIMIT: Duration = Duration::from_secs(1200);

/// The emulated processor. Without SMAP, SMEP (dom0 dies on its first iretq), RDTSCP (Xen stops on its
/// length) and MONITOR; with the virtualization Xen needs for HVM guests; without the large registers, which
/// only make dom0's context switches dearer.
const CPU: &str = "EPYC,-smap,-smep,-rdtscp,-monitor,+svm,+npt,\
                   -avx,-avx2,-fma,-f16c,-xsave,-xsaveopt,-xsavec,-xgetbv1";
const ACCELERATOR: &str = "tcg,thread=multi,tb-size=512";
/// Memory of the whole machine.
pub(crate) const MEMORY: &str = "1536M";
/// Large buffers so that a chatty guest loses nothing; no scrubbing, so that untouched memory stays a hole in
/// the snapshot's file. Each port access of the guest is a round trip to the device model: the older
/// scheduler without its minimum time slice, and no mitigations of side channels, halve its price.
const XEN_OPTIONS: &str = "console=com1 com1=115200,8n1 dom0_mem=512M,max:512M loglvl=all guest_loglvl=all \
                           cpuidle=0 bootscrub=0 sched=credit sched_ratelimit_us=0 spec-ctrl=no xpti=no \
                           serial_tx_buffer=1M conring_size=1M";
/// Options of Xen that keep dom0 on the first of several processors.
const DOM0_ON_FIRST: &str = "dom0_max_vcpus=1 dom0_vcpus_pin";
const DOM0_OPTIONS: &str = "console=hvc0 quiet loglevel=4 panic=-1 mitigations=off apparmor=0 audit=0";

/// PCI slots of the machine's disks.
pub(crate) const ROOT_SLOT: u32 = 4;
pub(crate) const JOB_SLOT: u32 = 5;
pub(crate) const RESULTS_SLOT: u32 = 6;
pub(crate) const GUEST_SLOTS: [u32; 6] = [8, 9, 10, 11, 12, 13];

/// The unpacked qemu.
#[derive(Clone, Debug)]
pub(crate) struct Qemu {
    dir: PathBuf,
}

impl Qemu {
    pub(crate) fn at(dir: PathBuf) -> Self {
        Self { dir }
    }

    pub(crate) fn dir(&self) -> &Path {
        &self.dir
    }

    /// Returns the wrapper: takes qemu-system-x86_64's arguments.
    pub(crate) fn run(&self) -> PathBuf {
        self.dir.join("run")
    }

    pub(crate) fn key() -> Key {
        Key::of(&[RECIPE, PACKAGES.join(" ").as_bytes(), WRAPPER.as_bytes()])
    }

    /// Fills `part` from the archive.
    pub(crate) fn make(
        part: &Path,
        archive: &str,
        scratch: &Path,
        say: &(dyn Fn(&str) + Sync),
    ) -> Result<Vec<&'static str>, RigError> {
        say("qemu: unpacking its packages");
        host::unpack(Release::Xen417.suite(), &PACKAGES, &part.join("tree"), archive, scratch, UNPACK_LIMIT)?;
        // Before anything is started: a snapshot is loaded by the qemu that made it.
        assertion::take_out(part)?;
        let run = part.join("run");
        fs::write(&run, WRAPPER).file("write", &run)?;
        fs::set_permissions(&run, fs::Permissions::from_mode(0o755)).file("make executable", &run)?;
        let version = Tool::plain(&run, &scratch.join("qemu-version.log"))
            .arg("--version")
            .run(Duration::from_secs(60))?;
        if !version.contains("version 7.2.") {
            return Err(RigError::CommandFailed {
                program: "qemu --version".to_owned(),
                status: "expected version 7.2".to_owned(),
                output: version,
            });
        }
        Ok(vec![
            "run",
            "tree/usr/bin/qemu-system-x86_64",
            assertion::FILE,
            "tree/lib64/ld-linux-x86-64.so.2",
            "tree/usr/share/seabios/bios-256k.bin",
        ])
    }
}

/// A disk of the machine.
pub(crate) enum Drive<'a> {
    /// Nothing yet: holds the slot, so that the machine is the same whatever a job brings.
    Empty,
    /// A raw file dom0 can only read.
    ReadOnly(&'a Path),
    /// A raw file.
    Writable(&'a Path),
}

/// Returns a path in one of qemu's comma-separated options.
pub(crate) fn escape(path: &Path) -> String {
    path.display().to_string().replace(',', ",,")
}

/// The machine that runs Xen. Every start must describe the same one: the snapshot holds its devices' state.
pub(crate) struct Machine<'a> {
    pub dom0: &'a Dom0,
    /// Its processors. dom0 has one, whatever their number.
    pub processors: u32,
    pub initramfs: &'a Path,
    /// File behind the machine's memory.
    pub memory: &'a Path,
    /// True if what the machine writes to its memory goes to the file.
    pub write_memory: bool,
    pub job: Drive<'a>,
    pub results: Drive<'a>,
    pub guest: Vec<Drive<'a>>,
}

/// Files qemu makes in its current directory.
pub(crate) const CONSOLE: &str = "console";
pub(crate) const SHELL_SOCKET: &str = "shell.sock";
pub(crate) const CONTROL_SOCKET: &str = "control.sock";

impl Machine<'_> {
    pub(crate) fn arguments(&self) -> Vec<String> {
        let mut args: Vec<String> = Vec::new();
        let mut add = |words: &[&str]| args.extend(words.iter().map(|&word| word.to_owned()));
        add(&[
            "-name",
            "rig",
            "-nodefaults",
            "-no-user-config",
            "-no-reboot",
            "-display",
            "none",
            "-nic",
            "none",
        ]);
        add(&["-accel", ACCELERATOR, "-cpu", CPU, "-smp", &self.processors.to_string(), "-m", MEMORY]);
        let share = if self.write_memory { "on" } else { "off" };
        add(&["-machine", "q35,memory-backend=ram", "-object"]);
        add(&[&format!(
            "memory-backend-file,id=ram,size={MEMORY},mem-path={},share={share}",
            escape(self.memory)
        )]);
        add(&["-serial", &format!("file:{CONSOLE}")]);
        add(&["-serial", &format!("unix:{SHELL_SOCKET},server=on,wait=off")]);
        add(&["-qmp", &format!("unix:{CONTROL_SOCKET},server=on,wait=off")]);
        let xen_options = match self.processors {
            1 => XEN_OPTIONS.to_owned(),
            _ => format!("{XEN_OPTIONS} {DOM0_ON_FIRST}"),
        };
        add(&["-kernel", &self.dom0.xen().display().to_string(), "-append", &xen_options]);
        add(&[
            "-initrd",
            &format!("{} {DOM0_OPTIONS},{}", escape(&self.dom0.kernel()), escape(self.initramfs)),
        ]);
        let root = self.dom0.root();
        let root = Drive::ReadOnly(&root);
        let mut drives = vec![(ROOT_SLOT, &root), (JOB_SLOT, &self.job), (RESULTS_SLOT, &self.results)];
        for (index, &slot) in GUEST_SLOTS.iter().enumerate() {
            drives.push((slot, self.guest.get(index).unwrap_or(&Drive::Empty)));
        }
        for (slot, drive) in drives {
            add(&["-blockdev"]);
            add(&[&match drive {
                Drive::Empty => format!("driver=null-co,node-name=n{slot},size=65536,read-zeroes=on"),
                Drive::ReadOnly(path) => format!(
                    "driver=raw,node-name=n{slot},read-only=on,file.driver=file,file.locking=off,file.filename={}",
                    escape(path)
                ),
                Drive::Writable(path) => format!(
                    "driver=raw,node-name=n{slot},cache.no-flush=on,file.driver=file,file.filename={}",
                    escape(path)
                ),
            }]);
            add(&["-device", &format!("virtio-blk-pci,drive=n{slot},addr={slot:#x}")]);
        }
        args
    }

    /// Returns the part of the command line that a snapshot of a machine with so many processors depends on.
    pub(crate) fn fingerprint(processors: u32) -> String {
        let nowhere = Path::new("-");
        let dom0 = Dom0::at(Release::Xen417, nowhere.to_owned());
        let machine = Machine {
            dom0: &dom0,
            processors,
            initramfs: nowhere,
            memory: nowhere,
            write_memory: true,
            job: Drive::Empty,
            results: Drive::Empty,
            guest: Vec::new(),
        };
        machine.arguments().join("\n")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commas_in_paths_are_doubled() {
        assert_eq!(escape(Path::new("/a,b")), "/a,,b");
    }

    #[test]
    fn the_machine_is_the_same_with_and_without_disks() {
        let dom0 = Dom0::at(Release::Xen417, "/d".into());
        let file = Path::new("/f");
        let devices = |job: Drive<'_>, guest: Vec<Drive<'_>>| {
            let machine = Machine {
                dom0: &dom0,
                processors: 1,
                initramfs: file,
                memory: file,
                write_memory: false,
                job,
                results: Drive::Empty,
                guest,
            };
            let args = machine.arguments();
            args.into_iter().filter(|arg| arg.starts_with("virtio-blk-pci")).collect::<Vec<_>>()
        };
        let with = devices(Drive::ReadOnly(file), vec![Drive::Writable(file)]);
        assert_eq!(with, devices(Drive::Empty, Vec::new()));
        assert_eq!(with.len(), 3 + GUEST_SLOTS.len());
    }

    #[test]
    fn more_processors_change_their_number_and_bind_dom0() {
        let (one, two) = (Machine::fingerprint(1), Machine::fingerprint(2));
        let differences: Vec<_> = one.lines().zip(two.lines()).filter(|(one, two)| one != two).collect();
        let bound = format!("{XEN_OPTIONS} dom0_max_vcpus=1 dom0_vcpus_pin");
        assert_eq!(differences, [("1", "2"), (XEN_OPTIONS, bound.as_str())]);
        assert_eq!(one.lines().count(), two.lines().count());
    }
}
