//! The census: every disk of the system, classified against xenvbd's own list, and the disks of that list
//! compared with each other.

use crate::backing::{Backing, Relation};

/// The identity of a disk's content, whichever path it is seen through.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Identity {
    /// Size in units of 512 bytes.
    pub sectors: u64,
    /// The partition table's signature.
    pub signature: Signature,
}

impl Identity {
    /// Returns true if another disk has the same signature, whatever its size.
    fn is_signed_as(&self, other: Option<&Identity>) -> bool {
        other.is_some_and(|other| other.signature == self.signature)
    }
}

/// The signature that the partition table gives a disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Signature {
    /// MBR disk signature, offset 0x1B8 of sector 0. Zero means that there is none: use no identity then.
    Mbr(u32),
    /// Disk GUID of the GPT header, as its 16 bytes stand there.
    Gpt([u8; 16]),
}

/// The origin of a disk, by the path of its device stack and the controllers above it.
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
    /// The disk's origin.
    pub origin: Origin,
    /// Its identity; `None` where it has no signature or could not be read.
    pub identity: Option<Identity>,
}

/// The class of a disk to the guard.
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

/// Classifies one disk against the identities of xenvbd's own disks. Where the content alone tells an alias, its signature
/// does: a path that is newer than the other may have another size, since storage grows.
#[must_use]
pub fn classify(disk: &Disk, own: &[Identity]) -> Class {
    let is_same = || disk.identity.is_some_and(|identity| own.contains(&identity));
    let is_signed_alike = || own.iter().any(|own| own.is_signed_as(disk.identity.as_ref()));
    match disk.origin {
        Origin::Ours => Class::Ours,
        Origin::EmulatedController => Class::Alias,
        Origin::OtherBus | Origin::PassedThrough if is_same() => Class::Clone,
        Origin::Unknown if is_signed_alike() => Class::Alias,
        Origin::OtherBus | Origin::PassedThrough | Origin::Unknown => Class::Foreign,
    }
}

/// One of xenvbd's own disks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Own {
    /// Its identity; `None` where it has no signature or could not be read.
    pub identity: Option<Identity>,
    /// The storage behind it.
    pub backing: Backing,
}

/// The relation of two of xenvbd's own disks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Pair {
    /// Two disks, or two ways by which nobody can write.
    Apart,
    /// Two disks of one identity: a clone and its original, by their backends' nodes.
    Clones,
    /// Two ways to one storage, or to storage that nothing tells apart.
    Shared,
}

/// Returns true if two of xenvbd's own disks are told apart by what is on them: their backends' nodes do not, and somebody
/// may write.
#[must_use]
pub fn is_told_by_content(one: &Backing, other: &Backing) -> bool {
    one.relation(other) == Relation::Unknown && !(one.is_read_only() && other.is_read_only())
}

/// Compares two of xenvbd's own disks. Where the backends' nodes do not tell two storages apart, one signature
/// makes them one.
#[must_use]
pub fn compare(one: &Own, other: &Own) -> Pair {
    let same_identity = one.identity.is_some() && one.identity == other.identity;
    let signed_alike = one.identity.is_some_and(|identity| identity.is_signed_as(other.identity.as_ref()));
    match one.backing.relation(&other.backing) {
        _ if one.backing.is_read_only() && other.backing.is_read_only() => Pair::Apart,
        Relation::Same => Pair::Shared,
        Relation::Unknown if signed_alike => Pair::Shared,
        Relation::Distinct if same_identity => Pair::Clones,
        Relation::Distinct | Relation::Unknown => Pair::Apart,
    }
}

/// A verdict of the content's on a backend that takes another's place.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Content {
    /// Nothing: the disk had no signature, or nobody knows the one that it had last.
    Unknown,
    /// It has the signature that the disk had last.
    Same,
    /// It has another or none, or cannot be read.
    Other,
}

