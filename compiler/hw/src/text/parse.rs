//! A lexer-free recursive descent over the bytes of the text.

use hs_fixed::{Format, Modes, Type, parse_type};

use super::{
    ParseError, TEXT_VERSION, attrs,
    side::Reader,
    value::{Kind, Mismatch, Record, Value},
};
use crate::{Codes, Node, Program, ValueId};

/// Deepest nesting of values; ops need 4.
const DEPTH: usize = 8;
/// Most fields of a record and most elements of a list that is not of integers.
const MEMBERS: usize = 16;

type Result<T> = std::result::Result<T, Mismatch>;

pub(super) fn program(text: &str, side: &[u8]) -> std::result::Result<Program, ParseError> {
    let mut p = Parser { text, at: 0, side: Reader::new(side) };
    p.program().map_err(|m| {
        let at = m.at.min(text.len());
        let before = &text[..at];
        let line_start = before.rfind('\n').map_or(0, |i| i + 1);
        ParseError {
            line: before.matches('\n').count() + 1,
            column: before[line_start..].chars().count() + 1,
            found: m.found.unwrap_or_else(|| glimpse(&text[at..])),
            expected: m.expected,
        }
    })
}

/// The next few characters, for an error.
fn glimpse(rest: &str) -> String {
    let Some(first) = rest.chars().next() else { return "the end of the text".to_owned() };
    let word = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
    let mut n = rest.chars().take(40).take_while(|c| word(*c)).count();
    if rest[n..].starts_with('<') {
        n += rest[n..].bytes().take(40).position(|b| b == b'>').map_or(0, |i| i + 1);
    }
    let n = if word(first) { n } else { 1 };
    let shown: String = rest.chars().take(n).flat_map(char::escape_debug).collect();
    format!("'{shown}'")
}

struct Parser<'a> {
    text: &'a str,
    at: usize,
    side: Reader<'a>,
}

enum Spelled {
    Format(Format),
    Type(Type),
}

impl<'a> Parser<'a> {
    fn program(&mut self) -> Result<Program> {
        self.keyword("program")?;
        let name = self.string()?;
        self.keyword("version")?;
        let at = self.skip();
        let version = self.int()?;
        if version != TEXT_VERSION {
            return Err(Mismatch::found(
                at,
                version.to_string(),
                format!("version {TEXT_VERSION} of the text form"),
            ));
        }
        let mut nodes = Vec::new();
        while self.skip() < self.text.len() {
            nodes.push(self.node(nodes.len())?);
        }
        if self.side.left() > 0 {
            let found = format!("the end of the text with {} bytes of constants unused", self.side.left());
            return Err(Mismatch::found(self.at, found, "nodes that use all constants"));
        }
        Ok(Program { name, nodes })
    }

    fn node(&mut self, index: usize) -> Result<Node> {
        let at = self.skip();
        if self.value_id()? != index as i64 {
            return Err(Mismatch::new(at, format!("%{index}")));
        }
        self.symbol("=")?;
        let keyword_at = self.skip();
        let keyword = self.word()?;
        let mut inputs = Vec::new();
        if self.eat("(") {
            loop {
                let at = self.skip();
                let id = self.value_id()?;
                let id = u32::try_from(id).ok().filter(|i| (*i as usize) < index);
                inputs
                    .push(ValueId(id.ok_or_else(|| Mismatch::new(at, format!("a value before %{index}")))?));
                if !self.eat(",") {
                    break;
                }
            }
            self.symbol(")")?;
        }
        let name = self.string()?;
        let at = self.skip();
        let record =
            if self.peek() == Some(b'{') { self.record(0)? } else { Record { fields: Vec::new(), at } };
        let op = attrs::from_record(keyword, keyword_at, record)?;
        self.symbol(":")?;
        let at = self.skip();
        self.symbol("[")?;
        let shape = Value { kind: Kind::Ints(self.ints()?), at }.sizes()?;
        let at = self.skip();
        let kind = match self.spelled()? {
            Spelled::Format(f) => Kind::Format(f),
            Spelled::Type(t) => Kind::Type(t),
        };
        let ty = Value { kind, at }.ty()?;
        Ok(Node { name, op, inputs, shape, ty })
    }

