//! Device setup classes by their GUIDs (`devguid.h`), as their keys below `Control\Class` are named.

/// Expands to the GUID of a setup class, as a literal that `concat!` takes.
#[macro_export]
macro_rules! setup_class {
    (System) => {
        "{4D36E97D-E325-11CE-BFC1-08002BE10318}"
    };
    (Hdc) => {
        "{4D36E96A-E325-11CE-BFC1-08002BE10318}"
    };
    (ScsiAdapter) => {
        "{4D36E97B-E325-11CE-BFC1-08002BE10318}"
    };
    (DiskDrive) => {
        "{4D36E967-E325-11CE-BFC1-08002BE10318}"
    };
    (Volume) => {
        "{71A27CDD-812A-11D0-BEC7-08002BE2092F}"
    };
}

/// Buses, bridges and system devices.
pub const SYSTEM: &str = setup_class!(System);
/// IDE controllers and channels.
pub const HDC: &str = setup_class!(Hdc);
/// SCSI, RAID and other storage controllers.
pub const SCSI_ADAPTER: &str = setup_class!(ScsiAdapter);
/// Disks.
pub const DISK_DRIVE: &str = setup_class!(DiskDrive);
/// Volumes.
pub const VOLUME: &str = setup_class!(Volume);

/// Classes whose upper filter idefilter is.
pub const FILTERED: [&str; 4] = [SYSTEM, HDC, SCSI_ADAPTER, DISK_DRIVE];

#[cfg(test)]
mod tests {
    use super::FILTERED;

    /// Returns the classes of an INF file's lines that end so, in their order.
    fn classes(inf: &str, end: &str) -> std::vec::Vec<std::string::String> {
        let lines = inf.lines().filter(|line| line.trim_end().ends_with(end));
        lines.map(|line| std::format!("{{{}}}", line.split(['{', '}']).nth(1).unwrap())).collect()
    }

    #[test]
    fn the_inf_file_names_the_filtered_classes() {
        let inf = include_str!("../../inf/idefilter.inf");
        assert_eq!(classes(inf, "UpperFilters,0x00010008,\"idefilter\""), FILTERED);
        assert_eq!(classes(inf, "UpperFilters,0x00018002,\"idefilter\""), FILTERED);
    }
}
