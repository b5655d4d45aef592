//! Boots a guest for a scenario: prepares what the loader finds, runs it, and brings back what was seen.

mod fat;
mod firmware;
pub mod registry;
pub mod rig_files;

use std::{
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context, Result};
use bootcfg::boot_ini::BootIni;
use protocol::{Version, Word};
use rig::{BatchBoot, Disk, Job, Mark, Outcome, RigFiles};

use crate::{
    built::{self, read},
    dump::{file as crash_dump, secondary as dump},
    layout::Layout,
    scenario::{Backend, Entry, Machine, Raw, Scenario, Sequence, Start},
    versions,
};

/// The boot.ini of a freshly installed system.
pub const BOOT_INI: &str = "[boot loader]\r\n\
    timeout=30\r\n\
    default=multi(0)disk(0)rdisk(0)partition(1)\\WINDOWS\r\n\
    [operating systems]\r\n\
    multi(0)disk(0)rdisk(0)partition(1)\\WINDOWS=\"Windows Server 2003, Enterprise x64\" /noexecute=optout /fastdetect\r\n";

/// Signature of the first disk; the others follow.
pub const SIGNATURE: u32 = 0xD15C_0001;
/// Time that a guest may take.
pub const GUEST_LIMIT: Duration = Duration::from_secs(180);
/// More where the firmware reads the system from a disk.
const FIRMWARE_LIMIT: Duration = Duration::from_secs(60);
/// More where that is UEFI, which looks for PCI devices on 256 buses, each port access an exit to Xen.
const UEFI_LIMIT: Duration = Duration::from_secs(240);
/// More for each blank disk.
const BLANK_LIMIT: Duration = Duration::from_secs(2);
/// More for each disk of the hostile backend.
const VISIT_LIMIT: Duration = Duration::from_secs(12);
/// More for each command of dom0's.
const DOM0_LIMIT: Duration = Duration::from_secs(60);

/// The tool for admins of dom0; it runs there where a command names it.
const DOM0_TOOL: &str = "xenguard-dom0";

/// Results of a boot.
#[derive(Debug)]
pub struct Boot {
    /// The outcome that the rig brought back.
    pub outcome: Outcome,
    /// The version of NT that it was.
    pub version: Version,
    /// The judgement of each disk's image, in the order of the scenario's disks.
    pub images: Vec<volume::Report>,
    /// The suite's activity log on the first disk's volume, whatever is there of it.
    pub activity: String,
    /// Number of earlier mounts of each image.
    pub generations: Vec<u64>,
    /// The images of the disks without a volume.
    pub raw: Vec<Vec<u8>>,
    /// The part of the first image that a crash dump, or what hibernation writes, may go to; `None` if there
    /// is no disk.
    pub dump: Option<Vec<u8>>,
    /// The registry that the boot left for the next one; only asked for in a sequence.
    pub registry: String,
}

/// Boots the scenario's guest.
///
/// # Errors
/// The rig failed, or the guest could not be prepared. What the guest does is never an error.
pub fn boot(layout: &Layout, rig: &RigFiles, scenario: &Scenario) -> Result<Boot> {
    boot_as(layout, rig, scenario, scenario.name)
}

/// Boots a scenario as [`boot`] does, and keeps its output in the folder `name`.
///
/// # Errors
/// As [`boot`].
pub fn boot_as(layout: &Layout, rig: &RigFiles, scenario: &Scenario, name: &str) -> Result<Boot> {
    let folder = Folder::new(layout, name)?;
    let version = versions::of(scenario, None);
    make_images(layout, &folder, scenario, version)?;
    boot_in(layout, rig, scenario, version, &folder, None)
}

