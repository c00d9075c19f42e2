//! Reads the text form. The schema is not recursive, so that its depth bounds the reader's.

use prost_reflect::{DynamicMessage, EnumDescriptor, FieldDescriptor, Kind, MessageDescriptor, Value};

use super::lex::{Lexer, Located, Token};
use crate::error::{ConfigError, Problem};
use crate::schema::{self, Builder};

/// Reads `text` as a message of this type.
pub(crate) fn parse(text: &str, descriptor: MessageDescriptor) -> Result<DynamicMessage, ConfigError> {
    let read = || {
        let mut parser = Parser { lexer: Lexer::new(text), token: Token::End, start: 0 };
        parser.advance()?;
        parser.fields(descriptor, &Token::End)
    };
    read().map_err(|(at, problem)| {
        let before = &text[..at];
        let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
        ConfigError::At {
            line: 1 + before.matches('\n').count(),
            column: 1 + before[line_start..].chars().count(),
            problem,
        }
    })
}

struct Parser<'a> {
    lexer: Lexer<'a>,
    /// The next word, and the byte that it starts at.
    token: Token<'a>,
    start: usize,
}

impl<'a> Parser<'a> {
    fn advance(&mut self) -> Located<Token<'a>> {
        let (token, start) = self.lexer.next()?;
        self.start = start;
        Ok(std::mem::replace(&mut self.token, token))
    }

    /// Takes the next word if it is this mark.
    fn eat(&mut self, mark: char) -> Located<bool> {
        let found = self.token == Token::Mark(mark);
        if found {
            self.advance()?;
        }
        Ok(found)
    }

    fn unexpected<T>(&self, expected: impl Into<String>) -> Located<T> {
        Err((self.start, Problem::unexpected(self.token.found(), expected)))
    }

    /// The fields up to `end`, which is taken too.
    fn fields(&mut self, descriptor: MessageDescriptor, end: &Token<'_>) -> Located<DynamicMessage> {
        let mut builder = Builder::new(descriptor.clone());
        while self.token != *end {
            let Token::Name(name) = self.token else {
                return self.unexpected(match end {
                    Token::Mark(mark) => format!("a field of {} or '{mark}'", descriptor.name()),
                    _ => format!("a field of {}", descriptor.name()),
                });
            };
            let start = self.start;
            let field = schema::field(&descriptor, name, |f| f.name() == name).map_err(|p| (start, p))?;
            builder.open(&field).map_err(|p| (start, p))?;
            self.advance()?;
            self.field(&field, &mut builder)?;
            if !self.eat(',')? {
                self.eat(';')?;
            }
        }
        if self.token != Token::End {
            self.advance()?;
        }
        Ok(builder.finish())
    }

    /// What follows a field's name: a colon, which a message does not need, and a value or a list of them.
    fn field(&mut self, field: &FieldDescriptor, builder: &mut Builder) -> Located<()> {
        let kind = field.kind();
        if !self.eat(':')? && !matches!(kind, Kind::Message(_)) {
            return self.unexpected(format!("':' after '{}'", field.name()));
        }
        if !(field.is_list() || field.is_map()) || !self.eat('[')? {
            builder.add(field, self.value(&kind)?);
            return Ok(());
        }
        if self.eat(']')? {
            return Ok(());
        }
        loop {
            builder.add(field, self.value(&kind)?);
            if self.eat(']')? {
                return Ok(());
            }
            if !self.eat(',')? {
                return self.unexpected("',' or ']'");
            }
        }
    }

    fn value(&mut self, kind: &Kind) -> Located<Value> {
        match kind {
            Kind::Message(descriptor) => {
                let end = match self.token {
                    Token::Mark('{') => Token::Mark('}'),
                    Token::Mark('<') => Token::Mark('>'),
                    _ => return self.unexpected(schema::expected(kind)),
                };
                self.advance()?;
                self.fields(descriptor.clone(), &end).map(Value::Message)
            }
            Kind::Enum(descriptor) => self.enumeration(kind, descriptor),
            Kind::Bool => self.boolean(),
            Kind::String | Kind::Bytes => self.string(kind),
            Kind::Float | Kind::Double => self.float(kind),
            Kind::Int32
            | Kind::Int64
            | Kind::Uint32
            | Kind::Uint64
            | Kind::Sint32
            | Kind::Sint64
            | Kind::Fixed32
            | Kind::Fixed64
            | Kind::Sfixed32
            | Kind::Sfixed64 => {
                let (start, found, value) = self.integer(kind)?;
                schema::integer(kind, value)
                    .ok_or_else(|| (start, Problem::unexpected(found, schema::expected(kind))))
            }
        }
    }

    fn enumeration(&mut self, kind: &Kind, descriptor: &EnumDescriptor) -> Located<Value> {
        let start = self.start;
        if let Token::Name(name) = self.token {
            self.advance()?;
            return schema::enum_value(descriptor, name).map_err(|p| (start, p));
        }
        let (_, found, number) = self.integer(kind)?;
        let expected = || (start, Problem::unexpected(found, schema::expected(kind)));
        let number = i32::try_from(number).map_err(|_| expected())?;
        schema::enum_number(descriptor, number).map_err(|p| (start, p))
    }

    fn boolean(&mut self) -> Located<Value> {
        let value = match self.token {
            Token::Name("true" | "True" | "t") | Token::Number("1") => true,
            Token::Name("false" | "False" | "f") | Token::Number("0") => false,
            _ => return self.unexpected(schema::expected(&Kind::Bool)),
        };
        self.advance()?;
        Ok(Value::Bool(value))
    }

    /// A string, or several in a row, which are one.
    fn string(&mut self, kind: &Kind) -> Located<Value> {
        let start = self.start;
        let mut bytes = match &self.token {
            Token::Text(_) => Vec::new(),
            _ => return self.unexpected(schema::expected(kind)),
        };
        while let Token::Text(part) = &self.token {
            bytes.extend_from_slice(part);
            self.advance()?;
        }
        if matches!(kind, Kind::Bytes) {
            return Ok(Value::Bytes(bytes.into()));
        }
        let text = String::from_utf8(bytes);
        text.map(Value::String)
            .map_err(|_| (start, Problem::unexpected("bytes that are not UTF-8", "a text")))
    }

    /// An integer, with where and how it stands there.
    fn integer(&mut self, kind: &Kind) -> Located<(usize, String, i128)> {
        let (start, negative) = (self.start, self.eat('-')?);
        let found = |token: &Token<'_>| format!("{}{}", if negative { "-" } else { "" }, token.found());
        let magnitude = match self.token {
            Token::Number(spelt) => magnitude(spelt),
            _ => None,
        };
        let found = found(&self.token);
        let Some(magnitude) = magnitude else {
            return Err((start, Problem::unexpected(found, schema::expected(kind))));
        };
        self.advance()?;
        let magnitude = i128::from(magnitude);
        Ok((start, found, if negative { -magnitude } else { magnitude }))
    }

    fn float(&mut self, kind: &Kind) -> Located<Value> {
        let negative = self.eat('-')?;
        let magnitude = match self.token {
            Token::Number(spelt) => decimal(spelt),
            Token::Name(name) => match name.to_ascii_lowercase().as_str() {
                "inf" | "infinity" => Some(f64::INFINITY),
                "nan" => Some(f64::NAN),
                _ => None,
            },
            _ => None,
        };
        let Some(magnitude) = magnitude else { return self.unexpected(schema::expected(kind)) };
        self.advance()?;
        let value = if negative { -magnitude } else { magnitude };
        #[allow(clippy::cast_possible_truncation)]
        let narrow = value as f32;
        Ok(if matches!(kind, Kind::Float) { Value::F32(narrow) } else { Value::F64(value) })
    }
}

/// An integer spelt as in C: decimal, `0x` hexadecimal, or octal after a `0`.
fn magnitude(spelt: &str) -> Option<u64> {
    let (digits, radix) = match spelt.as_bytes() {
        [b'0', b'x' | b'X', ..] => (&spelt[2..], 16),
        [b'0', _, ..] => (&spelt[1..], 8),
        _ => (spelt, 10),
    };
    u64::from_str_radix(digits, radix).ok()
}

/// A decimal number, which may end in the `f` of C's floats.
fn decimal(spelt: &str) -> Option<f64> {
    spelt.strip_suffix(['f', 'F']).unwrap_or(spelt).parse().ok()
}
