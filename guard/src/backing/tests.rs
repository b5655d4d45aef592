use proptest::prelude::*;
use std::{format, string::String, vec::Vec};

use super::*;
use Relation::{Distinct, Same, Unknown};

/// Returns a backing of `domain` with these values of [`NODES`], none where empty.
fn of(domain: u16, kind: &str, values: [&str; 4]) -> Backing {
    let mut backing = Backing::new(domain, &format!("/local/domain/{domain}/backend/{kind}/1/768"));
    for (node, value) in NODES.into_iter().zip(values).filter(|(_, value)| !value.is_empty()) {
        backing.learn(node, value.as_bytes());
    }
    backing
}

fn qdisk(params: &str) -> Backing {
    of(0, "qdisk", [params, "", "", "w"])
}

fn phy(params: &str, number: &str) -> Backing {
    of(0, "vbd", [params, number, "", "w"])
}

/// Compares both ways round.
fn relation(a: &Backing, b: &Backing) -> Relation {
    assert_eq!(a.relation(b), b.relation(a), "{a:?} {b:?}");
    a.relation(b)
}

#[test]
fn one_file_by_every_spelling() {
    let spellings = [
        "aio:/vm/d.img",
        "raw:/vm/d.img",
        "qcow2:/vm/d.img",
        "tap:aio:/vm/d.img",
        "/vm/d.img",
        "aio://vm///d.img",
        "aio:/vm/./d.img",
        "aio:/vm/../vm/d.img",
        "aio:/../vm/d.img/",
    ];
    for a in spellings {
        for b in spellings {
            assert_eq!(relation(&qdisk(a), &qdisk(b)), Same, "{a} {b}");
            assert_eq!(relation(&qdisk(a), &phy(b, "7:0")), Same, "{a} {b}");
        }
        for other in ["aio:/vm/D.img", "aio:/vm/d.img2", "aio:/d.img", "aio:/vm/d", "aio:/vm/d.img/x"] {
            assert_eq!(relation(&qdisk(a), &qdisk(other)), Distinct, "{a} {other}");
        }
    }
}

#[test]
fn a_device_by_its_number() {
    assert_eq!(relation(&phy("/dev/a", "fe:30"), &phy("/dev/b", "fe:30")), Same);
    assert_eq!(relation(&phy("/dev/a", "fe:30"), &phy("/dev/b", "FE:30")), Same);
    assert_eq!(relation(&phy("/dev/a", "fe:30"), &phy("/dev/b", "fe:31")), Distinct);
    assert_eq!(relation(&phy("/dev/a", "fe:30"), &phy("/dev/b", "fd:30")), Distinct);
    // A name alone is as good where both have one, and none where a number is missing.
    assert_eq!(relation(&phy("/dev/a", "fe:30"), &phy("/dev/b", "")), Distinct);
    assert_eq!(relation(&phy("", "fe:30"), &phy("/dev/b", "")), Unknown);
    assert_eq!(relation(&phy("", "fe:30"), &phy("", "")), Unknown);
    assert_eq!(relation(&phy("", "x"), &phy("", "x")), Unknown);
}

#[test]
fn a_name_says_a_number() {
    for (name, number) in [
        ("/dev/loop3", "7:3"),
        ("/dev/sda", "8:0"),
        ("/dev/sdb", "8:10"),
        ("/dev/sdp15", "8:ff"),
        ("/dev/block/254:48", "fe:30"),
    ] {
        assert_eq!(relation(&qdisk(&format!("aio:{name}")), &phy("/dev/x", number)), Same, "{name}");
        assert_ne!(relation(&qdisk(&format!("aio:{name}")), &phy("/dev/x", "fe:31")), Same, "{name}");
    }
    // Not in this form anywhere else.
    for name in ["/vm/loop3", "/dev/x/loop3", "/dev/loopy", "/dev/block/254", "/dev/block/a:b", "/dev/sd"] {
        assert_eq!(relation(&qdisk(name), &phy("/dev/x", "7:3")), Unknown, "{name}");
    }
}