/// Boots a machine several times; its disks and its registry are carried from each boot to the next.
///
/// # Errors
/// As [`boot`].
pub fn boot_sequence(layout: &Layout, rig: &RigFiles, sequence: &Sequence) -> Result<Vec<Boot>> {
    let whole = Folder::new(layout, sequence.name)?;
    let mut registry = String::new();
    let mut before: Option<Folder> = None;
    let mut boots = Vec::new();
    for (n, scenario) in sequence.boots.iter().enumerate() {
        let name = format!("{}-{}", n + 1, scenario.name);
        let folder = Folder::create(whole.path(&name))?;
        let version = versions::of(scenario, Some(sequence.name));
        match &before {
            None => make_images(layout, &folder, scenario, version)?,
            Some(before) => {
                for image in 0..scenario.disks.len() {
                    let (from, to) = (before.image(image), folder.image(image));
                    fs::copy(&from, &to).with_context(|| format!("cannot copy {}", from.display()))?;
                }
            }
        }
        registry += scenario.registry;
        registry.push('\n');
        let boot = boot_in(layout, rig, scenario, version, &folder, Some(&registry))
            .with_context(|| format!("boot {name} of {}", sequence.name))?;
        registry += &boot.registry;
        boots.push(boot);
        before = Some(folder);
    }
    Ok(boots)
}

/// Makes the disks of a scenario in `folder`.
fn make_images(layout: &Layout, folder: &Folder, scenario: &Scenario, version: Version) -> Result<()> {
    for n in 0..scenario.disks.len() + scenario.late_disks.len() {
        let image = folder.image(n);
        volume::image::make_image(&image, volume::image::SIZE, SIGNATURE + n as u32, &format!("DATA{n}"))
            .with_context(|| format!("cannot make {}", image.display()))?;
    }
    if scenario.start != Start::Multiboot {
        let suite = Suite { gone: scenario.without, damaged: scenario.damaged };
        firmware::install(layout, folder, firmware::loader(scenario.start, version), suite)?;
    }
    Ok(())
}

/// Boots on the images in `folder`. `registry` is that of a sequence: the changes since the installation.
fn boot_in(
    layout: &Layout,
    rig: &RigFiles,
    scenario: &Scenario,
    version: Version,
    folder: &Folder,
    registry: Option<&str>,
) -> Result<Boot> {
    let overrides = registry.unwrap_or(scenario.registry);
    let suite = Suite { gone: scenario.without, damaged: scenario.damaged };
    let loader = firmware::loader(scenario.start, version);
    let mut job = match scenario.start {
        Start::Multiboot => executive(layout, folder, scenario.entry, suite, overrides)?,
        Start::Bios | Start::Uefi => firmware::job(folder, loader, scenario.entry, overrides)?,
    };
    let mut words = vec![Word::Nt(version)];
    words.extend(scenario.words);
    words.extend(scenario.fault.map(Word::Fault));
    words.extend(scenario.exercise.map(Word::Exercise));
    if scenario.visitors > 0 {
        words.push(Word::Rounds(scenario.visitors as u32));
    }
    words.extend(registry.map(|_| Word::Hive));
    add_words(&mut job, &words);
    if scenario.expect.stop.is_some() {
        job.config.push(dump::SHOW_LOG.to_owned());
    }
    job.config.extend(scenario.config.iter().map(|&line| line.to_owned()));
    job.vcpus = scenario.vcpus;
    job.memory_mib = scenario.memory_mib;
    job.marks =
        scenario.dom0.iter().map(|(when, run)| Mark { when: when.line(), run: (*run).into() }).collect();
    let mut commands = scenario.dom0.iter().map(|(_, run)| *run).chain([scenario.created]);
    if commands.any(|run| run.contains(DOM0_TOOL)) {
        // As it ships: statically linked.
        let tool = rig::helper::build_static(layout.root(), &layout.target(), DOM0_TOOL)?;
        job.files.push((DOM0_TOOL.to_owned(), tool));
    }
    job.timeout =
        GUEST_LIMIT + DOM0_LIMIT * scenario.dom0.len() as u32 + BLANK_LIMIT * scenario.blanks as u32;
    job.timeout += VISIT_LIMIT * scenario.visitors as u32 + DOM0_LIMIT * scenario.neighbour_mounts as u32;
    job.timeout += match scenario.start {
        Start::Multiboot => Duration::ZERO,
        Start::Bios => FIRMWARE_LIMIT,
        Start::Uefi => UEFI_LIMIT,
    };
    for (n, backend) in scenario.disks.iter().chain(scenario.late_disks).enumerate() {
        let at_start = n < scenario.disks.len();
        let kind = if at_start { "hd" } else { "xvd" };
        let vdev = format!("{kind}{}", char::from(b"abcdef"[scenario.first_place + n]));
        let disk = Disk { at_start, ..Disk::new(folder.image(n), vdev) };
        job.disks.push(match backend {
            Backend::Blkback => disk,
            Backend::Qdisk => disk.with_backend(rig::Backend::Qdisk),
            Backend::None => Disk { at_start: false, ..disk },
        });
    }
    if !scenario.before.is_empty() {
        prepare(&mut job, scenario.before);
    }
    if !scenario.created.is_empty() {
        job.created = Some(scenario.created.to_owned());
    }
    if scenario.blanks > 0 {
        let image = folder.path(BLANK);
        fs::write(&image, vec![0; BLANK_SIZE])
            .with_context(|| format!("cannot write {}", image.display()))?;
        job.created = Some(format!("bash vbds.sh /dev/guest-disk{} {}", job.disks.len(), scenario.blanks));
        job.disks.push(Disk { at_start: false, ..Disk::new(&image, "xvde") });
    }
    for (n, raw) in scenario.raw.iter().enumerate() {
        add_raw(&mut job, folder, n, *raw)?;
    }
    if scenario.cdrom {
        add_cdrom(&mut job, folder)?;
    }
    job.config.extend(emulated_only(scenario.disks, scenario.first_place));
    if scenario.start != Start::Multiboot {
        firmware::put_words(folder, loader, &job.cmdline)?;
    }
    let generations = check_images(&job)?.iter().map(|image| image.generation).collect();
    let outcome = match scenario.machine {
        Machine::Xen => folder.keep(rig::run(rig, &job)?)?,
        Machine::Plain => plain(rig, &mut job, folder)?,
    };
    let registry = registry::written(&outcome.report());
    let raw =
        (0..scenario.raw.len()).map(|n| fs::read(folder.path(&raw_image(n)))).collect::<Result<_, _>>()?;
    let dump = (!scenario.disks.is_empty()).then(|| dump_extent(&folder.image(0))).transpose()?;
    let activity = activity(&job)?;
    Ok(Boot { images: check_images(&job)?, activity, outcome, version, generations, raw, dump, registry })
}

