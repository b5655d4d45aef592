//! The layers, one below the other, and for each what catches its failure.

use anyhow::{Context, Result};

use super::svg::{LEADING, Picture, Style, TEXT, width, wrap};

const WIDTH: f64 = 960.0;
/// Left edge and width of a layer's box.
const LAYER: (f64, f64) = (62.0, 500.0);
/// The same of what happens without it.
const WITHOUT: (f64, f64) = (640.0, 304.0);
const TOP: f64 = 44.0;
const GAP: f64 = 16.0;
const PADDING: f64 = 10.0;

/// A row of the table, laid out.
struct Layer {
    number: String,
    head: String,
    does: Vec<String>,
    without: Vec<String>,
    /// Row of the layer that catches its failure.
    caught_by: Option<usize>,
    y: f64,
    height: f64,
}

/// Draws the table: number, name, component, what it does, what happens without it.
pub(super) fn draw(rows: &[Vec<String>]) -> Result<String> {
    let layers = laid_out(rows)?;
    let mut picture = Picture::new(WIDTH);
    let heading = Style { faint: true, ..TEXT };
    picture.text(heading, (LAYER.0, 24.0), "a boot, from above");
    picture.text(heading, (WITHOUT.0, 24.0), "if the layer fails or is missing");
    let bold = Style { bold: true, ..TEXT };
    let number = Style { centred: true, ..bold };
    for (at, layer) in layers.iter().enumerate() {
        let middle = layer.y + layer.height / 2.0;
        let end = if layer.number == "L8" { "amber" } else { "blue" };
        picture.rectangle("plain", (LAYER.0, layer.y), (LAYER.1, layer.height));
        picture.rectangle(end, (14.0, middle - 14.0), (36.0, 28.0));
        picture.text(number, (32.0, middle + 4.5), &layer.number);
        if let Some(next) = layers.get(at + 1) {
            let from = middle + 14.0;
            let to = next.y + next.height / 2.0 - 15.0;
            picture.path(&format!("M32 {from:.1} L32 {to:.1}"), false, true);
        }
        picture.text(bold, (LAYER.0 + PADDING, layer.y + 19.0), &layer.head);
        for (line, text) in layer.does.iter().enumerate() {
            picture.text(TEXT, (LAYER.0 + PADDING, layer.y + 19.0 + LEADING * (line + 1) as f64), text);
        }
        if layer.without[0] == "–" {
            continue;
        }
        let caught = layer.caught_by.is_some();
        let class = if caught { "blue" } else { "green" };
        let height = PADDING * 2.0 + LEADING * layer.without.len() as f64 - 4.0;
        let top = middle - height / 2.0;
        picture.rectangle(class, (WITHOUT.0, top), (WITHOUT.1, height));
        for (line, text) in layer.without.iter().enumerate() {
            picture.text(TEXT, (WITHOUT.0 + PADDING, top + PADDING + 11.0 + LEADING * line as f64), text);
        }
        let right = LAYER.0 + LAYER.1;
        picture.path(&format!("M{right:.1} {middle:.1} L{:.1} {middle:.1}", WITHOUT.0 - 1.0), true, true);
        if let Some(to) = layer.caught_by {
            // Each has a lane of its own between the two columns.
            let lane = right + 14.0 + 16.0 * (at % 4) as f64;
            let below = if to > at { -8.0 } else { 8.0 };
            let (start, target) =
                (top + height / 2.0 - below, layers[to].y + layers[to].height / 2.0 + below);
            picture.path(
                &format!(
                    "M{:.1} {start:.1} L{:.1} {start:.1} Q{lane:.1} {start:.1} {lane:.1} {:.1} L{lane:.1} {:.1} \
                     Q{lane:.1} {target:.1} {:.1} {target:.1} L{:.1} {target:.1}",
                    WITHOUT.0,
                    lane + 8.0,
                    start - below,
                    target + below,
                    lane - 8.0,
                    right + 1.0
                ),
                false,
                true,
            );
        }
    }
    let last = layers.last().context("no layers")?;
    Ok(picture
        .finish(last.y + last.height + 18.0, "The layers of the guard, and what catches the failure of each"))
}

fn laid_out(rows: &[Vec<String>]) -> Result<Vec<Layer>> {
    let mut y = TOP;
    let mut layers = Vec::new();
    for row in rows {
        let [number, name, component, does, without] = &row[..] else {
            anyhow::bail!("a layer has five cells: {row:?}");
        };
        let head = format!("{name}: {component}");
        let bold = Style { bold: true, ..TEXT };
        anyhow::ensure!(width(&head, bold) < LAYER.1 - PADDING, "too long for a line: {head}");
        let does = wrap(does, TEXT, LAYER.1 - 2.0 * PADDING);
        let lines = wrap(without, TEXT, WITHOUT.1 - 2.0 * PADDING);
        let height = (does.len() + 1).max(lines.len()) as f64 * LEADING + PADDING + 8.0;
        let first = without.split_whitespace().next().unwrap_or_default();
        let caught_by = rows.iter().position(|row| row[0] == first);
        layers.push(Layer { number: number.clone(), head, does, without: lines, caught_by, y, height });
        y += height + GAP;
    }
    Ok(layers)
}
