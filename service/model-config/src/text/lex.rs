//! Words of the text form.

use crate::error::Problem;

/// One word. Numbers keep their spelling: what they may be depends on the field.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Token<'a> {
    Name(&'a str),
    Number(&'a str),
    /// The bytes of a string, its escapes resolved.
    Text(Vec<u8>),
    Mark(char),
    End,
}

impl Token<'_> {
    /// The word as an error message shows it.
    pub(super) fn found(&self) -> String {
        const SHOWN: usize = 40;
        let (text, quote) = match self {
            Token::Name(text) | Token::Number(text) => ((*text).to_owned(), '\''),
            Token::Text(bytes) => (String::from_utf8_lossy(bytes).into_owned(), '"'),
            Token::Mark(mark) => (mark.to_string(), '\''),
            Token::End => return "the end of the text".to_owned(),
        };
        let short: String = text.chars().take(SHOWN).collect();
        let more = if short.len() < text.len() { "…" } else { "" };
        format!("{quote}{}{more}{quote}", short.escape_debug())
    }
}

/// A problem, and the byte that it starts at.
pub(super) type Located<T> = Result<T, (usize, Problem)>;

pub(super) struct Lexer<'a> {
    text: &'a str,
    at: usize,
}

impl<'a> Lexer<'a> {
    pub(super) fn new(text: &'a str) -> Self {
        // Editors on Windows begin a file with a byte order mark.
        let at = if text.starts_with('\u{feff}') { '\u{feff}'.len_utf8() } else { 0 };
        Self { text, at }
    }

    fn rest(&self) -> &'a str {
        &self.text[self.at..]
    }

    /// Takes the longest beginning whose characters all satisfy `belongs`.
    fn take_while(&mut self, belongs: impl Fn(char) -> bool) -> &'a str {
        let rest = self.rest();
        let taken = &rest[..rest.find(|c| !belongs(c)).unwrap_or(rest.len())];
        self.at += taken.len();
        taken
    }

    /// The next word, and the byte that it starts at.
    pub(super) fn next(&mut self) -> Located<(Token<'a>, usize)> {
        self.take_while(|c| c.is_ascii_whitespace() || c == '\u{b}');
        while self.rest().starts_with('#') {
            self.take_while(|c| c != '\n');
            self.take_while(|c| c.is_ascii_whitespace() || c == '\u{b}');
        }
        let start = self.at;
        let mut ahead = self.rest().chars();
        let token = match (ahead.next(), ahead.next()) {
            (None, _) => Token::End,
            (Some(c), _) if c.is_ascii_alphabetic() || c == '_' => {
                Token::Name(self.take_while(|c| c.is_ascii_alphanumeric() || c == '_'))
            }
            (Some('0'..='9'), _) | (Some('.'), Some('0'..='9')) => Token::Number(self.number()),
            (Some(quote @ ('"' | '\'')), _) => Token::Text(self.string(quote)?),
            (Some(mark), _) => {
                self.at += mark.len_utf8();
                Token::Mark(mark)
            }
        };
        Ok((token, start))
    }

    fn number(&mut self) -> &'a str {
        let start = self.at;
        let body = |c: char| c.is_ascii_alphanumeric() || c == '.' || c == '_';
        let first = self.take_while(body);
        let hexadecimal = first.starts_with("0x") || first.starts_with("0X");
        if first.ends_with(['e', 'E']) && !hexadecimal && self.rest().starts_with(['+', '-']) {
            self.at += 1;
            self.take_while(body);
        }
        &self.text[start..self.at]
    }

    fn string(&mut self, quote: char) -> Located<Vec<u8>> {
        let start = self.at;
        self.at += 1;
        let mut bytes = Vec::new();
        loop {
            bytes.extend_from_slice(self.take_while(|c| c != quote && c != '\\' && c != '\n').as_bytes());
            let here = self.at;
            match self.rest().chars().next() {
                Some('\\') => self.escape(&mut bytes)?,
                Some(c) if c == quote => {
                    self.at += 1;
                    return Ok(bytes);
                }
                Some(_) => {
                    return Err((
                        here,
                        Problem::unexpected("the end of the line", format!("a closing {quote}")),
                    ));
                }
                None => {
                    return Err((
                        start,
                        Problem::unexpected("a string without end", format!("a closing {quote}")),
                    ));
                }
            }
        }
    }

    /// Resolves the escape that starts here, as in C, with `\u` and `\U` for code points.
    fn escape(&mut self, bytes: &mut Vec<u8>) -> Located<()> {
        let start = self.at;
        self.at += 1;
        let letter = self.rest().chars().next();
        self.at += letter.map_or(0, char::len_utf8);
        let resolved = match letter {
            Some('n') => Some(b'\n'),
            Some('r') => Some(b'\r'),
            Some('t') => Some(b'\t'),
            Some('a') => Some(7),
            Some('b') => Some(8),
            Some('f') => Some(12),
            Some('v') => Some(11),
            Some(c @ ('\\' | '\'' | '"' | '?')) => Some(c as u8),
            Some('0'..='7') => {
                self.at -= 1;
                self.digits(1..=3, 8).and_then(|v| u8::try_from(v).ok())
            }
            Some('x' | 'X') => self.digits(1..=2, 16).and_then(|v| u8::try_from(v).ok()),
            Some(c @ ('u' | 'U')) => {
                let width = if c == 'u' { 4 } else { 8 };
                if let Some(c) = self.digits(width..=width, 16).and_then(char::from_u32) {
                    bytes.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes());
                    return Ok(());
                }
                None
            }
            _ => None,
        };
        let byte = resolved.ok_or_else(|| {
            let found = format!("the escape {}", &self.text[start..self.at]);
            (start, Problem::unexpected(found, r#"one such as \n, \", \\, \101, \x41 or \u0041"#))
        })?;
        bytes.push(byte);
        Ok(())
    }

    /// The number that the next digits spell, as many of them as `count` allows.
    fn digits(&mut self, count: std::ops::RangeInclusive<usize>, radix: u32) -> Option<u32> {
        let rest = self.rest();
        let length = rest.chars().take(*count.end()).take_while(|c| c.is_digit(radix)).count();
        self.at += length;
        if length < *count.start() { None } else { u32::from_str_radix(&rest[..length], radix).ok() }
    }
}
