//! Some thousand configurations of a fixed seed.

/// Every one comes out as it must, and every outcome is among them.
#[test]
fn every_machine() {
    let tally = explore::explore(1, 3_000);
    assert!(tally.wrong.is_empty(), "\n{}", tally.wrong.join("\n"));
    for outcome in ["ready", "shared", "no disk", "boot disk missing", "backend not ready"] {
        let count = tally.outcomes.get(outcome).copied().unwrap_or_default();
        assert!(count > 20, "{outcome}: {count} in {:?}", tally.outcomes);
    }
}
