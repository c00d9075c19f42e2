//! Plots as inline SVG: text in, text out, no scripts.

use std::fmt::Write as _;

use super::report::{LayerProfile, short};

const WIDTH: f64 = 960.0;
const LABEL: f64 = 220.0;
const ROW: f64 = 22.0;
const TOP: f64 = 28.0;
/// Exponents that the range plot shows at most below the largest.
const OCTAVES: i32 = 40;

/// Text for HTML and SVG, attributes included: names come from the model and may hold anything.
pub(super) fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            c if c.is_control() => out.extend(c.escape_default()),
            c => out.push(c),
        }
    }
    out
}

/// The last characters of a name that is too long for a label.
fn label(name: &str) -> String {
    const MOST: usize = 30;
    let n = name.chars().count();
    if n <= MOST {
        name.to_owned()
    } else {
        format!("…{}", name.chars().skip(n - MOST + 1).collect::<String>())
    }
}

struct Canvas(String);

impl Canvas {
    fn new(height: f64, title: &str) -> Self {
        let title = escaped(title);
        Self(format!(
            "<svg viewBox=\"0 0 {WIDTH} {height:.0}\" role=\"img\" aria-label=\"{title}\"><title>{title}</title>\n"
        ))
    }

    fn rect(&mut self, class: &str, (x, y): (f64, f64), (w, h): (f64, f64), tip: &str) {
        let tip = if tip.is_empty() { String::new() } else { format!("<title>{}</title>", escaped(tip)) };
        let _ = writeln!(
            self.0,
            "<rect class=\"{class}\" x=\"{x:.1}\" y=\"{y:.1}\" width=\"{:.1}\" height=\"{h:.1}\">{tip}</rect>",
            w.max(0.5)
        );
    }

    fn shade(&mut self, (x, y): (f64, f64), (w, h): (f64, f64), share: f64, class: &str) {
        let _ = writeln!(
            self.0,
            "<rect class=\"{class}\" x=\"{x:.1}\" y=\"{y:.1}\" width=\"{w:.1}\" height=\"{h:.1}\" \
             fill-opacity=\"{share:.2}\"/>"
        );
    }

    fn line(&mut self, class: &str, (x1, y1): (f64, f64), (x2, y2): (f64, f64)) {
        let _ = writeln!(
            self.0,
            "<line class=\"{class}\" x1=\"{x1:.1}\" y1=\"{y1:.1}\" x2=\"{x2:.1}\" y2=\"{y2:.1}\"/>"
        );
    }

    fn text(&mut self, anchor: &str, (x, y): (f64, f64), text: &str) {
        let _ = writeln!(
            self.0,
            "<text x=\"{x:.1}\" y=\"{y:.1}\" text-anchor=\"{anchor}\">{}</text>",
            escaped(text)
        );
    }

    fn end(mut self) -> String {
        self.0.push_str("</svg>\n");
        self.0
    }
}

/// A layer a row: where the magnitudes of its values lie, and which ones its type holds.
pub(super) fn ranges(layers: &[LayerProfile]) -> String {
    let exponent = |v: f64| v.abs().log2().floor() as i32;
    let tops = layers.iter().map(|l| {
        let seen = l.magnitudes.last().map_or(i32::MIN, |b| b.0);
        seen.max(exponent(l.holds.max.max(-l.holds.min)))
    });
    let top = tops.max().unwrap_or(0) + 1;
    let lows = layers.iter().map(|l| {
        let seen = l.magnitudes.first().map_or(i32::MAX, |b| b.0);
        seen.min(exponent(l.step))
    });
    let low = lows.min().unwrap_or(0).max(top - OCTAVES);
    let height = TOP + ROW * layers.len() as f64 + 10.0;
    let mut c = Canvas::new(height, "Magnitudes of the values and what the types hold");
    let unit = (WIDTH - LABEL - 20.0) / f64::from((top - low).max(1));
    let x = |e: i32| LABEL + f64::from((e - low).clamp(0, top - low)) * unit;
    let every = ((top - low) / 16).max(1);
    for e in (low..=top).filter(|e| e.rem_euclid(every) == 0) {
        c.line("grid", (x(e), TOP - 6.0), (x(e), height - 8.0));
        c.text("middle", (x(e), TOP - 12.0), &format!("2^{e}"));
    }
    for (i, l) in layers.iter().enumerate() {
        let y = TOP + ROW * i as f64;
        c.text("end", (LABEL - 8.0, y + 14.0), &label(&l.tensor));
        // The largest value and one step more are a power of two: the first magnitude that is not held.
        let (from, to) = (exponent(l.step), exponent(l.holds.max + l.step));
        let held = format!("{} holds {} to {}", l.ty, short(l.holds.min), short(l.holds.max));
        c.rect("held", (x(from), y + 3.0), (x(to) - x(from), ROW - 6.0), &held);
        let most = l.magnitudes.iter().map(|b| b.1).max().unwrap_or(1).max(1) as f64;
        for (e, n) in l.magnitudes.iter().filter(|b| b.1 > 0 && b.0 >= low) {
            let class = if *e >= to { "lost" } else { "seen" };
            let share = 0.15 + 0.85 * (*n as f64 / most);
            c.shade((x(*e), y + 6.5), (unit, ROW - 13.0), share, class);
        }
    }
    c.end()
}

