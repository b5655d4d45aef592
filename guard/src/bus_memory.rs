//! Decisions of a PCI bus about its children, each made once in a boot.
//!
//! A bus may be asked for its children at any time: on an ACPI event, by an admin, after a docking. A child that
//! was reported once has a device node, and may have the system's volume on it: taking it out later would be a
//! surprise removal. A child that was taken out once may have a PV disk in its place: reporting it later would
//! be a second path. So the first answer about a child holds as long as the bus has the child.

/// Most children that are remembered. A child that finds no room is reported: it cannot be hidden for good.
pub const MAX_CHILDREN: usize = 128;

#[derive(Clone, Copy, Debug)]
struct Child<C> {
    /// The name of the child while it exists.
    child: C,
    hidden: bool,
    /// It is in the report that is being edited.
    present: bool,
}

/// Decisions about the children of the last report. `C` names a child while it exists.
#[derive(Clone, Debug)]
pub struct BusMemory<C> {
    children: [Option<Child<C>>; MAX_CHILDREN],
}

/// The decision about a child.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Decided {
    /// The policy hides it.
    pub alias: bool,
    /// It is taken out.
    pub hide: bool,
}

impl<C: Copy + PartialEq> Default for BusMemory<C> {
    fn default() -> Self {
        Self::new()
    }
}

impl<C: Copy + PartialEq> BusMemory<C> {
    /// Returns the memory of a bus that has not reported anything.
    #[must_use]
    pub const fn new() -> Self {
        BusMemory { children: [const { None }; MAX_CHILDREN] }
    }

    /// Decides about one child of a report: as before, or by `is_alias` where the bus reports it for the first
    /// time. A child that was hidden is not looked at again, since it may fail to say what it is.
    pub fn decide(&mut self, child: C, is_alias: impl FnOnce() -> bool) -> Decided {
        if let Some(known) = self.children.iter_mut().flatten().find(|known| known.child == child) {
            known.present = true;
            return Decided { alias: known.hidden || is_alias(), hide: known.hidden };
        }
        let alias = is_alias();
        let Some(place) = self.children.iter_mut().find(|place| place.is_none()) else {
            return Decided { alias, hide: false };
        };
        *place = Some(Child { child, hidden: alias, present: true });
        Decided { alias, hide: alias }
    }

    /// Ends a report: children that were not in it are gone, and what named them may come to name others.
    pub fn end_report(&mut self) {
        for place in &mut self.children {
            match place {
                Some(child) if child.present => child.present = false,
                _ => *place = None,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SHOWN: Decided = Decided { alias: false, hide: false };
    const HIDDEN: Decided = Decided { alias: true, hide: true };

    #[test]
    fn the_first_decision_holds() {
        let mut memory = BusMemory::new();
        // 1 did not say what it is; 2 did.
        assert_eq!((memory.decide(1, || false), memory.decide(2, || true)), (SHOWN, HIDDEN));
        memory.end_report();
        assert_eq!(
            memory.decide(1, || true),
            Decided { alias: true, hide: false },
            "reported once, it stays"
        );
        assert_eq!(memory.decide(2, || false), HIDDEN, "hidden once, it stays hidden");
        assert_eq!(memory.decide(3, || true), HIDDEN, "a new child is decided on");
    }

    #[test]
    fn a_child_that_is_gone_is_forgotten() {
        let mut memory = BusMemory::new();
        let _ = (memory.decide(1, || false), memory.decide(2, || true));
        memory.end_report();
        let _ = memory.decide(2, || true);
        memory.end_report();
        assert_eq!(memory.decide(1, || true), HIDDEN);
        memory.end_report();
        assert_eq!(memory.decide(2, || false), SHOWN);
    }

    /// A child that cannot be remembered is not hidden: it could not stay so.
    #[test]
    fn what_finds_no_room_is_reported() {
        let mut memory = BusMemory::new();
        for child in 0..MAX_CHILDREN {
            assert_eq!(memory.decide(child, || true), HIDDEN);
        }
        assert_eq!(memory.decide(MAX_CHILDREN, || true), Decided { alias: true, hide: false });
    }
}
