//! Properties of edits in memory, and of the changes between two stores.

use super::*;
use crate::menu::{FOR_EVER, Menu};
use element::{BOOT_SEQUENCE, DEFAULT, DEVICE, DISPLAY_ORDER, LOAD_OPTIONS, PATH, TIMEOUT};
use proptest::prelude::*;

fn loader(device: u8, options: Option<String>) -> Object {
    let mut object = Object { kind: OS_LOADER, ..Object::default() };
    object.elements.insert(DEVICE, Data { data_type: 3, bytes: vec![device; 8] });
    object.elements.insert(PATH, Data::of_text("\\winload.exe"));
    object.elements.insert(element::DESCRIPTION, Data::of_text("Windows"));
    if let Some(options) = options {
        object.elements.insert(LOAD_OPTIONS, Data::of_text(&options));
    }
    object
}

prop_compose! {
    /// Systems on different devices, with any options that are no PV tokens.
    fn stores()(
        options in proptest::collection::vec(proptest::option::of("( ?[A-F=/:]{1,6}){0,4} ?"), 1..5),
        default in any::<prop::sample::Index>(),
        next in any::<bool>(),
    ) -> Bcd {
        let mut bcd = Bcd::default();
        let guids: Vec<_> = (0..options.len()).map(|_| Guid::random()).collect();
        for (device, (&guid, options)) in (0..).zip(guids.iter().zip(options)) {
            bcd.objects.insert(guid, loader(device, options));
        }
        let mut manager = Object { kind: 0x1010_0002, ..Object::default() };
        manager.elements.insert(DISPLAY_ORDER, Data::of_guids(&guids));
        manager.elements.insert(DEFAULT, Data::of_guid(*default.get(&guids)));
        if next {
            manager.elements.insert(BOOT_SEQUENCE, Data::of_guids(&guids[..1]));
        }
        bcd.objects.insert(BOOT_MANAGER, manager);
        bcd
    }
}

/// Does in memory what the writers do.
fn apply(bcd: &mut Bcd, change: Change) {
    match change {
        Change::Add(guid, object) => drop(bcd.objects.insert(guid, object)),
        Change::Set(guid, number, data) => {
            bcd.objects.get_mut(&guid).expect("there").elements.insert(number, data);
        }
        Change::Unset(guid, number) => {
            bcd.objects.get_mut(&guid).expect("there").elements.remove(&number).expect("there");
        }
        Change::Delete(guid) => drop(bcd.objects.remove(&guid).expect("there")),
    }
}

proptest! {
    /// Adding, whatever is done in between, and removing gives an equal tree.
    #[test]
    fn add_then_remove(bcd in stores(), entry in any::<prop::sample::Index>(), between in 0..4) {
        let source = *entry.get(&bcd.loaders());
        let mut edited = bcd.clone();
        let pv = edited.add_pv_entry(source, None).expect("added");
        prop_assert!(edited.options(pv).selects_pv());
        prop_assert_eq!(edited.sibling(source, true), Some(pv));
        prop_assert_eq!(edited.sibling(pv, false), Some(source));
        prop_assert!(edited.add_pv_entry(source, None).is_err(), "twice");
        if between == 1 && bcd.default_loader() == Some(source) {
            edited.set_default_loader(pv);
        }
        if between == 2 && bcd.data(BOOT_MANAGER, BOOT_SEQUENCE).is_none() {
            edited.set_boot_sequence(pv);
        }
        edited.remove_pv_entry(pv).expect("removed");
        prop_assert_eq!(edited, bcd);
    }

    /// The changes between any two stores make one of the other.
    #[test]
    fn changes_lead_there(mut one in stores(), other in stores()) {
        for change in one.changes_to(&other) {
            apply(&mut one, change);
        }
        prop_assert_eq!(one, other);
    }
}