/// Adds words to a job's command line.
pub fn add_words(job: &mut Job, words: &[Word<'_>]) {
    for word in words {
        job.cmdline += &format!(" {word}");
    }
}

/// Reads the part of an image where a crash dump is written.
fn dump_extent(image: &Path) -> Result<Vec<u8>> {
    let bytes = fs::read(image).with_context(|| format!("cannot read {}", image.display()))?;
    bytes.get(crash_dump::EXTENT).map(<[u8]>::to_vec).context("an image has room before its partition")
}

/// Returns the line of the xl configuration that gives the device model the disks that have no vbd, which the
/// toolstack does not know of.
fn emulated_only(disks: &[Backend], first_place: usize) -> Option<String> {
    let drives: Vec<String> = (disks.iter().enumerate())
        .filter(|(_, backend)| **backend == Backend::None)
        .map(|(n, _)| {
            let place = first_place + n;
            format!("\"-drive\", \"file=/dev/guest-disk{n},if=ide,index={place},media=disk,format=raw,file.locking=off\"")
        })
        .collect();
    (!drives.is_empty()).then(|| format!("device_model_args_hvm = [ {} ]", drives.join(", ")))
}

/// Bytes of a disk without a volume, and what each byte is at first.
pub const RAW_SIZE: usize = 2 << 20;
/// Each byte of a disk without a volume at first.
pub const RAW_FILL: u8 = 0xA5;
/// dom0's files behind [`Raw::Discard`] and [`Raw::QdiskDiscard`], from the job's directory.
const HOLES: &str = "holes.img";
/// The file behind [`Raw::QdiskDiscard`], from the job's directory.
const QDISK_HOLES: &str = "qdisk-holes.img";
/// dom0's command that looks whether each file has the hole that the executive makes
/// (tests/nt/src/exercise/kinds.rs): 512 KiB at 1 MiB, read as zeros, and not there on what the file is kept
/// in; and none beside it. Linux before 5.18 keeps pages of a file in memory whose hole a loop device has read, so
/// that nothing is said there of what the file is kept in.
pub const LOOK_AT_HOLE: &str = "zeros() { dd if=$f bs=64k skip=$1 count=8 status=none | tr -d '\\0' | wc -c; }; wrong=0; \
     for f in holes.img qdisk-holes.img; do echo $f: $(zeros 16) $(zeros 24) $(stat -c %b $f); \
     [ $(zeros 16) = 0 ] && [ $(zeros 24) = 524288 ] || wrong=1; \
     case $(uname -r) in 5.*) ;; *) [ $(stat -c %b $f) -le 3072 ] || wrong=1 ;; esac; done; \
     for d in xvdc xvdb; do xl block-detach --force $DOMID $d || xl block-detach $DOMID $d || exit 1; done; exit $wrong";
/// Disks without a volume that this command detaches then: the first ones.
pub const RAW_DETACHED: usize = 2;

/// Adds lines to what dom0 does before the guest is created.
fn prepare(job: &mut Job, script: &str) {
    *job.before.get_or_insert_default() += &format!("set -e\n{script}\n");
}

/// Adds a CD-ROM drive with a medium, hdc.
///
/// # Errors
/// The medium cannot be written.
pub(crate) fn add_cdrom(job: &mut Job, folder: &Folder) -> Result<()> {
    let image = folder.path("cdrom.iso");
    fs::write(&image, cdrom()).with_context(|| format!("cannot write {}", image.display()))?;
    // A regular file, as `xl cd-insert` wants it.
    let device = format!("/dev/guest-disk{}", job.disks.len());
    prepare(job, &format!("cp {device} disc.iso\nln -sf $PWD/disc.iso {device}"));
    job.disks.push(Disk::cdrom(image, "hdc"));
    Ok(())
}

/// Returns the Name of a raw disk's image.
fn raw_image(n: usize) -> String {
    format!("raw{n}.img")
}

/// Adds a disk without a volume.
fn add_raw(job: &mut Job, folder: &Folder, n: usize, raw: Raw) -> Result<()> {
    let image = folder.path(&raw_image(n));
    fs::write(&image, vec![RAW_FILL; RAW_SIZE])
        .with_context(|| format!("cannot write {}", image.display()))?;
    // Where dom0 has the disk.
    let device = format!("/dev/guest-disk{}", job.disks.len());
    let mut disk = Disk::new(image, format!("xvd{}", char::from(b"abcdefgh"[raw.place(n)])));
    match raw {
        // xl has no word for trust: the scenario has dom0 write the node.
        Raw::Plain | Raw::Untrusted => {}
        Raw::ReadOnly => disk.read_only = true,
        Raw::Blocks4096 => {
            prepare(job, &format!("ln -sf $(losetup --show -f --sector-size 4096 {device}) {device}"));
        }
        Raw::Discard => {
            prepare(job, &format!("cp {device} {HOLES}\nln -sf $(losetup --show -f {HOLES}) {device}"));
        }
        Raw::QdiskDiscard => {
            prepare(job, &format!("cp {device} {QDISK_HOLES}\nln -sf $PWD/{QDISK_HOLES} {device}"));
            disk = disk.with_backend(rig::Backend::Qdisk);
        }
    }
    job.disks.push(disk);
    Ok(())
}

/// Image of the disks with nothing on them.
const BLANK: &str = "blank.img";
/// Its bytes.
const BLANK_SIZE: usize = 1 << 20;

fn check_images(job: &Job) -> Result<Vec<volume::Report>> {
    let raw =
        |disk: &Disk| disk.image.file_name().is_some_and(|name| name.to_string_lossy().starts_with("raw"));
    let check = |disk: &Disk| {
        volume::image::check_image(&disk.image).with_context(|| disk.image.display().to_string())
    };
    job.disks
        .iter()
        .filter(|disk| !disk.cdrom && !disk.image.ends_with(BLANK) && !raw(disk))
        .map(check)
        .collect()
}

/// Reads the activity log from the first disk's volume.
fn activity(job: &Job) -> Result<String> {
    let Some(disk) = job.disks.first().filter(|disk| !disk.cdrom) else { return Ok(String::new()) };
    let name =
        guard::activity::FILE.strip_prefix("\\SystemRoot\\").context("a file of the system's volume")?;
    let content = volume::image::read_file(&disk.image, name)
        .with_context(|| format!("cannot read {}", disk.image.display()))?;
    Ok(String::from_utf8_lossy(&content.unwrap_or_default()).into_owned())
}

/// Sectors of the CD-ROM.
pub const CDROM_SECTORS: usize = 64;

/// The volume on the CD-ROM.
pub const CDROM_VOLUME: &str = "XENGUARD_CD";

/// Returns a medium with a primary volume descriptor in sector 16 (ECMA-119, 8.4), and something to read in
/// every other.
pub fn cdrom() -> Vec<u8> {
    const SECTOR: usize = 2048;
    let mut image: Vec<u8> =
        (0..CDROM_SECTORS * SECTOR).map(|at| (at / SECTOR * 31 + at % 251) as u8).collect();
    let descriptor = &mut image[16 * SECTOR..17 * SECTOR];
    descriptor.fill(0);
    descriptor[..7].copy_from_slice(b"\x01CD001\x01");
    descriptor[40..72].fill(b' ');
    descriptor[40..40 + CDROM_VOLUME.len()].copy_from_slice(CDROM_VOLUME.as_bytes());
    image
}

/// State of the suite's files since the installation.
#[derive(Clone, Copy, Debug, Default)]
pub struct Suite<'a> {
    /// Files that are gone.
    pub gone: &'a [&'a str],
    /// Files that are damaged.
    pub damaged: &'a [&'a str],
}

