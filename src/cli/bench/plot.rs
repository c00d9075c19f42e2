//! Latency against load, as an SVG that needs nothing else.

use std::fmt::Write as _;

use super::levels::Bench;

/// Lines that are drawn: quantile, name, colour.
const LINES: [(f64, &str, &str); 3] = [(0.5, "p50", "#1b6ca8"), (0.95, "p95", "#d98014"), (0.99, "p99", "#b3261e")];

/// Size of the picture, and of the frame in it: left, right, top, bottom.
const SIZE: (f64, f64) = (720.0, 420.0);
const FRAME: (f64, f64, f64, f64) = (72.0, 696.0, 60.0, 360.0);

/// A logarithmic axis from `low` to `high` on the picture's `from` to `to`.
struct Axis {
    low: f64,
    high: f64,
    from: f64,
    to: f64,
}

impl Axis {
    fn at(&self, value: f64) -> f64 {
        let share = (value.ln() - self.low.ln()) / (self.high.ln() - self.low.ln());
        self.from + share * (self.to - self.from)
    }
}

/// 1, 2 and 5 times powers of ten: those between, and one on either side.
fn ticks(low: f64, high: f64) -> Vec<f64> {
    let all: Vec<f64> = (-7..=7).flat_map(|e| [1.0, 2.0, 5.0].map(|m| m * 10f64.powi(e))).collect();
    let first = all.iter().rposition(|t| *t <= low).unwrap_or(0);
    let last = all.iter().position(|t| *t >= high).unwrap_or(all.len() - 1);
    all[first..=last.max(first + 1).min(all.len() - 1)].to_vec()
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

/// The picture.
pub(super) fn latency(bench: &Bench) -> String {
    let (left, right, top, bottom) = FRAME;
    let (width, height) = SIZE;
    // A level where nothing was answered has no latency.
    let levels: Vec<_> = bench.levels.iter().filter(|l| l.measured.latency.count() > 0).collect();
    let millis = |l: usize, q: f64| levels[l].measured.latency.quantile(q).as_secs_f64() * 1e3;
    let all: Vec<f64> = (0..levels.len()).flat_map(|l| LINES.map(|(q, ..)| millis(l, q).max(1e-6))).collect();
    let least = |values: &[f64]| values.iter().copied().fold(f64::INFINITY, f64::min);
    let most = |values: &[f64]| values.iter().copied().fold(0.0, f64::max);
    let mut xs: Vec<f64> = levels.iter().map(|l| l.varied.value()).collect();
    let marks = ticks(least(&all), most(&all));
    let y = Axis { low: marks[0], high: marks[marks.len() - 1], from: bottom, to: top };
    let x = match (least(&xs), most(&xs)) {
        // One level stands in the middle.
        (low, high) if low == high => Axis { low: low / 2.0, high: low * 2.0, from: left, to: right },
        (low, high) => Axis { low, high, from: left + 24.0, to: right - 24.0 },
    };

    let mut out = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width} {height}\" \
         font-family=\"system-ui, sans-serif\" font-size=\"12\" fill=\"#1d2733\">\n\
         <rect width=\"{width}\" height=\"{height}\" fill=\"#fff\"/>\n\
         <text x=\"{left}\" y=\"24\" font-size=\"13\">{}</text>\n",
        escaped(&bench.what)
    );
    for mark in &marks {
        let at = y.at(*mark);
        let _ = writeln!(
            out,
            "<path d=\"M{left} {at:.1}H{right}\" stroke=\"#dde3ea\"/>\
             <text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\">{mark}</text>",
            left - 8.0,
            at + 4.0
        );
    }
    let middle = (top + bottom) / 2.0;
    let _ = writeln!(
        out,
        "<text x=\"20\" y=\"{middle}\" text-anchor=\"middle\" transform=\"rotate(-90 20 {middle})\">latency, ms</text>"
    );
    let name = match bench.levels.first().map(|l| l.varied.name()) {
        Some("rate") => "requests a second",
        Some(name) => name,
        None => "",
    };
    let _ = writeln!(
        out,
        "<text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{name}</text>",
        (left + right) / 2.0,
        height - 16.0
    );
    let mut legend = left + 4.0;
    for (q, name, colour) in LINES {
        let points: Vec<(f64, f64)> =
            (0..levels.len()).map(|l| (x.at(xs[l]), y.at(millis(l, q).max(1e-6)))).collect();
        let mut sorted = points.clone();
        sorted.sort_by(|a, b| a.0.total_cmp(&b.0));
        let path: Vec<String> = sorted.iter().map(|(x, y)| format!("{x:.1} {y:.1}")).collect();
        let _ = writeln!(
            out,
            "<path d=\"M{}\" fill=\"none\" stroke=\"{colour}\" stroke-width=\"2\"/>",
            path.join("L")
        );
        for (x, y) in &sorted {
            let _ = writeln!(out, "<circle cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"3\" fill=\"{colour}\"/>");
        }
        let _ = writeln!(
            out,
            "<circle cx=\"{legend}\" cy=\"{:.1}\" r=\"3\" fill=\"{colour}\"/>\
             <text x=\"{}\" y=\"{}\" fill=\"{colour}\">{name}</text>",
            top - 14.0,
            legend + 8.0,
            top - 10.0
        );
        legend += 48.0;
    }
    xs.sort_by(f64::total_cmp);
    xs.dedup();
    for value in xs {
        let at = x.at(value);
        let _ = writeln!(
            out,
            "<path d=\"M{at:.1} {bottom}v5\" stroke=\"#1d2733\"/>\
             <text x=\"{at:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{value}</text>",
            bottom + 20.0
        );
    }
    out.push_str("</svg>\n");
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_enclose_what_is_shown() {
        assert_eq!(ticks(0.3, 4.0), [0.2, 0.5, 1.0, 2.0, 5.0]);
        assert_eq!(ticks(1.0, 1.0), [1.0, 2.0]);
        for (low, high) in [(1e-6, 1e6), (0.07, 0.07), (3.0, 90.0), (1e-9, 1e9)] {
            let all = ticks(low, high);
            assert!(all.len() > 1 && all.windows(2).all(|w| w[0] < w[1]), "{all:?}");
        }
    }
}
