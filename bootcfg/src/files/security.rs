//! Security descriptors of files, as far as this program judges them: may an ordinary user write the file?
//!
//! Source of the layouts: [MS-DTYP] 2.4.6 "SECURITY_DESCRIPTOR", 2.4.5 "ACL", 2.4.4 "ACE", 2.4.2 "SID".

/// `SE_DACL_PRESENT` in the descriptor's control word.
const DACL_PRESENT: u16 = 4;
/// `ACCESS_ALLOWED_ACE_TYPE`.
const ALLOWED: u8 = 0;
/// `INHERIT_ONLY_ACE`: the entry is for children, not for the object.
const INHERIT_ONLY: u8 = 8;
/// Rights with which a file's content can be replaced, at once or after a change of the descriptor:
/// `FILE_WRITE_DATA`, `FILE_APPEND_DATA`, `DELETE`, `WRITE_DAC`, `WRITE_OWNER`, `GENERIC_ALL`,
/// `GENERIC_WRITE`.
const WRITES: u32 = 0x5000_0000 | 0x000d_0000 | 6;
/// Well-known users that are not administrators (identifier authority, sub-authorities): Everyone, Anonymous,
/// Authenticated Users, Interactive, Network, Users, Guests.
const ORDINARY: [(u8, &[u32]); 7] =
    [(1, &[0]), (5, &[7]), (5, &[11]), (5, &[4]), (5, &[2]), (5, &[32, 545]), (5, &[32, 546])];

/// Returns whether a self-relative descriptor lets an ordinary user write the file. One without a list of
/// rights lets everybody; one that is malformed is taken for that, too.
#[must_use]
pub fn lets_users_write(descriptor: &[u8]) -> bool {
    entries(descriptor).is_none_or(|entries| {
        entries.iter().any(|(mask, sid)| mask & WRITES != 0 && ORDINARY.iter().any(|user| is(sid, user)))
    })
}

/// Returns the allowing entries that count for the object itself: rights and SID.
fn entries(descriptor: &[u8]) -> Option<Vec<(u32, &[u8])>> {
    let word = |at: usize| Some(u16::from_le_bytes(*descriptor.get(at..)?.first_chunk()?));
    let long = |at: usize| Some(u32::from_le_bytes(*descriptor.get(at..)?.first_chunk()?));
    let list = long(16)? as usize;
    if word(2)? & DACL_PRESENT == 0 || list == 0 {
        return None;
    }
    let mut at = list + 8;
    let mut found = Vec::new();
    for _ in 0..word(list + 4)? {
        let (kind, flags, size) = (*descriptor.get(at)?, *descriptor.get(at + 1)?, word(at + 2)? as usize);
        let entry = descriptor.get(at..at + size.max(8))?;
        if kind == ALLOWED && flags & INHERIT_ONLY == 0 {
            found.push((long(at + 4)?, &entry[8..]));
        }
        at += size.max(8);
    }
    Some(found)
}

/// Returns true if the SID has this authority and these sub-authorities.
fn is(sid: &[u8], (authority, parts): &(u8, &[u32])) -> bool {
    sid.len() >= 8 + 4 * parts.len()
        && usize::from(sid[1]) == parts.len()
        && sid[2..8] == [0, 0, 0, 0, 0, *authority]
        && parts.iter().zip(sid[8..].chunks_exact(4)).all(|(part, bytes)| part.to_le_bytes() == bytes)
}

/// Makes the descriptor that gives full access to users, and nothing to others: owner and group are Administrators.
#[must_use]
pub fn full_access(users: &[(u8, &[u32])]) -> Vec<u8> {
    let sid = |(authority, parts): &(u8, &[u32])| {
        let mut sid = vec![1, parts.len() as u8, 0, 0, 0, 0, 0, *authority];
        sid.extend(parts.iter().flat_map(|part| part.to_le_bytes()));
        sid
    };
    let mut list = Vec::new();
    for user in users {
        let sid = sid(user);
        list.extend([ALLOWED, 0]);
        list.extend((8 + sid.len() as u16).to_le_bytes());
        list.extend(0x001f_01ff_u32.to_le_bytes());
        list.extend(sid);
    }
    let administrators = sid(&(5, &[32, 544]));
    let (owner, size) = (20 + 8 + list.len() as u32, 8 + list.len() as u16);
    // Revision 1, self-relative, with a list of rights.
    let mut descriptor = vec![1, 0, 4, 0x80];
    for field in [owner, owner + administrators.len() as u32, 0, 20] {
        descriptor.extend(field.to_le_bytes());
    }
    descriptor.extend([2, 0]);
    descriptor.extend(size.to_le_bytes());
    descriptor.extend((users.len() as u16).to_le_bytes());
    descriptor.extend([0, 0]);
    descriptor.extend(list);
    descriptor.extend([administrators.clone(), administrators].concat());
    descriptor
}

/// Local System and Administrators, as the hives and the drivers of a Windows have them.
pub const SYSTEM_AND_ADMINISTRATORS: [(u8, &[u32]); 2] = [(5, &[18]), (5, &[32, 544])];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn users_that_may_write() {
        assert!(!lets_users_write(&full_access(&SYSTEM_AND_ADMINISTRATORS)));
        for user in ORDINARY {
            let mut descriptor = full_access(&[SYSTEM_AND_ADMINISTRATORS[0], user]);
            assert!(lets_users_write(&descriptor), "{user:?}");
            // Read and execute alone.
            let mask = 20 + 8 + 20 + 4;
            descriptor[mask..mask + 4].copy_from_slice(&0x0012_00a9_u32.to_le_bytes());
            assert!(!lets_users_write(&descriptor), "{user:?}");
        }
    }

    #[test]
    fn no_list_lets_everybody() {
        let mut descriptor = full_access(&SYSTEM_AND_ADMINISTRATORS);
        descriptor[2] = 0;
        assert!(lets_users_write(&descriptor));
        for length in 0..30 {
            assert!(lets_users_write(&full_access(&SYSTEM_AND_ADMINISTRATORS)[..length]), "{length}");
        }
    }
}
