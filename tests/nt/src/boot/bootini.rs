//! boot.ini: the entries of `[operating systems]` and the options the kernel makes of an entry's switches.

use alloc::string::String;
use alloc::vec::Vec;

/// Returns the switches of the `number`th entry (from 1), each without its '/' and in upper case, or `None`
/// if there is no such entry.
pub(crate) fn switches(text: &str, number: usize) -> Option<Vec<String>> {
    let mut inside = false;
    let mut entries =
        text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with(';')).filter(
            |line| {
                if line.starts_with('[') {
                    inside = line.eq_ignore_ascii_case("[operating systems]");
                    return false;
                }
                inside
            },
        );
    let entry = entries.nth(number.checked_sub(1)?)?;
    let (_, value) = entry.split_once('=')?;
    // The description is in quotes; what follows it are the switches.
    let after = value.rsplit_once('"').map_or("", |(_, rest)| rest);
    Some(after.split_whitespace().map(|word| word.trim_start_matches('/').to_ascii_uppercase()).collect())
}

/// `SystemStartOptions` as the kernel writes it: the switches, each behind a space.
pub(crate) fn system_start_options(switches: &[String]) -> String {
    switches.iter().flat_map(|switch| [" ", switch.as_str()]).collect()
}

/// `InitSafeBootMode` as the kernel derives it from `SAFEBOOT:` (0 if there is none).
pub(crate) fn safe_boot_mode(switches: &[String]) -> u32 {
    let option = switches.iter().find_map(|switch| switch.strip_prefix("SAFEBOOT:"));
    match option {
        Some(mode) if mode.starts_with("MINIMAL") => 1,
        Some(mode) if mode.starts_with("NETWORK") => 2,
        Some(mode) if mode.starts_with("DSREPAIR") => 3,
        _ => 0,
    }
}
