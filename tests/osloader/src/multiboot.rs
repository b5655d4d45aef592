//! The multiboot information structure (Multiboot Specification 0.6.96, 3.3), which the loader passes on to the
//! executive, or makes for it.

/// Flag of the command line.
pub const COMMAND_LINE: u32 = 1 << 2;
/// Flag of the two fields on modules.
pub const MODULES: u32 = 1 << 3;
/// Flag of the memory map.
pub const MEMORY_MAP: u32 = 1 << 6;

/// The structure up to the memory map. Addresses are physical.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct Information {
    /// Flags of the fields that count.
    pub flags: u32,
    /// KiB of memory from 0 on.
    pub mem_lower: u32,
    /// KiB of memory from 1 MiB on.
    pub mem_upper: u32,
    /// The firmware's number of the disk.
    pub boot_device: u32,
    /// Address of the command line, which ends with a zero byte.
    pub cmdline: u32,
    /// Number of modules.
    pub mods_count: u32,
    /// Address of the first [`Module`].
    pub mods_addr: u32,
    /// Symbols of the kernel; not used.
    pub syms: [u32; 4],
    /// Bytes of the memory map.
    pub mmap_length: u32,
    /// Address of its first [`MapEntry`].
    pub mmap_addr: u32,
}

impl Information {
    /// The structure in which nothing counts.
    pub const EMPTY: Self = Self {
        flags: 0,
        mem_lower: 0,
        mem_upper: 0,
        boot_device: 0,
        cmdline: 0,
        mods_count: 0,
        mods_addr: 0,
        syms: [0; 4],
        mmap_length: 0,
        mmap_addr: 0,
    };
}

/// A file in memory.
#[derive(Clone, Copy, Debug, Default)]
#[repr(C)]
pub struct Module {
    /// Address of its first byte.
    pub start: u32,
    /// Address behind its last byte.
    pub end: u32,
    /// Address of its text; not used.
    pub string: u32,
    /// Not used.
    pub reserved: u32,
}

/// A range of the memory map.
#[derive(Clone, Copy, Debug, Default)]
#[repr(C, packed)]
pub struct MapEntry {
    /// Bytes of what follows this field.
    pub size: u32,
    /// Its first byte.
    pub base: u64,
    /// Its bytes.
    pub length: u64,
    /// Its type; 1 is usable memory.
    pub kind: u32,
}

impl MapEntry {
    /// Returns the entry of a range.
    pub const fn new(base: u64, length: u64, kind: u32) -> Self {
        Self { size: (size_of::<Self>() - size_of::<u32>()) as u32, base, length, kind }
    }
}
