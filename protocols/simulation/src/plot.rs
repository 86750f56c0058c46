//! Plots as SVG: what came of a scenario, for people to look at.

use std::fmt::Write;

use crate::CaseReport;

const WIDTH: f64 = 720.0;
const HEIGHT: f64 = 360.0;
/// Left, top, right, bottom.
const MARGINS: [f64; 4] = [64.0, 40.0, 150.0, 48.0];
/// Told apart by people who do not tell red from green (Okabe and Ito's palette).
const COLOURS: [&str; 8] = [
    "#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#999999", "#000000",
];

/// A line or a row of bars.
struct Series {
    name: String,
    points: Vec<(f64, f64)>,
}

struct Plot<'a> {
    title: &'a str,
    across: &'a str,
    upwards: &'a str,
    bars: bool,
    series: Vec<Series>,
}

/// The plots of a scenario's cases: for each a name and the text of an SVG file.
#[must_use]
pub fn plots(name: &str, reports: &[CaseReport]) -> Vec<(String, String)> {
    let mut all = Vec::new();
    let Some(first) = reports.first() else {
        return all;
    };
    let series = reliability(reports);
    if !series.is_empty() {
        let plot = Plot {
            title: &first.title,
            across: "message after the event",
            upwards: "% of nodes reached",
            bars: false,
            series,
        };
        all.push((format!("{name}-reliability"), plot.draw()));
    }
    let series = degrees(reports);
    if !series.is_empty() {
        let plot = Plot {
            title: &first.title,
            across: "neighbours",
            upwards: "% of nodes",
            bars: true,
            series,
        };
        all.push((format!("{name}-degrees"), plot.draw()));
    }
    all
}

/// Up to its 50th message, for nothing happens later.
fn reliability(reports: &[CaseReport]) -> Vec<Series> {
    let rows = reports.iter().flat_map(|report| {
        report
            .rows
            .iter()
            .filter(|row| row.series.len() > 1)
            .map(move |row| (report, row))
    });
    rows.take(COLOURS.len())
        .map(|(report, row)| Series {
            name: format!("{} {}", row.label, report.case()),
            points: (1u32..)
                .map(f64::from)
                .zip(row.series.iter().copied())
                .take(50)
                .collect(),
        })
        .collect()
}

fn degrees(reports: &[CaseReport]) -> Vec<Series> {
    let last = |report: &CaseReport| {
        let row = report.rows.iter().rfind(|row| !row.degrees.is_empty())?;
        let nodes: usize = row.degrees.iter().sum();
        let share = |count: &usize| 100.0 * *count as f64 / nodes.max(1) as f64;
        Some(Series {
            name: format!("{} {}", row.label, report.case()),
            points: (0u32..)
                .map(f64::from)
                .zip(row.degrees.iter().map(share))
                .collect(),
        })
    };
    reports
        .iter()
        .filter_map(last)
        .take(COLOURS.len())
        .collect()
}

