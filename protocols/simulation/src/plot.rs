//! Plots as SVG: what came of a scenario, for people to look at.

use std::fmt::Write;

use crate::{CaseReport, Row, Setting};

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

/// Reliability after a crash as the paper has it (figure 2, read out of the plot): percent crashed, and percent of
/// the survivors reached by 1,000 messages on average.
const PAPER: [(&str, [f64; 10]); 2] = [
    (
        "HyParView, paper",
        [
            100.0, 100.0, 100.0, 100.0, 100.0, 99.94, 99.91, 99.88, 99.65, 90.86,
        ],
    ),
    (
        "Cyclon, paper",
        [97.4, 96.6, 92.6, 85.9, 73.4, 50.2, 11.8, 0.2, 0.2, 0.3],
    ),
];
const PAPER_CRASHED: [f64; 10] = [10.0, 20.0, 30.0, 40.0, 50.0, 60.0, 70.0, 80.0, 90.0, 95.0];

/// The plots of a scenario's cases: for each a name and the text of an SVG file.
#[must_use]
pub fn plots(name: &str, reports: &[CaseReport]) -> Vec<(String, String)> {
    let Some(first) = reports.first() else {
        return Vec::new();
    };
    let kinds = [
        (
            "reliability",
            "message after the event",
            "% of nodes reached",
            reliability(reports),
        ),
        (
            "crashed",
            "% of nodes crashed",
            "% of survivors reached, mean",
            over_crash(reports),
        ),
        ("degrees", "neighbours", "% of nodes", degrees(reports)),
        (
            "clustering",
            "seconds",
            "clustering, times that of a random graph",
            clustering(reports),
        ),
    ];
    let mut all = Vec::new();
    for (kind, across, upwards, mut series) in kinds {
        // More lines could not be told apart.
        series.truncate(COLOURS.len());
        if !series.is_empty() {
            let plot = Plot {
                title: &first.title,
                across,
                upwards,
                bars: kind == "degrees",
                series,
            };
            all.push((format!("{name}-{kind}"), plot.draw()));
        }
    }
    all
}

/// Up to its 50th message, for nothing happens later. Of many cases the last: they are the hardest.
fn reliability(reports: &[CaseReport]) -> Vec<Series> {
    let first = reports.first().map(|report| report.protocol);
    let rows = reports
        .iter()
        .filter(|report| Some(report.protocol) == first)
        .flat_map(|report| {
            let rows = report.rows.iter().filter(|row| row.series.len() > 1);
            rows.map(move |row| (report, row))
        });
    let mut series: Vec<Series> = rows
        .map(|(report, row)| Series {
            name: named(report, row),
            points: (1u32..)
                .map(f64::from)
                .zip(row.series.iter().copied())
                .take(50)
                .collect(),
        })
        .collect();
    series.split_off(series.len().saturating_sub(COLOURS.len()))
}

/// Reliability against the share that crashed, where that varies, beside the paper's.
fn over_crash(reports: &[CaseReport]) -> Vec<Series> {
    let mut series: Vec<Series> = Vec::new();
    for report in reports {
        let crashed = report.variables.get("percent");
        let Some(crashed) = crashed.and_then(Setting::number) else {
            continue;
        };
        // The last: earlier ones were sent before the crash.
        let after = report.rows.iter().rfind(|row| row.series.len() > 1);
        let Some(mean) = after.and_then(|row| row.values.get("reliability_mean")) else {
            continue;
        };
        let name = format!("{:?}", report.protocol);
        let point = (crashed, *mean);
        match series.iter_mut().find(|line| line.name == name) {
            Some(line) => line.points.push(point),
            None => series.push(Series {
                name,
                points: vec![point],
            }),
        }
    }
    // Two points are no curve.
    series.retain(|line| line.points.len() > 2);
    if !series.is_empty() {
        series.extend(PAPER.map(|(name, all)| Series {
            name: name.to_owned(),
            points: PAPER_CRASHED.into_iter().zip(all).collect(),
        }));
    }
    series
}

fn degrees(reports: &[CaseReport]) -> Vec<Series> {
    let last = |report: &CaseReport| {
        let row = report.rows.iter().rfind(|row| !row.degrees.is_empty())?;
        let nodes: usize = row.degrees.iter().sum();
        let share = |count: &usize| 100.0 * *count as f64 / nodes.max(1) as f64;
        Some(Series {
            name: named(report, row),
            points: (0u32..)
                .map(f64::from)
                .zip(row.degrees.iter().map(share))
                .collect(),
        })
    };
    reports.iter().filter_map(last).collect()
}

/// Over time, where it was measured more than once or twice.
fn clustering(reports: &[CaseReport]) -> Vec<Series> {
    let over_time = |report: &CaseReport| {
        let value = |row: &Row| row.values.get("clustering_over_random").copied();
        let points = report.rows.iter();
        let points = points.filter_map(|row| value(row).map(|value| (row.at_s, value)));
        Series {
            name: format!("{} nodes {}", report.nodes, report.case())
                .trim_end()
                .to_owned(),
            points: points.collect(),
        }
    };
    let all = reports.iter().map(over_time);
    all.filter(|line| line.points.len() > 2).collect()
}

fn named(report: &CaseReport, row: &Row) -> String {
    let percent = report.variables.get("percent");
    match percent {
        Some(percent) => format!("{percent} % {}", row.label),
        None => format!("{} {}", row.label, report.case()),
    }
}

impl Plot<'_> {
    fn draw(&self) -> String {
        let points = || self.series.iter().flat_map(|series| &series.points);
        let right = points().map(|point| point.0).fold(1.0, f64::max);
        let least = points().map(|point| point.0).fold(right, f64::min);
        let left = if self.bars { 0.0 } else { least };
        // Never zero, by which heights are divided.
        let top = round_up(points().map(|point| point.1).fold(1e-9, f64::max));
        let [west, north, east, south] = MARGINS;
        // A bar stands around its value, so the outermost need half a place more.
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
        // What is across is counted in whole numbers, seconds or percent.
        let step = round_up((right - left) / 10.0).max(1.0);
        let mut value = (left / step).ceil() * step;
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
    use super::{Plot, Series, plots, round_up};
    use crate::{Setup, Size, play, read};

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

    #[test]
    fn crashes_of_several_sizes_are_plotted_beside_the_papers() {
        let text = "title = 'a'\nnodes = 12\nsmall = 12\nprotocol = '$protocol'\n\
                    vary = { protocol = ['hyparview', 'cyclon'], percent = [10, 20, 30] }\n\
                    [[step]]\ndo = 'join'\nevery-ms = 100\n\
                    [[step]]\ndo = 'crash'\npercent = '$percent'\nhow = 'reset'\n\
                    [[step]]\ndo = 'broadcast'\nlabel = 'after'\nmessages = 2\n";
        let cases = read(text, Size::Full, None).expect("a scenario");
        let report = |case| play(case, &Setup::default(), 1, &mut |_, _, _| ());
        let reports: Vec<_> = cases.iter().map(report).collect();
        let drawn = plots("crash", &reports);
        let names: Vec<&str> = drawn.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(names, ["crash-reliability", "crash-crashed"]);
        let (messages, crashed) = (&drawn[0].1, &drawn[1].1);
        assert_eq!(messages.matches("<polyline").count(), 3, "of one protocol");
        assert_eq!(crashed.matches("<polyline").count(), 4);
        for name in ["Hyparview", "Cyclon", "HyParView, paper", "Cyclon, paper"] {
            assert!(crashed.contains(&format!(">{name}<")), "{name}");
        }
    }
}
