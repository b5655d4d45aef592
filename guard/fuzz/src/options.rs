//! Any units as the options of a boot entry: what they select is what a plain reading of the rule says.

use guard::options::BootOptions;

/// Takes one input: as units of two bytes, and as units of one, which most options have.
pub fn take(bytes: &[u8]) {
    let wide: Vec<u16> = bytes.as_chunks().0.iter().map(|unit| u16::from_le_bytes(*unit)).collect();
    let narrow: Vec<u16> = bytes.iter().map(|byte| u16::from(*byte)).collect();
    for units in [wide, narrow] {
        let end = units.iter().position(|unit| *unit == 0).unwrap_or(units.len());
        let tokens: Vec<String> = units[..end]
            .split(|unit| matches!(unit, 0x09..=0x0D | 0x20))
            .map(|token| token.strip_prefix(&[u16::from(b'/')]).unwrap_or(token))
            .map(|token| String::from_utf16_lossy(token).to_ascii_uppercase())
            .collect();
        let has = |word: &str| tokens.iter().any(|token| token == word);
        let options = BootOptions::parse(units.iter().copied());
        assert_eq!(options.vetoes_pv(), has("NOGPLPV"));
        assert_eq!(options.selects_pv(), has("GPLPV") && !has("NOGPLPV"));
        assert_eq!(options.safe_boot(), tokens.iter().any(|token| token.starts_with("SAFEBOOT")));
    }
}
