//! Explores configurations and prints what came of them: `explore <seed> <count>`. `cargo xtask explore` runs it in
//! release.

use std::process::ExitCode;

fn main() -> ExitCode {
    let mut numbers = std::env::args().skip(1).map(|argument| argument.parse::<u64>());
    let (Some(Ok(seed)), Some(Ok(count))) = (numbers.next(), numbers.next()) else {
        eprintln!("usage: explore <seed> <count>");
        return ExitCode::FAILURE;
    };
    let tally = explore::explore(seed, count);
    for (outcome, count) in &tally.outcomes {
        println!("{outcome:<20} {count:>9}");
    }
    for wrong in &tally.wrong {
        println!("{wrong}");
    }
    if tally.wrong.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
