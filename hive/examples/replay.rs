//! Writes a hive with its log files replayed: `replay HIVE LOG... OUT`.

use std::{env, error::Error, fs};

fn main() -> Result<(), Box<dyn Error>> {
    let files: Vec<_> = env::args_os().skip(1).collect();
    let [hive, logs @ .., out] = files.as_slice() else { return Err("replay HIVE LOG... OUT".into()) };
    let hive = fs::read(hive)?;
    let logs = logs.iter().map(fs::read).collect::<Result<Vec<_>, _>>()?;
    let logs: Vec<&[u8]> = logs.iter().map(Vec::as_slice).collect();
    let replayed = hive::replay::replay(&hive, &logs)?;
    fs::write(out, &replayed.hive)?;
    println!("log files {:?}, {} entries", replayed.logs, replayed.entries);
    Ok(())
}
