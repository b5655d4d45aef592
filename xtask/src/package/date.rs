//! The one date of a package: that of `DriverVer`, so that equal sources give equal packages.

use std::time::Duration;

use anyhow::{Context, Result, bail};
use bootcfg::inf::Inf;

/// A day.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Date {
    /// 1980–2107, which a zip archive can hold.
    pub year: u16,
    /// 1–12.
    pub month: u8,
    /// 1–31.
    pub day: u8,
}

impl Date {
    /// Returns the date in `DriverVer = mm/dd/yyyy,…`.
    ///
    /// # Errors
    /// There is none.
    pub(super) fn of(inf: &Inf) -> Result<Date> {
        let text = inf.value("Version", "DriverVer").context("no DriverVer")?;
        let parts = text.split('/').map(str::parse).collect::<Result<Vec<u16>, _>>()?;
        let [month @ 1..=12, day @ 1..=31, year @ 1980..=2107] = parts[..] else {
            bail!("DriverVer has the date {text}, not mm/dd/yyyy")
        };
        Ok(Date { year, month: u8::try_from(month)?, day: u8::try_from(day)? })
    }

    /// Returns its first second, from 1970 on (days from the civil date, proleptic Gregorian).
    pub(super) fn since_epoch(self) -> Duration {
        let leap =
            |year: u64| year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400));
        let year = u64::from(self.year);
        let years: u64 = (1970..year).map(|year| if leap(year) { 366 } else { 365 }).sum();
        let lengths = [31, if leap(year) { 29 } else { 28 }, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];
        let months: u64 = lengths[..usize::from(self.month) - 1].iter().sum();
        Duration::from_secs((years + months + u64::from(self.day) - 1) * 86_400)
    }

    /// Returns `yyyy-mm-ddT00:00:00Z`.
    pub(super) fn iso(self) -> String {
        format!("{:04}-{:02}-{:02}T00:00:00Z", self.year, self.month, self.day)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_are_counted_as_calendars_do() {
        for (year, month, day, seconds) in
            [(1980, 1, 1, 315_532_800), (2000, 3, 1, 951_868_800), (2026, 11, 21, 1_795_219_200)]
        {
            assert_eq!(Date { year, month, day }.since_epoch().as_secs(), seconds);
        }
    }

    #[test]
    fn the_date_is_that_of_driver_ver() {
        let read =
            |text: &str| Date::of(&Inf::parse(&format!("[Version]\nDriverVer = {text},1.0.0.0\n")).unwrap());
        assert_eq!(read("11/21/2026").unwrap().iso(), "2026-11-21T00:00:00Z");
        assert!(read("21/11/2026").is_err());
    }
}
