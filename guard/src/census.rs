//! The census: every disk of the system, classified against xenvbd's own list.

/// What identifies a disk's content, whichever path it is seen through.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Identity {
    /// Size in units of 512 bytes.
    pub sectors: u64,
    /// The partition table's signature.
    pub signature: Signature,
}

/// The signature that the partition table gives a disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Signature {
    /// MBR disk signature, offset 0x1B8 of sector 0. Zero means that there is none: use no identity then.
    Mbr(u32),
    /// Disk GUID of the GPT header, as its 16 bytes stand there.
    Gpt([u8; 16]),
}

/// What the path of a disk's device stack, and the controllers above it, say of where the disk comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Origin {
    /// The stack ends in a physical device object of xenvbd's.
    Ours,
    /// The stack ends in an emulated controller, told by the hardware ids that qemu gives its disks, or by
    /// the PCI ids of the controller.
    EmulatedController,
    /// A bus that qemu's disk emulation does not use: USB, IEEE 1394, iSCSI, a memory card.
    OtherBus,
    /// A controller that was passed through, by the subsystem of its maker's that its PCI function has.
    PassedThrough,
    /// Any other controller: nobody knows whether it is emulated.
    Unknown,
}

/// One enumerated disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Disk {
    /// Where it comes from.
    pub origin: Origin,
    /// Its identity; `None` where it has no signature or could not be read.
    pub identity: Option<Identity>,
}

/// What a disk is to the guard.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Class {
    /// One of xenvbd's.
    Ours,
    /// A second path to the backing of one of xenvbd's.
    Alias,
    /// Nothing to the guard.
    Foreign,
    /// On another bus or passed-through hardware, with the identity of one of ours: a clone, reported and
    /// never a reason to stop.
    Clone,
}

/// Classifies one disk against the identities of xenvbd's own disks.
#[must_use]
pub fn classify(disk: &Disk, own: &[Identity]) -> Class {
    let same = disk.identity.is_some_and(|identity| own.contains(&identity));
    match disk.origin {
        Origin::Ours => Class::Ours,
        Origin::EmulatedController => Class::Alias,
        Origin::OtherBus | Origin::PassedThrough if same => Class::Clone,
        Origin::Unknown if same => Class::Alias,
        Origin::OtherBus | Origin::PassedThrough | Origin::Unknown => Class::Foreign,
    }
}

/// The result of a census.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Counts {
    /// Disks on xenvbd's own list, from xenstore.
    pub own_list: u32,
    /// Enumerated disks that are xenvbd's.
    pub ours: u32,
    /// Enumerated disks that are a second path to a backing.
    pub alias: u32,
    /// Enumerated disks that are neither, clones among them.
    pub foreign: u32,
    /// The clones among them.
    pub clones: u32,
}

impl Counts {
    /// All enumerated disks: P3 of the bugcheck.
    #[must_use]
    pub const fn enumerated(&self) -> u32 {
        self.ours.saturating_add(self.alias).saturating_add(self.foreign)
    }
}

/// Takes the census: `own_list` disks are xenvbd's, `own` holds the identities of those that have one.
#[must_use]
pub fn take(own_list: u32, own: &[Identity], disks: impl IntoIterator<Item = Disk>) -> Counts {
    let mut counts = Counts { own_list, ..Counts::default() };
    for disk in disks {
        let place = match classify(&disk, own) {
            Class::Ours => &mut counts.ours,
            Class::Alias => &mut counts.alias,
            Class::Foreign => &mut counts.foreign,
            Class::Clone => {
                counts.clones = counts.clones.saturating_add(1);
                &mut counts.foreign
            }
        };
        *place = place.saturating_add(1);
    }
    counts
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const A: Identity = Identity { sectors: 16384, signature: Signature::Mbr(0x1234_5678) };
    const B: Identity = Identity { sectors: 16384, signature: Signature::Gpt([7; 16]) };

    fn disk(origin: Origin, identity: Option<Identity>) -> Disk {
        Disk { origin, identity }
    }

    #[test]
    fn classes() {
        let own = [A];
        assert_eq!(classify(&disk(Origin::Ours, None), &own), Class::Ours);
        assert_eq!(classify(&disk(Origin::EmulatedController, None), &own), Class::Alias);
        assert_eq!(classify(&disk(Origin::EmulatedController, Some(B)), &own), Class::Alias);
        assert_eq!(classify(&disk(Origin::Unknown, Some(A)), &own), Class::Alias);
        assert_eq!(classify(&disk(Origin::Unknown, Some(B)), &own), Class::Foreign);
        assert_eq!(classify(&disk(Origin::Unknown, None), &own), Class::Foreign);
        assert_eq!(classify(&disk(Origin::OtherBus, Some(A)), &own), Class::Clone);
        assert_eq!(classify(&disk(Origin::OtherBus, Some(B)), &own), Class::Foreign);
        assert_eq!(classify(&disk(Origin::PassedThrough, Some(A)), &own), Class::Clone);
        assert_eq!(classify(&disk(Origin::PassedThrough, Some(B)), &own), Class::Foreign);
    }

    #[test]
    fn identity_needs_size_and_signature() {
        let grown = Identity { sectors: 16385, ..A };
        let renamed = Identity { signature: Signature::Mbr(0x1234_5679), ..A };
        for other in [grown, renamed] {
            assert_eq!(classify(&disk(Origin::Unknown, Some(other)), &[A]), Class::Foreign);
        }
    }

    fn any_disk() -> impl Strategy<Value = Disk> {
        let origin = prop_oneof![
            Just(Origin::Ours),
            Just(Origin::EmulatedController),
            Just(Origin::OtherBus),
            Just(Origin::PassedThrough),
            Just(Origin::Unknown)
        ];
        let identity = prop_oneof![Just(None), Just(Some(A)), Just(Some(B))];
        (origin, identity).prop_map(|(origin, identity)| Disk { origin, identity })
    }

    proptest! {
        /// Every disk is counted exactly once, and an emulated disk is never anything but an alias.
        #[test]
        fn counts_add_up(disks in proptest::collection::vec(any_disk(), 0..30)) {
            let counts = take(1, &[A], disks.iter().copied());
            prop_assert_eq!(counts.enumerated() as usize, disks.len());
            let emulated = disks.iter().filter(|d| d.origin == Origin::EmulatedController).count();
            prop_assert!(counts.alias as usize >= emulated);
            let elsewhere = |d: &&Disk| matches!(d.origin, Origin::OtherBus | Origin::PassedThrough);
            let clones = disks.iter().filter(elsewhere).filter(|d| d.identity == Some(A)).count();
            prop_assert_eq!(counts.clones as usize, clones);
            prop_assert_eq!(counts.ours as usize, disks.iter().filter(|d| d.origin == Origin::Ours).count());
        }
    }
}
