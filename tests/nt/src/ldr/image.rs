//! Driver images in memory: mapping, relocation, imports, protections, discarding, unloading.

use alloc::collections::BTreeMap;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::slice;
use core::sync::atomic::{AtomicBool, Ordering};

use osloader::pe::{self, Directory, Malformed, Pe, Section};

use super::{exports, gate, modules, notify, other_build};
use crate::boot;
use crate::inject;
use crate::ke::{Lock, clock};
use crate::mm::space::IMAGES;
use crate::mm::{PAGE_SIZE, map, paged};

/// A mapped image.
pub(crate) struct Image {
    pub name: String,
    pub base: usize,
    pub size: usize,
    pub entry: usize,
    pub sections: Vec<Section>,
    exports: BTreeMap<String, usize>,
    discarded: bool,
}

/// The reason why an image was not loaded.
#[derive(Debug)]
pub(crate) enum LoadError {
    /// The archive has no such file.
    NoFile(String),
    /// The file is not a driver image.
    Malformed(Malformed),
    /// An import cannot be resolved: `module!routine`.
    MissingImport(String),
    /// A module it imports from failed to load.
    Dependency(String),
}

impl From<Malformed> for LoadError {
    fn from(malformed: Malformed) -> Self {
        Self::Malformed(malformed)
    }
}

impl Image {
    /// Returns the address for another driver's import table: of a routine a gate, of data the data.
    fn exported(&self, name: &str) -> Option<usize> {
        let address = *self.exports.get(name)?;
        let at = address - self.base;
        let section = self.sections.iter().find(|s| (s.address..s.address + s.virtual_size).contains(&at))?;
        let code = section.characteristics & pe::EXECUTE != 0;
        Some(if code { gate::between_drivers(&self.name, address) } else { address })
    }
}

static IMAGES_LOADED: Lock<Vec<Image>> = Lock::new(Vec::new());
static DRIVER_NAMES: Lock<Vec<String>> = Lock::new(Vec::new());

/// Returns the id of a driver of that name, from 1.
pub(crate) fn driver_id(name: &str) -> usize {
    let mut names = DRIVER_NAMES.lock();
    let known = names.iter().position(|other| other.eq_ignore_ascii_case(name));
    known.unwrap_or_else(|| {
        names.push(name.to_string());
        names.len() - 1
    }) + 1
}

/// Returns the name behind an id.
pub(crate) fn driver_name(id: usize) -> String {
    let names = DRIVER_NAMES.lock();
    id.checked_sub(1).and_then(|at| names.get(at)).cloned().unwrap_or_else(|| "nt".to_string())
}

/// Runs a function on the loaded image of that file name (`idefilter.sys`).
pub(crate) fn with_image<T>(name: &str, run: impl FnOnce(&Image) -> T) -> Option<T> {
    IMAGES_LOADED.lock().iter().find(|image| image.name.eq_ignore_ascii_case(name)).map(run)
}

/// Returns the address by which a driver calls a routine of another driver's file.
pub(crate) fn routine(file: &str, name: &str) -> Option<usize> {
    with_image(file, |image| image.exported(name)).flatten()
}

/// Returns true if a driver file is in memory.
pub(crate) fn is_in_memory(name: &str) -> bool {
    with_image(name, |_| ()).is_some()
}

/// Runs a function on the image that an address lies in.
pub(crate) fn with_image_at<T>(address: usize, run: impl FnOnce(&Image) -> T) -> Option<T> {
    IMAGES_LOADED.lock().iter().find(|i| (i.base..i.base + i.size).contains(&address)).map(run)
}

/// Set when the boot loader's part is over: images that come from then on are announced.
static RUNNING: AtomicBool = AtomicBool::new(false);

/// Does the boot loader's part: maps the files of boot-start drivers. One that cannot be mapped is left to
/// [`load`] to report.
pub(crate) fn load_boot_files(file_names: &[String]) {
    for name in file_names {
        let _ = load(name);
    }
    RUNNING.store(true, Ordering::Relaxed);
}

