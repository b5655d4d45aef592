//! An assertion of qemu 7.2 that a guest under Xen can reach, taken out of the unpacked copy.
//!
//! `tcg_handle_interrupt` (accel/tcg/tcg-accel-ops.c, line 81) requires qemu's big lock. Two ways there do without it: a
//! write of CR8 by a guest of the emulated SVM, and its exit with an interrupt pending. OVMF takes one of them two
//! seconds after its start, and qemu ends. Behind the assertion the function sets a bit of its own processor's, and that
//! processor is the one that runs it.

use std::fs;
use std::path::Path;

use crate::error::{FileContext, RigError};

/// The part of qemu that has the function.
pub(crate) const FILE: &str = "tree/usr/lib/x86_64-linux-gnu/qemu/accel-tcg-x86_64.so";
/// `test al, al; jne <behind the call>`, and the arguments of `g_assertion_message_expr`, the line among them; two
/// points stand for any byte.
const ASSERTION: &str = "84 c0 75 24 4c 8d 05 .. .. .. .. 48 8d 0d .. .. .. .. ba 51 00 00 00 31 ff";
/// Offset in it of the jump's first byte.
const JUMP: usize = 2;
/// `jmp` in the place of the `jne`: both have an offset of a byte.
const JMP: u8 = 0xEB;

/// Returns the offset of the one place that looks like the assertion; or the number of places that do.
fn find(code: &[u8]) -> Result<usize, usize> {
    let signature: Vec<_> = ASSERTION.split(' ').map(|byte| u8::from_str_radix(byte, 16).ok()).collect();
    let same =
        |bytes: &[u8]| bytes.iter().zip(&signature).all(|(byte, wanted)| wanted.is_none_or(|w| w == *byte));
    let found: Vec<_> = code.windows(signature.len()).enumerate().filter(|(_, bytes)| same(bytes)).collect();
    match found[..] {
        [(at, _)] => Ok(at),
        _ => Err(found.len()),
    }
}

/// Takes the assertion out of the qemu that was unpacked into `part`.
///
/// # Errors
/// It is not there exactly once: this is another build of qemu.
pub(crate) fn take_out(part: &Path) -> Result<(), RigError> {
    let path = part.join(FILE);
    let mut code = fs::read(&path).file("read", &path)?;
    let at = find(&code).map_err(|places| RigError::OtherBytes {
        file: path.clone(),
        expected: format!("once `{ASSERTION}`"),
        found: format!("it {places} times"),
    })?;
    code[at + JUMP] = JMP;
    fs::write(&path, code).file("write", path)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The function of Debian's 7.2+dfsg-7+deb12u18, from its first call on.
    const FUNCTION: [u8; 40] = [
        0xE8, 0x10, 0xF8, 0xFF, 0xFF, 0x84, 0xC0, 0x75, 0x24, 0x4C, 0x8D, 0x05, 0xEE, 0x17, 0, 0, 0x48, 0x8D,
        0x0D, 0x8E, 0x18, 0, 0, 0xBA, 0x51, 0, 0, 0, 0x31, 0xFF, 0x48, 0x8D, 0x35, 0x18, 0x18, 0, 0, 0xE8,
        0x0B, 0xF9,
    ];

    #[test]
    fn the_assertion_is_found_where_it_is_once() {
        assert_eq!(find(&FUNCTION), Ok(5));
        assert_eq!(FUNCTION[5 + JUMP], 0x75, "jne");
        assert_eq!(find(&FUNCTION[..30]), Ok(5));
    }

    #[test]
    fn another_build_is_refused() {
        assert_eq!(find(&FUNCTION[..29]), Err(0));
        assert_eq!(find(&[FUNCTION, FUNCTION].concat()), Err(2));
        for at in [5, 7, 8, 24, 28] {
            let mut other = FUNCTION;
            other[at] ^= 1;
            assert_eq!(find(&other), Err(0), "byte {at}");
        }
    }
}