#[test]
fn logical_volumes_have_two_names() {
    for (a, b) in [
        ("/dev/vg/win", "/dev/mapper/vg-win"),
        ("/dev/my-vg/my-win", "/dev/mapper/my--vg-my--win"),
        ("/dev/v-/win", "/dev/mapper/v---win"),
    ] {
        assert_eq!(relation(&qdisk(a), &qdisk(b)), Same, "{a}");
        assert_eq!(relation(&phy(a, ""), &phy(b, "")), Same, "{a}");
    }
    assert_eq!(relation(&qdisk("/dev/vg/win"), &qdisk("/dev/mapper/vg--win")), Distinct);
    assert_eq!(relation(&qdisk("/dev/v/g-win"), &qdisk("/dev/mapper/v-g--win")), Same);
    assert_eq!(relation(&qdisk("/dev/vg/win"), &qdisk("/dev/mapper/control")), Distinct);
    assert_eq!(relation(&qdisk("/dev/vg/win"), &qdisk("/dev/mapper/-")), Distinct);
}

#[test]
fn a_partition_is_part_of_its_disk_and_not_of_another() {
    for (disk, partitions) in [
        ("/dev/sda", ["/dev/sda1", "/dev/sda2"]),
        ("/dev/vdb", ["/dev/vdb1", "/dev/vdb12"]),
        ("/dev/nvme0n1", ["/dev/nvme0n1p1", "/dev/nvme0n1p2"]),
        ("/dev/loop0", ["/dev/loop0p1", "/dev/loop0p2"]),
        ("/dev/disk/by-id/x-1", ["/dev/disk/by-id/x-1-part1", "/dev/disk/by-id/x-1-part2"]),
        ("/dev/mapper/mpatha", ["/dev/mapper/mpatha-part1", "/dev/mapper/mpatha-part2"]),
    ] {
        for partition in partitions {
            assert_eq!(relation(&qdisk(disk), &qdisk(partition)), Same, "{partition}");
            assert_eq!(relation(&qdisk(partition), &qdisk(partition)), Same, "{partition}");
        }
        assert_eq!(relation(&qdisk(partitions[0]), &qdisk(partitions[1])), Distinct, "{disk}");
    }
    for (a, b) in [
        ("/dev/vg/win", "/dev/vg/win1"),
        ("/vm/sda", "/vm/sda1"),
        ("/dev/sda1", "/dev/sdb1"),
        ("/dev/sda1", "/dev/sda11"),
        ("/dev/nvme0n1", "/dev/nvme0n12"),
    ] {
        assert_eq!(relation(&qdisk(a), &qdisk(b)), Distinct, "{a} {b}");
    }
    // By their numbers, and only where a major's minors are of one disk.
    assert_eq!(relation(&phy("", "8:0"), &phy("", "8:1")), Same);
    assert_eq!(relation(&phy("", "8:1"), &phy("", "8:2")), Distinct);
    assert_eq!(relation(&phy("", "8:0"), &phy("", "8:11")), Distinct);
    assert_eq!(relation(&phy("", "3:40"), &phy("", "3:41")), Same);
    assert_eq!(relation(&phy("", "fe:0"), &phy("", "fe:1")), Distinct);
}

#[test]
fn names_mean_something_within_one_domain() {
    let there = |domain| of(domain, "vbd", ["/dev/vg/win", "fe:30", "", "w"]);
    assert_eq!(relation(&there(0), &there(0)), Same);
    assert_eq!(relation(&there(3), &there(3)), Same);
    assert_eq!(relation(&there(0), &there(3)), Unknown);
}

#[test]
fn what_a_script_is_told_is_the_same_each_time() {
    assert_eq!(relation(&phy("iqn=a,portal=b", ""), &phy("iqn=a,portal=b", "")), Same);
    assert_eq!(relation(&phy("iqn=a,portal=b", ""), &phy("iqn=c,portal=b", "")), Unknown);
    assert_eq!(relation(&phy("iqn=a,portal=b", "8:0"), &phy("iqn=c,portal=b", "8:10")), Distinct);
    // xm's and xl's names below /dev.
    assert_eq!(relation(&phy("vg/win", ""), &phy("/dev/vg/win", "")), Same);
    assert_eq!(relation(&phy("sda", ""), &phy("/dev/sda1", "")), Same);
    assert_eq!(relation(&qdisk("nbd:h:1"), &qdisk("nbd:h:1")), Same);
    assert_eq!(relation(&qdisk("vg/win"), &qdisk("/dev/vg/win")), Unknown);
}

#[test]
fn a_path_that_the_script_found_counts_too() {
    let script = of(0, "vbd", ["/dev/vg/win", "fd:3", "/dev/dm-3", "w"]);
    assert_eq!(relation(&script, &qdisk("aio:/dev/dm-3")), Same);
    assert_eq!(relation(&script, &qdisk("aio:/dev/dm-4")), Unknown);
}

