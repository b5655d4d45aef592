//! SRBs of every function but a SCSI command's come to the first disk, and to addresses beside it.

use alloc::collections::BTreeMap;
use alloc::vec::Vec;

use crate::storport::functions::{At, ask_of_adapter, send};
use crate::{ke, pnp, report};

/// Runs the exercise: each SRB is answered; says with which status.
pub(super) fn run() {
    let Some(&disk) = pnp::devices_of("disk").first() else {
        ke::panicked(format_args!("there is no disk"));
    };
    // SAFETY: a started disk, which is not removed meanwhile.
    if let Some((status, words)) = unsafe { ask_of_adapter(disk) } {
        report!("functions at=adapter status={status:#x} capabilities={:#x}", words[1]);
    }
    for (name, at) in [("unit", At::Unit), ("other-unit", At::OtherUnit), ("no-target", At::NoTarget)] {
        let mut by_status: BTreeMap<u8, Vec<u32>> = BTreeMap::new();
        for function in 1..=u8::MAX {
            // SAFETY: a started disk, which is not removed meanwhile.
            match unsafe { send(disk, at, function) } {
                Some(status) => by_status.entry(status).or_default().push(function.into()),
                None => ke::panicked(format_args!("the first disk is no miniport's")),
            }
        }
        for (status, functions) in by_status {
            report!("functions at={name} status={status:#x} n={} {}", functions.len(), Listed(&functions));
        }
    }
}

/// Functions as a field of a line, where they are few.
struct Listed<'a>(&'a [u32]);

impl core::fmt::Display for Listed<'_> {
    fn fmt(&self, f: &mut core::fmt::Formatter) -> core::fmt::Result {
        const FEW: usize = 16;
        match self.0.len() {
            ..=FEW => write!(f, "functions={}", report::numbers(self.0.iter().copied())),
            _ => f.write_str("functions=others"),
        }
    }
}