/// Returns name, base and size of every image, in the order they came.
pub(crate) fn all() -> Vec<(String, usize, usize)> {
    IMAGES_LOADED.lock().iter().map(|image| (image.name.clone(), image.base, image.size)).collect()
}

/// Maps a driver file of the archive and everything it imports from. Nothing of it is run.
pub(crate) fn load(file_name: &str) -> Result<(), LoadError> {
    map_file(file_name, "")
}

/// Maps a second copy of a driver file under a prefix, as the loader does for the dump stack: what it imports
/// from other drivers comes as copies under the same prefix, and Storport is the dump port driver. Nothing of
/// them is run.
pub(crate) fn load_copy(file_name: &str, prefix: &str) -> Result<(), LoadError> {
    map_file(file_name, prefix)
}

fn map_file(file_name: &str, prefix: &str) -> Result<(), LoadError> {
    let image_name = alloc::format!("{prefix}{file_name}");
    if with_image(&image_name, |_| ()).is_some() {
        return Ok(());
    }
    let file = boot::archive().file(file_name).ok_or_else(|| LoadError::NoFile(file_name.to_string()))?;
    let pe = Pe::parse(file)?;
    let size = pe.image_size()?.next_multiple_of(PAGE_SIZE);
    let base =
        IMAGES.allocate(size / PAGE_SIZE, map::READ_WRITE).ok_or(Malformed("no memory for the image"))?;
    let driver = driver_id(image_name.trim_end_matches(".sys"));
    let image = fill(&pe, &image_name, prefix, driver, base, size).inspect_err(|_| {
        // SAFETY: nobody has seen the image yet.
        unsafe { IMAGES.free(base, size / PAGE_SIZE) };
    })?;
    protect(&image);
    crate::log!("image {} at {:#x}, {} bytes", image.name, image.base, image.size);
    let (base, size) = (image.base, image.size);
    IMAGES_LOADED.lock().push(image);
    if RUNNING.load(Ordering::Relaxed) {
        notify::loaded(&modules::path(&image_name), base, size);
    }
    Ok(())
}

fn fill(
    pe: &Pe,
    name: &str,
    prefix: &str,
    driver: usize,
    base: usize,
    size: usize,
) -> Result<Image, LoadError> {
    // SAFETY: the range was just allocated for this image, writable and zeroed.
    let memory = unsafe { slice::from_raw_parts_mut(base as *mut u8, size) };
    let headers = pe.headers()?;
    memory[..headers.len()].copy_from_slice(headers);
    let sections: Vec<Section> = pe.sections().collect::<Result<_, _>>()?;
    for section in &sections {
        let raw = pe.raw(section)?;
        let place = memory.get_mut(section.address..section.address + raw.len());
        place.ok_or(Malformed("a section lies outside of the image"))?.copy_from_slice(raw);
    }
    relocate(pe, memory, base)?;
    set_security_cookie(pe, memory, base)?;
    resolve_imports(pe, memory, prefix, driver)?;
    Ok(Image {
        name: name.to_string(),
        base,
        size,
        entry: base + pe.entry()?,
        sections,
        exports: read_exports(pe, memory, base)?,
        discarded: false,
    })
}

fn get<const N: usize>(memory: &[u8], at: usize) -> Result<[u8; N], Malformed> {
    let bytes = memory.get(at..at + N).ok_or(Malformed("a table lies outside of the image"))?;
    Ok(bytes.try_into().expect("the slice has N bytes"))
}

fn get_u32(memory: &[u8], at: usize) -> Result<usize, Malformed> {
    Ok(u32::from_le_bytes(get(memory, at)?) as usize)
}

fn get_name(memory: &[u8], at: usize) -> Result<&str, Malformed> {
    let rest = memory.get(at..).ok_or(Malformed("a name lies outside of the image"))?;
    let end = rest.iter().position(|&b| b == 0).ok_or(Malformed("a name does not end"))?;
    core::str::from_utf8(&rest[..end]).map_err(|_| Malformed("a name is not ASCII"))
}

const RELOCATION_ABSOLUTE: u16 = 0;
const RELOCATION_HIGHLOW: u16 = 3;
const RELOCATION_DIR64: u16 = 10;

