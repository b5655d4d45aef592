//! The main job, shown: a guest booted from its emulated entry, from its PV entry, and twice sabotaged.

use anyhow::{Result, bail};

use rig::RigFiles;

use crate::{boot, catalogue::demo::BOOTS, layout::Layout, step::step, verdict};

/// Boots the four guests and prints what the guard did.
///
/// # Errors
/// A step failed, or a boot showed something else than it must.
pub fn run(layout: &Layout, rig: &RigFiles) -> Result<()> {
    let mut rows = Vec::new();
    let mut breaches = Vec::new();
    for (n, scenario) in BOOTS.iter().enumerate() {
        let name = format!("boot {} of {}: {}", n + 1, BOOTS.len(), scenario.title);
        let boot = step(&name, || boot::boot(layout, rig, scenario))?;
        for line in boot.outcome.report().debug("xenguard: ") {
            println!("    {line}");
        }
        breaches.extend(
            verdict::differences(scenario, &boot).into_iter().map(|d| format!("{}: {d}", scenario.name)),
        );
        rows.push(verdict::row(scenario, &boot).to_vec());
    }
    println!();
    verdict::print_table(&verdict::HEAD, &rows);
    println!();
    if !breaches.is_empty() {
        bail!("the boots differ from what they must show:\n  {}", breaches.join("\n  "));
    }
    println!(
        "Each boot showed what it must. Consoles and images: {}",
        layout.target().join("guests").display()
    );
    Ok(())
}
