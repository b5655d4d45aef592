//! The multiboot information structure (Multiboot Specification 0.6.96, 3.3), which the loader passes on to
//! the executive (tests/nt includes this file).

/// Flag of the two fields on modules.
pub(crate) const MODULES: u32 = 1 << 3;

#[repr(C)]
pub(crate) struct Information {
    pub flags: u32,
    pub mem_lower: u32,
    pub mem_upper: u32,
    pub boot_device: u32,
    pub cmdline: u32,
    pub mods_count: u32,
    pub mods_addr: u32,
    pub syms: [u32; 4],
    pub mmap_length: u32,
    pub mmap_addr: u32,
}

#[repr(C)]
pub(crate) struct Module {
    pub start: u32,
    pub end: u32,
    pub string: u32,
    pub reserved: u32,
}