/// Two servers: what one calls a file the other may have behind a device.
#[test]
fn a_file_and_a_device() {
    assert_eq!(relation(&qdisk("aio:/vm/clone.img"), &phy("/dev/vg/win", "fe:30")), Distinct);
    assert_eq!(relation(&qdisk("aio:/dev/disk/by-id/x"), &phy("/dev/vg/win", "fe:30")), Unknown);
    assert_eq!(relation(&qdisk("aio:/vm/d.img"), &phy("/dev/loop0", "7:0")), Unknown);
    assert_eq!(relation(&qdisk("aio:/vm/d.img"), &phy("/vm/other.img", "7:0")), Unknown);
    assert_eq!(relation(&phy("/vm/a.img", "7:0"), &phy("/vm/b.img", "7:1")), Distinct);
    assert_eq!(relation(&phy("", "7:0"), &phy("/vm/b.img", "7:1")), Unknown);
}

#[test]
fn nothing_is_told_by_nothing() {
    let nothing = of(0, "vbd", [""; 4]);
    for other in [nothing, qdisk("/a"), phy("/a", "fe:30"), qdisk("aio:"), qdisk("")] {
        assert_eq!(relation(&nothing, &other), Unknown);
    }
    assert!(!nothing.is_read_only() && of(0, "vbd", ["", "", "", "r"]).is_read_only());
    assert!(!of(0, "vbd", ["", "", "", "w!"]).is_read_only());
}

/// Returns a path in some other spelling.
fn respelled(parts: &[String], extra: &[u8]) -> String {
    let mut path = String::new();
    for (at, part) in parts.iter().enumerate() {
        path += match extra.get(at).map_or(0, |extra| extra % 4) {
            1 => "//",
            2 => "/./",
            3 => "/zz/../",
            _ => "/",
        };
        path += part;
    }
    path
}

proptest! {
    #[test]
    fn any_spelling_is_the_same_file(
        parts in prop::collection::vec("[a-z0-9-]{1,6}", 1..8),
        extra: Vec<u8>,
        format in 0..FORMATS.len(),
    ) {
        let format = core::str::from_utf8(FORMATS[format]).unwrap();
        let (plain, other) = (respelled(&parts, &[]), respelled(&parts, &extra));
        prop_assert_eq!(relation(&qdisk(&plain), &qdisk(&format!("{format}:{other}"))), Same);
    }

    /// But for a `p` between digits, which may be kpartx's.
    #[test]
    fn a_volume_is_one_by_each_of_its_names(
        volumes in prop::array::uniform2(("[a-o0-9][a-o0-9-]{0,4}", "[a-o0-9][a-o0-9-]{0,4}(-part[1-9])?")),
    ) {
        let names = volumes.clone().map(|(group, volume)| {
            let mapped = format!("{}-{}", group.replace('-', "--"), volume.replace('-', "--"));
            [
                format!("/dev/{group}/{volume}"),
                format!("/dev/mapper/{mapped}"),
                format!("/dev/disk/by-id/dm-name-{mapped}"),
            ]
        });
        let same = if volumes[0] == volumes[1] { Same } else { Distinct };
        for (a, b) in names[0].iter().flat_map(|a| names[1].iter().map(move |b| (a, b))) {
            prop_assert_eq!(relation(&qdisk(a), &qdisk(b)), same, "{} {}", a, b);
        }
        for (a, b) in names[0].iter().flat_map(|a| names[0].iter().map(move |b| (a, b))) {
            prop_assert_eq!(relation(&qdisk(a), &qdisk(b)), Same, "{} {}", a, b);
        }
        for mapped in &names[0][1..] {
            let part = |number| qdisk(&format!("{mapped}-part{number}"));
            prop_assert_eq!(relation(&qdisk(&names[0][0]), &part(1)), Same, "{}", mapped);
            prop_assert_eq!(relation(&part(1), &part(2)), Distinct, "{}", mapped);
        }
    }

    #[test]
    fn other_files_are_other_files(a in "/vm/[a-z]{1,8}/[a-z0-9]{1,8}", b in "/vm/[a-z]{1,8}/[a-z0-9]{1,8}") {
        prop_assert_eq!(relation(&qdisk(&a), &qdisk(&b)) == Same, a == b);
    }

    #[test]
    fn any_bytes_are_compared(a in prop::collection::vec(any::<u8>(), 0..300), b: Vec<u8>, kernel: bool) {
        let kind = if kernel { "vbd" } else { "qdisk" };
        let (mut one, mut two) = (of(0, kind, [""; 4]), of(0, "qdisk", [""; 4]));
        for node in NODES {
            one.learn(node, &a);
            two.learn(node, &b);
        }
        relation(&one, &two);
        // A backing that says anything of itself is itself.
        let itself = relation(&one, &one);
        prop_assert!(itself == Same || without_formats(&a).is_empty() && one.number.is_none());
    }
}