fn relocate(pe: &Pe, memory: &mut [u8], base: usize) -> Result<(), Malformed> {
    let delta = (base as u64).wrapping_sub(pe.preferred_base()?);
    let Some((start, size)) = pe.directory(Directory::Relocation)? else {
        return Err(Malformed("no relocations"));
    };
    let mut at = start;
    while at < start + size {
        let (page, block) = (get_u32(memory, at)?, get_u32(memory, at + 4)?);
        if block < 8 {
            break;
        }
        for entry in (at + 8..at + block).step_by(2) {
            let entry = u16::from_le_bytes(get(memory, entry)?);
            let target = page + usize::from(entry & 0xFFF);
            match entry >> 12 {
                RELOCATION_ABSOLUTE => {}
                RELOCATION_HIGHLOW => {
                    let value = u32::from_le_bytes(get(memory, target)?).wrapping_add(delta as u32);
                    memory[target..target + 4].copy_from_slice(&value.to_le_bytes());
                }
                RELOCATION_DIR64 => {
                    let value = u64::from_le_bytes(get(memory, target)?).wrapping_add(delta);
                    memory[target..target + 8].copy_from_slice(&value.to_le_bytes());
                }
                _ => return Err(Malformed("unknown relocation type")),
            }
        }
        at += block;
    }
    Ok(())
}

/// The value that the compiler puts into a cookie before the loader gives it a value of this boot.
const DEFAULT_COOKIE: u64 = 0x0000_2B99_2DDF_A232;

fn set_security_cookie(pe: &Pe, memory: &mut [u8], base: usize) -> Result<(), Malformed> {
    let Some((config, size)) = pe.directory(Directory::LoadConfig)? else { return Ok(()) };
    // SecurityCookie is at offset 88 of IMAGE_LOAD_CONFIG_DIRECTORY64.
    if size < 96 {
        return Ok(());
    }
    let address = u64::from_le_bytes(get(memory, config + 88)?) as usize;
    let Some(at) = address.checked_sub(base).filter(|_| address != 0) else { return Ok(()) };
    if u64::from_le_bytes(get(memory, at)?) == DEFAULT_COOKIE {
        let cookie = clock::tsc().wrapping_mul(0x9E37_79B9_7F4A_7C15) & 0x0000_FFFF_FFFF_FFFF;
        memory[at..at + 8].copy_from_slice(&cookie.to_le_bytes());
    }
    Ok(())
}

const BY_ORDINAL: u64 = 1 << 63;

fn resolve_imports(pe: &Pe, memory: &mut [u8], prefix: &str, driver: usize) -> Result<(), LoadError> {
    let Some((directory, _)) = pe.directory(Directory::Import)? else { return Ok(()) };
    for descriptor in (directory..).step_by(20) {
        let module = get_u32(memory, descriptor + 12)?;
        if module == 0 {
            return Ok(());
        }
        let module = get_name(memory, module)?.to_string();
        let table = get_u32(memory, descriptor + 16)?;
        let names = match get_u32(memory, descriptor)? {
            0 => table,
            names => names,
        };
        let known = exports::table(&module, prefix);
        if known.is_none() {
            map_file(&module, prefix)
                .map_err(|error| LoadError::Dependency(alloc::format!("{module} ({error:?})")))?;
        }
        for i in (0..).step_by(8) {
            let lookup = u64::from_le_bytes(get(memory, names + i)?);
            if lookup == 0 {
                break;
            }
            if lookup & BY_ORDINAL != 0 {
                return Err(LoadError::MissingImport(alloc::format!("{module}!#{}", lookup as u16)));
            }
            let name = get_name(memory, lookup as usize + 2)?.to_string();
            let address = match known {
                Some(table) => exports::find(table, &name).map(|export| gate::make(export, driver)),
                None => with_image(&alloc::format!("{prefix}{module}"), |image| image.exported(&name))
                    .flatten()
                    .map(|address| other_build::import(&driver_name(driver), &name, address)),
            };
            let address =
                address.ok_or_else(|| LoadError::MissingImport(alloc::format!("{module}!{name}")))?;
            memory[table + i..table + i + 8].copy_from_slice(&address.to_le_bytes());
        }
    }
    Ok(())
}