/// Changes one bit in the middle of a file: its checksum does not fit any more. A second time undoes it.
pub fn damage(content: &mut [u8]) {
    let middle = content.len() / 2;
    content[middle] ^= 1;
}

/// Returns a job that starts the executive with the shipped drivers and no disks. `registry` is what changes
/// after installation, as lines of a .reg file.
///
/// # Errors
/// The drivers are not built, or what the loader finds cannot be written.
pub fn executive(
    layout: &Layout,
    folder: &Folder,
    entry: Entry,
    suite: Suite<'_>,
    registry: &str,
) -> Result<Job> {
    let mut job = Module::new(layout)?
        .drivers(suite)?
        .add("boot.ini", &boot_ini_of(layout, folder, entry)?)?
        .add("overrides.reg", format!("REGEDIT4\n\n{registry}").as_bytes())?
        .job(folder.name(), folder.path("archive.tar"))?;
    job.cmdline = entry_word(entry).to_string();
    Ok(job)
}

/// Boots the PV entry, with `registry` added to the registry, with each of `words` added to the command line,
/// one boot after the other in one dom0 and on one disk, and at last with `last`. Answers the consoles in
/// one, and the judgement of the disk.
///
/// # Errors
/// The rig failed, or the guest could not be prepared.
pub fn boot_batch(
    layout: &Layout,
    rig: &RigFiles,
    name: &str,
    registry: &str,
    words: &[Word<'_>],
    last: Word<'_>,
) -> Result<(Vec<String>, volume::Report)> {
    let folder = Folder::new(layout, name)?;
    let mut job = executive(layout, &folder, Entry::Pv, Suite::default(), registry)?;
    let image = folder.image(0);
    volume::image::make_image(&image, volume::image::SIZE, SIGNATURE, "DATA0")
        .with_context(|| format!("cannot make {}", image.display()))?;
    job.disks = vec![Disk::new(&image, "hda")];
    let boot = |word| BatchBoot { cmdline: format!("{} {word}", job.cmdline), cut: None };
    job.batch = words.iter().map(boot).collect();
    add_words(&mut job, &[last]);
    job.timeout = GUEST_LIMIT;
    // The dump would be of one of the guests, nobody knows which.
    job.dump_at = "-".to_owned();
    let outcome = folder.keep(rig::run(rig, &job)?)?;
    Ok((outcome.console, volume::image::check_image(&image)?))
}

/// Boots the executive in plain qemu with the deliberately wrong driver as `case`.
///
/// # Errors
/// The rig failed, or the guest could not be prepared.
pub fn boot_wrong(layout: &Layout, rig: &RigFiles, case: &str) -> Result<Outcome> {
    let folder = Folder::new(layout, &format!("wrong-{case}"))?;
    let wrong = layout.root().join("tests/nt/wrong/wrong.inf");
    let mut job = Module::new(layout)?
        .add("boot.ini", BOOT_INI.as_bytes())?
        .add_file(&layout.nt().join("wrong.sys"))?
        .add_file(&wrong)?
        .job(format!("wrong-{case}"), folder.path("archive.tar"))?;
    add_words(&mut job, &[Word::Entry(1), Word::Wrong(case)]);
    job.timeout = GUEST_LIMIT;
    plain(rig, &mut job, &folder)
}

/// Boots the executive in plain qemu without the suite, one backing file behind two emulated disks: the
/// disaster that the guard prevents. Returns the judgement of the image.
///
/// # Errors
/// The rig failed, or the guest could not be prepared.
pub fn boot_double_mount(layout: &Layout, rig: &RigFiles) -> Result<(Outcome, volume::Report)> {
    let folder = Folder::new(layout, "double-mount")?;
    let module = Module::new(layout)?.add("boot.ini", BOOT_INI.as_bytes())?;
    let image = folder.path("disk0.img");
    volume::image::make_image(&image, volume::image::SIZE, SIGNATURE, "DATA0")?;
    let mut job = module.job("double-mount", folder.path("archive.tar"))?;
    add_words(&mut job, &[Word::Entry(1)]);
    job.timeout = GUEST_LIMIT;
    job.disks = vec![Disk::new(&image, "hda"), Disk::new(&image, "hdb")];
    let outcome = plain(rig, &mut job, &folder)?;
    let report = volume::image::check_image(&image)?;
    Ok((outcome, report))
}

/// Boots the executive in plain qemu with a word on its command line that is not one of the protocol's.
///
/// # Errors
/// The rig failed, or the guest could not be prepared.
pub fn boot_unknown_word(layout: &Layout, rig: &RigFiles, word: &str) -> Result<Outcome> {
    let folder = Folder::new(layout, "unknown-word")?;
    let module = Module::new(layout)?.add("boot.ini", BOOT_INI.as_bytes())?;
    let mut job = module.job("unknown-word", folder.path("archive.tar"))?;
    add_words(&mut job, &[Word::Entry(1)]);
    job.cmdline += &format!(" {word}");
    job.timeout = GUEST_LIMIT;
    plain(rig, &mut job, &folder)
}

/// Runs a job without Xen. There the executive ends by the debug-exit device.
fn plain(rig: &RigFiles, job: &mut Job, folder: &Folder) -> Result<Outcome> {
    add_words(job, &[Word::ExitDebug]);
    folder.keep(rig::plain(rig, job)?)
}

/// Returns the folder that keeps a scenario's output: the last run's images and console.
pub fn folder(layout: &Layout, name: &str) -> PathBuf {
    layout.target().join("guests").join(name)
}

/// A scenario's folder, emptied.
pub struct Folder(PathBuf);

impl Folder {
    /// Empties or makes the folder of this name.
    pub fn new(layout: &Layout, name: &str) -> Result<Folder> {
        let folder = folder(layout, name);
        if folder.exists() {
            fs::remove_dir_all(&folder).with_context(|| format!("cannot empty {}", folder.display()))?;
        }
        Folder::create(folder)
    }

    fn create(folder: PathBuf) -> Result<Folder> {
        fs::create_dir_all(&folder).with_context(|| format!("cannot create {}", folder.display()))?;
        Ok(Folder(folder))
    }

    /// Returns the image of a disk.
    fn image(&self, disk: usize) -> PathBuf {
        self.path(&format!("disk{disk}.img"))
    }

    /// Returns its name.
    pub fn name(&self) -> String {
        self.0.file_name().unwrap_or_default().to_string_lossy().into_owned()
    }

    /// Returns the path of a file of this name in it.
    pub fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    /// Keeps the console for a reader, and what dom0 and Xen have to say.
    pub fn keep(&self, outcome: Outcome) -> Result<Outcome> {
        if let Some(why) = &outcome.retried_after {
            println!("{}: the rig failed and was started again: {}", self.name(), first_line(why));
        }
        fs::write(self.path("console.txt"), outcome.console.join("\n"))?;
        let (log, created) = (&outcome.dom0_log, &outcome.created);
        if !log.is_empty() {
            let said: String = outcome.marks.iter().map(|mark| format!("{}\n", mark.output)).collect();
            fs::write(self.path("dom0.txt"), format!("{created}\n{said}{log}\n{:#?}\n", outcome.store_end))?;
        }
        if !outcome.xen_log.is_empty() {
            fs::write(self.path("xen.txt"), &outcome.xen_log)?;
        }
        Ok(outcome)
    }
}

/// Returns a text's first line.
pub fn first_line(text: &str) -> &str {
    text.lines().next().unwrap_or_default()
}

/// The module that the executive's loader finds: one archive, the executive its first file.
pub struct Module<'a> {
    layout: &'a Layout,
    archive: tar::Builder<Vec<u8>>,
}