    fn record(&mut self, depth: usize) -> Result<Record> {
        let at = self.skip();
        self.symbol("{")?;
        let mut fields: Vec<(String, Value)> = Vec::new();
        while !self.eat("}") {
            let at = self.skip();
            let name = self.word()?.to_owned();
            if fields.iter().any(|(n, _)| *n == name) || fields.len() == MEMBERS {
                return Err(Mismatch::found(at, format!("field '{name}'"), "each field once"));
            }
            self.symbol(":")?;
            fields.push((name, self.value(depth + 1)?));
            if !self.eat(",") {
                self.symbol("}")?;
                break;
            }
        }
        Ok(Record { fields, at })
    }

    fn value(&mut self, depth: usize) -> Result<Value> {
        let at = self.skip();
        if depth > DEPTH {
            return Err(Mismatch::new(at, format!("at most {DEPTH} levels of nesting")));
        }
        let kind = match self.peek() {
            Some(b'"') => Kind::Str(self.string()?),
            Some(b'{') => Kind::Record(self.record(depth)?),
            Some(b'[') => {
                self.at += 1;
                self.list(depth)?
            }
            Some(b'-' | b'0'..=b'9') => Kind::Int(self.int()?),
            Some(c) if c.is_ascii_alphabetic() => {
                let word = self.word()?;
                if self.peek() == Some(b'<') {
                    self.at = at;
                    self.constant_or_type()?
                } else {
                    let word = word.to_owned();
                    self.skip();
                    let fields = if self.peek() == Some(b'{') { Some(self.record(depth)?) } else { None };
                    Kind::Word(word, fields)
                }
            }
            _ => return Err(Mismatch::new(at, "a value")),
        };
        Ok(Value { kind, at })
    }

    /// After `[`.
    fn list(&mut self, depth: usize) -> Result<Kind> {
        self.skip();
        if matches!(self.peek(), Some(b'-' | b'0'..=b'9' | b']')) {
            return Ok(Kind::Ints(self.ints()?));
        }
        let mut list = Vec::new();
        loop {
            let at = self.skip();
            if list.len() == MEMBERS {
                return Err(Mismatch::new(at, format!("at most {MEMBERS} elements")));
            }
            list.push(self.value(depth + 1)?);
            if !self.eat(",") {
                break;
            }
        }
        self.symbol("]")?;
        Ok(Kind::List(list))
    }

    /// After `[`: integers and the closing bracket.
    fn ints(&mut self) -> Result<Vec<i64>> {
        let mut list = Vec::new();
        while !self.eat("]") {
            list.push(self.int()?);
            if !self.eat(",") {
                self.symbol("]")?;
                break;
            }
        }
        list.shrink_to_fit();
        Ok(list)
    }

    fn constant_or_type(&mut self) -> Result<Kind> {
        let format = match self.spelled()? {
            Spelled::Type(t) => return Ok(Kind::Type(t)),
            Spelled::Format(f) => f,
        };
        if self.eat("[") {
            return Ok(Kind::Codes(Codes::new(format, self.ints()?)));
        }
        let at = self.skip();
        if !matches!(self.peek(), Some(b's')) {
            return Ok(Kind::Format(format));
        }
        self.keyword("side")?;
        let mut r = self.record(DEPTH - 1)?;
        let offset = r.take("offset")?.size()?;
        let count = r.take("count")?.size()?;
        r.done()?;
        let codes = self.side.codes(format, offset, count);
        let found = || format!("side{{offset: {offset}, count: {count}}}");
        codes.map(Kind::Codes).map_err(|expected| Mismatch::found(at, found(), expected))
    }

    /// A format or type.
    fn spelled(&mut self) -> Result<Spelled> {
        const EXPECTED: &str = "a type such as fixed<16,6,RND,SAT>";
        let at = self.skip();
        let rest = &self.text[at..];
        // No spelling is longer than 64 bytes.
        let end = rest.bytes().take(64).position(|b| b == b'>');
        let end = end.filter(|_| rest.starts_with("fixed<") || rest.starts_with("ufixed<"));
        let spelling = &rest[..end.ok_or_else(|| Mismatch::new(at, EXPECTED))? + 1];
        let ty = parse_type(spelling, Modes::RND_SAT)
            .map_err(|e| Mismatch::found(at, format!("'{spelling}' ({e})"), EXPECTED))?;
        self.at = at + spelling.len();
        match spelling.matches(',').count() {
            1 => Ok(Spelled::Format(ty.format)),
            2 => Err(Mismatch::found(at, format!("'{spelling}'"), "both modes or neither")),
            _ => Ok(Spelled::Type(ty)),
        }
    }

