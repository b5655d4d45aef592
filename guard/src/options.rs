//! The boot options: `SystemStartOptions` taken apart into whole tokens.
//!
//! Source: `HKLM\SYSTEM\CurrentControlSet\Control`, value `SystemStartOptions` (`REG_SZ`): the loader's
//! options of the selected entry, upper-cased, separated by spaces. Both boot.ini switches and BCD
//! `loadoptions` end there.

/// The options that the selected boot entry asks for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct BootOptions {
    pv: bool,
    veto: bool,
    safe_boot: bool,
}

/// Longest token that is told apart; a longer one can only be a `SAFEBOOT` option or a stranger.
const LONGEST: usize = "SAFEBOOT".len();

impl BootOptions {
    /// Parses options given as UTF-16 units, up to the end or the first NUL. There is no limit of length.
    ///
    /// Tokens are separated by white space, compared whole and without regard to ASCII case; one leading `/`
    /// is allowed. A token that merely contains `GPLPV` is not it.
    ///
    /// ```
    /// use guard::options::BootOptions;
    /// let of = |text: &str| BootOptions::parse(text.encode_utf16());
    /// assert!(of(" NOEXECUTE=OPTIN GPLPV").selects_pv());
    /// assert!(!of(" XGPLPV GPLPVX NO/GPLPV").selects_pv());
    /// assert!(!of(" NOGPLPV GPLPV").selects_pv());
    /// ```
    #[must_use]
    pub fn parse(units: impl IntoIterator<Item = u16>) -> BootOptions {
        let mut options = BootOptions::default();
        let mut token = Token::default();
        for unit in units.into_iter().take_while(|&u| u != 0) {
            if is_separator(unit) {
                options.add(core::mem::take(&mut token));
            } else {
                token.push(unit);
            }
        }
        options.add(token);
        options
    }

    /// Returns true if `GPLPV` is there and `NOGPLPV` is not.
    #[must_use]
    pub const fn selects_pv(self) -> bool {
        self.pv && !self.veto
    }

    /// Returns true if `NOGPLPV` is there; it wins over `GPLPV`.
    #[must_use]
    pub const fn vetoes_pv(self) -> bool {
        self.veto
    }

    /// Returns true if any option that begins with `SAFEBOOT` is there (`SAFEBOOT:MINIMAL`,
    /// `SAFEBOOT:NETWORK`, …).
    #[must_use]
    pub const fn safe_boot(self) -> bool {
        self.safe_boot
    }

    fn add(&mut self, token: Token) {
        match token.start() {
            b"GPLPV" if !token.is_longer() => self.pv = true,
            b"NOGPLPV" if !token.is_longer() => self.veto = true,
            b"SAFEBOOT" => self.safe_boot = true,
            _ => {}
        }
    }
}

/// Returns true for white space between options: the loader writes spaces; a hand-edited entry may hold tabs
/// or line ends.
const fn is_separator(unit: u16) -> bool {
    matches!(unit, 0x09..=0x0D | 0x20)
}

/// The first [`LONGEST`] characters of a token, upper-cased, and its whole length.
#[derive(Default)]
struct Token {
    chars: [u8; LONGEST],
    length: usize,
    slash: bool,
}

impl Token {
    fn push(&mut self, unit: u16) {
        if self.length == 0 && !self.slash && unit == u16::from(b'/') {
            self.slash = true;
            return;
        }
        if let Some(place) = self.chars.get_mut(self.length) {
            // A unit outside ASCII matches no option: 0xFF stands for all of them.
            *place = u8::try_from(unit).map_or(0xFF, |c| c.to_ascii_uppercase());
        }
        self.length = self.length.saturating_add(1);
    }

    fn start(&self) -> &[u8] {
        &self.chars[..self.length.min(LONGEST)]
    }

    fn is_longer(&self) -> bool {
        self.length > LONGEST
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::{format, string::String, vec::Vec};

    fn of(text: &str) -> BootOptions {
        BootOptions::parse(text.encode_utf16())
    }

    #[test]
    fn whole_tokens_only() {
        for yes in ["GPLPV", " GPLPV", "/GPLPV", "gplpv", "\tGplPv ", "FASTDETECT GPLPV NOEXECUTE=OPTIN"] {
            assert!(of(yes).selects_pv(), "{yes:?}");
        }
        for no in [
            "",
            "XGPLPV",
            "GPLPVX",
            "XNOGPLPVY",
            "GPLPV=1",
            "//GPLPV",
            "GPL PV",
            "FASTDETECT/GPLPV",
            "GPLPV\u{101}",
            "ＧPLPV",
            // Its low byte is a G.
            "\u{147}PLPV",
            // A length of 8 bits would have come round.
            &("X".repeat(256) + "GPLPV"),
        ] {
            assert!(!of(no).selects_pv(), "{no:?}");
        }
    }

    #[test]
    fn veto_wins_in_any_order() {
        assert!(!of("GPLPV NOGPLPV").selects_pv());
        assert!(!of("/nogplpv /gplpv").selects_pv());
        assert!(of("NOGPLPV").vetoes_pv());
        assert!(of("NOGPLPVX GPLPV").selects_pv());
    }

    #[test]
    fn safe_boot_in_all_forms() {
        for yes in ["SAFEBOOT:MINIMAL", "/safeboot:network", "SAFEBOOT:DSREPAIR(X)", "SAFEBOOT"] {
            assert!(of(yes).safe_boot(), "{yes:?}");
        }
        assert!(!of("XSAFEBOOT:MINIMAL SAFEBOO").safe_boot());
    }

    #[test]
    fn ends_at_nul() {
        for no in ["FASTDETECT\0GPLPV", "FASTDETECT \0GPLPV", "\0 GPLPV"] {
            assert!(!of(no).selects_pv(), "{no:?}");
        }
        assert!(of("GPLPV\0").selects_pv());
    }

    proptest! {
        /// The streaming parser agrees with the plain reading of the rule, at any length.
        #[test]
        fn agrees_with_the_rule(words in proptest::collection::vec("(/?(NO)?[Gg]PLPV[X=]?|SAFEBOOT:[A-Z]{0,9}|/{0,2}[ -~]{0,400}|é)", 0..40)) {
            let text: String = words.join(" ");
            let tokens: Vec<String> = text.split_ascii_whitespace()
                .map(|t| t.strip_prefix('/').unwrap_or(t).to_ascii_uppercase()).collect();
            let has = |w: &str| tokens.iter().any(|t| t == w);
            let options = of(&text);
            prop_assert_eq!(options.selects_pv(), has("GPLPV") && !has("NOGPLPV"), "{}", text);
            prop_assert_eq!(options.vetoes_pv(), has("NOGPLPV"));
            prop_assert_eq!(options.safe_boot(), tokens.iter().any(|t| t.starts_with("SAFEBOOT")));
        }

        /// Any sequence of 16-bit units is taken without a panic, and noise before a token does not hide it.
        #[test]
        fn any_units(noise in proptest::collection::vec(1u16.., 0..600)) {
            let tail = " GPLPV".encode_utf16();
            let options = BootOptions::parse(noise.iter().copied().chain(tail));
            prop_assert!(options.selects_pv() || options.vetoes_pv(), "{}", format!("{noise:?}"));
        }
    }
}