impl<'a> Module<'a> {
    /// Returns an archive of the executive.
    ///
    /// # Errors
    /// The executive is not built.
    pub fn new(layout: &'a Layout) -> Result<Self> {
        let mut archive = tar::Builder::new(Vec::new());
        archive.mode(tar::HeaderMode::Deterministic);
        Self { layout, archive }.add_file(&layout.nt().join(format!("{}.elf", built::EXECUTIVE)))
    }

    /// Returns the shipped drivers and their INF files, as `dist/` holds them, but for what became of them.
    fn drivers(mut self, suite: Suite<'_>) -> Result<Self> {
        let drivers = built::SHIPPED.iter().map(|name| format!("{name}.sys"));
        let files = drivers.chain(built::INFS.iter().map(|name| format!("{name}.inf")));
        for file in files.filter(|file| !suite.gone.contains(&file.as_str())) {
            let mut content = read(&self.layout.dist().join(&file))?;
            if suite.damaged.contains(&file.as_str()) {
                damage(&mut content);
            }
            self = self.add(&file, &content)?;
        }
        Ok(self)
    }

    fn add_file(self, path: &Path) -> Result<Self> {
        let content = read(path)?;
        let name = path.file_name().context("a file has a name")?.to_string_lossy().into_owned();
        self.add(&name, &content)
    }

