//! The protobuf text form.

mod lex;
mod parse;
mod print;

pub(crate) use parse::parse;
pub(crate) use print::print;
