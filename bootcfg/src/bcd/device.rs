//! Devices: the data of `device` and `osdevice`.
//!
//! Layout: the identifier of an object with further options, and then the loader's own device descriptor, of which
//! Microsoft's `BcdDeviceData` classes show the parts; as ReactOS's `bl.h` has it (`BL_DEVICE_DESCRIPTOR`).

use zerocopy::{
    FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned,
    little_endian::{U32, U64},
};

use super::Guid;

/// Header of a device, of any kind.
#[derive(Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
struct Head {
    options: [u8; 16],
    kind: U32,
    flags: U32,
    /// From `kind` to the end of the device.
    size: U32,
    zero: U32,
}

/// A partition of a disk.
#[derive(Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
struct Partition {
    /// With GPT the partition's identifier; with MBR where it begins, in bytes.
    partition: [u8; 16],
    disk_kind: U32,
    style: U32,
    /// With GPT the disk's identifier; with MBR its signature.
    disk: [u8; 16],
}

const _: () = assert!(size_of::<Head>() == 32 && size_of::<Partition>() == 40);

/// The device that the boot manager was loaded from.
const BOOT: u32 = 5;
const PARTITION: u32 = 6;
/// The device that a named file is found on.
const LOCATE: u32 = 8;
/// A kind of disk: one that the firmware finds.
const HARD_DISK: u32 = 0;
const GPT: u32 = 0;
const MBR: u32 = 1;

/// Returns a device by name. Bytes that the name does not tell stand behind it, so that no two devices look alike;
/// none where the data is no device.
pub(super) fn show(data: &[u8]) -> Option<String> {
    let (head, rest) = Head::read_from_prefix(data).ok()?;
    let (mut name, untold) = match head.kind.get() {
        BOOT => ("boot partition".to_owned(), rest),
        PARTITION => partition(rest)?,
        LOCATE => ("the device that the loader finds".to_owned(), rest),
        _ => return None,
    };
    if head.options != [0; 16] {
        name.push_str(&format!(", options {}", Guid::of_bytes(head.options).named()));
    }
    if head.flags.get() != 0 {
        name.push_str(&format!(", flags {:x}", head.flags));
    }
    if untold.iter().any(|&byte| byte != 0)
        || head.zero.get() != 0
        || head.size.get() as usize + 16 != data.len()
    {
        name.push_str(&format!(" ({})", hex(data)));
    }
    Some(name)
}

fn partition(rest: &[u8]) -> Option<(String, &[u8])> {
    let (partition, untold) = Partition::read_from_prefix(rest).ok()?;
    let Partition { partition, disk_kind, style, disk } = partition;
    let name = match (disk_kind.get(), style.get()) {
        (HARD_DISK, GPT) => {
            format!("partition {} of disk {}", Guid::of_bytes(partition), Guid::of_bytes(disk))
        }
        (HARD_DISK, MBR) => {
            let (start, no_start) = U64::read_from_prefix(&partition).ok()?;
            let (signature, no_signature) = U32::read_from_prefix(&disk).ok()?;
            if [no_start, no_signature].concat().iter().any(|&byte| byte != 0) {
                return None;
            }
            format!("partition at byte {start} of disk with signature {signature:08x}")
        }
        _ => return None,
    };
    Some((name, untold))
}

/// Returns bytes as hex digits.
pub(super) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Returns a device with a descriptor of the size that Windows writes.
    fn device(kind: u32, rest: &[u8]) -> Vec<u8> {
        let head =
            Head { options: [0; 16], kind: kind.into(), flags: 0.into(), size: 72.into(), zero: 0.into() };
        let mut bytes = [head.as_bytes(), rest].concat();
        bytes.resize(88, 0);
        bytes
    }

    #[test]
    fn by_name() {
        let mut of_mbr = [0; 40];
        of_mbr[..8].copy_from_slice(&0x0010_0000_u64.to_le_bytes());
        of_mbr[20] = 1;
        of_mbr[24..28].copy_from_slice(&0x9a2c_6d8b_u32.to_le_bytes());
        let of_mbr = device(PARTITION, &of_mbr);
        let named = "partition at byte 1048576 of disk with signature 9a2c6d8b";
        assert_eq!(show(&of_mbr).as_deref(), Some(named));
        let mut of_gpt = [0; 40];
        of_gpt[..16].copy_from_slice(&[1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16]);
        of_gpt[24..].copy_from_slice(&[0x11; 16]);
        assert_eq!(
            show(&device(PARTITION, &of_gpt)).as_deref(),
            Some(
                "partition {04030201-0605-0807-090a-0b0c0d0e0f10} of disk {11111111-1111-1111-1111-111111111111}"
            )
        );
        assert_eq!(show(&device(BOOT, &[])).as_deref(), Some("boot partition"));
        let mut with_options = of_mbr.clone();
        with_options[..16].copy_from_slice(&super::super::BOOT_MANAGER.bytes());
        with_options[20] = 2;
        assert_eq!(show(&with_options), Some(format!("{named}, options {{bootmgr}}, flags 2")));
    }

    /// Checks that data beyond the name is shown, and that other data has no name.
    #[test]
    fn no_two_devices_look_alike() {
        let whole = device(BOOT, &[]);
        for at in [24, 28, 32, 87] {
            let mut other = whole.clone();
            other[at] ^= 1;
            let shown = show(&other).expect("a device");
            assert!(shown.starts_with("boot partition (00000000"), "{at}: {shown}");
        }
        assert!(show(&whole[..87]).expect("a device").contains('('));
        let locate = show(&device(LOCATE, b"\\0W\0")).expect("a device");
        assert!(locate.starts_with("the device that the loader finds ("), "{locate}");
        for no_device in [&whole[..31], &device(PARTITION, &[])[..71], &device(7, &[]), &[]] {
            assert_eq!(show(no_device), None);
        }
        for (at, byte) in [(8, 1), (15, 1), (16, 3), (20, 2), (28, 1), (39, 1)] {
            let mut partition = [0; 40];
            partition[20] = 1;
            partition[at] = byte;
            assert_eq!(show(&device(PARTITION, &partition)), None, "{at}");
        }
    }
}
