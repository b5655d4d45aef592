//! `StorPortExtendedFunction`: what later versions of Storport added (documentation of
//! STORPORT_FUNCTION_CODE). The inline routines of storport.h that allocate, map and look up end here.

use super::adapter::Adapter;
use super::request;
use crate::nt::*;
use crate::storage::srb::Srb;
use crate::{ex, ke};

/// `STORPORT_FUNCTION_CODE`.
mod function {
    pub(super) const ALLOCATE_POOL: u32 = 0;
    pub(super) const FREE_POOL: u32 = 1;
    pub(super) const GET_SYSTEM_ADDRESS: u32 = 5;
    pub(super) const GET_ORIGINAL_MDL: u32 = 6;
    pub(super) const GET_DEVICE_OBJECTS: u32 = 8;
    pub(super) const GET_CURRENT_PROCESSOR_NUMBER: u32 = 17;
}

/// `STOR_STATUS_SUCCESS`.
const SUCCESS: u32 = 0;
/// `STOR_STATUS_UNSUCCESSFUL`.
const UNSUCCESSFUL: u32 = 0xC100_0001;
/// `STOR_STATUS_NOT_IMPLEMENTED`.
const NOT_IMPLEMENTED: u32 = 0xC100_0002;
/// `STOR_STATUS_INSUFFICIENT_RESOURCES`.
const INSUFFICIENT_RESOURCES: u32 = 0xC100_0003;
/// `STOR_STATUS_INVALID_PARAMETER`.
const INVALID_PARAMETER: u32 = 0xC100_0005;
/// `STOR_STATUS_INVALID_IRQL`.
const INVALID_IRQL: u32 = 0xC100_0006;

/// `NonPagedPool`.
const NON_PAGED_POOL: u32 = 0;

/// `StorPortExtendedFunction`. The arguments depend on the function. ≤ DISPATCH_LEVEL for those that allocate
/// or map.
///
/// # Safety
/// `extension` must be the miniport's, and the arguments what the function asks for.
pub(super) unsafe extern "win64" fn StorPortExtendedFunction(
    code: u32,
    extension: Pvoid,
    a: usize,
    b: usize,
    c: usize,
) -> u32 {
    // SAFETY: by this function's contract, `extension` is the miniport's, and the arguments what the
    // function asks for.
    unsafe {
        let adapter = Adapter::of(extension);
        let raised = ke::irql::current() > DISPATCH_LEVEL;
        match code {
            function::ALLOCATE_POOL | function::FREE_POOL | function::GET_SYSTEM_ADDRESS if raised => {
                INVALID_IRQL
            }
            function::ALLOCATE_POOL => {
                let place = ex::ExAllocatePoolWithTag(NON_PAGED_POOL, a, b as u32);
                (c as *mut Pvoid).write(place);
                if place.is_null() { INSUFFICIENT_RESOURCES } else { SUCCESS }
            }
            function::FREE_POOL if a == 0 => INVALID_PARAMETER,
            function::FREE_POOL => {
                ex::ExFreePoolWithTag(a as Pvoid, 0);
                SUCCESS
            }
            function::GET_SYSTEM_ADDRESS => match request::system_address(adapter, a as *mut Srb) {
                Some(address) => {
                    (b as *mut *mut u8).write(address);
                    SUCCESS
                }
                None => UNSUCCESSFUL,
            },
            function::GET_ORIGINAL_MDL => {
                let mdl = request::original_mdl(adapter, a as *mut Srb);
                (b as *mut *mut Mdl).write(mdl);
                if mdl.is_null() { UNSUCCESSFUL } else { SUCCESS }
            }
            function::GET_DEVICE_OBJECTS => {
                (a as *mut *mut DeviceObject).write(adapter.device);
                (b as *mut *mut DeviceObject).write(adapter.pdo);
                (c as *mut *mut DeviceObject).write(adapter.lower);
                SUCCESS
            }
            function::GET_CURRENT_PROCESSOR_NUMBER => {
                (a as *mut u32).write(0);
                SUCCESS
            }
            _ => NOT_IMPLEMENTED,
        }
    }
}
