//! The boots of a stretch, drawn by a seed.

use std::time::Duration;

use explore::Random;
use rig::Cut;

/// Boots of one stretch: one start of Xen.
pub(super) const STRETCH: usize = 10;
/// Hundredths of the unflushed pages that reach the disk when the power goes: none, some, nearly all, all.
const KEPT: [u32; 4] = [0, 30, 90, 100];
/// The earliest moment of a cut: hvmloader has printed its first line by then.
const EARLIEST: Duration = Duration::from_millis(1500);

/// A boot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Planned {
    /// The entry that is chosen is the PV entry.
    pub pv: bool,
    /// The power goes.
    pub cut: Option<Cut>,
}

/// Returns the boots of the stretch of this seed: three of four lose their power, but the last does not. `lives` is how
/// long an emulated and a PV boot live that do not.
pub(super) fn stretch(seed: u64, boots: usize, lives: [Duration; 2]) -> Vec<Planned> {
    let mut random = Random::new(seed);
    let mut planned: Vec<_> = (0..boots).map(|_| boot(&mut random, lives)).collect();
    if let Some(last) = planned.last_mut() {
        last.cut = None;
    }
    planned
}

fn boot(random: &mut Random, lives: [Duration; 2]) -> Planned {
    let pv = random.once_in(2);
    let whole = random.once_in(4);
    let (part, kept, seed) = (random.below(1000) as u32, random.one_of(&KEPT), random.below(1 << 20) as u64);
    let life = lives[usize::from(pv)].max(EARLIEST);
    let after = EARLIEST + (life - EARLIEST) * part / 1000;
    Planned { pv, cut: (!whole).then_some(Cut { after, kept, seed }) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_makes_the_same_boots_again_and_another_seed_others() {
        let lives = [Duration::from_secs(20), Duration::from_secs(10)];
        let boots = stretch(3, 200, lives);
        assert_eq!(boots, stretch(3, 200, lives));
        assert_ne!(boots, stretch(4, 200, lives));
        assert_eq!(boots[199].cut, None);
        let (pv, cut) =
            (boots.iter().filter(|boot| boot.pv).count(), boots.iter().filter_map(|boot| boot.cut));
        assert!((70..130).contains(&pv), "{pv}");
        assert!((120..180).contains(&cut.clone().count()));
        assert!(KEPT.iter().all(|&kept| cut.clone().any(|cut| cut.kept == kept)));
        for boot in boots {
            let life = lives[usize::from(boot.pv)];
            assert!(boot.cut.is_none_or(|cut| (EARLIEST..life).contains(&cut.after)), "{boot:?}");
        }
    }
}
