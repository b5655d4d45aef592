//! Image files as the rig makes and checks them.

#![cfg(feature = "std")]

use volume::image::{ImageFile, SIZE, check_image, make_image};
use volume::mbr::Mbr;
use volume::{Verdict, Volume};

#[test]
fn made_checked_and_mounted() {
    let folder = std::env::temp_dir().join(format!("volume-image-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let path = folder.join("disk.img");
    make_image(&path, SIZE, 0xCAFE_0001, "system").unwrap();
    let report = check_image(&path).unwrap();
    assert_eq!((report.verdict, report.signature, report.generation), (Verdict::Intact, 0xCAFE_0001, 1));
    assert_eq!((report.label.as_str(), report.files.len()), ("system", 3));

    let image = ImageFile::open(&path, true).unwrap();
    let mut volume = Volume::mount(Mbr::first_partition(image).unwrap().unwrap()).unwrap();
    assert_eq!(volume.generation(), 2);
    volume.write_file("new.txt", b"new").unwrap();
    assert_eq!(check_image(&path).unwrap().verdict, Verdict::Replayable);
    volume.unmount().unwrap();
    assert_eq!(check_image(&path).unwrap().verdict, Verdict::Intact);
    std::fs::remove_dir_all(&folder).unwrap();
}