    fn value_id(&mut self) -> Result<i64> {
        self.symbol("%")?;
        if !self.peek().is_some_and(|c| c.is_ascii_digit()) {
            return Err(Mismatch::new(self.at, "a number"));
        }
        self.int()
    }

    fn int(&mut self) -> Result<i64> {
        let at = self.skip();
        let rest = &self.text[at..];
        let sign = usize::from(rest.starts_with('-'));
        let digits = rest[sign..].bytes().take_while(u8::is_ascii_digit).count();
        let number = &rest[..sign + digits];
        if digits == 0 {
            return Err(Mismatch::new(at, "an integer"));
        }
        let value = number.parse();
        let shown = || number.chars().take(40).collect::<String>();
        let value = value.map_err(|_| Mismatch::found(at, shown(), "an integer of 64 bits"))?;
        self.at = at + number.len();
        Ok(value)
    }

    fn string(&mut self) -> Result<String> {
        self.symbol("\"")?;
        let mut out = String::new();
        loop {
            let at = self.at;
            match self.next_char() {
                Some('"') => return Ok(out),
                Some('\\') => out.push(self.escape(at)?),
                Some(c) if !c.is_control() => out.push(c),
                _ => return Err(Mismatch::new(at, "the string's closing '\"'")),
            }
        }
    }

    /// After a backslash at byte `at`.
    fn escape(&mut self, at: usize) -> Result<char> {
        const EXPECTED: &str = "an escape: \\\" \\\\ \\n \\t \\u{hex}";
        let bad = || Mismatch::new(at, EXPECTED);
        match self.next_char() {
            Some(c @ ('"' | '\\')) => Ok(c),
            Some('n') => Ok('\n'),
            Some('t') => Ok('\t'),
            Some('u') if self.next_char() == Some('{') => {
                let rest = &self.text[self.at..];
                let digits = rest.bytes().take(7).take_while(u8::is_ascii_hexdigit).count();
                self.at += digits;
                let code = u32::from_str_radix(&rest[..digits], 16).map_err(|_| bad())?;
                if self.next_char() != Some('}') {
                    return Err(bad());
                }
                char::from_u32(code).ok_or_else(bad)
            }
            _ => Err(bad()),
        }
    }

    fn next_char(&mut self) -> Option<char> {
        let c = self.text[self.at..].chars().next()?;
        self.at += c.len_utf8();
        Some(c)
    }

    fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    fn word(&mut self) -> Result<&'a str> {
        let at = self.skip();
        let rest: &'a str = &self.text[at..];
        let n = rest.bytes().take_while(|b| b.is_ascii_alphanumeric() || *b == b'_').count();
        if n == 0 || !rest.as_bytes()[0].is_ascii_alphabetic() {
            return Err(Mismatch::new(at, "a word"));
        }
        self.at = at + n;
        Ok(&rest[..n])
    }

    fn keyword(&mut self, word: &str) -> Result<()> {
        let at = self.skip();
        match self.word() {
            Ok(w) if w == word => Ok(()),
            _ => Err(Mismatch::new(at, format!("'{word}'"))),
        }
    }

    fn symbol(&mut self, symbol: &str) -> Result<()> {
        if self.eat(symbol) { Ok(()) } else { Err(Mismatch::new(self.at, format!("'{symbol}'"))) }
    }

    fn eat(&mut self, symbol: &str) -> bool {
        let at = self.skip();
        let there = self.text[at..].starts_with(symbol);
        self.at = at + if there { symbol.len() } else { 0 };
        there
    }

    /// Moves past white space and comments and returns the position.
    fn skip(&mut self) -> usize {
        loop {
            let rest = &self.text.as_bytes()[self.at..];
            self.at += rest.iter().take_while(|b| b.is_ascii_whitespace()).count();
            let rest = &self.text[self.at..];
            if !rest.starts_with("//") {
                return self.at;
            }
            self.at += rest.find('\n').unwrap_or(rest.len());
        }
    }
}
