//! Counts in Xen's trace (Xen: public/trace.h) what a guest did between the benchmark's marks.
//!
//! A record is a word of event number (bits 0 to 27), number of further words (28 to 30) and whether a time
//! stamp of two words comes first (31); then those.

use std::fs;
use std::io;
use std::path::Path;

use bench::ALL;

/// `TRC_HVM_VMEXIT` and `TRC_HVM_VMEXIT64`: the guest left, the first word says why.
const VMEXIT: [u32; 2] = [0x0008_1002, 0x0008_1102];
/// `TRC_HVM_INJ_VIRQ`: an interrupt was given to it.
const INJECTED: u32 = 0x0008_2004;
/// `TRC_HVM_CPUID`: the first word is the leaf.
const CPUID: u32 = 0x0008_200E;
/// `TRC_HVM_VMMCALL`: a hypercall, the first word its number.
const VMMCALL: u32 = 0x0008_2012;
/// `TRC_LOST_RECORDS`.
const LOST: u32 = 0x0001_F001;
/// `__HYPERVISOR_event_channel_op`, `__HYPERVISOR_grant_table_op` (Xen: public/xen.h).
const EVENT_CHANNEL_OP: u32 = 32;
const GRANT_TABLE_OP: u32 = 20;

/// Counts of the trace records during one workload.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Counts {
    /// VM exits.
    pub exits: u64,
    /// Hypercalls on event channels: a notification or an unmasking.
    pub events: u64,
    /// Hypercalls on the grant table.
    pub grants: u64,
    /// Interrupts given to the guest.
    pub interrupts: u64,
    /// True if records are missing.
    pub lost: bool,
}

/// Counts for each workload of [`ALL`] whose marks were both found.
pub(crate) fn count(trace: &[u8]) -> Vec<Option<Counts>> {
    let mut found = vec![None; ALL.len()];
    let mut open: Option<(u32, Counts)> = None;
    let mut words =
        trace.chunks_exact(4).map(|word| u32::from_le_bytes([word[0], word[1], word[2], word[3]]));
    while let Some(head) = words.next() {
        let (event, extra, stamped) = (head & 0x0FFF_FFFF, head >> 28 & 7, head >> 31 != 0);
        if stamped {
            words.nth(1);
        }
        let mut first = 0;
        for index in 0..extra {
            let word = words.next().unwrap_or_default();
            first = if index == 0 { word } else { first };
        }
        if event == CPUID && first & 0xFFFF_0000 == bench::MARK_LEAF {
            let (workload, begins) = ((first & 0xFFFF) >> 1, first & 1 != 0);
            match open.take() {
                Some((ended, counts)) if !begins && ended == workload => {
                    if let Some(slot) = found.get_mut(workload as usize) {
                        *slot = Some(counts);
                    }
                }
                _ => open = begins.then_some((workload, Counts::default())),
            }
            continue;
        }
        let Some((_, counts)) = &mut open else { continue };
        match event {
            _ if VMEXIT.contains(&event) => counts.exits += 1,
            INJECTED => counts.interrupts += 1,
            VMMCALL if first == EVENT_CHANNEL_OP => counts.events += 1,
            VMMCALL if first == GRANT_TABLE_OP => counts.grants += 1,
            LOST => counts.lost = true,
            _ => {}
        }
    }
    found
}

/// Prints the counts of a trace's file.
pub(crate) fn print(path: &Path) -> io::Result<()> {
    let trace = fs::read(path)?;
    for (workload, counts) in ALL.iter().zip(count(&trace)) {
        let Some(Counts { exits, events, grants, interrupts, lost }) = counts else { continue };
        println!(
            "@xg bench-counts workload={} exits={exits} events={events} grants={grants} interrupts={interrupts} lost={}",
            workload.name,
            u8::from(lost),
        );
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(trace: &mut Vec<u8>, event: u32, stamped: bool, extra: &[u32]) {
        let head = event | (extra.len() as u32) << 28 | u32::from(stamped) << 31;
        trace.extend(head.to_le_bytes());
        if stamped {
            trace.extend(CPUID.to_le_bytes());
            trace.extend(bench::marks(3).0.to_le_bytes());
        }
        trace.extend(extra.iter().flat_map(|word| word.to_le_bytes()));
    }

    #[test]
    fn what_lies_between_the_marks_is_counted() {
        let mut trace = Vec::new();
        let (begin, end) = bench::marks(2);
        record(&mut trace, VMEXIT[0], true, &[0x72, 0]);
        record(&mut trace, CPUID, false, &[begin, 1, 2, 3, 4]);
        record(&mut trace, VMEXIT[1], true, &[0x81, 1, 2]);
        record(&mut trace, VMMCALL, false, &[EVENT_CHANNEL_OP]);
        record(&mut trace, VMEXIT[0], true, &[0x81, 1]);
        record(&mut trace, VMMCALL, false, &[GRANT_TABLE_OP]);
        record(&mut trace, VMMCALL, false, &[7]);
        record(&mut trace, INJECTED, false, &[0xB0, 0]);
        record(&mut trace, CPUID, false, &[1, 0, 0, 0, 0]);
        record(&mut trace, CPUID, false, &[end, 1, 2, 3, 4]);
        record(&mut trace, VMEXIT[0], true, &[0x81, 1]);
        record(&mut trace, CPUID, false, &[bench::marks(5).0]);
        let found = count(&trace);
        let counts = Counts { exits: 2, events: 1, grants: 1, interrupts: 1, lost: false };
        assert_eq!(found[2], Some(counts));
        assert_eq!(found.iter().flatten().count(), 1, "a workload that did not end has no counts");
    }

    #[test]
    fn lost_records_are_told() {
        let mut trace = Vec::new();
        let (begin, end) = bench::marks(0);
        record(&mut trace, CPUID, false, &[begin]);
        record(&mut trace, LOST, true, &[12]);
        record(&mut trace, CPUID, false, &[end]);
        assert!(count(&trace)[0].expect("found").lost);
    }
}
