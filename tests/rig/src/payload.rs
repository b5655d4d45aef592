//! A guest for testing the rig itself: a multiboot image put together by hand. It prints what it was given,
//! reads and writes a sector of its first IDE disk, and powers off.

use std::collections::HashMap;

/// The address at which the image is loaded: above hvmloader.
const BASE: u32 = 0x0100_0000;
const STACK: u32 = BASE + 0x1_0000;
/// Two sectors' worth of scratch memory behind the image.
const BUFFER: u32 = BASE + 0x2_0000;

const MULTIBOOT_MAGIC: u32 = 0x1BAD_B002;
/// The header gives the addresses of the image (Multiboot 0.6.96, 3.1.2, bit 16).
const ADDRESSES_GIVEN: u32 = 1 << 16;
const HEADER_SIZE: u32 = 32;

const DEBUG_PORT: u16 = 0xE9;
const IDE: u16 = 0x1F0;
/// PIIX4 power management control under hvmloader, and the value for "sleep type 0, now".
const POWER_PORT: u16 = 0xB004;
const POWER_OFF: u16 = 0x2000;
/// isa-debug-exit of a plain machine.
const EXIT_PORT: u16 = 0xF4;

/// The payload's work besides printing what it was given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Behaviour {
    /// Increments the first byte of sector 1 of the first IDE disk, and powers off.
    PowerOff,
    /// Does the same as [`Self::PowerOff`], but never ends.
    Hang,
    /// Does the same as [`Self::PowerOff`], after printing [`long_line`] as often as [`TALK`] says.
    Talk,
    /// Runs into a triple fault.
    TripleFault,
}

