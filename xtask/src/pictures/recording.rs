//! A recording of a command's output: a terminal in an SVG, whose lines come at the times at which they came.
//!
//! The picture is animated by CSS. Where nothing moves (a printer, a reader who asked for no motion) it is the last
//! screen. Long pauses are cut short, and lines that came at once are shown one after the other; the column on the
//! left has the real time of each.

use std::{
    env,
    fmt::Write as _,
    fs,
    io::{BufRead, BufReader},
    path::Path,
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};

use super::svg::escape;
use crate::layout::Layout;

/// Columns of the terminal, without the one of the times.
const COLUMNS: usize = 160;
/// Lines of the terminal.
const ROWS: usize = 30;
/// Width of a column and height of a line, in CSS pixels.
const CELL: (f64, f64) = (7.2, 16.0);
/// Space around the text.
const MARGIN: f64 = 12.0;
/// Columns of a time.
const TIME: usize = 7;

/// Longest pause that is shown.
const LONGEST: Duration = Duration::from_millis(1200);
/// Shortest time between two lines that is shown.
const SHORTEST: Duration = Duration::from_millis(90);
/// Time for which the last screen stays.
const STAYS: Duration = Duration::from_secs(12);

/// A line of output, with the time at which it came.
type Line = (Duration, String);

/// Runs `cargo xtask demo`, prints what it prints, and writes the recording to `file`.
///
/// # Errors
/// The demo fails, or the file cannot be written; a demo that failed leaves no recording.
pub fn demo(file: &Path) -> Result<()> {
    let program = env::current_exe().context("cannot find this program's own file")?;
    let began = Instant::now();
    let mut demo =
        Command::new(program).arg("demo").stdout(Stdio::piped()).spawn().context("cannot run the demo")?;
    let mut lines = Vec::new();
    for line in BufReader::new(demo.stdout.take().context("the demo has no output")?).lines() {
        let line = line.context("cannot read what the demo prints")?;
        println!("{line}");
        lines.push((began.elapsed(), line));
    }
    let status = demo.wait().context("cannot wait for the demo")?;
    ensure!(status.success(), "the demo failed ({status}); nothing was recorded");
    let picture = draw("cargo xtask demo", &terminal(Layout::here().root(), lines));
    fs::write(file, picture).with_context(|| format!("cannot write {}", file.display()))?;
    println!("Recorded in {}", file.display());
    Ok(())
}

/// Returns the lines of a terminal: paths are relative to the workspace, and what is too long is broken.
fn terminal(root: &Path, lines: Vec<Line>) -> Vec<Line> {
    let root = format!("{}/", root.display());
    let mut broken = Vec::new();
    for (time, line) in lines {
        let text: Vec<char> = line.replace(&root, "").chars().collect();
        if text.is_empty() {
            broken.push((time, String::new()));
        }
        broken.extend(text.chunks(COLUMNS).map(|part| (time, part.iter().collect())));
    }
    broken
}

/// Returns the time at which each line is shown.
fn shown(lines: &[Line]) -> Vec<Duration> {
    let (mut at, mut before) = (Duration::ZERO, Duration::ZERO);
    lines
        .iter()
        .map(|(time, _)| {
            at += time.saturating_sub(before).clamp(SHORTEST, LONGEST);
            before = *time;
            at
        })
        .collect()
}

/// Returns the SVG of a command's output.
fn draw(command: &str, lines: &[Line]) -> String {
    let shown = shown(lines);
    let length = shown.last().copied().unwrap_or_default() + STAYS;
    let whole = lines.last().map_or(Duration::ZERO, |(time, _)| *time);
    let (width, height) =
        ((TIME + COLUMNS) as f64 * CELL.0 + 2.0 * MARGIN, (ROWS + 2) as f64 * CELL.1 + 2.0 * MARGIN);
    let screen = ROWS as f64 * CELL.1;
    // Line n is the last one of the screen when the text is moved by this.
    let moved = |n: usize| (ROWS as f64 - n as f64 - 1.0) * CELL.1;

    let mut frames = format!("0%{{transform:translateY({:.0}px)}}", screen);
    for (n, at) in shown.iter().enumerate() {
        let percent = 100.0 * at.as_secs_f64() / length.as_secs_f64();
        let _ = write!(frames, "{percent:.3}%{{transform:translateY({:.0}px)}}", moved(n));
    }
    let mut text = String::new();
    for (n, (time, line)) in lines.iter().enumerate() {
        let y = (n as f64 + 0.8) * CELL.1;
        let _ = writeln!(
            text,
            "<text y=\"{y:.1}\"><tspan class=\"time\">{}</tspan><tspan x=\"{:.1}\" class=\"{}\">{}</tspan></text>",
            clock(*time),
            TIME as f64 * CELL.0,
            class(line),
            escape(line)
        );
    }
    format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" xml:space=\"preserve\" \
         viewBox=\"0 0 {width:.0} {height:.0}\" width=\"{width:.0}\" \
         height=\"{height:.0}\" font-family=\"'DejaVu Sans Mono', Consolas, Menlo, monospace\" font-size=\"12\">\n\
         <!-- Recorded from `{command}`; not edited by hand. -->\n\
         <title>Output of {command}, recorded</title>\n\
         <style>text{{white-space:pre;fill:#e6edf3}}.time,.faint{{fill:#9198a1}}.good{{fill:#3fb950}}\
         .stop{{fill:#f85149}}.roll{{animation:roll {:.2}s step-end infinite}}\
         @media (prefers-reduced-motion:reduce){{.roll{{animation:none}}}}@keyframes roll{{{frames}}}</style>\n\
         <defs><clipPath id=\"screen\"><rect width=\"{width:.0}\" height=\"{screen:.0}\"/></clipPath></defs>\n\
         <rect width=\"{width:.0}\" height=\"{height:.0}\" rx=\"8\" fill=\"#0d1117\"/>\n\
         <g transform=\"translate({MARGIN} {MARGIN})\"><text y=\"12\">$ {command}</text>\n\
         <g transform=\"translate(0 {:.0})\" clip-path=\"url(#screen)\"><g class=\"roll\" transform=\"translate(0 {:.0})\">\n\
         {text}</g></g>\n\
         <text class=\"faint\" y=\"{:.1}\">{} in all; pauses are cut to {:.1} s</text></g>\n</svg>\n",
        length.as_secs_f64(),
        CELL.1,
        moved(lines.len().saturating_sub(1)),
        screen + 1.8 * CELL.1,
        clock(whole).trim(),
        LONGEST.as_secs_f64(),
    )
}

