//! Any bytes as a boot.ini: no edit panics; adding and removing gives the original bytes; a default is the entry that it
//! was said to be, and nothing but the order changes; from the PV default there is a way back.

use bootcfg::{boot_ini::BootIni, menu::Menu};

/// Returns the entries as a person sees them.
fn entries(file: &BootIni) -> Vec<[String; 3]> {
    Menu::entries(file).into_iter().map(|entry| [entry.id, entry.name, entry.options]).collect()
}

/// Takes one input.
pub fn take(data: &[u8]) {
    let Ok(original) = BootIni::parse(data.to_vec()) else { return };
    let before = entries(&original);
    let default = original.default_entry();
    let _ = (original.check(), original.text());
    for number in 0..=before.len() + 1 {
        let mut edited = original.clone();
        if let Ok(now) = edited.set_default(number) {
            let mut after = entries(&edited);
            assert_eq!((edited.default_entry(), &after[now - 1]), (Some(now), &before[number - 1]));
            let mut before = before.clone();
            after.sort();
            before.sort();
            assert_eq!(after, before);
        }
        let mut edited = original.clone();
        if let Ok(added) = Menu::add_pv(&mut edited, number, None) {
            assert!(edited.selects_pv(&BootIni::entries(&edited)[added - 1]));
            let mut there = edited.clone();
            if default == Some(number) && Menu::set_default(&mut there, true, None).is_ok() {
                let back = Menu::set_default(&mut there, false, None).expect("the way back");
                assert_eq!(
                    (there.default_entry(), &entries(&there)[back - 1]),
                    (Some(back), &before[number - 1])
                );
            }
            Menu::remove_pv(&mut edited, added).expect("just added");
            assert_eq!(edited.bytes(), data);
        }
    }
    let mut edited = original;
    BootIni::set_timeout(&mut edited, 7);
    assert_eq!(BootIni::timeout(&edited), Some(7));
    assert_eq!(entries(&edited), before);
}
