//! Lists of subkeys: `lf` and `lh` (offsets with a hint or hash of the name), `li` (offsets), `ri` (offsets
//! of lists).

use alloc::vec::Vec;
use zerocopy::{
    FromBytes, Immutable, KnownLayout, Unaligned,
    little_endian::{U16, U32},
};

use crate::{Error, Hive, cell::Cell};

#[derive(FromBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
struct Header {
    signature: [u8; 2],
    count: U16,
}

const _: () = assert!(size_of::<Header>() == 4);

/// An element of `lf` and `lh`.
#[derive(FromBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
struct Hinted {
    key: U32,
    hint: U32,
}

const _: () = assert!(size_of::<Hinted>() == 8);

/// Returns the offsets of the key nodes in the list at `offset`, which must be `count`.
pub(crate) fn read(hive: &Hive<'_>, offset: u32, count: u32) -> Result<Vec<u32>, Error> {
    let mut keys = Vec::new();
    let cell = Cell::read(hive, offset)?;
    let (header, rest) = cell.split::<Header>("a list of subkeys")?;
    if &header.signature == b"ri" {
        let at = cell.at + size_of::<Header>();
        let lists =
            Cell::list::<U32>(rest, at, header.count.get().into(), "as many lists as the index says")?;
        for list in lists {
            leaf(&Cell::read(hive, list.get())?, &mut keys)?;
            // Lists may be named twice; the key's own count bounds what is gathered.
            if keys.len() > count as usize {
                break;
            }
        }
    } else {
        leaf(&cell, &mut keys)?;
    }
    if keys.len() != count as usize {
        return Err(Error::number(cell.at, "as many subkeys as the key says", keys.len() as u64));
    }
    Ok(keys)
}

fn leaf(cell: &Cell<'_>, keys: &mut Vec<u32>) -> Result<(), Error> {
    let (header, rest) = cell.split::<Header>("a list of subkeys")?;
    let (at, count) = (cell.at + size_of::<Header>(), usize::from(header.count.get()));
    let expected = "as many subkeys as the list says";
    match &header.signature {
        b"lf" | b"lh" => {
            keys.extend(
                Cell::list::<Hinted>(rest, at, count, expected)?.iter().map(|hinted| hinted.key.get()),
            );
        }
        b"li" => keys.extend(Cell::list::<U32>(rest, at, count, expected)?.iter().map(|key| key.get())),
        &[a, b] => {
            return Err(Error::signature(
                cell.at,
                "\"lf\", \"lh\" or \"li\" (a list of subkeys)",
                [a, b, 0, 0],
            ));
        }
    }
    Ok(())
}
