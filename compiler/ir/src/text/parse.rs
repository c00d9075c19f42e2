//! Parsing.

use std::collections::HashMap;
use std::str::FromStr;
use std::sync::Arc;

use super::ParseError;
use super::lex::{Token, tokens};
use crate::{Attr, Attrs, DType, Graph, Grid, Node, Tensor, TensorData, Value, ValueId};

impl FromStr for Graph {
    type Err = ParseError;

    /// Reads what [`Graph::to_text`] wrote. Values are numbered in the order of their definition. The result is not
    /// verified beyond that names are defined.
    fn from_str(text: &str) -> Result<Self, ParseError> {
        let mut parser = Parser { tokens: tokens(text)?, at: 0 };
        parser.graph()
    }
}

struct Parser {
    tokens: Vec<(usize, Token)>,
    at: usize,
}

type Result<T, E = ParseError> = std::result::Result<T, E>;

impl Parser {
    fn graph(&mut self) -> Result<Graph> {
        self.keyword("graph")?;
        let mut graph = Graph::new(self.string()?);
        self.end()?;
        let mut ids = HashMap::new();
        while self.at < self.tokens.len() {
            match self.word()?.as_str() {
                "input" => {
                    let value = self.declaration()?;
                    let id = self.define(&mut graph, &mut ids, value)?;
                    graph.inputs.push(id);
                }
                "const" => {
                    let name = self.string()?;
                    self.punct(':')?;
                    let mut value = Value::constant(name, self.tensor()?);
                    if self.take_word("grid") {
                        value.grid = Some(Arc::new(self.grid()?));
                    }
                    self.define(&mut graph, &mut ids, value)?;
                }
                "node" => self.node(&mut graph, &mut ids)?,
                "output" => {
                    let id = self.value(&ids)?;
                    graph.outputs.push(id);
                }
                other => {
                    self.at -= 1;
                    return Err(
                        self.error(&format!("expected input, const, node or output, found '{other}'"))
                    );
                }
            }
            self.end()?;
        }
        Ok(graph)
    }

    fn node(&mut self, graph: &mut Graph, ids: &mut HashMap<String, ValueId>) -> Result<()> {
        let name = self.string()?;
        let (mut domain, mut op) = (String::new(), self.word_or_string()?);
        if self.take(';') {
            (domain, op) = (op, self.word_or_string()?);
        }
        self.punct('(')?;
        let inputs = self.list(')', |p| if p.take_word("_") { Ok(None) } else { p.value(ids).map(Some) })?;
        self.punct('>')?;
        self.punct('(')?;
        let declared =
            self.list(')', |p| if p.take_word("_") { Ok(None) } else { p.declaration().map(Some) })?;
        let mut outputs = Vec::with_capacity(declared.len());
        for value in declared {
            outputs.push(value.map(|v| self.define(graph, ids, v)).transpose()?);
        }
        let mut attrs = Attrs::new();
        if self.take('{') {
            for (name, attr) in self.list('}', |p| {
                let name = p.word_or_string()?;
                p.punct('=')?;
                Ok((name, p.attr()?))
            })? {
                attrs.set(name, attr);
            }
        }
        let mut sources = vec![name.clone()];
        if self.take_word("from") {
            self.punct('[')?;
            sources = self.list(']', Self::string)?;
        }
        graph.nodes.push(Node { name, domain, op, attrs, inputs, outputs, sources });
        Ok(())
    }

    fn define(&self, graph: &mut Graph, ids: &mut HashMap<String, ValueId>, value: Value) -> Result<ValueId> {
        let name = value.name.clone();
        if ids.contains_key(&name) {
            return Err(self.error(&format!("value \"{name}\" is defined twice")));
        }
        let id = graph.add_value(value);
        ids.insert(name, id);
        Ok(id)
    }

    fn value(&mut self, ids: &HashMap<String, ValueId>) -> Result<ValueId> {
        let name = self.string()?;
        ids.get(&name).copied().ok_or_else(|| self.error(&format!("value \"{name}\" is not defined above")))
    }

    fn declaration(&mut self) -> Result<Value> {
        let mut value = Value::named(self.string()?);
        self.punct(':')?;
        if !self.take('?') {
            value.dtype = Some(self.dtype()?);
        }
        if !self.take('?') {
            value.shape = Some(self.shape()?);
        }
        Ok(value)
    }

    fn dtype(&mut self) -> Result<DType> {
        let word = self.word()?;
        word.parse().map_err(|()| self.error(&format!("'{word}' is no element type")))
    }

    fn shape(&mut self) -> Result<Vec<usize>> {
        self.punct('[')?;
        self.list(']', Self::number)
    }

    fn tensor(&mut self) -> Result<Tensor> {
        let (dtype, shape) = (self.dtype()?, self.shape()?);
        self.punct('=')?;
        self.punct('[')?;
        let data = match dtype {
            DType::F64 => TensorData::F64(self.list(']', Self::number)?),
            d if d.is_float() => TensorData::F32(self.list(']', Self::number)?),
            _ => TensorData::I64(self.list(']', Self::number)?),
        };
        Tensor::new(dtype, shape, data).map_err(|e| self.error(&e.to_string()))
    }