impl Plot<'_> {
    fn draw(&self) -> String {
        let points = || self.series.iter().flat_map(|series| &series.points);
        let right = points().map(|point| point.0).fold(1.0, f64::max);
        let left = if self.bars { 0.0 } else { 1.0 };
        let top = round_up(points().map(|point| point.1).fold(1e-9, f64::max));
        let [west, north, east, south] = MARGINS;
        let half = if self.bars { 0.5 } else { 0.0 };
        let span = (right - left + 2.0 * half).max(1.0);
        let x = |value: f64| west + (value - left + half) / span * (WIDTH - west - east);
        let y = |value: f64| HEIGHT - south - value / top * (HEIGHT - north - south);
        let mut svg = format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" \
             font-family=\"sans-serif\" font-size=\"12\">\n\
             <rect width=\"100%\" height=\"100%\" fill=\"#fff\"/>\n"
        );
        text(
            &mut svg,
            (west, 22.0),
            "start",
            &format!("<tspan font-size=\"14\">{}</tspan>", escape(self.title)),
        );
        self.axes(&mut svg, (left, right, top), &x, &y);
        for (at, (series, colour)) in self.series.iter().zip(COLOURS).enumerate() {
            let line = north + 16.0 * at as f64;
            let _ = writeln!(
                svg,
                "<rect x=\"{:.1}\" y=\"{line:.1}\" width=\"10\" height=\"10\" fill=\"{colour}\"/>",
                WIDTH - east + 12.0
            );
            text(
                &mut svg,
                (WIDTH - east + 27.0, line + 9.0),
                "start",
                &escape(&series.name),
            );
            if self.bars {
                let each = 0.8 / self.series.len() as f64;
                for (value, height) in &series.points {
                    let from = x(value - 0.4 + each * at as f64);
                    let to = x(value - 0.4 + each * (at + 1) as f64);
                    let _ = writeln!(
                        svg,
                        "<rect x=\"{from:.1}\" y=\"{:.1}\" width=\"{:.1}\" height=\"{:.1}\" \
                         fill=\"{colour}\"/>",
                        y(*height),
                        to - from,
                        y(0.0) - y(*height)
                    );
                }
            } else {
                let points: Vec<String> = series
                    .points
                    .iter()
                    .map(|point| format!("{:.1},{:.1}", x(point.0), y(point.1)))
                    .collect();
                let _ = writeln!(
                    svg,
                    "<polyline fill=\"none\" stroke=\"{colour}\" stroke-width=\"2\" points=\"{}\"/>",
                    points.join(" ")
                );
            }
        }
        svg.push_str("</svg>\n");
        svg
    }

    fn axes(
        &self,
        svg: &mut String,
        (left, right, top): (f64, f64, f64),
        x: &dyn Fn(f64) -> f64,
        y: &dyn Fn(f64) -> f64,
    ) {
        let [west, north, east, south] = MARGINS;
        for tick in 0..=5u32 {
            let value = top * f64::from(tick) / 5.0;
            let at = y(value);
            let _ = writeln!(
                svg,
                "<line x1=\"{west}\" x2=\"{:.1}\" y1=\"{at:.1}\" y2=\"{at:.1}\" stroke=\"#ddd\"/>",
                WIDTH - east
            );
            text(svg, (west - 6.0, at + 4.0), "end", &label(value));
        }
        let step = ((right - left) / 10.0).ceil().max(1.0);
        let mut value = left;
        while value <= right {
            text(
                svg,
                (x(value), HEIGHT - south + 16.0),
                "middle",
                &label(value),
            );
            value += step;
        }
        let middle = f64::midpoint(west, WIDTH - east);
        text(svg, (middle, HEIGHT - 10.0), "middle", &escape(self.across));
        let turned = format!(
            "<tspan font-style=\"italic\">{}</tspan>",
            escape(self.upwards)
        );
        text(svg, (west, north - 6.0), "start", &turned);
    }
}

fn text(svg: &mut String, (x, y): (f64, f64), anchor: &str, content: &str) {
    let _ = writeln!(
        svg,
        "<text x=\"{x:.1}\" y=\"{y:.1}\" text-anchor=\"{anchor}\">{content}</text>"
    );
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
}

fn label(value: f64) -> String {
    let text = format!("{value:.2}");
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

/// The next of 1, 2, 5, 10, ...
fn round_up(value: f64) -> f64 {
    let scale = 10f64.powf(value.log10().floor());
    [1.0, 2.0, 5.0, 10.0]
        .into_iter()
        .map(|step| step * scale)
        .find(|step| *step >= value * (1.0 - 1e-9))
        .unwrap_or(value)
}

#[cfg(test)]
mod tests {
    use super::{Plot, Series, round_up};

    #[test]
    fn a_plot_is_well_formed_and_escapes_what_it_is_told() {
        let series = vec![Series {
            name: "<b> & c".to_owned(),
            points: vec![(1.0, 50.0), (2.0, 100.0)],
        }];
        let plot = Plot {
            title: "t",
            across: "a",
            upwards: "u",
            bars: false,
            series,
        };
        let svg = plot.draw();
        assert!(svg.contains("&lt;b&gt; &amp; c") && svg.contains("polyline"));
        for tag in ["text", "tspan", "svg"] {
            let opened = svg.matches(&format!("<{tag}")).count();
            assert_eq!(opened, svg.matches(&format!("</{tag}>")).count(), "{tag}");
        }
    }

    #[test]
    fn axes_end_at_round_numbers() {
        let ends = [0.3, 7.0, 100.0, 101.0].map(round_up);
        assert_eq!(ends, [0.5, 10.0, 100.0, 200.0]);
    }
}
