//! Bars on a logarithmic axis, as an SVG that needs nothing else.

use std::fmt::Write as _;

/// Bars that stand together: a label, and a value for each series, where there is one.
pub(super) struct Group {
    pub(super) label: String,
    pub(super) values: Vec<Option<f64>>,
}

/// Colours of the series, in order.
const COLOURS: [&str; 6] = ["#1b6ca8", "#b3261e", "#d98014", "#5a8f29", "#8a5fb0", "#7a8691"];
const WIDTH: f64 = 860.0;
const LEFT: f64 = 250.0;
const RIGHT: f64 = 800.0;
const TOP: f64 = 64.0;
const BAR: f64 = 11.0;
const GAP: f64 = 12.0;

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

/// A rate in few characters: 950, 84.6 k, 3.07 M.
pub(super) fn short(rate: f64) -> String {
    let (value, unit) = match rate {
        r if r >= 999.5e6 => (r * 1e-9, " G"),
        r if r >= 999.5e3 => (r * 1e-6, " M"),
        r if r >= 999.5 => (r * 1e-3, " k"),
        r => (r, ""),
    };
    let digits = if value >= 99.95 { 0 } else { usize::from(value < 9.995) + 1 };
    format!("{value:.digits$}{unit}")
}

/// The picture: a group below the other, a bar for each value.
pub(super) fn svg(title: &str, series: &[&str], groups: &[Group]) -> String {
    let values = || groups.iter().flat_map(|g| g.values.iter().flatten().copied()).filter(|v| *v > 0.0);
    let low = values().fold(f64::INFINITY, f64::min).max(1e-3).log10().floor();
    let high = values().fold(1e-3, f64::max).log10().ceil().max(low + 1.0);
    let at = |value: f64| LEFT + (value.log10() - low) / (high - low) * (RIGHT - LEFT);
    let rows = |g: &Group| g.values.iter().flatten().count() as f64;
    let height = groups.iter().map(|g| rows(g) * BAR + GAP).sum::<f64>() + TOP + 40.0;
    let bottom = height - 32.0;
    let mut out = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height:.0}\" \
         font-family=\"system-ui, sans-serif\" font-size=\"11\" fill=\"#1d2733\">\n\
         <rect width=\"{WIDTH}\" height=\"{height:.0}\" fill=\"#fff\"/>\n\
         <text x=\"12\" y=\"20\" font-size=\"13\">{}</text>\n",
        escaped(title)
    );
    let mut x = 12.0;
    for (name, colour) in series.iter().zip(COLOURS) {
        let _ = writeln!(
            out,
            "<rect x=\"{x:.0}\" y=\"32\" width=\"10\" height=\"10\" fill=\"{colour}\"/>\
             <text x=\"{:.0}\" y=\"41\">{}</text>",
            x + 14.0,
            escaped(name)
        );
        x += 34.0 + 6.2 * name.chars().count() as f64;
    }
    for power in low as i32..=high as i32 {
        let mark = at(10f64.powi(power));
        let _ = writeln!(
            out,
            "<path d=\"M{mark:.1} {:.0}V{bottom:.0}\" stroke=\"#dde3ea\"/>\
             <text x=\"{mark:.1}\" y=\"{:.0}\" text-anchor=\"middle\">{}</text>",
            TOP - 8.0,
            bottom + 16.0,
            short(10f64.powi(power))
        );
    }
    let mut y = TOP;
    for group in groups {
        let middle = y + rows(group) * BAR / 2.0 + 4.0;
        let _ = writeln!(
            out,
            "<text x=\"{:.0}\" y=\"{middle:.1}\" text-anchor=\"end\">{}</text>",
            LEFT - 8.0,
            escaped(&group.label)
        );
        for (value, colour) in group.values.iter().zip(COLOURS) {
            let Some(value) = value.filter(|v| *v > 0.0) else { continue };
            let _ = writeln!(
                out,
                "<rect x=\"{LEFT}\" y=\"{y:.1}\" width=\"{:.1}\" height=\"{}\" fill=\"{colour}\"/>\
                 <text x=\"{:.1}\" y=\"{:.1}\" font-size=\"9\">{}</text>",
                at(value) - LEFT,
                BAR - 1.0,
                at(value) + 4.0,
                y + BAR - 2.5,
                short(value)
            );
            y += BAR;
        }
        y += GAP;
    }
    out.push_str("</svg>\n");
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_are_short() {
        let found = [0.5, 9.994, 9.996, 99.96, 950.0, 999.6, 84_557.0, 3_068_948.0, 2.5e9].map(short);
        assert_eq!(found, ["0.50", "9.99", "10.0", "100", "950", "1.00 k", "84.6 k", "3.07 M", "2.50 G"]);
    }

    #[test]
    fn bars_are_as_long_as_their_values_are_large() {
        let groups = [Group { label: "a < b".to_owned(), values: vec![Some(1e3), None, Some(1e5)] }];
        let svg = svg("t", &["x", "y", "z"], &groups);
        let bars: Vec<&str> = svg.lines().filter(|l| l.contains("<rect x=\"250\"")).collect();
        assert_eq!(bars.len(), 2);
        assert!(bars[0].contains("width=\"0.0\"") && bars[0].contains(COLOURS[0]), "{svg}");
        assert!(bars[1].contains("width=\"550.0\"") && bars[1].contains(COLOURS[2]), "{svg}");
        assert!(svg.contains("a &lt; b"), "{svg}");
    }
}