/// Found by the fuzz target: the menu was the PV entry alone, without a way back.
#[test]
fn a_source_that_the_menu_does_not_show_is_shown() {
    for order in [None, Some(Vec::new())] {
        let mut bcd = Bcd::default();
        let source = Guid::random();
        bcd.objects.insert(source, loader(1, None));
        let mut manager = Object { kind: 0x1010_0002, ..Object::default() };
        manager.elements.insert(DEFAULT, Data::of_guid(source));
        if let Some(order) = order {
            manager.elements.insert(DISPLAY_ORDER, Data::of_guids(&order));
        }
        bcd.objects.insert(BOOT_MANAGER, manager);
        let pv = bcd.add_pv_entry(source, None).expect("added");
        assert_eq!(bcd.display_order(), [source, pv]);
        bcd.remove_pv_entry(pv).expect("removed");
        assert_eq!(bcd.display_order(), [source]);
    }
}

/// Found by the fuzz target: an empty list for the next boot went with an entry that it did not name.
#[test]
fn an_empty_boot_sequence_stays() {
    let mut bcd = Bcd::default();
    let source = Guid::random();
    bcd.objects.insert(source, loader(1, None));
    let mut manager = Object { kind: 0x1010_0002, ..Object::default() };
    manager.elements.insert(DISPLAY_ORDER, Data::of_guids(&[source]));
    manager.elements.insert(BOOT_SEQUENCE, Data::of_guids(&[]));
    bcd.objects.insert(BOOT_MANAGER, manager);
    let before = bcd.clone();
    let pv = bcd.add_pv_entry(source, None).expect("added");
    bcd.remove_pv_entry(pv).expect("removed");
    assert_eq!(bcd, before);
}

/// Found by the fuzz target: of two entries that differ in their names only a PV entry led back to the first.
#[test]
fn a_twin_is_told_by_its_place() {
    let guids = [1, 2, 3].map(|_| Guid::random());
    for source in guids {
        let mut bcd = Bcd::default();
        for guid in guids {
            bcd.objects.insert(guid, loader(1, None));
        }
        let mut manager = Object { kind: 0x1010_0002, ..Object::default() };
        manager.elements.insert(DISPLAY_ORDER, Data::of_guids(&guids));
        bcd.objects.insert(BOOT_MANAGER, manager);
        let pv = bcd.add_pv_entry(source, None).expect("added");
        assert_eq!(bcd.sibling(pv, false), Some(source));
    }
}

#[test]
fn refusals() {
    let mut bcd = Bcd::default();
    let guid = Guid::random();
    bcd.objects.insert(guid, loader(1, Some("NOGPLPV".to_owned())));
    assert!(bcd.add_pv_entry(guid, None).expect_err("refused").to_string().contains("wins over"));
    bcd.objects.insert(guid, loader(1, Some("/gplpv".to_owned())));
    assert!(bcd.add_pv_entry(guid, None).expect_err("refused").to_string().contains("already"));
    assert!(bcd.remove_pv_entry(guid).expect_err("refused").to_string().contains("the only one"));
}

/// The largest number of seconds means that the menu waits for a choice.
#[test]
fn a_menu_that_waits_for_ever() {
    let last = u64::from(u32::MAX);
    for (seconds, told) in [(30, 30), (last - 1, last as i64 - 1), (last, FOR_EVER), (last + 1, FOR_EVER)] {
        let mut bcd = Bcd::default();
        let mut manager = Object { kind: 0x1010_0002, ..Object::default() };
        manager.elements.insert(TIMEOUT, Data::of_integer(seconds));
        bcd.objects.insert(BOOT_MANAGER, manager);
        assert_eq!(bcd.timeout(), Some(told), "{seconds}");
    }
}

/// Found by the fuzz target: objects that inherit from each other, many times over, do not hold the reader up.
#[test]
fn inheritance_in_a_circle() {
    let mut bcd = Bcd::default();
    let guids: Vec<_> = (0..40).map(|_| Guid::random()).collect();
    for &guid in &guids {
        let mut object = loader(1, None);
        object.elements.insert(element::INHERIT, Data::of_guids(&guids));
        bcd.objects.insert(guid, object);
    }
    assert_eq!(bcd.effective_text(guids[0], LOAD_OPTIONS), None);
    for (at, text) in [(39, "last"), (1, "second")] {
        let object = bcd.objects.get_mut(&guids[at]).expect("there");
        object.elements.insert(LOAD_OPTIONS, Data::of_text(text));
        assert_eq!(bcd.effective_text(guids[0], LOAD_OPTIONS).as_deref(), Some(text));
    }
}
