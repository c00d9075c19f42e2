//! C++ text without comments and strings, as lines and tokens.

use super::Finding;

/// A piece of C++: an identifier, a number, or one character of punctuation (`::` counts as one).
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Token {
    pub(super) text: String,
    /// Line, from 1.
    pub(super) line: usize,
}

/// A file of kernel code.
#[derive(Debug)]
pub(super) struct Source {
    pub(super) path: String,
    /// Lines without comments; strings emptied.
    pub(super) lines: Vec<String>,
    /// Tokens of the lines that are no preprocessor directives.
    pub(super) tokens: Vec<Token>,
}

impl Source {
    pub(super) fn new(path: &str, text: &str) -> Self {
        let lines: Vec<String> = strip(text).lines().map(str::to_owned).collect();
        let code = |l: &&(usize, &String)| !l.1.trim_start().starts_with('#');
        let numbered: Vec<(usize, &String)> = lines.iter().enumerate().collect();
        let tokens = numbered.iter().filter(code).flat_map(|(n, line)| tokenise(line, n + 1)).collect();
        Self { path: path.to_owned(), lines, tokens }
    }

    pub(super) fn finding(&self, line: usize, rule: &'static str, found: impl Into<String>) -> Finding {
        Finding { path: self.path.clone(), line, rule, found: found.into() }
    }

    /// Text of the token at `i`, empty beyond the end.
    pub(super) fn at(&self, i: usize) -> &str {
        self.tokens.get(i).map_or("", |t| t.text.as_str())
    }

    pub(super) fn line(&self, i: usize) -> usize {
        self.tokens.get(i).or(self.tokens.last()).map_or(1, |t| t.line)
    }

    /// Index of the bracket that closes the one at `open`.
    pub(super) fn closing(&self, open: usize) -> usize {
        let (left, right) = match self.at(open) {
            "(" => ("(", ")"),
            "{" => ("{", "}"),
            "[" => ("[", "]"),
            _ => ("<", ">"),
        };
        let mut depth = 0usize;
        for i in open..self.tokens.len() {
            if self.at(i) == left {
                depth += 1;
            } else if self.at(i) == right {
                depth -= 1;
                if depth == 0 {
                    return i;
                }
            }
        }
        self.tokens.len()
    }

    /// Functions with a body: (index of the name, of its `(`, of its `{`).
    pub(super) fn functions(&self) -> Vec<(usize, usize, usize)> {
        let mut found = Vec::new();
        for i in 0..self.tokens.len() {
            if self.at(i + 1) != "(" || !is_identifier(self.at(i)) || CONTROL.contains(&self.at(i)) {
                continue;
            }
            let after = self.closing(i + 1) + 1;
            let body = if self.at(after) == "const" { after + 1 } else { after };
            if self.at(body) == "{" {
                found.push((i, i + 1, body));
            }
        }
        found
    }
}

const CONTROL: &[&str] = &["if", "for", "while", "switch", "catch"];

pub(super) fn is_identifier(token: &str) -> bool {
    token.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
}

/// The text with comments blanked and the insides of strings removed; lines stay where they are.
fn strip(text: &str) -> String {
    #[derive(PartialEq)]
    enum State {
        Code,
        Line,
        Block,
        Quote(char),
    }
    let mut state = State::Code;
    let mut out = String::with_capacity(text.len());
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        match state {
            State::Code => match (c, chars.peek()) {
                ('/', Some('/')) => state = State::Line,
                ('/', Some('*')) => state = State::Block,
                ('"' | '\'', _) => {
                    out.push(c);
                    state = State::Quote(c);
                }
                _ => out.push(c),
            },
            State::Line if c == '\n' => {
                out.push(c);
                state = State::Code;
            }
            State::Line => {}
            State::Block if c == '*' && chars.peek() == Some(&'/') => {
                chars.next();
                state = State::Code;
            }
            State::Block if c == '\n' => out.push(c),
            State::Block => {}
            State::Quote(_) if c == '\\' => {
                chars.next();
            }
            State::Quote(q) if c == q || c == '\n' => {
                out.push(c);
                state = State::Code;
            }
            // The names of included headers are looked at.
            State::Quote(_) if out.trim_end_matches(|c| c != '\n').len() < out.len() && is_include(&out) => {
                out.push(c)
            }
            State::Quote(_) => {}
        }
    }
    out
}

fn is_include(out: &str) -> bool {
    out.rsplit('\n').next().is_some_and(|line| line.trim_start().starts_with("#include"))
}

fn tokenise(line: &str, number: usize) -> Vec<Token> {
    let mut tokens = Vec::new();
    let mut rest = line.trim_start();
    while let Some(c) = rest.chars().next() {
        let word = |c: char| c.is_ascii_alphanumeric() || c == '_';
        let len = if word(c) {
            rest.find(|c| !word(c)).unwrap_or(rest.len())
        } else if rest.starts_with("::") {
            2
        } else {
            c.len_utf8()
        };
        tokens.push(Token { text: rest[..len].to_owned(), line: number });
        rest = rest[len..].trim_start();
    }
    tokens
}