    /// Adds a file.
    ///
    /// # Errors
    /// The name does not fit.
    pub fn add(mut self, name: &str, content: &[u8]) -> Result<Self> {
        let mut header = tar::Header::new_ustar();
        header.set_size(content.len() as u64);
        header.set_mode(0o644);
        self.archive.append_data(&mut header, name, content)?;
        Ok(self)
    }

    /// Writes the archive; a job that starts the executive with it.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn job(self, name: impl Into<String>, path: PathBuf) -> Result<Job> {
        fs::write(&path, self.archive.into_inner()?)
            .with_context(|| format!("cannot write {}", path.display()))?;
        let mut job = Job::new(name, self.layout.nt().join(format!("{}.elf", built::LOADER)));
        job.preloaded = Some(path);
        Ok(job)
    }
}

/// Returns the boot.ini that has the entry.
fn boot_ini_of(layout: &Layout, folder: &Folder, entry: Entry) -> Result<Vec<u8>> {
    match entry {
        Entry::Fat(_) => fat::edited_boot_ini(layout, &folder.0, BOOT_INI.as_bytes()),
        _ => boot_ini(entry),
    }
}

/// Returns the boot.ini with the PV entry that `bootcfg` makes and, behind it, the scenario's own.
fn boot_ini(entry: Entry) -> Result<Vec<u8>> {
    let mut ini = BootIni::parse(BOOT_INI.into())?;
    ini.add_pv_entry(1)?;
    let mut bytes = ini.bytes().to_vec();
    if let Entry::Switches(switches) = entry {
        bytes.extend_from_slice(
            format!("multi(0)disk(0)rdisk(0)partition(1)\\WINDOWS=\"Scenario\" {switches}\r\n").as_bytes(),
        );
    }
    Ok(bytes)
}

/// Returns the word that chooses an entry at the boot menu.
const fn entry_word(entry: Entry) -> Word<'static> {
    Word::Entry(match entry {
        Entry::Emulated => 1,
        Entry::Pv => 2,
        Entry::Switches(_) => 3,
        Entry::Fat(number) => number,
        Entry::Default => return Word::Unattended,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_chosen_entry_is_the_scenarios() {
        for (entry, pv, switch) in [
            (Entry::Emulated, false, "/fastdetect"),
            (Entry::Pv, true, "/GPLPV"),
            (Entry::Switches("/XGPLPV"), false, "/XGPLPV"),
        ] {
            let ini = BootIni::parse(boot_ini(entry).expect("made")).expect("a boot.ini");
            let Word::Entry(number) = entry_word(entry) else { panic!("no number") };
            let chosen = &ini.entries()[number as usize - 1];
            assert_eq!(ini.selects_pv(chosen), pv);
            assert!(ini.switches(chosen).ends_with(switch));
        }
    }
}
