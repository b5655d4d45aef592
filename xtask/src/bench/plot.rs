//! A bar chart as SVG: groups of bars over a logarithmic scale.

use std::fmt::Write;

/// A panel of the chart.
pub(super) struct Panel {
    /// Over the panel, with the unit.
    pub title: String,
    /// Under each group.
    pub groups: Vec<String>,
    /// Name of each series, and its value in each group; `None` draws no bar.
    pub series: Vec<(String, Vec<Option<f64>>)>,
}

const WIDTH: f64 = 960.0;
const HEIGHT: f64 = 320.0;
const LEFT: f64 = 64.0;
const RIGHT: f64 = 16.0;
const TOP: f64 = 44.0;
const BOTTOM: f64 = 48.0;
/// Colours of the series: Okabe and Ito's, which colour-blind readers can tell apart.
const COLOURS: [&str; 6] = ["#999999", "#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9"];

/// Returns the whole powers of ten that enclose all values.
fn decades(panel: &Panel) -> Option<(i32, i32)> {
    let values =
        || panel.series.iter().flat_map(|(_, values)| values.iter().flatten()).filter(|value| **value > 0.0);
    let low = values().copied().reduce(f64::min)?.log10().floor() as i32;
    let high = values().copied().reduce(f64::max)?.log10().ceil() as i32;
    Some((low, high.max(low + 1)))
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

/// Returns a power of ten as a label.
fn label(decade: i32) -> String {
    match usize::try_from(-decade) {
        Ok(digits) => format!("{:.digits$}", 10f64.powi(decade)),
        Err(_) => format!("{:.0}", 10f64.powi(decade)),
    }
}

/// Draws panels, one under the other.
pub(super) fn svg(panels: &[Panel]) -> String {
    let height = HEIGHT * panels.len() as f64;
    let mut out = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height}\" font-family=\"sans-serif\" font-size=\"12\">\n\
         <rect width=\"{WIDTH}\" height=\"{height}\" fill=\"#ffffff\"/>\n"
    );
    for (number, panel) in panels.iter().enumerate() {
        let _ = writeln!(out, "<g transform=\"translate(0 {})\">", HEIGHT * number as f64);
        draw(&mut out, panel);
        out.push_str("</g>\n");
    }
    out.push_str("</svg>\n");
    out
}

fn draw(out: &mut String, panel: &Panel) {
    let (bottom, right) = (HEIGHT - BOTTOM, WIDTH - RIGHT);
    let _ = writeln!(out, "<text x=\"{LEFT}\" y=\"18\" font-size=\"14\">{}</text>", escape(&panel.title));
    let Some((low, high)) = decades(panel) else { return };
    let y = |value: f64| bottom - (value.log10() - f64::from(low)) / f64::from(high - low) * (bottom - TOP);
    for decade in low..=high {
        let at = y(10f64.powi(decade));
        let _ = writeln!(
            out,
            "<line x1=\"{LEFT}\" x2=\"{right}\" y1=\"{at:.1}\" y2=\"{at:.1}\" stroke=\"#dddddd\"/>\
             <text x=\"{}\" y=\"{:.1}\" text-anchor=\"end\">{}</text>",
            LEFT - 6.0,
            at + 4.0,
            label(decade)
        );
    }
    let group = (right - LEFT) / panel.groups.len().max(1) as f64;
    let bar = group * 0.8 / panel.series.len().max(1) as f64;
    for (index, name) in panel.groups.iter().enumerate() {
        let left = LEFT + group * index as f64;
        let _ = writeln!(
            out,
            "<text x=\"{:.1}\" y=\"{}\" text-anchor=\"middle\">{}</text>",
            left + group / 2.0,
            bottom + 18.0,
            escape(name)
        );
        for (series, (_, values)) in panel.series.iter().enumerate() {
            let Some(value) = values.get(index).copied().flatten().filter(|value| *value > 0.0) else {
                continue;
            };
            let top = y(value);
            let _ = writeln!(
                out,
                "<rect x=\"{:.1}\" y=\"{top:.1}\" width=\"{:.1}\" height=\"{:.1}\" fill=\"{}\"><title>{value:.3}</title></rect>",
                left + group * 0.1 + bar * series as f64,
                bar * 0.92,
                (bottom - top).max(1.0),
                COLOURS[series % COLOURS.len()]
            );
        }
    }
    let _ = writeln!(
        out,
        "<line x1=\"{LEFT}\" x2=\"{right}\" y1=\"{bottom}\" y2=\"{bottom}\" stroke=\"#333333\"/>"
    );
    for (series, (name, _)) in panel.series.iter().enumerate() {
        let x = LEFT + 170.0 * series as f64;
        let _ = writeln!(
            out,
            "<rect x=\"{x}\" y=\"27\" width=\"10\" height=\"10\" fill=\"{}\"/><text x=\"{}\" y=\"36\">{}</text>",
            COLOURS[series % COLOURS.len()],
            x + 15.0,
            escape(name)
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn panel() -> Panel {
        Panel {
            title: "MiB/s & more".to_owned(),
            groups: vec!["a".to_owned(), "b".to_owned()],
            series: vec![
                ("one".to_owned(), vec![Some(0.5), Some(50.0)]),
                ("two".to_owned(), vec![Some(5.0), None]),
            ],
        }
    }

    #[test]
    fn each_value_has_a_bar_and_a_larger_one_a_higher_bar() {
        let text = svg(&[panel()]);
        assert_eq!(text.matches("<title>").count(), 3);
        assert!(text.contains("MiB/s &amp; more"));
        let height = |value: &str| -> f64 {
            let line = text.lines().find(|line| line.contains(&format!("<title>{value}"))).expect("a bar");
            let after = line.split(" height=\"").nth(1).expect("a height");
            after.split('"').next().and_then(|number| number.parse().ok()).expect("a number")
        };
        assert!(height("50.000") > height("5.000") && height("5.000") > height("0.500"));
    }

    #[test]
    fn the_scale_encloses_the_values() {
        assert_eq!(decades(&panel()), Some((-1, 2)));
        assert_eq!(decades(&Panel { series: vec![], ..panel() }), None);
        assert_eq!([label(-1), label(0), label(2)], ["0.1", "1", "100"]);
    }
}
