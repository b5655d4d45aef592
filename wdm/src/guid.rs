//! GUIDs.

use wdk_sys::GUID;

/// Returns the GUID whose text has these digits: {11223344-5566-7788-99AA-BBCCDDEEFF00} is
/// `0x1122_3344_5566_7788_99AA_BBCC_DDEE_FF00`.
#[must_use]
pub const fn guid(digits: u128) -> GUID {
    let [.., a, b, c, d, e, f, g, h] = digits.to_be_bytes();
    GUID {
        Data1: (digits >> 96) as u32,
        Data2: (digits >> 80) as u16,
        Data3: (digits >> 64) as u16,
        Data4: [a, b, c, d, e, f, g, h],
    }
}

// GUID_DEVINTERFACE_DISK (ntddstor.h), field by field.
const _: () = {
    let disk = guid(0x53F5_6307_B6BF_11D0_94F2_00A0_C91E_FB8B);
    assert!(disk.Data1 == 0x53F5_6307 && disk.Data2 == 0xB6BF && disk.Data3 == 0x11D0);
    assert!(u64::from_be_bytes(disk.Data4) == 0x94F2_00A0_C91E_FB8B);
};
