//! Object attributes, access masks, registry information, security descriptors (ntdef.h, ntifs.h).

use super::def::{Handle, Pvoid, UnicodeString};
use crate::layout;

/// `OBJECT_ATTRIBUTES`.
#[repr(C)]
pub struct ObjectAttributes {
    pub length: u32,
    pub root_directory: Handle,
    pub object_name: *mut UnicodeString,
    pub attributes: u32,
    pub security_descriptor: Pvoid,
    pub security_quality_of_service: Pvoid,
}
layout!(ObjectAttributes, 0x30, root_directory @ 8, object_name @ 0x10, attributes @ 0x18);

/// `REG_SZ`.
pub const REG_SZ: u32 = 1;
/// `REG_EXPAND_SZ`.
pub const REG_EXPAND_SZ: u32 = 2;
/// `REG_BINARY`.
pub const REG_BINARY: u32 = 3;
/// `REG_DWORD`.
pub const REG_DWORD: u32 = 4;
/// `REG_MULTI_SZ`.
pub const REG_MULTI_SZ: u32 = 7;
/// `REG_OPTION_VOLATILE`.
pub const REG_OPTION_VOLATILE: u32 = 1;

/// `KeyValueBasicInformation` and its siblings.
pub const KEY_VALUE_BASIC_INFORMATION: u32 = 0;
/// `KeyValueFullInformation`.
pub const KEY_VALUE_FULL_INFORMATION: u32 = 1;
/// `KeyValuePartialInformation`.
pub const KEY_VALUE_PARTIAL_INFORMATION: u32 = 2;
/// `KeyBasicInformation`.
pub const KEY_BASIC_INFORMATION: u32 = 0;

/// `SECURITY_DESCRIPTOR` in absolute form.
#[repr(C)]
pub struct SecurityDescriptor {
    pub revision: u8,
    pub sbz1: u8,
    pub control: u16,
    pub owner: Pvoid,
    pub group: Pvoid,
    pub sacl: Pvoid,
    pub dacl: *mut Acl,
}
layout!(SecurityDescriptor, 0x28, control @ 2, owner @ 8, dacl @ 0x20);

/// `SE_DACL_PRESENT`.
pub const SE_DACL_PRESENT: u16 = 0x0004;
/// `SE_DACL_DEFAULTED`.
pub const SE_DACL_DEFAULTED: u16 = 0x0008;
/// `SE_SELF_RELATIVE`.
pub const SE_SELF_RELATIVE: u16 = 0x8000;
/// `DACL_SECURITY_INFORMATION`.
pub const DACL_SECURITY_INFORMATION: u32 = 4;

/// `ACL`: ACEs follow.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct Acl {
    pub revision: u8,
    pub sbz1: u8,
    pub size: u16,
    pub ace_count: u16,
    pub sbz2: u16,
}
layout!(Acl, 8);

/// `ACCESS_ALLOWED_ACE` up to the SID.
#[repr(C)]
pub struct AccessAllowedAce {
    pub ace_type: u8,
    pub ace_flags: u8,
    pub ace_size: u16,
    pub mask: u32,
}
layout!(AccessAllowedAce, 8);
