//! A model of booting a guest with the suite, explored exhaustively by stateright around `guard`'s real state
//! machine.
//!
//! The machine has one backing disk, that can be reached through the emulated controller on the filtered root
//! bus, through the same or another controller past the filter, and through xenvbd, by its own vbd and by a second one. [`World`] is its state,
//! with the very `Guard` that idefilter.sys holds; [`Step`] is what can happen next; [`Setup`] says which
//! layers are there and what goes wrong. Every order of steps is explored, and in every state
//!
//! - the disk is mounted through one way at most, unless two emulated disks are the disk and the entry asks for them;
//! - a PV disk is shown only in a boot whose guard has been told and has not withheld;
//! - xenvbd, whose device is started in every boot, reaches a vbd only where the guard has granted that;
//! - no more than [`boot_count::LIMIT`] PV boots in a row have failed;
//! - a boot without faults that has come to rest has its disk, and the way that its entry asked for.
//!
//! The last is liveness: since time only moves forward in [`World`], every path ends in a state at rest, so
//! that looking at those states is enough.

pub mod cases;
mod setup;
mod step;
mod world;

pub use setup::{Faults, Layers, Moment, Second, Setup};
pub use step::Step;
pub use world::{Adapter, Kind, Path, PvDisk, World};

use guard::boot_count;
use guard::machine::Phase;
use guard::policy::HidePolicy;
use stateright::{Checker, Model, Property};
use std::fmt::Write;

/// The name of the invariant among the properties.
pub const ONE_WAY: &str = "the disk is mounted through one way at most";

impl Model for Setup {
    type State = World;
    type Action = Step;

    fn init_states(&self) -> Vec<World> {
        [HidePolicy::Controllers, HidePolicy::Disks, HidePolicy::Nothing]
            .into_iter()
            .flat_map(|policy| [true, false].map(|unplug| World::new(policy, unplug)))
            .collect()
    }

    fn actions(&self, world: &World, steps: &mut Vec<Step>) {
        step::possible(self, world, steps);
    }

    fn next_state(&self, world: &World, step: Step) -> Option<World> {
        Some(step::take(self, world, step).0)
    }

    fn properties(&self) -> Vec<Property<Setup>> {
        let mut properties = vec![
            Property::always(ONE_WAY, |setup: &Setup, world: &World| world.mounts(&setup.faults) <= 1),
            Property::always("a PV disk is shown only with the guard's leave", |_, world: &World| {
                world.adapter != Adapter::Shown
                    || matches!(world.guard.phase(), Phase::Exposed | Phase::Stopped(_))
            }),
            Property::always("a vbd is connected only in a PV boot", |setup: &Setup, world: &World| {
                !setup.layers.proof
                    || world.adapter == Adapter::Absent
                    || !matches!(world.guard.phase(), Phase::Unsealed | Phase::Emulated(_) | Phase::Hiding)
            }),
            Property::always("failed PV boots in a row are limited", |_, world: &World| {
                world.failed_in_a_row <= boot_count::LIMIT
            }),
        ];
        if self.layers == Layers::ALL && self.faults == Faults::default() {
            properties.push(Property::always(
                "a boot without faults has its disk",
                |setup: &Setup, world: &World| {
                    world.boots == 0 || !at_rest(setup, world) || has_its_disk(world)
                },
            ));
            properties.push(Property::sometimes("a PV boot has its disk", |_, world: &World| {
                world.pv == PvDisk::Mounted && world.up
            }));
            properties.push(Property::sometimes("an emulated boot has its disk", |_, world: &World| {
                world.paths[0] == Path::Mounted && world.up
            }));
        }
        if self.faults.second == Some(Second::Twin) && self.layers == Layers::ALL {
            properties.push(Property::sometimes(
                "the disk is mounted beside its twin's vbd",
                |_, world: &World| world.pv == PvDisk::Mounted && world.refused,
            ));
        }
        if self.faults.second == Some(Second::Clone) {
            properties
                .push(Property::sometimes("a clone is mounted beside its original", |_, world: &World| {
                    world.pv == PvDisk::Mounted && world.plugged == PvDisk::Mounted
                }));
        }
        properties
    }

    fn format_step(&self, world: &World, step: Step) -> Option<String> {
        Some(describe(self, world, step))
    }
}

/// Returns true if nothing is left to do but what the adversary may choose.
fn at_rest(setup: &Setup, world: &World) -> bool {
    let mut steps = Vec::new();
    setup.actions(world, &mut steps);
    steps.iter().all(|step| step.is_optional())
}

/// Returns true if the disk is mounted, through PV in a boot that was decided so.
fn has_its_disk(world: &World) -> bool {
    match world.guard.phase() {
        Phase::Exposed => world.pv == PvDisk::Mounted,
        Phase::Emulated(_) => world.paths[0] == Path::Mounted,
        _ => false,
    }
}

/// Returns one line for a step: what happened, what the guard was told and answered, and where the disk is.
pub fn describe(setup: &Setup, world: &World, step: Step) -> String {
    let (next, talk) = step::take(setup, world, step);
    let mut line = format!("{step:?}");
    for (event, action) in talk {
        let _ = write!(line, "\n      {event:?} → {action:?}");
    }
    let _ = write!(line, "\n      {:?}; emulated {:?}, PV {:?}", next.guard.phase(), next.paths, next.pv);
    line
}

/// Results of an exploration.
#[derive(Clone, Debug)]
pub struct Found {
    /// States.
    pub states: usize,
    /// Steps of the longest history.
    pub depth: usize,
    /// For each property that does not hold: its name and a history that shows it, one step per line.
    pub broken: Vec<(&'static str, String)>,
}

/// Explores a setup to the end, breadth first, so that a history that shows a break is a shortest one.
pub fn explore(setup: Setup) -> Found {
    let threads = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let checker = setup.checker().threads(threads).spawn_bfs().join();
    let broken = checker
        .discoveries()
        .into_iter()
        .filter(|(name, _)| {
            matches!(
                checker.discovery_classification(name),
                stateright::DiscoveryClassification::Counterexample
            )
        })
        .map(|(name, path)| (name, history(&setup, name, path)))
        .chain(missing_examples(&setup, &checker))
        .collect();
    Found { states: checker.unique_state_count(), depth: checker.max_depth(), broken }
}

/// Properties that must be seen somewhere and were not.
fn missing_examples(setup: &Setup, checker: &impl Checker<Setup>) -> Vec<(&'static str, String)> {
    setup
        .properties()
        .into_iter()
        .filter(|p| {
            p.expectation == stateright::Expectation::Sometimes && checker.discovery(p.name).is_none()
        })
        .map(|p| (p.name, "never seen".to_owned()))
        .collect()
}

/// Returns the history up to the first state in which the property does not hold.
fn history(setup: &Setup, property: &'static str, path: stateright::Path<World, Step>) -> String {
    let property = setup.property(property);
    let mut text = String::new();
    for (n, (world, step)) in path.into_vec().into_iter().enumerate() {
        if !(property.condition)(setup, &world) {
            break;
        }
        if n == 0 {
            let _ = writeln!(text, "   0. off; policy {:?}, unplug {}", world.policy, world.unplug);
        }
        if let Some(step) = step {
            let _ = writeln!(text, "  {:>2}. {}", n + 1, describe(setup, &world, step));
        }
    }
    text
}