/// A little of an assembler: 32-bit code with forward jumps.
struct Code {
    bytes: Vec<u8>,
    labels: HashMap<&'static str, usize>,
    jumps: Vec<(usize, &'static str)>,
    texts: Vec<(usize, &'static str)>,
}

impl Code {
    fn emit(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
    }

    fn emit_u32(&mut self, opcode: &[u8], operand: u32) {
        self.emit(opcode);
        self.emit(&operand.to_le_bytes());
    }

    fn label(&mut self, name: &'static str) {
        self.labels.insert(name, self.bytes.len());
    }

    /// Adds a jump or call with a 32-bit displacement.
    fn jump(&mut self, opcode: &[u8], to: &'static str) {
        self.emit(opcode);
        self.jumps.push((self.bytes.len(), to));
        self.emit(&[0; 4]);
    }

    fn dx(&mut self, port: u16) {
        self.emit(&[0x66, 0xBA]); // mov dx, port
        self.emit(&port.to_le_bytes());
    }

    fn out8(&mut self, port: u16, value: u8) {
        self.dx(port);
        self.emit(&[0xB0, value, 0xEE]); // mov al, value; out dx, al
    }

    /// Prints the text that `esi` points to.
    fn print(&mut self) {
        self.jump(&[0xE8], "print");
    }

    fn print_text(&mut self, text: &'static str) {
        self.emit(&[0xBE]); // mov esi, text
        self.texts.push((self.bytes.len(), text));
        self.emit(&[0; 4]);
        self.print();
    }

    /// Waits until the IDE channel is not busy and, with `data`, wants data.
    fn ide_wait(&mut self, name: &'static str, mask: u8, value: u8) {
        self.dx(IDE + 7);
        self.label(name);
        self.emit(&[0xEC, 0x24, mask, 0x3C, value]); // in al, dx; and al, mask; cmp al, value
        self.jump(&[0x0F, 0x85], name); // jnz
    }

    fn ide_command(&mut self, command: u8) {
        for (register, value) in [(6, 0xE0), (2, 1), (3, 1), (4, 0), (5, 0), (7, command)] {
            self.out8(IDE + register, value);
        }
    }

    /// Moves one sector between the data port and [`BUFFER`]; `opcode` is that of `ins` or `outs`.
    fn ide_transfer(&mut self, opcode: u8, pointer: u8) {
        self.emit_u32(&[pointer], BUFFER); // mov edi or esi, BUFFER
        self.emit_u32(&[0xB9], 256); // mov ecx, 256
        self.dx(IDE);
        self.emit(&[0xFC, 0xF3, 0x66, opcode]); // cld; rep ins/outs word
    }

    fn finish(mut self) -> Vec<u8> {
        for (at, text) in std::mem::take(&mut self.texts) {
            let address = BASE + HEADER_SIZE + u32::try_from(self.bytes.len()).expect("a small image");
            self.bytes[at..at + 4].copy_from_slice(&address.to_le_bytes());
            self.emit(text.as_bytes());
            self.emit(&[0]);
        }
        for (at, to) in std::mem::take(&mut self.jumps) {
            let distance = self.labels[to].wrapping_sub(at + 4) as u32;
            self.bytes[at..at + 4].copy_from_slice(&distance.to_le_bytes());
        }
        self.bytes
    }
}

/// A line longer than any piece Xen cuts, so that joining is exercised.
const LONG: &str = "smoke long 0123456789012345678901234567890123456789012345678901234567890123456789012345678901234\
56789012345678901234567890123456789012345678901234567890123456789012345678901234567890123456789012345678901234567890\
12345678901234567890123456789012345678901234567890123456789012345678901234567890123456789012345678901234567890 end\n";

/// Number of times that a talkative payload prints the long line: more than Xen's buffers hold.
pub const TALK: u32 = 400;

/// Returns the long line as it should arrive.
pub fn long_line() -> &'static str {
    LONG.trim_end()
}

/// Returns the image.
pub fn image(behaviour: Behaviour) -> Vec<u8> {
    let mut code = Code { bytes: Vec::new(), labels: HashMap::new(), jumps: Vec::new(), texts: Vec::new() };
    code.emit_u32(&[0xBC], STACK); // mov esp, STACK
    code.emit(&[0x89, 0xDD]); // mov ebp, ebx: the boot information
    code.print_text("smoke start\n");
    code.print_text("smoke cmdline ");
    code.emit(&[0x8B, 0x75, 16]); // mov esi, [ebp + cmdline]
    code.print();
    code.print_text("\n");
    code.emit(&[0x83, 0x7D, 20, 0]); // cmp dword [ebp + mods_count], 0
    code.jump(&[0x0F, 0x84], "no module"); // jz
    code.print_text("smoke module ");
    code.emit(&[0x8B, 0x75, 24, 0x8B, 0x36]); // mov esi, [ebp + mods_addr]; mov esi, [esi]
    code.print();
    code.print_text("\n");
    code.label("no module");
    // CPUID leaf 1, ecx bit 31: a hypervisor is there.
    code.emit(&[0xB8, 1, 0, 0, 0, 0x0F, 0xA2, 0x85, 0xC9]); // mov eax, 1; cpuid; test ecx, ecx
    code.jump(&[0x0F, 0x89], "no hypervisor"); // jns
    code.print_text("smoke hypervisor\n");
    code.label("no hypervisor");
    code.emit_u32(&[0xBB], if behaviour == Behaviour::Talk { TALK } else { 1 }); // mov ebx, times
    code.label("again");
    code.print_text(LONG);
    code.emit(&[0x4B]); // dec ebx
    code.jump(&[0x0F, 0x85], "again"); // jnz
    if behaviour == Behaviour::TripleFault {
        code.print_text("smoke fault\n");
        // An empty interrupt table, and an exception.
        code.emit_u32(&[0x0F, 0x01, 0x1D], BUFFER); // lidt [BUFFER]
        code.emit(&[0x0F, 0x0B]); // ud2
    }
    // Status 0xFF or 0: no drive there.
    code.out8(IDE + 6, 0xE0);
    code.dx(IDE + 7);
    code.emit(&[0xEC, 0x3C, 0xFF]); // in al, dx; cmp al, 0xFF
    code.jump(&[0x0F, 0x84], "no disk");
    code.emit(&[0x84, 0xC0]); // test al, al
    code.jump(&[0x0F, 0x84], "no disk");
    code.ide_command(0x20); // READ SECTORS
    code.ide_wait("read", 0x88, 0x08);
    code.ide_transfer(0x6D, 0xBF); // ins
    code.emit_u32(&[0xFE, 0x05], BUFFER); // inc byte [BUFFER]
    code.ide_command(0x30); // WRITE SECTORS
    code.ide_wait("write", 0x88, 0x08);
    code.ide_transfer(0x6F, 0xBE); // outs
    code.ide_wait("written", 0x80, 0);
    code.out8(IDE + 7, 0xE7); // FLUSH CACHE
    code.ide_wait("flushed", 0x80, 0);
    code.print_text("smoke disk\n");
    code.label("no disk");
    code.print_text("@xg up\n@xg end verdict=clean\n");
    if behaviour != Behaviour::Hang {
        code.dx(POWER_PORT);
        code.emit(&[0x66, 0xB8]); // mov ax, POWER_OFF
        code.emit(&POWER_OFF.to_le_bytes());
        code.emit(&[0x66, 0xEF]); // out dx, ax
        code.dx(EXIT_PORT);
        code.emit(&[0x31, 0xC0, 0xEF]); // xor eax, eax; out dx, eax
    }
    // Not hlt: Xen takes a halt with interrupts off for a power-off.
    code.label("spin");
    code.jump(&[0xE9], "spin");
    code.label("print");
    code.emit(&[0x89, 0xF7]); // mov edi, esi
    code.label("next");
    code.emit(&[0x80, 0x3F, 0]); // cmp byte [edi], 0
    code.jump(&[0x0F, 0x84], "end"); // jz
    code.emit(&[0x47]); // inc edi
    code.jump(&[0xE9], "next");
    code.label("end");
    code.emit(&[0x89, 0xF9, 0x29, 0xF1]); // mov ecx, edi; sub ecx, esi
    code.dx(DEBUG_PORT);
    // A string at once: for Xen one exit instead of one for each character.
    code.emit(&[0xFC, 0xF3, 0x6E, 0xC3]); // cld; rep outsb; ret
    let code = code.finish();

    let end = BASE + HEADER_SIZE + u32::try_from(code.len()).expect("a small image");
    let checksum = 0u32.wrapping_sub(MULTIBOOT_MAGIC).wrapping_sub(ADDRESSES_GIVEN);
    // magic, flags, checksum, header, load, load end, bss end, entry
    let header =
        [MULTIBOOT_MAGIC, ADDRESSES_GIVEN, checksum, BASE, BASE, end, BUFFER + 1024, BASE + HEADER_SIZE];
    header.iter().flat_map(|word| word.to_le_bytes()).chain(code).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_header_is_valid_and_covers_the_image() {
        let image = image(Behaviour::PowerOff);
        let words: Vec<u32> =
            image[..32].chunks(4).map(|c| u32::from_le_bytes(c.try_into().unwrap())).collect();
        assert_eq!(words[0].wrapping_add(words[1]).wrapping_add(words[2]), 0);
        assert_eq!((words[5] - words[4]) as usize, image.len());
        assert_eq!(words[7], BASE + HEADER_SIZE);
    }

    #[test]
    fn jumps_reach_their_labels() {
        let mut code =
            Code { bytes: Vec::new(), labels: HashMap::new(), jumps: Vec::new(), texts: Vec::new() };
        code.label("back");
        code.jump(&[0xE9], "back");
        code.jump(&[0xE9], "ahead");
        code.label("ahead");
        assert_eq!(code.finish(), [0xE9, 0xFB, 0xFF, 0xFF, 0xFF, 0xE9, 0, 0, 0, 0]);
    }

    #[test]
    fn the_long_line_needs_joining() {
        assert!(long_line().len() > 200);
    }
}
