//! The mount manager: mounts every volume that arrives, as Windows does, whether or not it has seen it
//! before.
//!
//! It hears of volumes through the volume interface, on the same queue on which drivers hear of disks; a
//! disk's notification therefore always comes before its volumes are mounted.

use core::ptr::null_mut;
use core::sync::atomic::{AtomicBool, Ordering};

use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;

use volume::{Damage, Error, Volume};

use crate::fs::{Device, Mounted};
use crate::ke::{self, Lock};
use crate::nt::*;
use crate::report::Escaped;
use crate::{io, report};

/// A volume and the disk it is on.
struct Mount {
    disk: u32,
    /// Symbolic link of the volume's interface.
    link: String,
    volume: Mounted,
    /// The file test was made.
    tested: bool,
    /// Files that were written, by name, and are in the cache only.
    cached: Vec<(String, Vec<u8>)>,
}

/// A volume that was flushed and dismounted because its removal was asked for.
struct Leaving {
    disk: u32,
    link: String,
    /// Its PDO.
    pdo: usize,
}

static MOUNTS: Lock<Vec<Mount>> = Lock::new(Vec::new());
/// True while a file of the system's volume is in use.
static FILE_IN_USE: AtomicBool = AtomicBool::new(false);
/// Links of volumes that went while somebody used them.
static GONE: Lock<Vec<String>> = Lock::new(Vec::new());
/// Volumes whose removal was agreed to.
static LEAVING: Lock<Vec<Leaving>> = Lock::new(Vec::new());

/// Time that a file of the system's volume is waited for, in milliseconds.
const PATIENCE: u64 = 10_000;
/// Bytes of the file that the file test writes.
const TEST_BYTES: usize = 30_000;

/// Starts the driver: asks to be told of volumes.
///
/// # Safety
/// Called by the I/O manager with the driver object.
pub(crate) unsafe extern "win64" fn driver_entry(
    driver: *mut DriverObject,
    _: *mut UnicodeString,
) -> NtStatus {
    // SAFETY: by this function's contract, it is called by the I/O manager with the driver object.
    unsafe {
        let mut entry = null_mut();
        io::IoRegisterPlugPlayNotification(
            EVENT_CATEGORY_DEVICE_INTERFACE_CHANGE,
            PNPNOTIFY_INCLUDE_EXISTING_INTERFACES,
            core::ptr::from_ref(&GUID_DEVINTERFACE_VOLUME).cast_mut().cast(),
            driver,
            volume_changed,
            null_mut(),
            &raw mut entry,
        )
    }
}

/// Notes that a volume arrived or went. PASSIVE_LEVEL.
unsafe extern "win64" fn volume_changed(notification: Pvoid, _: Pvoid) -> NtStatus {
    // SAFETY: the caller keeps `notification` valid for this call.
    unsafe {
        let change = &*notification.cast::<DeviceInterfaceChangeNotification>();
        let link = (*change.symbolic_link_name).text();
        if change.event == GUID_DEVICE_INTERFACE_ARRIVAL {
            GONE.lock().retain(|gone| *gone != link);
            match Device::open(change.symbolic_link_name) {
                Ok(device) => mount(device, link),
                Err(found) => crate::log!("mountmgr: cannot open a volume: {found:#x}"),
            }
        } else {
            dismount(link);
        }
        status::SUCCESS
    }
}

/// Drops a volume that is gone: what is mounted of it is dropped as it is, nothing can be written any more.
fn dismount(link: String) {
    let gone = {
        let mut mounts = MOUNTS.lock();
        let at = mounts.iter().position(|mount| mount.link == link);
        at.map(|at| mounts.swap_remove(at))
    };
    let left = {
        let mut leaving = LEAVING.lock();
        let at = leaving.iter().position(|leaving| leaving.link == link);
        at.map(|at| leaving.swap_remove(at))
    };
    match (gone, left) {
        (Some(Mount { disk, cached, .. }), _) => {
            report!("dismount disk={disk} clean=0 lost={}", cached.len());
        }
        (None, Some(Leaving { disk, .. })) => report!("dismount disk={disk} clean=1 lost=0"),
        // Whoever uses it finds this when they give it back.
        (None, None) => GONE.lock().push(link),
    }
}