/// A layer a row: signal to noise against float, and the layer's own.
pub(super) fn noise(layers: &[LayerProfile], target: f64) -> String {
    let all = layers.iter().flat_map(|l| [l.error.sqnr_db, l.own.sqnr_db]).flatten();
    let most = all.fold(target, f64::max).max(10.0) * 1.05;
    let height = TOP + ROW * layers.len() as f64 + 10.0;
    let mut c = Canvas::new(height, "Signal to quantisation noise by layer");
    let scale = (WIDTH - LABEL - 90.0) / most;
    let x = |db: f64| LABEL + db.clamp(0.0, most) * scale;
    let every = if most > 120.0 { 40 } else { 20 };
    for db in (0..=most as i32).step_by(every) {
        c.line("grid", (x(f64::from(db)), TOP - 6.0), (x(f64::from(db)), height - 8.0));
        c.text("middle", (x(f64::from(db)), TOP - 12.0), &format!("{db} dB"));
    }
    for (i, l) in layers.iter().enumerate() {
        let y = TOP + ROW * i as f64;
        c.text("end", (LABEL - 8.0, y + 14.0), &label(&l.tensor));
        let bar = |c: &mut Canvas, class: &str, db: Option<f64>, max: f64, y: f64, what: &str| {
            let end = match db {
                Some(db) => x(db),
                None if max == 0.0 => x(most),
                None => x(0.0),
            };
            let value = match db {
                Some(db) => format!("{db:.1} dB"),
                None if max == 0.0 => "exact".to_owned(),
                None => "no signal".to_owned(),
            };
            c.rect(class, (x(0.0), y), (end - x(0.0), 7.0), &format!("{what}: {value}"));
            (end, value)
        };
        let (end, value) = bar(&mut c, "own", l.own.sqnr_db, l.own.max, y + 3.0, "own");
        bar(&mut c, "total", l.error.sqnr_db, l.error.max, y + 11.0, "against float");
        c.text("start", (end + 6.0, y + 13.0), &value);
    }
    c.line("target", (x(target), TOP - 6.0), (x(target), height - 8.0));
    c.end()
}

/// The values of one tensor in bins of equal width, and the bounds of its type.
pub(super) fn histogram(l: &LayerProfile) -> String {
    const W: f64 = 300.0;
    const H: f64 = 110.0;
    let title = escaped(&format!("Values of {}", l.tensor));
    let mut c = Canvas(format!(
        "<svg viewBox=\"0 0 {W} {H}\" role=\"img\" aria-label=\"{title}\"><title>{title}</title>\n"
    ));
    let (Some(first), Some(last)) = (l.histogram.first(), l.histogram.last()) else { return c.end() };
    let (from, to) = (first.from, last.to);
    let x = |v: f64| 6.0 + (v - from) / (to - from) * (W - 12.0);
    let most = l.histogram.iter().map(|b| b.count).max().unwrap_or(1).max(1) as f64;
    for b in l.histogram.iter().filter(|b| b.count > 0) {
        let h = (b.count as f64 / most * (H - 34.0)).max(1.0);
        let class = if b.from > l.holds.max || b.to <= l.holds.min { "lost" } else { "seen" };
        let tip = format!("{} to {}: {}", short(b.from), short(b.to), b.count);
        c.rect(class, (x(b.from), H - 18.0 - h), (x(b.to) - x(b.from), h), &tip);
    }
    for bound in [l.holds.min, l.holds.max].into_iter().filter(|b| (from..=to).contains(b)) {
        c.line("target", (x(bound), 4.0), (x(bound), H - 18.0));
    }
    c.line("axis", (6.0, H - 18.0), (W - 6.0, H - 18.0));
    c.text("start", (6.0, H - 5.0), &short(from));
    c.text("end", (W - 6.0, H - 5.0), &short(to));
    c.end()
}
