//! Registry changes that several guests have, as lines of a .reg file.

/// A line that opens a key of the control set.
macro_rules! key {
    ($($path:literal),+) => {
        concat!("[HKEY_LOCAL_MACHINE\\SYSTEM\\CurrentControlSet\\", $($path),+, "]\n")
    };
}

/// A service that is disabled.
macro_rules! disabled {
    ($service:literal) => {
        concat!(key!("Services\\", $service), "\"Start\"=dword:00000004\n")
    };
}

/// The instance of the Xen platform device in a slot: device and function, in hexadecimal.
macro_rules! platform_device {
    ($slot:literal) => {
        key!("Enum\\PCI\\VEN_5853&DEV_0001&SUBSYS_00015853&REV_01\\4&45d1129a&0&", $slot)
    };
}

/// L2 off: qemu is not asked to unplug anything.
macro_rules! no_unplug {
    () => {
        concat!(key!("Services\\idefilter\\Parameters"), "\"Unplug\"=dword:00000000\n")
    };
}

/// L4 off: no filter on IDE controllers, channels and disks.
macro_rules! no_storage_filters {
    () => {
        concat!(
            key!("Control\\Class\\{4D36E96A-E325-11CE-BFC1-08002BE10318}"),
            "\"UpperFilters\"=-\n",
            key!("Control\\Class\\{4D36E967-E325-11CE-BFC1-08002BE10318}"),
            "\"UpperFilters\"=-\n"
        )
    };
}

/// L3 off, and with it L2: no filter on root buses.
macro_rules! no_bus_filter {
    () => {
        concat!(key!("Control\\Class\\{4D36E97D-E325-11CE-BFC1-08002BE10318}"), "\"UpperFilters\"=-\n")
    };
}

/// The policy of hiding.
macro_rules! hide_policy {
    ($policy:literal) => {
        concat!(key!("Services\\idefilter\\Parameters"), "\"HidePolicy\"=\"", $policy, "\"\n")
    };
}

/// L6 and L7 alone: only the census is left to stop the disaster.
macro_rules! census_alone {
    () => {
        concat!(no_unplug!(), no_storage_filters!())
    };
}

/// A crash dump is configured.
macro_rules! dump {
    () => {
        concat!(key!("Control\\CrashControl"), "\"CrashDumpEnabled\"=dword:00000001\n")
    };
}

/// xenvbd copies data through pages that stay granted, where the backend offers that.
macro_rules! persistent_grants {
    () => {
        concat!(key!("Services\\xenvbd\\Parameters"), "\"PersistentGrants\"=dword:00000001\n")
    };
}
