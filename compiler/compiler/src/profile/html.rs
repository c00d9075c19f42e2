//! A profile as one self-contained page: no scripts, nothing from the network.

use std::fmt::Write as _;

use super::{
    report::{Cause, Error, LayerProfile, Profile, short},
    svg::{self, escaped},
};

/// Layers that get a histogram of their own; the plots by layer show all.
const HISTOGRAMS: usize = 64;

const STYLE: &str = "\
:root{color-scheme:light}
body{font:15px/1.5 system-ui,sans-serif;color:#1d2733;background:#fff;max-width:1000px;margin:2rem auto;padding:0 1rem}
h1{font-size:1.5rem;margin-bottom:.2rem}h2{font-size:1.1rem;margin:2rem 0 .4rem}
p.verdict{background:#f3f6fa;border-left:4px solid #2b6cb0;padding:.6rem .9rem}
p.note,figcaption{color:#5a6775;font-size:.9rem}
table{border-collapse:collapse;font-size:.86rem;width:100%}
th,td{padding:.25rem .5rem;border-bottom:1px solid #e3e8ee;text-align:right;white-space:nowrap}
th:first-child,td:first-child,td.left{text-align:left}td:first-child{max-width:16rem;overflow-wrap:anywhere;white-space:normal}
tr.bad td{background:#fdf1ef}.scroll{overflow-x:auto}
svg{width:100%;height:auto;font:11px system-ui,sans-serif;fill:#1d2733}
.held{fill:#dbe7f3}.seen{fill:#2b6cb0}.lost{fill:#c53030}.own{fill:#2b6cb0}.total{fill:#a3bfdc}
.grid{stroke:#e8edf2}.axis{stroke:#8795a5}.target{stroke:#c53030;stroke-dasharray:4 3}
.many{display:grid;grid-template-columns:repeat(auto-fill,minmax(270px,1fr));gap:1rem}
figure{margin:0}pre{background:#f3f6fa;padding:.7rem .9rem;overflow-x:auto}
i.key{display:inline-block;width:.8em;height:.8em;margin:0 .3em 0 .9em}
";

/// The page. The same profile gives the same bytes.
pub fn page(profile: &Profile) -> String {
    let name = escaped(&profile.model);
    let mut out = format!(
        "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n<meta name=\"viewport\" \
         content=\"width=device-width\">\n<title>Profile of {name}</title>\n<style>\n{STYLE}</style>\n</head>\n<body>\n\
         <h1>Profile of {name}</h1>\n<p class=\"note\">{} rows, {} tensors, target {} dB a layer.</p>\n\
         <p class=\"verdict\">{}</p>\n",
        profile.rows,
        profile.layers.len(),
        profile.target_db,
        escaped(&capital(&profile.verdict()))
    );
    out.push_str("<h2>Layers</h2>\n");
    table(&mut out, profile);
    out.push_str(
        "<h2>Ranges</h2>\n<p class=\"note\">Magnitudes of the float values in powers of two; the darker, the more \
         values. <i class=\"key\" style=\"background:#dbe7f3\"></i>what the type holds\
         <i class=\"key\" style=\"background:#2b6cb0\"></i>values\
         <i class=\"key\" style=\"background:#c53030\"></i>values beyond the type. Left of the light bar, values are below \
         one step of the type.</p>\n",
    );
    out.push_str(&svg::ranges(&profile.layers));
    out.push_str(
        "<h2>Signal to quantisation noise</h2>\n<p class=\"note\"><i class=\"key\" style=\"background:#2b6cb0\"></i>what \
         the layer itself adds<i class=\"key\" style=\"background:#a3bfdc\"></i>against the float model, what it inherits \
         included. Longer is better; the dashed line is the target.</p>\n",
    );
    out.push_str(&svg::noise(&profile.layers, profile.target_db));
    out.push_str("<h2>Values</h2>\n<p class=\"note\">Dashed: the bounds of the type, where they lie in the plot.</p>\n");
    out.push_str("<div class=\"many\">\n");
    for l in profile.layers.iter().take(HISTOGRAMS) {
        let _ = writeln!(
            out,
            "<figure>{}<figcaption>{} · {}</figcaption></figure>",
            svg::histogram(l),
            escaped(&l.tensor),
            escaped(&l.ty.to_string())
        );
    }
    out.push_str("</div>\n");
    if let Some(rest @ 1..) = profile.layers.len().checked_sub(HISTOGRAMS) {
        let _ = writeln!(out, "<p class=\"note\">{rest} more tensors are in the JSON form.</p>");
    }
    if let Some(text) = &profile.configuration {
        let _ = write!(out, "<h2>Proposed types</h2>\n<pre>{}</pre>\n", escaped_lines(text));
    }
    if !profile.skipped.is_empty() {
        let _ = writeln!(
            out,
            "<p class=\"note\">Wider than 64 bits and left out: {}</p>",
            escaped(&profile.skipped.join(", "))
        );
    }
    out.push_str("</body>\n</html>\n");
    out
}

fn table(out: &mut String, profile: &Profile) {
    out.push_str("<div class=\"scroll\"><table>\n<tr>");
    for heading in [
        "tensor",
        "op",
        "type",
        "smallest",
        "largest",
        "outside",
        "at bounds",
        "wrapped",
        "max error",
        "rms error",
        "SQNR",
        "own SQNR",
        "proposed",
    ] {
        let _ = write!(out, "<th>{heading}</th>");
    }
    out.push_str("</tr>\n");
    for l in &profile.layers {
        let class = if l.cause == Cause::Fine { "" } else { " class=\"bad\"" };
        let _ = write!(out, "<tr{class}>");
        for (i, cell) in cells(l).iter().enumerate() {
            let class = if (1..=2).contains(&i) || i == 12 { " class=\"left\"" } else { "" };
            let _ = write!(out, "<td{class}>{}</td>", escaped(cell));
        }
        out.push_str("</tr>\n");
    }
    out.push_str("</table></div>\n");
    for l in profile.layers.iter().filter(|l| l.advice.is_some()) {
        let _ = writeln!(
            out,
            "<p class=\"note\"><b>{}</b>: {}</p>",
            escaped(&l.tensor),
            escaped(l.advice.as_deref().unwrap_or_default())
        );
    }
}

fn cells(l: &LayerProfile) -> Vec<String> {
    vec![
        l.tensor.clone(),
        l.op.clone(),
        l.ty.to_string(),
        short(l.range.min),
        short(l.range.max),
        l.outside.elements.to_string(),
        l.at_bounds.elements.to_string(),
        l.wrapped.elements.to_string(),
        short(l.error.max),
        short(l.error.rms),
        decibels(&l.error),
        decibels(&l.own),
        l.proposal.map_or_else(String::new, |t| t.to_string()),
    ]
}

/// A ratio for people.
pub fn decibels(e: &Error) -> String {
    match e.sqnr_db {
        Some(db) => format!("{db:.1}"),
        None if e.max == 0.0 => "exact".to_owned(),
        None => "no signal".to_owned(),
    }
}

fn capital(text: &str) -> String {
    let mut chars = text.chars();
    chars.next().map_or_else(String::new, |c| c.to_uppercase().chain(chars).collect())
}

/// As [`escaped`], but line ends stay.
fn escaped_lines(text: &str) -> String {
    text.lines().map(escaped).collect::<Vec<_>>().join("\n")
}