impl Content {
    /// Compares the signature that a disk had last, if it is known, with the one that is `found` now, where it can be read.
    pub fn compare<E>(
        last: Option<Signature>,
        found: impl FnOnce() -> Result<Option<Signature>, E>,
    ) -> Content {
        match last {
            None => Content::Unknown,
            Some(_) if found().is_ok_and(|found| found == last) => Content::Same,
            Some(_) => Content::Other,
        }
    }
}

/// Returns true if a backend that takes the place of one of xenvbd's disks' has the storage that the disk had, as far as
/// nodes and content tell. `before` is the backing of before; `None` after a resume, since its nodes were those of another
/// host. The size may change. Of a vbd that was made anew, and where the nodes contradict each other, it has to be known.
#[must_use]
pub fn is_continued(before: Option<&Backing>, now: &Backing, content: Content, made_anew: bool) -> bool {
    let contradicts = before.is_some_and(|before| now.contradicts(before));
    let relation = match before {
        Some(before) if !contradicts => now.relation(before),
        _ => Relation::Unknown,
    };
    match (relation, content) {
        (Relation::Distinct, _) | (_, Content::Other) => false,
        (Relation::Same, _) | (_, Content::Same) => true,
        (Relation::Unknown, Content::Unknown) => !made_anew && !contradicts,
    }
}

/// The way in which one of xenvbd's own disks has come by its signature.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Signing {
    /// It had it when it was listed, and was compared with the others.
    Found,
    /// The system has written to where it stands, through this disk, just before, and that has explained no other change.
    Written,
    /// Nobody has written there through this disk, or nobody knows.
    Appeared,
}

/// One of xenvbd's own disks on its list.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Listed {
    /// The disk.
    pub own: Own,
    /// The way in which it has come by its signature.
    pub signing: Signing,
    /// The reading in which it was seen to have it, counted from 1; 0 where it was listed with it.
    pub since: u32,
}

/// Returns true if one of two disks of a list has been copied onto the other, whose signatures are equal now, so that they are
/// two storages. What is written through one of two ways to one storage appears at the other; and where something is written
/// through both, both have what was written last, from one reading on.
fn is_copied(one: &Listed, other: &Listed) -> bool {
    let (original, copy) = if one.since < other.since { (one, other) } else { (other, one) };
    is_told_by_content(&one.own.backing, &other.own.backing)
        && original.since < copy.since
        && copy.signing == Signing::Written
        && original.signing != Signing::Appeared
}

/// Counts the disks of a list that share their storage with one before them.
#[must_use]
pub fn shared(list: &[Listed]) -> u32 {
    let share = |one: &Listed, other: &Listed| {
        compare(&one.own, &other.own) == Pair::Shared && !is_copied(one, other)
    };
    let shares = |(at, one): (usize, &Listed)| list[..at].iter().any(|other| share(one, other));
    list.iter().enumerate().filter(|place| shares(*place)).count() as u32
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
    /// Disks of xenvbd's list that share their storage with another of them ([`shared`]).
    pub shared: u32,
}

impl Counts {
    /// Returns the number of all enumerated disks: P3 of the bugcheck.
    #[must_use]
    pub const fn enumerated(&self) -> u32 {
        self.ours.saturating_add(self.alias).saturating_add(self.foreign)
    }
}