/// Agrees, as a file system does, that a volume is removed (IRP_MN_QUERY_REMOVE_DEVICE to the device that is
/// mounted): what its cache holds is written, and it is dismounted. Returns false where that fails. A volume that is in
/// use is not here; its open handle forbids the removal. PASSIVE_LEVEL.
///
/// # Safety
/// `pdo` is a PDO.
pub(crate) unsafe fn query_removal(pdo: *mut DeviceObject) -> bool {
    // SAFETY: by this function's contract, `pdo` is a PDO; it stays while PnP asks.
    let Some(mut mount) = take(|mount| unsafe { io::base(mount.volume.device().object()) } == pdo).pop()
    else {
        return true;
    };
    let cached = core::mem::take(&mut mount.cached);
    let written = cached.iter().try_for_each(|(name, content)| mount.volume.write_file(name, content));
    let leaving = Leaving { disk: mount.disk, link: mount.link, pdo: pdo as usize };
    let agreed = written.and_then(|()| mount.volume.unmount().map(drop)).is_ok();
    LEAVING.lock().push(leaving);
    agreed
}

/// Mounts a volume again whose removal was asked for, and is cancelled. PASSIVE_LEVEL.
///
/// # Safety
/// `pdo` is a PDO.
pub(crate) unsafe fn cancel_removal(pdo: *mut DeviceObject) {
    let left = {
        let mut leaving = LEAVING.lock();
        let at = leaving.iter().position(|leaving| leaving.pdo == pdo as usize);
        at.map(|at| leaving.swap_remove(at))
    };
    let Some(Leaving { link, .. }) = left else { return };
    let units: Vec<u16> = link.encode_utf16().collect();
    let length = (units.len() * 2) as u16;
    let mut name = UnicodeString { length, maximum_length: length, buffer: units.as_ptr().cast_mut() };
    // SAFETY: a valid string.
    match unsafe { Device::open(&raw mut name) } {
        Ok(device) => mount(device, link),
        Err(found) => crate::log!("mountmgr: cannot open a volume again: {found:#x}"),
    }
}

/// Writes a file to a disk's volume through the cache: it is on no disk before the volume is flushed.
/// PASSIVE_LEVEL.
pub(crate) fn write_cached(disk: u32, name: &str, content: &[u8]) {
    for mount in MOUNTS.lock().iter_mut().filter(|mount| mount.disk == disk) {
        mount.cached.push((name.to_string(), content.to_vec()));
    }
}

/// Takes the mounts that `wanted` names, to use them without the lock: their devices are waited for. Waits for a file
/// of the system's volume that is being written.
fn take(wanted: impl Fn(&Mount) -> bool) -> Vec<Mount> {
    loop {
        {
            let mut mounts = MOUNTS.lock();
            if !FILE_IN_USE.load(Ordering::Acquire) {
                let (taken, left) = core::mem::take(&mut *mounts).into_iter().partition(wanted);
                *mounts = left;
                return taken;
            }
        }
        ke::delay(1);
    }
}

/// Does something with the volume of the system, which is disk 0's; `None` where it is not mounted, or in use for
/// a long time. PASSIVE_LEVEL.
pub(crate) fn with_system_volume<T>(run: impl FnOnce(&mut Mounted) -> T) -> Option<T> {
    let mut mount = (0..PATIENCE).find_map(|_| {
        let taken = {
            let mut mounts = MOUNTS.lock();
            let at = mounts.iter().position(|mount| mount.disk == 0);
            at.filter(|_| !FILE_IN_USE.swap(true, Ordering::AcqRel)).map(|at| mounts.swap_remove(at))
        };
        if taken.is_none() {
            ke::delay(1);
        }
        taken
    })?;
    let done = run(&mut mount.volume);
    give_back(Vec::from([mount]));
    FILE_IN_USE.store(false, Ordering::Release);
    Some(done)
}

/// Gives mounts back. Those that went meanwhile are dropped.
fn give_back(used: Vec<Mount>) {
    for mount in used {
        let link = mount.link.clone();
        MOUNTS.lock().push(mount);
        let gone = {
            let mut gone = GONE.lock();
            let before = gone.len();
            gone.retain(|other| *other != link);
            gone.len() != before
        };
        if gone {
            dismount(link);
        }
    }
    MOUNTS.lock().sort_by_key(|mount| mount.disk);
}

/// Returns true if a volume of this disk is there: mounted, or dismounted for a removal that is under way.
pub(crate) fn is_there(disk: u32) -> bool {
    is_mounted(disk) || LEAVING.lock().iter().any(|leaving| leaving.disk == disk)
}

/// Returns true if a volume of this disk is mounted and not in use just now.
pub(crate) fn is_mounted(disk: u32) -> bool {
    MOUNTS.lock().iter().any(|mount| mount.disk == disk)
}

/// Writes files to a disk's volume until that fails; how many were written. PASSIVE_LEVEL.
pub(crate) fn write_until_failure(disk: u32) -> u32 {
    write_while(disk, || true)
}

