//! Explores every configuration as far as a test run allows.

use model::cases::{Depth, all};

/// Every case comes out as it must. `--nocapture` shows the states and the depth of each.
#[test]
fn every_case() {
    let mut wrong = Vec::new();
    for case in all(Depth::Bounded) {
        let (line, ok) = case.run();
        println!("{line}");
        if !ok {
            wrong.push(line);
        }
    }
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
}
