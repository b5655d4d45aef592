//! Any bytes as a hive, with its checksum and sequence numbers put right so that the fuzzer gets behind them: an error or
//! a tree, and an end.

use bootcfg::{bcd::Bcd, menu::Menu};
use hive::{Hive, Key};

fn walk(key: &Key<'_>, depth: u32, budget: &mut u32) -> Result<(), hive::Error> {
    for value in key.values()?.take(64) {
        let value = value?;
        let _ = (value.data()?, value.text()?, value.texts()?, value.dword()?);
    }
    for key in key.keys()?.take(64) {
        let key = key?;
        if depth == 0 || *budget == 0 {
            return Ok(());
        }
        *budget -= 1;
        walk(&key, depth - 1, budget)?;
    }
    Ok(())
}

/// Takes one input.
pub fn take(data: &[u8]) {
    let mut data = data.to_vec();
    if data.len() >= 512 {
        data.copy_within(4..8, 8);
        let sum = data[..508]
            .chunks(4)
            .fold(0, |sum, word| sum ^ u32::from_le_bytes(word.try_into().expect("four")));
        let sum = match sum {
            0 => 1,
            u32::MAX => u32::MAX - 1,
            sum => sum,
        };
        data[508..512].copy_from_slice(&sum.to_le_bytes());
    }
    if let Ok(hive) = Hive::new(&data) {
        let _ = hive.root().and_then(|root| walk(&root, 6, &mut 1000));
    }
    if let Ok(bcd) = Bcd::read(&data) {
        let _ = (bcd.check(), bcd.text(), Menu::entries(&bcd));
    }
}
