//! Looking which logical units an adapter has: INQUIRY to unit 0 of every target, REPORT LUNS to those that
//! answer, and INQUIRY to each unit it lists (documentation "Storport Enumeration of Devices").
//! PASSIVE_LEVEL.

use alloc::vec::Vec;

use super::adapter::Adapter;
use super::request::{self, Owner};
use super::unit::{self, Address};
use crate::storage::inquiry::{self, Inquiry};
use crate::storage::srb::{Direction, Srb, srb_status};
use crate::storage::{cdb, irp, sense};

/// Seconds that each of the scan's commands may take.
const TIMEOUT: u32 = 4;
/// Bytes asked for with REPORT LUNS: the header and 31 units.
const LUN_LIST: usize = 256;
/// Bytes asked for of the unit serial number page.
const SERIAL_PAGE: usize = 64;
/// Vital product data page "unit serial number".
const UNIT_SERIAL_NUMBER: u8 = 0x80;

/// Brings the adapter's list of units up to date.
///
/// # Safety
/// `adapter` must be started.
pub(super) unsafe fn scan(adapter: *mut Adapter) {
    // SAFETY: by this function's contract, `adapter` is started.
    unsafe {
        let configuration = (*adapter).configuration;
        let mut found = Vec::new();
        for path in 0..configuration.number_of_buses.min(8) {
            let initiator = configuration.initiator_bus_id[usize::from(path)];
            for target in
                (0..configuration.maximum_number_of_targets).filter(|&t| i16::from(t) != i16::from(initiator))
            {
                scan_target(adapter, path, target, &mut found);
            }
        }
        unit::update(adapter, found);
    }
}

/// Adds the units of one target.
unsafe fn scan_target(
    adapter: *mut Adapter,
    path: u8,
    target: u8,
    found: &mut Vec<(Address, Inquiry, Vec<u8>)>,
) {
    let at = |lun| Address { path, target, lun };
    // SAFETY: the caller keeps `adapter` valid for this call.
    unsafe {
        let Some(first) = query(adapter, at(0)) else { return };
        let limit = (*adapter).configuration.maximum_number_of_logical_units.max(1);
        let mut luns = report_luns(adapter, at(0));
        luns.retain(|&lun| lun != 0 && lun < limit);
        let others = luns.into_iter().filter_map(|lun| Some((at(lun), query(adapter, at(lun))?)));
        for (address, data) in [(at(0), first)].into_iter().chain(others) {
            if data.device_type().is_some() {
                found.push((address, data, serial(adapter, address)));
            }
        }
    }
}

/// Sends INQUIRY; `None` if nothing answers.
unsafe fn query(adapter: *mut Adapter, address: Address) -> Option<Inquiry> {
    let mut data = [0; inquiry::LENGTH];
    // SAFETY: the caller keeps `adapter` valid for this call.
    let length = unsafe { command(adapter, address, &cdb::inquiry(None, data.len() as u16), &mut data)? };
    (length >= 5).then_some(Inquiry(data))
}

/// Returns the unit serial number; empty if there is none.
unsafe fn serial(adapter: *mut Adapter, address: Address) -> Vec<u8> {
    let mut page = [0; SERIAL_PAGE];
    let cdb = cdb::inquiry(Some(UNIT_SERIAL_NUMBER), page.len() as u16);
    // SAFETY: the caller keeps `adapter` valid for this call.
    unsafe {
        match command(adapter, address, &cdb, &mut page) {
            Some(length) if length >= 4 && page[1] == UNIT_SERIAL_NUMBER => {
                let end = (4 + usize::from(page[3])).min(length);
                page[4..end.max(4)].to_vec()
            }
            _ => Vec::new(),
        }
    }
}

/// Returns the units of a target with numbers below 256.
unsafe fn report_luns(adapter: *mut Adapter, address: Address) -> Vec<u8> {
    let mut list = [0; LUN_LIST];
    // SAFETY: the caller keeps `adapter` valid for this call.
    let Some(length) = (unsafe { command(adapter, address, &cdb::report_luns(LUN_LIST as u32), &mut list) })
    else {
        return Vec::new();
    };
    let listed = u32::from_be_bytes([list[0], list[1], list[2], list[3]]) as usize;
    let end = (8 + listed).min(length).max(8);
    list[8..end].chunks_exact(8).filter(|entry| entry[0] == 0).map(|entry| entry[1]).collect()
}

/// Sends a command that reads data, and waits. Returns the bytes read.
unsafe fn command(adapter: *mut Adapter, address: Address, cdb: &[u8], data: &mut [u8]) -> Option<usize> {
    let mut sense = [0; sense::LENGTH];
    let length = data.len() as u32;
    let mut srb = Srb::execute(cdb, Direction::In, data.as_mut_ptr(), length, TIMEOUT, &mut sense);
    (srb.path_id, srb.target_id, srb.lun) = (address.path, address.target, address.lun);
    let srb = &raw mut srb;
    // SAFETY: the caller keeps `adapter` valid for this call.
    unsafe {
        irp::with_event(|event| {
            request::submit(adapter, srb, Owner::Scan(event));
            irp::wait(event);
        });
        let read = (*srb).data_transfer_length as usize;
        match (*srb).status() {
            srb_status::SUCCESS | srb_status::DATA_OVERRUN => Some(read.min(data.len())),
            _ => None,
        }
    }
}
