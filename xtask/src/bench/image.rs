//! The disk image that every contender gets: each block carries its number, and afterwards the stamp of who
//! wrote it.

use std::{
    collections::BTreeSet,
    fs::{self, File},
    io::{BufWriter, Read, Write},
    path::Path,
};

use anyhow::{Context, Result, bail, ensure};
use bench::{
    Workload,
    block::{self, BLOCK, UNTOUCHED},
};

/// Bytes of the image.
pub(super) const SIZE: u64 = 32 << 20;

/// Makes the image.
pub(super) fn make(path: &Path) -> Result<()> {
    let file = File::create(path).with_context(|| format!("cannot create {}", path.display()))?;
    let mut file = BufWriter::new(file);
    let mut data = [0; BLOCK];
    for offset in (0..SIZE).step_by(BLOCK) {
        // The first block, where a partition table would be, stays empty.
        if offset > 0 {
            block::fill(&mut data, offset, UNTOUCHED);
        }
        file.write_all(&data)?;
    }
    Ok(file.into_inner()?.sync_all()?)
}

/// Returns the blocks that the first `requests` requests of a workload write.
fn written(workload: &Workload, requests: u64) -> impl Iterator<Item = u64> {
    (0..requests.min(workload.period(SIZE))).flat_map(|index| {
        let first = workload.offset(index, SIZE) / BLOCK as u64;
        first..first + workload.blocks()
    })
}

/// Checks that the image holds what a contender says it wrote, no more and no less. `runs` are workloads and
/// the requests of a run of each.
pub(super) fn check(path: &Path, stamp: u64, runs: &[(&'static Workload, u64)]) -> Result<()> {
    let expected: BTreeSet<u64> = runs
        .iter()
        .filter(|(workload, _)| workload.write)
        .flat_map(|(workload, requests)| written(workload, *requests))
        .collect();
    let mut file = File::open(path).with_context(|| format!("cannot open {}", path.display()))?;
    ensure!(fs::metadata(path)?.len() == SIZE, "{} has changed its size", path.display());
    let mut data = [0; BLOCK];
    for number in 0..SIZE / BLOCK as u64 {
        file.read_exact(&mut data)?;
        if number == 0 {
            continue;
        }
        let stamped = if expected.contains(&number) { stamp } else { UNTOUCHED };
        let found = block::head(&data);
        if found != (number, stamped) {
            bail!(
                "block {number} of {} carries number {} and stamp {:#x}; expected {number} and {stamped:#x}",
                path.display(),
                found.0,
                found.1
            );
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_write_that_did_not_happen_and_one_too_many_are_found() {
        let path = std::env::temp_dir().join(format!("xtask-bench-image-{}", std::process::id()));
        make(&path).expect("made");
        let workload = Workload::named("seq-64k-write").expect("known");
        assert!(check(&path, 7, &[]).is_ok());
        let error = check(&path, 7, &[(workload, 1)]).expect_err("nothing is written");
        assert!(error.to_string().contains("block 256 "), "{error}");
        let mut data = fs::read(&path).expect("read");
        let at = workload.offset(0, SIZE) as usize;
        block::fill(&mut data[at..at + workload.bytes as usize], at as u64, 7);
        fs::write(&path, &data).expect("written");
        assert!(check(&path, 7, &[(workload, 1)]).is_ok());
        assert!(check(&path, 7, &[]).is_err());
        fs::remove_file(&path).expect("removed");
    }
}