/// blkback lets a guest write if there is a `w` anywhere in `mode`.
#[test]
fn any_w_is_a_way_to_write() {
    for (mode, read_only) in
        [("r", true), ("ro", true), ("w", false), ("w!", false), ("rw", false), ("r!w", false)]
    {
        assert_eq!(of(0, "vbd", ["", "", "", mode]).is_read_only(), read_only, "{mode}");
    }
    let mut unclear = of(0, "vbd", ["", "", "", "r"]);
    unclear.learn("mode", b"");
    assert!(!unclear.is_read_only());
}

/// A dash of a group's or a volume's own is doubled below `/dev/mapper`, the one before a partition is not.
#[test]
fn a_partition_below_mapper_is_told_from_a_volume() {
    for (a, b) in [
        // A volume that is named like a partition.
        ("/dev/vg/win-part1", "/dev/mapper/vg-win--part1"),
        ("/dev/my-vg/win-part1", "/dev/mapper/my--vg-win--part1"),
        ("/dev/vg/part1", "/dev/mapper/vg-part1"),
        // A whole disk, and a partition of it.
        ("/dev/mapper/mpath-data", "/dev/mapper/mpath-data-part1"),
        ("/dev/mapper/mpath-data-a", "/dev/mapper/mpath-data-a-part1"),
        ("/dev/mapper/alias-", "/dev/mapper/alias--part1"),
        ("/dev/mapper/vg-win", "/dev/mapper/vg-win-part1"),
        ("/dev/vg/win", "/dev/mapper/vg-win-part1"),
        ("/dev/my-vg/my-win", "/dev/mapper/my--vg-my--win-part12"),
        ("/dev/vg/win-", "/dev/mapper/vg-win---part1"),
        ("/dev/vg/win-part1", "/dev/mapper/vg-win--part1-part2"),
    ] {
        assert_eq!(relation(&qdisk(a), &qdisk(b)), Same, "{a} {b}");
        assert_eq!(relation(&phy(a, ""), &phy(b, "")), Same, "{a} {b}");
    }
    for (a, b) in [
        ("/dev/vg/win", "/dev/vg/win-part1"),
        ("/dev/vg/win", "/dev/mapper/vg-win--part1"),
        ("/dev/vg/win-part1", "/dev/mapper/vg-win-part1"),
        ("/dev/mapper/vg-win--part1", "/dev/mapper/vg-win-part1"),
        ("/dev/mapper/vg-win-part1", "/dev/mapper/vg-win-part2"),
        ("/dev/mapper/vg-win-part1", "/dev/mapper/vg-win-part11"),
        ("/dev/vg/win-part1", "/dev/mapper/vg-win--part1x"),
    ] {
        assert_eq!(relation(&qdisk(a), &qdisk(b)), Distinct, "{a} {b}");
    }
}

/// kpartx writes a partition's number behind the name of its disk, and a `p` between two digits.
#[test]
fn a_partition_of_kpartx() {
    for (disk, partitions) in [
        ("/dev/loop0", ["/dev/mapper/loop0p1", "/dev/mapper/loop0p2"]),
        ("/dev/sdb", ["/dev/mapper/sdb1", "/dev/mapper/sdb2"]),
        ("/dev/mapper/mpatha", ["/dev/mapper/mpatha1", "/dev/mapper/mpatha2"]),
        ("/dev/mapper/mpatha", ["/dev/mapper/mpathap1", "/dev/mapper/mpathap2"]),
        ("/dev/mapper/36005", ["/dev/mapper/36005p1", "/dev/mapper/36005p2"]),
        ("/dev/vg/win2", ["/dev/mapper/vg-win2p1", "/dev/mapper/vg-win2p2"]),
    ] {
        for partition in partitions {
            assert_eq!(relation(&qdisk(disk), &qdisk(partition)), Same, "{disk} {partition}");
            assert_eq!(relation(&qdisk(partition), &qdisk(partition)), Same, "{partition}");
        }
        assert_eq!(relation(&qdisk(partitions[0]), &qdisk(partitions[1])), Distinct, "{disk}");
    }
    for (a, b) in [
        ("/dev/vg/win", "/dev/mapper/vg-win1"),
        ("/dev/vg/win2", "/dev/vg/win2p1"),
        ("/dev/mapper/mpatha", "/dev/mapper/mpathb1"),
    ] {
        assert_eq!(relation(&qdisk(a), &qdisk(b)), Distinct, "{a} {b}");
    }
}

