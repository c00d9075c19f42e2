//! Tables of plain text reports.

/// Cells of a row between bars; `None` for other lines.
pub(super) fn bars(line: &str) -> Option<Vec<&str>> {
    let inner = line.trim().strip_prefix('|')?.strip_suffix('|')?;
    Some(inner.split('|').map(str::trim).collect())
}

/// The cell of `row` under the heading `name`; headings that end in a star or have a number behind, such as `DSP48E` for
/// `DSP`, count too.
pub(super) fn under<'a>(heading: &[&str], row: &[&'a str], name: &str) -> Option<&'a str> {
    let is = |h: &&str| {
        h.strip_prefix(name)
            .is_some_and(|rest| rest.is_empty() || rest.starts_with(|c: char| c == '*' || c.is_ascii_digit()))
    };
    let at = heading.iter().position(|h| *h == name).or_else(|| heading.iter().position(is))?;
    row.get(at).copied()
}

/// Rows of a table whose columns stand two blanks or more apart, under `title`, a heading and a line of dashes: the heading,
/// then each row.
pub(super) fn columns<'a>(text: &'a str, title: &str) -> Option<(Vec<&'a str>, Vec<Vec<&'a str>>)> {
    let mut lines = text.lines().skip_while(|l| !l.trim_start().starts_with(title)).skip(1);
    let heading = split(lines.next()?);
    if !is_rule(lines.next()?) {
        return None;
    }
    let rows = lines.take_while(|l| !l.trim().is_empty() && !is_rule(l)).map(split).collect();
    Some((heading, rows))
}

fn is_rule(line: &str) -> bool {
    line.contains("--") && line.chars().all(|c| c == '-' || c.is_whitespace())
}

fn split(line: &str) -> Vec<&str> {
    line.split("  ").map(str::trim).filter(|c| !c.is_empty()).collect()
}
