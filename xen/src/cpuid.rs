//! Finding Xen by its CPUID leaves, `arch-x86/cpuid.h`.
//!
//! Leaf *base*+0 answers "XenVMMXenVMM" in ebx, ecx, edx; +1 the version; +2 how to install a page of
//! hypercalls; +4 features. The base is 0x40000000, or later in steps of 0x100 where Xen shows the Viridian
//! (Hyper-V) leaves first.

/// Answer of one CPUID leaf.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Registers {
    /// eax.
    pub eax: u32,
    /// ebx.
    pub ebx: u32,
    /// ecx.
    pub ecx: u32,
    /// edx.
    pub edx: u32,
}

/// The processor instruction used to find Xen. Any level.
pub trait Platform {
    /// Returns `CPUID` of a leaf, subleaf 0.
    fn cpuid(&self, leaf: u32) -> Registers;
}

/// Xen's data about itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Xen {
    /// First leaf.
    pub base: u32,
    /// Last leaf.
    pub last: u32,
    /// Version, such as (4, 17).
    pub version: (u16, u16),
}

const FIRST: u32 = 0x4000_0000;
const LAST: u32 = 0x4000_FF00;
const STEP: usize = 0x100;
const SIGNATURE: [u32; 3] =
    [u32::from_le_bytes(*b"XenV"), u32::from_le_bytes(*b"MMXe"), u32::from_le_bytes(*b"nVMM")];

/// `XEN_HVM_CPUID_VCPU_ID_PRESENT`, leaf +4 eax: ebx is the number.
const VCPU_ID_PRESENT: u32 = 1 << 3;

/// Looks for Xen; `None` on bare hardware and under other hypervisors. Any level.
pub fn detect(platform: &impl Platform) -> Option<Xen> {
    let (base, last) = (FIRST..=LAST).step_by(STEP).find_map(|base| {
        let found = platform.cpuid(base);
        let ours = [found.ebx, found.ecx, found.edx] == SIGNATURE && found.eax >= base + 2;
        // Other hypervisors can show Xen's signature: those that offer no page of hypercalls have none.
        let usable = ours && platform.cpuid(base + 2).eax > 0;
        usable.then_some((base, found.eax))
    })?;
    let version = platform.cpuid(base + 1).eax;
    Some(Xen { base, last, version: ((version >> 16) as u16, version as u16) })
}

impl Xen {
    /// Returns Xen's number of the processor this runs on; `None` before Xen 4.6, which does not say. Any
    /// level, on a thread that stays on its processor.
    pub fn vcpu(&self, platform: &impl Platform) -> Option<u32> {
        let leaf =
            if self.last >= self.base + 4 { platform.cpuid(self.base + 4) } else { Registers::default() };
        (leaf.eax & VCPU_ID_PRESENT != 0).then_some(leaf.ebx)
    }
}

/// Returns true if Xen's signature stands at any base, be it followed by Xen's leaves or not: other
/// hypervisors can show it. Any level.
pub fn announced(platform: &impl Platform) -> bool {
    (FIRST..=LAST).step_by(STEP).any(|base| {
        let found = platform.cpuid(base);
        [found.ebx, found.ecx, found.edx] == SIGNATURE
    })
}

/// The processor this code runs on.
#[cfg(target_arch = "x86_64")]
#[derive(Clone, Copy, Debug, Default)]
pub struct Native;

#[cfg(target_arch = "x86_64")]
impl Platform for Native {
    fn cpuid(&self, leaf: u32) -> Registers {
        let found = core::arch::x86_64::__cpuid_count(leaf, 0);
        Registers { eax: found.eax, ebx: found.ebx, ecx: found.ecx, edx: found.edx }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fake;

    #[test]
    fn xen_is_found_at_its_base() {
        let xen = detect(&fake::Platform::xen(0x4000_0000)).unwrap();
        assert_eq!(xen, Xen { base: 0x4000_0000, last: 0x4000_0005, version: (4, 17) });
    }

    #[test]
    fn xen_is_found_behind_viridian_and_at_the_last_base() {
        let mut platform = fake::Platform::xen(0x4000_0100);
        let [ebx, ecx, edx] = [*b"Micr", *b"osof", *b"t Hv"].map(u32::from_le_bytes);
        platform.leaves.insert(0x4000_0000, Registers { eax: 0x4000_0006, ebx, ecx, edx });
        assert_eq!(detect(&platform).unwrap().base, 0x4000_0100);
        assert_eq!(detect(&fake::Platform::xen(0x4000_FF00)).unwrap().base, 0x4000_FF00);
    }

    #[test]
    fn others_are_not_xen() {
        assert_eq!(detect(&fake::Platform::default()), None);
        let mut tcg = fake::Platform::default();
        let [ebx, ecx, edx] = [*b"TCGT", *b"CGTC", *b"GTCG"].map(u32::from_le_bytes);
        tcg.leaves.insert(0x4000_0000, Registers { eax: 0x4000_0001, ebx, ecx, edx });
        assert_eq!(detect(&tcg), None);
        assert!(!announced(&tcg));
        // The signature without the leaves that it promises.
        let mut short = fake::Platform::xen(0x4000_0000);
        short.leaves.get_mut(&0x4000_0000).unwrap().eax = 0x4000_0001;
        assert_eq!(detect(&short), None);
        assert!(announced(&short));
        // The leaves, and no page of hypercalls.
        let mut pageless = fake::Platform::xen(0x4000_0000);
        pageless.leaves.get_mut(&0x4000_0002).unwrap().eax = 0;
        assert_eq!(detect(&pageless), None);
        assert!(announced(&pageless));
    }

    #[test]
    fn features_beyond_the_last_leaf_are_not_read() {
        let mut platform = fake::Platform::xen(0x4000_0000);
        assert_eq!(detect(&platform).unwrap().vcpu(&platform), Some(3));
        platform.leaves.get_mut(&0x4000_0000).unwrap().eax = 0x4000_0003;
        assert_eq!(detect(&platform).unwrap().vcpu(&platform), None);
    }

    #[cfg(target_arch = "x86_64")]
    #[test]
    fn the_real_processor_answers() {
        // The highest basic leaf and the vendor's name.
        let found = Native.cpuid(0);
        assert!(found.eax >= 1 && found.ebx != 0);
    }
}