    fn grid(&mut self) -> Result<Grid> {
        let field = |p: &mut Self, name: &str| {
            p.keyword(name)?;
            p.punct('=')
        };
        self.punct('{')?;
        field(self, "scale")?;
        self.punct('[')?;
        let scale = self.list(']', Self::number)?;
        self.punct(',')?;
        let mut axis = None;
        if self.take_word("axis") {
            self.punct('=')?;
            axis = Some(self.number()?);
            self.punct(',')?;
        }
        field(self, "zero")?;
        let zero_point = self.number()?;
        self.punct(',')?;
        field(self, "bits")?;
        let bits = self.number()?;
        self.punct(',')?;
        field(self, "signed")?;
        let signed = self.number::<u8>()? != 0;
        self.punct(',')?;
        field(self, "narrow")?;
        let narrow = self.number::<u8>()? != 0;
        self.punct('}')?;
        Ok(Grid { scale, axis, zero_point, bits, signed, narrow })
    }

    fn attr(&mut self) -> Result<Attr> {
        if let Some((_, Token::Str(_))) = self.tokens.get(self.at) {
            return self.string().map(Attr::Str);
        }
        let kind = self.word()?;
        if matches!(kind.as_str(), "ints" | "floats" | "strs") {
            self.punct('[')?;
        }
        match kind.as_str() {
            "int" => self.number().map(Attr::Int),
            "float" => self.number().map(Attr::Float),
            "ints" => self.list(']', Self::number).map(Attr::Ints),
            "floats" => self.list(']', Self::number).map(Attr::Floats),
            "strs" => self.list(']', Self::string).map(Attr::Strs),
            "tensor" => self.tensor().map(Attr::Tensor),
            other => Err(self.error(&format!("'{other}' is no kind of attribute"))),
        }
    }

    /// Items separated by commas, up to and including `close`.
    fn list<T>(&mut self, close: char, mut item: impl FnMut(&mut Self) -> Result<T>) -> Result<Vec<T>> {
        let mut items = Vec::new();
        if self.take(close) {
            return Ok(items);
        }
        loop {
            items.push(item(self)?);
            if self.take(close) {
                return Ok(items);
            }
            self.punct(',')?;
        }
    }

    fn number<T: FromStr>(&mut self) -> Result<T> {
        let word = self.word()?;
        word.parse().map_err(|_| self.error(&format!("'{word}' is no number that fits here")))
    }

    fn word(&mut self) -> Result<String> {
        match self.next() {
            Some(Token::Word(w)) => Ok(w),
            found => Err(self.unexpected("a word", found)),
        }
    }

    fn string(&mut self) -> Result<String> {
        match self.next() {
            Some(Token::Str(s)) => Ok(s),
            found => Err(self.unexpected("a quoted string", found)),
        }
    }

    fn word_or_string(&mut self) -> Result<String> {
        match self.next() {
            Some(Token::Str(s) | Token::Word(s)) => Ok(s),
            found => Err(self.unexpected("a word or quoted string", found)),
        }
    }

    fn keyword(&mut self, keyword: &str) -> Result<()> {
        match self.next() {
            Some(Token::Word(w)) if w == keyword => Ok(()),
            found => Err(self.unexpected(&format!("'{keyword}'"), found)),
        }
    }

    fn punct(&mut self, punct: char) -> Result<()> {
        match self.next() {
            Some(Token::Punct(c)) if c == punct => Ok(()),
            found => Err(self.unexpected(&Token::Punct(punct).describe(), found)),
        }
    }

    fn end(&mut self) -> Result<()> {
        match self.next() {
            Some(Token::Newline) | None => Ok(()),
            found => Err(self.unexpected("the end of the line", found)),
        }
    }

    fn take(&mut self, punct: char) -> bool {
        self.take_token(&Token::Punct(punct))
    }

    fn take_word(&mut self, word: &str) -> bool {
        self.take_token(&Token::Word(word.to_owned()))
    }

    fn take_token(&mut self, token: &Token) -> bool {
        let found = self.tokens.get(self.at).is_some_and(|(_, t)| t == token);
        self.at += usize::from(found);
        found
    }

    fn next(&mut self) -> Option<Token> {
        let token = self.tokens.get(self.at).map(|(_, t)| t.clone());
        self.at += 1;
        token
    }

    fn unexpected(&self, expected: &str, found: Option<Token>) -> ParseError {
        let found = found.map_or_else(|| "the end of the text".to_owned(), |t| t.describe());
        self.error(&format!("expected {expected}, found {found}"))
    }

    /// An error at the token last read.
    fn error(&self, message: &str) -> ParseError {
        let at = self.at.saturating_sub(1).min(self.tokens.len().saturating_sub(1));
        let line = self.tokens.get(at).map_or(1, |(line, _)| *line);
        ParseError { line, message: message.to_owned() }
    }
}