fn read_exports(pe: &Pe, memory: &[u8], base: usize) -> Result<BTreeMap<String, usize>, Malformed> {
    let Some((directory, _)) = pe.directory(Directory::Export)? else { return Ok(BTreeMap::new()) };
    let count = get_u32(memory, directory + 24)?;
    let functions = get_u32(memory, directory + 28)?;
    let names = get_u32(memory, directory + 32)?;
    let ordinals = get_u32(memory, directory + 36)?;
    (0..count)
        .map(|i| {
            let name = get_name(memory, get_u32(memory, names + i * 4)?)?;
            let ordinal = usize::from(u16::from_le_bytes(get(memory, ordinals + i * 2)?));
            Ok((name.to_string(), base + get_u32(memory, functions + ordinal * 4)?))
        })
        .collect()
}

fn protection_of(section: &Section) -> u64 {
    match (section.characteristics & pe::EXECUTE != 0, section.characteristics & pe::WRITE != 0) {
        (true, true) => map::EXECUTE_READ_WRITE,
        (true, false) => map::EXECUTE,
        (false, true) => map::READ_WRITE,
        (false, false) => map::READ_ONLY,
    }
}

fn pages_of(image: &Image, section: &Section) -> impl Iterator<Item = usize> + use<> {
    let start = image.base + section.address;
    (start..start + section.virtual_size.max(1)).step_by(PAGE_SIZE)
}

fn protect(image: &Image) {
    // SAFETY: nothing of the image runs yet; its own headers say what its sections may do.
    unsafe {
        for page in (image.base..image.base + image.size).step_by(PAGE_SIZE) {
            map::protect(page, map::READ_ONLY);
        }
        for section in &image.sections {
            for page in pages_of(image, section) {
                map::protect(page, protection_of(section));
                if protection_of(section) == map::EXECUTE {
                    inject::watch(page);
                }
            }
        }
    }
    for section in image.sections.iter().filter(|section| section.name.starts_with("PAGE")) {
        let pages = pages_of(image, section).count();
        paged::watch(image.base + section.address, pages, protection_of(section));
    }
}

/// Frees the discardable sections: initialization is over.
pub(crate) fn discard(name: &str) {
    let mut images = IMAGES_LOADED.lock();
    let Some(image) = images.iter_mut().find(|image| image.name.eq_ignore_ascii_case(name)) else { return };
    image.discarded = true;
    for section in image.sections.iter().filter(|section| section.characteristics & pe::DISCARDABLE != 0) {
        for page in pages_of(image, section) {
            // SAFETY: a discardable section is not used after initialization; a driver that does faults.
            if let Some(frame) = unsafe { map::unmap(page) } {
                crate::mm::frames::free(frame, 1);
            }
        }
    }
}

/// Returns true if an address lies in a section that was discarded.
pub(crate) fn discarded(address: usize) -> bool {
    with_image_at(address, |image| {
        image.discarded
            && image.sections.iter().any(|section| {
                let start = image.base + section.address;
                section.characteristics & pe::DISCARDABLE != 0
                    && (start..start + section.virtual_size).contains(&address)
            })
    })
    .unwrap_or(false)
}

/// Unmaps an image. Its range of addresses is not given out again soon, so that a stale call faults.
///
/// # Safety
/// Nothing of the image runs or is registered any more.
pub(crate) unsafe fn unload(name: &str) {
    let image = {
        let mut images = IMAGES_LOADED.lock();
        let Some(at) = images.iter().position(|image| image.name.eq_ignore_ascii_case(name)) else { return };
        images.remove(at)
    };
    for section in image.sections.iter().filter(|section| section.name.starts_with("PAGE")) {
        paged::forget(image.base + section.address);
    }
    // SAFETY: by this function's contract, nothing of the image runs or is registered any more.
    unsafe {
        IMAGES.free(image.base, image.size / PAGE_SIZE);
    }
}

/// Returns the range and driver id of an image.
pub(crate) fn range(name: &str) -> Option<(usize, usize)> {
    with_image(name, |image| (image.base, image.base + image.size))
}
