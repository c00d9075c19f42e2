//! Tokens.

use super::ParseError;

/// A token of the text form.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Token {
    /// A run of letters, digits, `_`, `.`, `+` and `-`: keywords, numbers, operator names.
    Word(String),
    /// A quoted string, unescaped.
    Str(String),
    /// One of `( ) [ ] { } , : = ?`, or `::` as `;`, or `->` as `>`.
    Punct(char),
    /// The end of a line that holds something.
    Newline,
}

impl Token {
    pub(super) fn describe(&self) -> String {
        match self {
            Self::Word(w) => format!("'{w}'"),
            Self::Str(s) => format!("\"{s}\""),
            Self::Punct(';') => "'::'".to_owned(),
            Self::Punct('>') => "'->'".to_owned(),
            Self::Punct(c) => format!("'{c}'"),
            Self::Newline => "the end of the line".to_owned(),
        }
    }
}

/// The tokens of `text`, each with its line.
pub(super) fn tokens(text: &str) -> Result<Vec<(usize, Token)>, ParseError> {
    let mut out = Vec::new();
    for (index, line) in text.lines().enumerate() {
        let number = index + 1;
        let fail = |message: String| ParseError { line: number, message };
        let start = out.len();
        let mut rest = line;
        while let Some(c) = rest.chars().next() {
            if c.is_whitespace() {
                rest = &rest[c.len_utf8()..];
            } else if c == '#' {
                break;
            } else if c == '"' {
                let (text, after) = string(&rest[1..]).map_err(fail)?;
                out.push((number, Token::Str(text)));
                rest = after;
            } else if let Some(after) = rest.strip_prefix("->") {
                out.push((number, Token::Punct('>')));
                rest = after;
            } else if let Some(after) = rest.strip_prefix("::") {
                out.push((number, Token::Punct(';')));
                rest = after;
            } else if "()[]{},:=?".contains(c) {
                out.push((number, Token::Punct(c)));
                rest = &rest[1..];
            } else if is_word(c) {
                let end = rest.find(|c| !is_word(c)).unwrap_or(rest.len());
                out.push((number, Token::Word(rest[..end].to_owned())));
                rest = &rest[end..];
            } else {
                return Err(fail(format!("unexpected character '{c}'")));
            }
        }
        if out.len() > start {
            out.push((number, Token::Newline));
        }
    }
    Ok(out)
}

fn is_word(c: char) -> bool {
    c.is_ascii_alphanumeric() || "_.+-".contains(c)
}

/// The string that starts behind its opening quote, and what follows its closing one.
fn string(text: &str) -> Result<(String, &str), String> {
    let mut out = String::new();
    let mut chars = text.char_indices();
    while let Some((at, c)) = chars.next() {
        match c {
            '"' => return Ok((out, &text[at + 1..])),
            '\\' => match chars.next().map(|(_, c)| c) {
                Some('n') => out.push('\n'),
                Some('r') => out.push('\r'),
                Some('t') => out.push('\t'),
                Some(c @ ('"' | '\\')) => out.push(c),
                Some('u') => {
                    let hex = text[at + 2..]
                        .strip_prefix('{')
                        .and_then(|t| t.split_once('}'))
                        .map(|(hex, _)| hex)
                        .ok_or("expected {hex} behind \\u")?;
                    let code = u32::from_str_radix(hex, 16).ok().and_then(char::from_u32);
                    out.push(code.ok_or_else(|| format!("'{hex}' is no character"))?);
                    for _ in 0..hex.len() + 2 {
                        chars.next();
                    }
                }
                Some(c) => return Err(format!("unknown escape '\\{c}'")),
                None => break,
            },
            c => out.push(c),
        }
    }
    Err("a string does not end on its line".to_owned())
}
