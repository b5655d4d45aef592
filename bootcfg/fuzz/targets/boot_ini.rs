//! Any bytes as a boot.ini: no edit panics, and adding and removing gives the original bytes.

#![no_main]

use bootcfg::{boot_ini::BootIni, menu::Menu};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let Ok(original) = BootIni::parse(data.to_vec()) else { return };
    let entries = Menu::entries(&original).len();
    let _ = (original.check(), original.text());
    for number in 0..=entries + 1 {
        let mut edited = original.clone();
        let _ = edited.set_default(number);
        let mut edited = original.clone();
        if let Ok(added) = Menu::add_pv(&mut edited, number, None) {
            assert!(edited.selects_pv(&BootIni::entries(&edited)[added - 1]));
            Menu::remove_pv(&mut edited, added).expect("just added");
            assert_eq!(edited.bytes(), data);
        }
    }
    let mut edited = original;
    BootIni::set_timeout(&mut edited, 7);
    assert_eq!(BootIni::timeout(&edited), Some(7));
    assert_eq!(Menu::entries(&edited).len(), entries);
});