/// Returns the disks with a volume, by number. PASSIVE_LEVEL.
pub(crate) fn disks() -> Vec<u32> {
    let mut disks: Vec<_> = MOUNTS.lock().iter().map(|mount| mount.disk).collect();
    disks.sort_unstable();
    disks.dedup();
    disks
}

/// Writes files to a disk's volume, each with a flush behind it, as long as `wanted` and no write fails; how
/// many were written. PASSIVE_LEVEL.
pub(crate) fn write_while(disk: u32, wanted: impl Fn() -> bool) -> u32 {
    let mut mounts = take(|mount| mount.disk == disk);
    let mut written = 0u32;
    for mount in &mut mounts {
        while wanted()
            && mount.volume.write_file("load.txt", &written.to_le_bytes().repeat(512)).is_ok()
            && mount.volume.flush().is_ok()
        {
            written += 1;
        }
    }
    give_back(mounts);
    written
}

/// Mounts what is on a device, if it is a volume.
fn mount(device: Device, link: String) {
    let Some(disk) = device.disk_number() else { return };
    match Volume::mount(device) {
        Ok(volume) => {
            let (label, generation) = (Escaped(volume.label()).to_string(), volume.generation());
            report!("mount disk={disk} label={label} generation={generation} status=ok");
            MOUNTS.lock().push(Mount { disk, link, volume, tested: false, cached: Vec::new() });
        }
        Err(Error::Corrupt(Damage::NoSuperblock)) => crate::log!("mountmgr: disk {disk} holds no volume"),
        Err(Error::Corrupt(damage)) => {
            report!("mount disk={disk} label=? generation=0 status=corrupt why={}", escaped(&damage));
        }
        Err(error) => report!("mount disk={disk} label=? generation=0 status=failed why={}", escaped(&error)),
    }
}

/// Returns text as a report value.
fn escaped(text: &dyn core::fmt::Display) -> String {
    Escaped(&format!("{text}")).to_string()
}

/// Writes a file to every volume that was mounted since the last test, flushes each, reads each back, and
/// reports how that went. Every volume is written before any is read back, as in a system that uses them all
/// at once. PASSIVE_LEVEL.
pub(crate) fn file_test() {
    let mut mounts = take(|mount| !mount.tested);
    let mut tests: Vec<_> = mounts.iter_mut().map(FileTest::write).collect();
    for (test, mount) in tests.iter_mut().zip(&mut mounts) {
        test.flush(mount);
    }
    for (test, mount) in tests.iter().zip(&mounts) {
        test.read_back(mount);
    }
    mounts.iter_mut().for_each(|mount| mount.tested = true);
    give_back(mounts);
}

/// The file test on one volume.
struct FileTest {
    name: String,
    content: Vec<u8>,
    wrote: Result<(), Error>,
    flushed: Result<(), Error>,
}

impl FileTest {
    fn write(mount: &mut Mount) -> Self {
        let generation = mount.volume.generation();
        let name = format!("boot-{generation}.txt");
        let line = format!("disk {} generation {generation}\r\n", mount.disk);
        let content: Vec<u8> = line.bytes().cycle().take(TEST_BYTES).collect();
        let wrote = mount.volume.write_file(&name, &content);
        Self { name, content, wrote, flushed: Ok(()) }
    }

    fn flush(&mut self, mount: &mut Mount) {
        self.flushed = mount.volume.flush();
    }

    fn read_back(&self, mount: &Mount) {
        let read = match mount.volume.read_file(&self.name) {
            Ok(content) if content == self.content => "ok".into(),
            Ok(_) => "different".into(),
            Err(error) => escaped(&error),
        };
        let outcome = |result: &Result<(), Error>| match result {
            Ok(()) => "ok".into(),
            Err(error) => escaped(error),
        };
        let (wrote, flushed) = (outcome(&self.wrote), outcome(&self.flushed));
        report!("file disk={} wrote={wrote} flushed={flushed} readback={read}", mount.disk);
    }
}

/// Unmounts every volume in order, as file systems do at a shutdown: behind the drivers that asked to be told of it,
/// and behind the registry. PASSIVE_LEVEL.
pub(crate) fn shutdown() {
    for Mount { disk, mut volume, cached, .. } in core::mem::take(&mut *MOUNTS.lock()) {
        let written = cached.iter().try_for_each(|(name, content)| volume.write_file(name, content));
        if let Err(error) = written.and_then(|()| volume.unmount().map(drop)) {
            crate::log!("mountmgr: unmounting disk {disk}: {error}");
        }
    }
}
