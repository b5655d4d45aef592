//! boot.ini: the entries of `[operating systems]` and the options the kernel makes of an entry's switches.

use alloc::string::String;
use alloc::vec::Vec;

use crate::menu::Chosen;

/// Returns the lines of a section, without remarks.
fn section<'a>(text: &'a str, name: &str) -> impl Iterator<Item = &'a str> {
    let mut inside = false;
    text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with(';')).filter(
        move |line| {
            if line.starts_with('[') {
                inside = line.eq_ignore_ascii_case(name);
                return false;
            }
            inside
        },
    )
}

/// Returns the `number`th entry (from 1). Where nobody chooses, it is the first one with the path that `default` names,
/// or the first of all. Returns `None` if there is no such entry.
pub(crate) fn choose(text: &str, number: Option<usize>) -> Option<Chosen> {
    let entries: Vec<(&str, &str)> =
        section(text, "[operating systems]").filter_map(|line| line.split_once('=')).collect();
    let number = number.unwrap_or_else(|| {
        let default = section(text, "[boot loader]")
            .filter_map(|line| line.split_once('='))
            .find_map(|(key, value)| key.trim().eq_ignore_ascii_case("default").then_some(value.trim()));
        let is_default = |(path, _): &(&str, &str)| {
            default.is_some_and(|default| path.trim().eq_ignore_ascii_case(default))
        };
        entries.iter().position(is_default).unwrap_or(0) + 1
    });
    let (_, value) = entries.get(number.checked_sub(1)?)?;
    // The description is in quotes; what follows it are the switches.
    let after = value.rsplit_once('"').map_or("", |(_, rest)| rest);
    let switches = after.split_whitespace();
    let switches = switches.map(|word| word.trim_start_matches('/').to_ascii_uppercase()).collect();
    Some(Chosen { number, switches, once: false })
}

/// Returns `SystemStartOptions` as the kernel writes it: the switches, each behind a space.
pub fn system_start_options(switches: &[String]) -> String {
    switches.iter().flat_map(|switch| [" ", switch.as_str()]).collect()
}

/// Returns `InitSafeBootMode` as the kernel derives it from `SAFEBOOT:` (0 if there is none).
pub fn safe_boot_mode(switches: &[String]) -> u32 {
    let option = switches.iter().find_map(|switch| switch.strip_prefix("SAFEBOOT:"));
    match option {
        Some(mode) if mode.starts_with("MINIMAL") => 1,
        Some(mode) if mode.starts_with("NETWORK") => 2,
        Some(mode) if mode.starts_with("DSREPAIR") => 3,
        _ => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "[boot loader]\r\ntimeout=30\r\ndefault=multi(0)disk(0)rdisk(0)partition(1)\\B\r\n\
        [operating systems]\r\nmulti(0)disk(0)rdisk(0)partition(1)\\A=\"a\" /one\r\n; a remark\r\n\
        multi(0)disk(0)rdisk(0)partition(1)\\b=\"b /not\" /fastdetect /GPLPV\r\n\
        multi(0)disk(0)rdisk(0)partition(1)\\B=\"b\"\r\n";

    #[test]
    fn the_default_is_the_first_entry_of_its_path() {
        let chosen = choose(TEXT, None).unwrap();
        assert_eq!(chosen.number, 2);
        assert_eq!(chosen.switches, ["FASTDETECT", "GPLPV"]);
        assert_eq!(choose(&TEXT.replace("default", "other"), None).unwrap().number, 1);
    }

    #[test]
    fn an_entry_is_chosen_by_its_number() {
        assert_eq!(choose(TEXT, Some(1)).unwrap().switches, ["ONE"]);
        assert!(choose(TEXT, Some(3)).unwrap().switches.is_empty());
        assert!(choose(TEXT, Some(4)).is_none());
        assert!(choose(TEXT, Some(0)).is_none());
    }
}