/// Takes the census: `own_list` disks are xenvbd's, `own` holds the identities of those that have one, and
/// `shared` of them are a second way to the storage of another.
#[must_use]
pub fn take(own_list: u32, own: &[Identity], shared: u32, disks: impl IntoIterator<Item = Disk>) -> Counts {
    let mut counts = Counts { own_list, shared, ..Counts::default() };
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
    fn storage_that_has_grown_is_told_by_its_signature() {
        let grown = Identity { sectors: 16385, ..A };
        let renamed = Identity { signature: Signature::Mbr(0x1234_5679), ..A };
        for (other, unknown) in [(grown, Class::Alias), (renamed, Class::Foreign)] {
            assert_eq!(classify(&disk(Origin::Unknown, Some(other)), &[A]), unknown);
            assert_eq!(classify(&disk(Origin::OtherBus, Some(other)), &[A]), Class::Foreign);
        }
    }

    /// Returns a disk of `params`, `mode` and identity.
    fn own(domain: u16, params: &str, mode: &str, identity: Option<Identity>) -> Own {
        let mut backing = Backing::new(domain, "/local/domain/0/backend/qdisk/1/768");
        backing.learn("params", params.as_bytes());
        backing.learn("mode", mode.as_bytes());
        Own { identity, backing }
    }

    #[test]
    fn two_of_ours() {
        let base = own(0, "aio:/d.img", "w", Some(A));
        for (other, pair) in [
            (own(0, "aio:/d.img", "w", Some(A)), Pair::Shared),
            (own(0, "qcow2://d.img", "w", None), Pair::Shared),
            (own(0, "aio:/d.img", "w", Some(B)), Pair::Shared),
            // One that may only read does not see what the other writes as it is written.
            (own(0, "aio:/d.img", "r", Some(A)), Pair::Shared),
            (own(0, "aio:/clone.img", "w", Some(A)), Pair::Clones),
            (own(0, "aio:/other.img", "w", Some(B)), Pair::Apart),
            (own(0, "aio:/blank.img", "w", None), Pair::Apart),
            // Another domain's names say nothing.
            (own(3, "aio:/d.img", "w", Some(A)), Pair::Shared),
            (own(3, "aio:/d.img", "w", Some(Identity { sectors: 16385, ..A })), Pair::Shared),
            (own(3, "aio:/d.img", "w", Some(B)), Pair::Apart),
            (own(3, "aio:/d.img", "w", None), Pair::Apart),
        ] {
            assert_eq!(compare(&base, &other), pair, "{other:?}");
            assert_eq!(compare(&other, &base), pair, "{other:?}");
        }
        let blank = own(0, "aio:/d.img", "w", None);
        assert_eq!(compare(&blank, &own(3, "aio:/e.img", "w", None)), Pair::Apart);
        let disc = own(0, "aio:/cd.iso", "r", Some(A));
        assert_eq!(compare(&disc, &disc), Pair::Apart);
        assert_eq!(compare(&disc, &own(3, "aio:/cd.iso", "r", Some(A))), Pair::Apart);
    }

    #[test]
    fn those_that_share_with_one_before_them_are_counted() {
        let [a, b] = ["/a", "/b"].map(|path| own(0, path, "w", None));
        let disc = own(0, "/cd.iso", "r", None);
        for (list, count) in [
            (&[][..], 0),
            (&[a, b], 0),
            (&[a, a], 1),
            (&[a, b, a, a], 2),
            (&[a, b, b, a], 2),
            (&[disc, disc, a], 0),
        ] {
            let listed: std::vec::Vec<_> =
                list.iter().map(|&own| Listed { own, signing: Signing::Found, since: 0 }).collect();
            assert_eq!(shared(&listed), count, "{list:?}");
        }
    }

    #[test]
    fn a_disk_that_was_written_may_be_a_clone() {
        use Signing::{Appeared, Found, Written};
        let [first, copy] = [0, 3].map(|domain| own(domain, "/a", "w", Some(A)));
        for (ways, count) in [
            ([(Found, 0), (Written, 1)], 0),
            ([(Written, 1), (Found, 0)], 0),
            ([(Written, 1), (Written, 2)], 0),
            ([(Written, 2), (Written, 1)], 0),
            // They were alike when the later one was listed.
            ([(Found, 0), (Found, 0)], 1),
            // Both were set up at once.
            ([(Written, 1), (Written, 1)], 1),
            // What was written through one has appeared at the other.
            ([(Written, 1), (Appeared, 1)], 1),
            ([(Written, 1), (Appeared, 2)], 1),
            ([(Appeared, 1), (Written, 2)], 1),
            ([(Found, 0), (Appeared, 1)], 1),
            ([(Appeared, 1), (Appeared, 2)], 1),
        ] {
            let list = |second| {
                let pairs = [(first, ways[0]), (second, ways[1])];
                pairs.map(|(own, (signing, since))| Listed { own, signing, since })
            };
            assert_eq!(shared(&list(copy)), count, "{ways:?}");
            // The nodes tell that these are one, whatever is written.
            assert_eq!(shared(&list(own(0, "/a", "w", Some(B)))), 1, "{ways:?}");
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
            let counts = take(1, &[A], 0, disks.iter().copied());
            prop_assert_eq!(counts.enumerated() as usize, disks.len());
            let emulated = disks.iter().filter(|d| d.origin == Origin::EmulatedController).count();
            prop_assert!(counts.alias as usize >= emulated);
            let elsewhere = |d: &&Disk| matches!(d.origin, Origin::OtherBus | Origin::PassedThrough);
            let clones = disks.iter().filter(elsewhere).filter(|d| d.identity == Some(A)).count();
            prop_assert_eq!(counts.clones as usize, clones);
            prop_assert_eq!(counts.ours as usize, disks.iter().filter(|d| d.origin == Origin::Ours).count());
        }
    }

    #[test]
    fn the_content_is_compared_where_it_is_known() {
        let (one, other) = (Some(Signature::Mbr(1)), Some(Signature::Mbr(2)));
        let compare = |last, found: Result<_, ()>| Content::compare(last, || found);
        assert_eq!(compare(one, Ok(one)), Content::Same);
        for found in [Ok(other), Ok(None), Err(())] {
            assert_eq!(compare(one, found), Content::Other, "{found:?}");
        }
        // It is not even read.
        let unread = Content::compare(None, || -> Result<_, ()> { panic!("it is read") });
        assert_eq!(unread, Content::Unknown);
    }

    fn backing(domain: u16, nodes: &[(&str, &str)]) -> Backing {
        let mut backing = Backing::new(domain, "/local/domain/0/backend/vbd/1/768");
        nodes.iter().for_each(|(node, value)| backing.learn(node, value.as_bytes()));
        backing
    }

    #[test]
    fn another_storage_takes_no_disks_place() {
        let before = backing(0, &[("params", "/dev/vg/a"), ("physical-device", "fe:1")]);
        let same = before;
        let distinct = backing(0, &[("params", "/dev/vg/b"), ("physical-device", "fe:2")]);
        let elsewhere = backing(3, &[("params", "/dev/vg/a"), ("physical-device", "fe:1")]);
        // The name stands for another device, or is one.
        let renumbered = backing(0, &[("params", "/dev/vg/a"), ("physical-device", "fe:2")]);
        for made_anew in [false, true] {
            let continued = |now, content| is_continued(Some(&before), now, content, made_anew);
            for now in [&same, &distinct, &elsewhere, &renumbered] {
                assert!(!continued(now, Content::Other), "{now:?}");
                assert_eq!(continued(now, Content::Same), now != &distinct, "{now:?}");
            }
            assert!(continued(&same, Content::Unknown));
            assert!(!continued(&distinct, Content::Unknown));
            assert!(!continued(&renumbered, Content::Unknown));
            // A domain of drivers that came back under another number.
            assert_eq!(continued(&elsewhere, Content::Unknown), !made_anew);
        }
        // Resumed.
        for (content, continued) in [(Content::Unknown, true), (Content::Same, true), (Content::Other, false)]
        {
            assert_eq!(is_continued(None, &distinct, content, false), continued);
        }
    }

    #[test]
    fn another_file_behind_a_loop_device_takes_no_disks_place() {
        let file = |name, number| backing(0, &[("params", name), ("physical-device", number)]);
        let before = file("/images/a.img", "7:0");
        let continued = |now: &Backing, content| is_continued(Some(&before), now, content, false);
        assert!(continued(&before, Content::Unknown));
        for other in [file("/images/b.img", "7:0"), file("/images/a.img", "7:1")] {
            assert!(!continued(&other, Content::Unknown), "{other:?}");
            assert!(continued(&other, Content::Same), "{other:?}");
        }
    }
}