/// Returns the class of a line's colour.
fn class(line: &str) -> &'static str {
    match line.split_whitespace().next() {
        Some("begin" | "…") => "faint",
        Some("done" | "ok") => "good",
        _ if line.contains("STOP 0x") || line.contains("xenguard: stop") => "stop",
        _ => "plain",
    }
}

/// Returns a time in minutes and seconds.
fn clock(time: Duration) -> String {
    format!("{:>2}:{:02}", time.as_secs() / 60, time.as_secs() % 60)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(of: &[(u64, &str)]) -> Vec<Line> {
        of.iter().map(|&(millis, text)| (Duration::from_millis(millis), text.to_owned())).collect()
    }

    #[test]
    fn pauses_are_cut_and_bursts_spread() {
        let shown = shown(&lines(&[(0, "a"), (0, "b"), (500, "c"), (90_000, "d")]));
        assert_eq!(shown.iter().map(Duration::as_millis).collect::<Vec<_>>(), [90, 180, 680, 1880]);
    }

    #[test]
    fn lines_are_broken_and_without_the_folder_of_this_machine() {
        let long = "x".repeat(COLUMNS + 1);
        let all =
            terminal(Path::new("/home/a/b"), lines(&[(1, ""), (2, "in /home/a/b/target/x"), (3, &long)]));
        let texts: Vec<&str> = all.iter().map(|(_, text)| text.as_str()).collect();
        assert_eq!(texts, ["", "in target/x", &long[1..], "x"]);
    }

    #[test]
    fn the_last_frame_is_what_is_shown_without_motion() {
        let svg = draw("a", &lines(&[(0, "begin   <a>"), (61_000, "xenguard: stop 0x1"), (62_000, "done")]));
        let end = moved_to(&svg, "translateY(", "px)}}</style>");
        assert_eq!(end, moved_to(&svg, "class=\"roll\" transform=\"translate(0 ", ")\">\n"));
        assert!(svg.contains("class=\"faint\">begin   &lt;a&gt;") && svg.contains("class=\"stop\">xenguard"));
        assert!(svg.contains("1:02 in all") && svg.contains("prefers-reduced-motion"));
        assert_eq!(svg.matches("%{transform").count(), 4);
        // XML has no "--" inside of a comment.
        assert_eq!(svg.matches("--").count(), 2);
    }

    fn moved_to(svg: &str, before: &str, after: &str) -> String {
        let (head, tail) = svg.split_once(after).expect("the text behind it");
        let from = head.rfind(before).map(|at| at + before.len());
        match from {
            Some(from) => head[from..].to_owned(),
            None => panic!("no {before} before {after} and {}", tail.len()),
        }
    }

    #[test]
    fn frames_come_one_after_the_other() {
        let many: Vec<Line> = (0..200).map(|n| (Duration::from_secs(n / 7), format!("line {n}"))).collect();
        let svg = draw("a", &many);
        let (_, frames) = svg.split_once("@keyframes roll{").expect("frames");
        let (frames, _) = frames.split_once("</style>").expect("their end");
        let percents: Vec<f64> =
            frames.split('}').filter_map(|frame| frame.split_once('%')?.0.parse().ok()).collect();
        assert_eq!(percents.len(), 201);
        assert!(percents.windows(2).all(|two| two[0] < two[1]) && percents[200] < 100.0);
    }
}