/// udev makes these links.
#[test]
fn links_whose_names_say_where_they_lead() {
    for (a, b) in [
        ("/dev/disk/by-id/dm-name-vg-win", "/dev/vg/win"),
        ("/dev/disk/by-id/dm-name-my--vg-win--part1", "/dev/my-vg/win-part1"),
        ("/dev/disk/by-id/dm-name-mpath-data", "/dev/mapper/mpath-data-part3"),
        ("/dev/disk/by-id/dm-name-vg-win-part1", "/dev/mapper/vg-win"),
        ("/dev/disk/by-id/dm-uuid-mpath-36005", "/dev/disk/by-id/dm-uuid-part1-mpath-36005"),
        ("/dev/disk/by-id/a--b", "/dev/disk/by-id/a--b-part1"),
        ("/dev/zvol/tank/win", "/dev/zvol/tank/win-part1"),
        ("/dev/rbd/pool/win", "/dev/rbd/pool/win-part1"),
        ("/dev/block/8:16", "/dev/sdb1"),
    ] {
        assert_eq!(relation(&qdisk(a), &qdisk(b)), Same, "{a} {b}");
    }
    assert_eq!(relation(&qdisk("/dev/disk/by-id/dm-name-vg-a"), &qdisk("/dev/vg/b")), Distinct);
    let parts = [1, 2].map(|n| qdisk(&format!("/dev/disk/by-id/dm-uuid-part{n}-mpath-36005")));
    assert_eq!(relation(&parts[0], &parts[1]), Distinct);
}

/// Two names of one server's, of which one may lead to the other.
#[test]
fn a_link_is_not_told_from_what_it_may_lead_to() {
    for (a, b) in [
        ("/dev/dm-3", "/dev/vg/win"),
        ("/dev/dm-3", "/dev/mapper/mpatha"),
        ("/dev/md127", "/dev/md/win"),
        ("/dev/zd0", "/dev/zvol/tank/win"),
        ("/dev/rbd0", "/dev/rbd/pool/win"),
        ("/dev/disk/by-id/wwn-0x5", "/dev/sda"),
        ("/dev/disk/by-id/wwn-0x5", "/dev/disk/by-id/ata-x"),
        ("/dev/disk/by-id/wwn-0x5", "/dev/disk/by-path/pci-0"),
        ("/dev/disk/by-id/dm-uuid-LVM-x", "/dev/vg/win"),
        ("/dev/disk/by-id/x-part1", "/dev/disk/by-id/y-part1"),
        ("/dev/drbd/by-res/r0/0", "/dev/drbd0"),
        ("/dev/block/254:3", "/dev/vg/win"),
        // Over one file, perhaps.
        ("/dev/loop0", "/dev/loop1"),
        ("/dev/loop1", "/dev/loop11"),
        ("/dev/loop0p1", "/dev/loop1p1"),
        ("/dev/loop0", "/vm/d.img"),
    ] {
        assert_eq!(relation(&qdisk(a), &qdisk(b)), Unknown, "{a} {b}");
        assert_eq!(relation(&phy(a, ""), &phy(b, "")), Unknown, "{a} {b}");
    }
    for (a, b) in [
        ("/dev/dm-3", "/dev/dm-4"),
        ("/dev/dm-3", "/dev/sda"),
        ("/dev/sda", "/dev/vg/win"),
        ("/dev/loop0", "/dev/vg/win"),
        ("/dev/zvol/tank/a", "/dev/zvol/tank/b"),
        ("/dev/disk/by-id/x", "/vm/d.img"),
    ] {
        assert_eq!(relation(&qdisk(a), &qdisk(b)), Distinct, "{a} {b}");
        assert_eq!(relation(&phy(a, ""), &phy(b, "")), Distinct, "{a} {b}");
    }
    // Numbers tell.
    assert_eq!(relation(&phy("/dev/dm-3", "fe:3"), &phy("/dev/vg/win", "fe:4")), Distinct);
    assert_eq!(relation(&phy("/dev/loop0", "7:0"), &phy("/dev/loop1", "7:1")), Unknown);
}
