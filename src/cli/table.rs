//! Aligned columns.

/// Rows under a heading, columns two blanks apart; columns whose cells are all numbers stand to the right.
pub(crate) fn table(heading: &[&str], rows: &[Vec<String>]) -> String {
    let width = |s: &str| s.chars().count();
    let numeric = |s: &str| s.chars().all(|c| c.is_ascii_digit() || "+-.,%eE ".contains(c));
    let columns = heading.len();
    let mut widths: Vec<usize> = heading.iter().map(|h| width(h)).collect();
    let mut right = vec![true; columns];
    for row in rows {
        for (i, cell) in row.iter().enumerate().take(columns) {
            widths[i] = widths[i].max(width(cell));
            right[i] &= numeric(cell);
        }
    }
    let line = |cells: &mut dyn Iterator<Item = &str>| {
        let mut out = String::new();
        for (i, cell) in cells.take(columns).enumerate() {
            let blank = " ".repeat(widths[i] - width(cell));
            let gap = if i == 0 { "" } else { "  " };
            let (before, after) = if right[i] { (blank.as_str(), "") } else { ("", blank.as_str()) };
            out.extend([gap, before, cell, after]);
        }
        out.truncate(out.trim_end().len());
        out
    };
    let mut lines = vec![line(&mut heading.iter().copied())];
    lines.extend(rows.iter().map(|r| line(&mut r.iter().map(String::as_str))));
    lines.join("\n")
}

/// Pairs of a label and a value.
pub(crate) fn pairs(rows: &[(&str, String)]) -> String {
    let wide = rows.iter().map(|(k, _)| k.chars().count()).max().unwrap_or(0);
    let line = |(k, v): &(&str, String)| format!("{k}{}  {v}", " ".repeat(wide - k.chars().count()));
    rows.iter().map(line).collect::<Vec<_>>().join("\n")
}

/// A count with thousands separated.
pub(crate) fn count(n: u64) -> String {
    let digits = n.to_string();
    let mut out = String::new();
    for (i, c) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            out.push(',');
        }
        out.push(c);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_stand_right() {
        let rows = vec![vec!["a".to_owned(), "1,200".to_owned()], vec!["long".to_owned(), "7".to_owned()]];
        assert_eq!(table(&["name", "n"], &rows), "name      n\na     1,200\nlong      7");
    }

    #[test]
    fn thousands() {
        assert_eq!(count(0), "0");
        assert_eq!(count(999), "999");
        assert_eq!(count(1_234_567), "1,234,567");
    }
}
