//! The steps of a boot: who tells whom, from above.

use anyhow::{Context, Result, ensure};

use super::svg::{LEADING, Picture, Style, TEXT, width, wrap};

/// Whoever may take part, from left to right.
const PARTIES: [&str; 8] = ["admin", "NT", "idefilter", "guard", "xenpci", "xenvbd", "Xen, qemu", "volume"];
const LEFT: f64 = 64.0;
const TOP: f64 = 52.0;
/// Distance of two parties.
const APART: f64 = 126.0;

/// Draws a table of steps: a phase where one begins, from whom, to whom, what. A step in bold is an end.
pub(super) fn draw(title: &str, rows: &[Vec<String>]) -> Result<String> {
    let present: Vec<&str> = PARTIES
        .into_iter()
        .filter(|party| rows.iter().any(|row| row[1] == *party || row[2] == *party))
        .collect();
    let place = |name: &str| -> Result<f64> {
        let at = present.iter().position(|party| *party == name);
        Ok(LEFT + APART * at.with_context(|| format!("nobody is called {name}"))? as f64)
    };
    let wide = LEFT * 2.0 + APART * (present.len() - 1) as f64;
    // Lifelines lie below what is written on them, so the text comes second.
    let (mut steps, mut y) = (Picture::new(wide), TOP + 6.0);
    for row in rows {
        ensure!(row.len() == 4, "a step has four cells: {row:?}");
        if !row[0].is_empty() {
            y += 12.0;
            steps.rectangle("band", (8.0, y), (wide - 16.0, 22.0));
            steps.text(Style { faint: true, bold: true, ..TEXT }, (16.0, y + 15.5), &row[0]);
            y += 26.0;
        }
        let (from, to) = (place(&row[1])?, place(&row[2])?);
        y = if from == to {
            alone(&mut steps, wide, from, y, &row[3])
        } else {
            arrow(&mut steps, wide, (from, to), y, &row[3])
        };
    }
    let mut picture = Picture::new(wide);
    for party in &present {
        let x = place(party)?;
        let class = if *party == "guard" {
            "blue"
        } else if party.starts_with("xen") || *party == "idefilter" {
            "green"
        } else {
            "plain"
        };
        picture.path(&format!("M{x:.1} {TOP:.1} L{x:.1} {:.1}", y + 8.0), true, false);
        picture.rectangle(class, (x - 54.0, 16.0), (108.0, TOP - 22.0));
        picture.text(Style { bold: true, centred: true, ..TEXT }, (x, 36.0), party);
    }
    picture.join(steps);
    Ok(picture.finish(y + 18.0, title))
}

/// Returns a text without the asterisks of bold type, and how it is set.
fn set(text: &str) -> (&str, bool) {
    match text.strip_prefix("**").and_then(|text| text.strip_suffix("**")) {
        Some(text) => (text, true),
        None => (text, false),
    }
}

/// Draws a step between two parties; returns where the next one begins.
fn arrow(picture: &mut Picture, wide: f64, (from, to): (f64, f64), y: f64, text: &str) -> f64 {
    let (text, bold) = set(text);
    let style = Style { bold, ..TEXT };
    let (left, right) = (from.min(to), from.max(to));
    let lines = wrap(text, style, (right - left - 16.0).max(APART * 2.2));
    let most = lines.iter().map(|line| width(line, style)).fold(0.0, f64::max);
    // A text that is wider than its arrow stays within the picture.
    let middle = f64::midpoint(left, right).clamp(most / 2.0 + 10.0, wide - most / 2.0 - 10.0);
    let end = y + 6.0 + LEADING * lines.len() as f64;
    write(picture, style, middle, y + 4.0, &lines);
    let (start, stop) = if from < to { (from, to - 1.0) } else { (from, to + 1.0) };
    picture.path(&format!("M{start:.1} {end:.1} L{stop:.1} {end:.1}"), false, true);
    end + 8.0
}

/// Draws a step that a party takes alone; returns where the next one begins.
fn alone(picture: &mut Picture, wide: f64, x: f64, y: f64, text: &str) -> f64 {
    let (text, bold) = set(text);
    let style = Style { bold, ..TEXT };
    let lines = wrap(text, style, APART * 2.2);
    let most = lines.iter().map(|line| width(line, style)).fold(0.0, f64::max) + 20.0;
    let height = LEADING * lines.len() as f64 + 8.0;
    let middle = x.clamp(most / 2.0 + 10.0, wide - most / 2.0 - 10.0);
    picture.rectangle(if bold { "red" } else { "plain" }, (middle - most / 2.0, y + 6.0), (most, height));
    for (line, text) in lines.iter().enumerate() {
        picture.text(Style { centred: true, ..style }, (middle, y + 21.0 + LEADING * line as f64), text);
    }
    y + height + 14.0
}

/// Writes lines around a middle, on the picture's ground.
fn write(picture: &mut Picture, style: Style, middle: f64, y: f64, lines: &[String]) {
    for (at, line) in lines.iter().enumerate() {
        let base = y + LEADING * at as f64;
        // An end has room around its words, and its own colours.
        let (class, most) =
            if style.bold { ("red", width(line, style) + 12.0) } else { ("ground", width(line, style)) };
        picture.rectangle(class, (middle - most / 2.0, base), (most, LEADING));
        picture.text(Style { centred: true, ..style }, (middle, base + 13.0), line);
    }
}
