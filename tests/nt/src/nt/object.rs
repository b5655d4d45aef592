//! Object attributes, access masks, registry information, security descriptors (ntdef.h, ntifs.h).

use super::def::{Handle, Pvoid, UnicodeString};
use crate::layout;

/// `OBJECT_ATTRIBUTES`.
#[repr(C)]
pub(crate) struct ObjectAttributes {
    pub length: u32,
    pub root_directory: Handle,
    pub object_name: *mut UnicodeString,
    pub attributes: u32,
    pub security_descriptor: Pvoid,
    pub security_quality_of_service: Pvoid,
}
layout!(ObjectAttributes, 0x30, root_directory @ 8, object_name @ 0x10, attributes @ 0x18);

/// `REG_SZ`.
pub(crate) const REG_SZ: u32 = 1;
/// `REG_EXPAND_SZ`.
pub(crate) const REG_EXPAND_SZ: u32 = 2;
/// `REG_BINARY`.
pub(crate) const REG_BINARY: u32 = 3;
/// `REG_DWORD`.
pub(crate) const REG_DWORD: u32 = 4;
/// `REG_MULTI_SZ`.
pub(crate) const REG_MULTI_SZ: u32 = 7;
/// `REG_OPTION_VOLATILE`.
pub(crate) const REG_OPTION_VOLATILE: u32 = 1;

/// `KeyValueBasicInformation` and its siblings.
pub(crate) const KEY_VALUE_BASIC_INFORMATION: u32 = 0;
/// `KeyValueFullInformation`.
pub(crate) const KEY_VALUE_FULL_INFORMATION: u32 = 1;
/// `KeyValuePartialInformation`.
pub(crate) const KEY_VALUE_PARTIAL_INFORMATION: u32 = 2;
/// `KeyBasicInformation`.
pub(crate) const KEY_BASIC_INFORMATION: u32 = 0;

/// `SECURITY_DESCRIPTOR` in absolute form.
#[repr(C)]
pub(crate) struct SecurityDescriptor {
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
pub(crate) const SE_DACL_PRESENT: u16 = 0x0004;
/// `SE_DACL_DEFAULTED`.
pub(crate) const SE_DACL_DEFAULTED: u16 = 0x0008;
/// `SE_SELF_RELATIVE`.
pub(crate) const SE_SELF_RELATIVE: u16 = 0x8000;
/// `DACL_SECURITY_INFORMATION`.
pub(crate) const DACL_SECURITY_INFORMATION: u32 = 4;

/// `ACL`: ACEs follow.
#[repr(C)]
#[derive(Clone, Copy)]
pub(crate) struct Acl {
    pub revision: u8,
    pub sbz1: u8,
    pub size: u16,
    pub ace_count: u16,
    pub sbz2: u16,
}
layout!(Acl, 8);

/// `ACCESS_ALLOWED_ACE` up to the SID.
#[repr(C)]
pub(crate) struct AccessAllowedAce {
    pub ace_type: u8,
    pub ace_flags: u8,
    pub ace_size: u16,
    pub mask: u32,
}
layout!(AccessAllowedAce, 8);
