//! A store with elements added, changed and taken away: no edit panics, a PV entry that was added selects PV
//! disks, and taking it away gives the store as it was.

use bootcfg::{
    bcd::{
        BOOT_MANAGER, Bcd, Guid, OS_LOADER, Object,
        element::{DISPLAY_ORDER, Data},
    },
    menu::Menu,
};
use hive::data_type::MULTI_SZ;

/// Elements that the menu and its edits look at: device, path, description, options, inheritance, default,
/// display order, sequence, timeout, resume object, test signing.
const ELEMENTS: [u32; 12] = [
    0x1100_0001,
    0x1200_0002,
    0x1200_0004,
    0x1200_0030,
    0x1400_0006,
    0x2300_0003,
    0x2400_0001,
    0x2400_0002,
    0x2500_0004,
    0x2100_0001,
    0x2200_0002,
    0x1600_0049,
];

fn guid(number: u8) -> Guid {
    Guid::of_bytes([number, 0, 0, 0, 0, 0, 0, 0x40, 0x80, 0, 0, 0, 0, 0, 0, 0])
}

/// Takes one input.
pub fn take(data: &[u8]) {
    let mut bcd = Bcd::default();
    bcd.objects.insert(BOOT_MANAGER, Object { kind: 0x1010_0002, ..Object::default() });
    let mut rest = data;
    while let [what, element, length, more @ ..] = rest {
        let (content, behind) = more.split_at(usize::from(length % 96).min(more.len()));
        rest = behind;
        let id = if what & 7 == 0 { BOOT_MANAGER } else { guid(what & 7) };
        let kind = match what >> 6 {
            0 | 1 => OS_LOADER,
            2 => 0x1020_0004,
            _ => 0x2020_0003,
        };
        let object = bcd.objects.entry(id).or_insert_with(|| Object { kind, ..Object::default() });
        let number = ELEMENTS[usize::from(element % 12)];
        let value = match element >> 4 {
            0..4 => Data::of_text(&String::from_utf8_lossy(content)),
            4..7 => Data::of_guids(&content.iter().map(|&byte| guid(byte & 7)).collect::<Vec<_>>()),
            7..10 => Data::of_guid(guid(content.first().map_or(1, |byte| byte & 7))),
            10..12 => Data::of_integer(content.len() as u64),
            other => Data { data_type: u32::from(other), bytes: content.to_vec() },
        };
        object.elements.insert(number, value);
    }
    let entries = bcd.entries();
    let order = bcd.data(BOOT_MANAGER, DISPLAY_ORDER);
    let _ = (bcd.check(), bcd.text(), bcd.timeout());
    for number in 0..=entries.len() + 1 {
        let mut edited = bcd.clone();
        let _ = edited.remove_pv(number);
        let mut edited = bcd.clone();
        let Ok(added) = edited.add_pv(number, None) else { continue };
        let now = edited.entries();
        let new = now.iter().find(|entry| entry.number == added).expect("it was added");
        assert!(new.pv, "{new:?}");
        let _ = bcd.changes_to(&edited);
        assert!(now.iter().any(|entry| entry.number + 1 == added && entry.shown), "its source is shown");
        let mut there = edited.clone();
        if entries[number - 1].default {
            there.set_default(true, None).expect("there is a PV entry");
            there.set_default(false, None).expect("the way back");
            assert_eq!(there.default_loader(), bcd.default_loader());
        }
        edited.remove_pv(added).expect("just added");
        // A menu that does not show the source does from then on, and a display order of another type becomes a list.
        if order.is_some_and(|order| order.data_type == MULTI_SZ) && entries[number - 1].shown {
            assert_eq!(edited.objects, bcd.objects);
        }
    }
    for pv in [false, true] {
        let _ = bcd.clone().set_default(pv, None);
    }
    let _ = bcd.clone().try_pv(None);
}
