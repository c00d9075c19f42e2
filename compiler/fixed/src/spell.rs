//! Types as text: `fixed<16,6,RND,SAT>` and HLS's `ap_fixed<16,6,AP_RND,AP_SAT,0>`.

use std::fmt;

use nom::{
    IResult, Parser,
    branch::alt,
    bytes::complete::{tag, take_while1},
    character::complete::{char, i64 as int64, space0},
    combinator::{all_consuming, opt},
    sequence::{delimited, preceded},
};

use crate::{Format, FormatError, Overflow, Rounding, Type};

/// Rounding and overflow together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Modes {
    /// Rounding.
    pub rounding: Rounding,
    /// Overflow.
    pub overflow: Overflow,
}

impl Modes {
    /// `TRN,WRAP`: HLS's and hls4ml's default.
    pub const TRN_WRAP: Self = Self { rounding: Rounding::Trn, overflow: Overflow::WRAP };
    /// `RND,SAT`: the default of native arithmetic.
    pub const RND_SAT: Self = Self { rounding: Rounding::Rnd, overflow: Overflow::Sat };
}

/// Text that is no type.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ParseTypeError {
    /// Not the syntax of a type.
    #[error(
        "'{0}' is not a type; write fixed<W,I>, ufixed<W,I>, int<W> or uint<W>, with modes if wanted \
         (fixed<16,6,RND,SAT>), or HLS's ap_fixed<16,6,AP_RND,AP_SAT>"
    )]
    Syntax(String),
    /// No such mode.
    #[error("'{0}' is not a {1} mode; {1} is one of {2}")]
    Mode(String, &'static str, &'static str),
    /// The numbers make no format.
    #[error("'{0}': {1}")]
    Format(String, FormatError),
    /// More saturated bits than bits.
    #[error("'{0}': the number of saturated bits must be 0 to the width, and only WRAP and WRAP_SM take one")]
    SaturatedBits(String),
}

const ROUNDINGS: &str = "TRN, TRN_ZERO, RND, RND_ZERO, RND_MIN_INF, RND_INF, RND_CONV";
const OVERFLOWS: &str = "WRAP, WRAP_SM, SAT, SAT_ZERO, SAT_SYM";

impl Rounding {
    /// The name without `AP_`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Trn => "TRN",
            Self::TrnZero => "TRN_ZERO",
            Self::Rnd => "RND",
            Self::RndZero => "RND_ZERO",
            Self::RndMinInf => "RND_MIN_INF",
            Self::RndInf => "RND_INF",
            Self::RndConv => "RND_CONV",
        }
    }
}

impl Overflow {
    /// The name without `AP_`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Wrap { .. } => "WRAP",
            Self::WrapSm { .. } => "WRAP_SM",
            Self::Sat => "SAT",
            Self::SatZero => "SAT_ZERO",
            Self::SatSym => "SAT_SYM",
        }
    }

    /// Saturated bits of the wrapping modes, else 0.
    pub fn saturated_bits(self) -> u32 {
        match self {
            Self::Wrap { n } | Self::WrapSm { n } => n,
            Self::Sat | Self::SatZero | Self::SatSym => 0,
        }
    }
}

struct Head {
    signed: bool,
    integer: bool,
    hls: bool,
}

fn head(s: &str) -> IResult<&str, Head> {
    let (s, ap) = opt(tag("ap_")).parse(s)?;
    let (s, unsigned) = opt(char('u')).parse(s)?;
    let (s, word) = alt((tag("fixed"), tag("int"))).parse(s)?;
    Ok((s, Head { signed: unsigned.is_none(), integer: word == "int", hls: ap.is_some() }))
}

fn mode(s: &str) -> IResult<&str, &str> {
    take_while1(|c: char| c.is_ascii_alphanumeric() || c == '_')(s)
}

fn comma<'a, O, P>(p: P) -> impl Parser<&'a str, Output = O, Error = nom::error::Error<&'a str>>
where
    P: Parser<&'a str, Output = O, Error = nom::error::Error<&'a str>>,
{
    preceded((space0, char(','), space0), p)
}

type Raw<'a> = (Head, i64, Option<i64>, Option<&'a str>, Option<&'a str>, Option<i64>);

fn raw(s: &str) -> IResult<&str, Raw<'_>> {
    let (s, h) = head(s)?;
    let (s, _) = (space0, char('<'), space0).parse(s)?;
    let (s, width) = int64(s)?;
    let (s, int) = if h.integer { (s, None) } else { opt(comma(int64)).parse(s)? };
    let (s, q) = opt(comma(mode)).parse(s)?;
    let (s, o) = opt(comma(mode)).parse(s)?;
    let (s, n) = opt(comma(int64)).parse(s)?;
    let (s, _) = (space0, char('>')).parse(s)?;
    Ok((s, (h, width, int, q, o, n)))
}

/// Reads a type in our spelling or HLS's. Omitted modes are `defaults` in ours and always
/// `AP_TRN, AP_WRAP` in HLS's.
pub fn parse_type(text: &str, defaults: Modes) -> Result<Type, ParseTypeError> {
    let syntax = || ParseTypeError::Syntax(text.trim().to_owned());
    let (_, (head, width, int, q, o, n)) =
        all_consuming(delimited(space0, raw, space0)).parse(text).map_err(|_| syntax())?;
    let int = match (head.integer, int) {
        (true, _) => width,
        (false, Some(i)) => i,
        (false, None) => return Err(syntax()),
    };
    let bad = |e| ParseTypeError::Format(text.trim().to_owned(), e);
    let width32 = u32::try_from(width).map_err(|_| bad(FormatError::Width(width)))?;
    let int32 = i32::try_from(int).map_err(|_| bad(FormatError::Int(int)))?;
    let format = Format::new(head.signed, width32, int32).map_err(bad)?;
    let modes = if head.hls { Modes::TRN_WRAP } else { defaults };
    let bits = || ParseTypeError::SaturatedBits(text.trim().to_owned());
    let n = u32::try_from(n.unwrap_or(0)).ok().filter(|n| *n <= width32).ok_or_else(bits)?;
    let rounding = q.map_or(Ok(modes.rounding), |q| {
        let name = q.strip_prefix("AP_").unwrap_or(q);
        let found = Rounding::ALL.into_iter().find(|r| r.name() == name);
        found.ok_or_else(|| ParseTypeError::Mode(q.to_owned(), "rounding", ROUNDINGS))
    })?;
    let overflow = match o.map(|o| o.strip_prefix("AP_").unwrap_or(o)) {
        None => modes.overflow,
        Some("WRAP") => Overflow::Wrap { n },
        Some("WRAP_SM") => Overflow::WrapSm { n },
        Some("SAT") => Overflow::Sat,
        Some("SAT_ZERO") => Overflow::SatZero,
        Some("SAT_SYM") => Overflow::SatSym,
        Some(other) => return Err(ParseTypeError::Mode(other.to_owned(), "overflow", OVERFLOWS)),
    };
    if n != overflow.saturated_bits() {
        return Err(bits());
    }
    Ok(Type { format, rounding, overflow })
}

impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let u = if self.is_signed() { "" } else { "u" };
        write!(f, "{u}fixed<{},{}>", self.width(), self.int())
    }
}

impl fmt::Display for Type {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let u = if self.format.is_signed() { "" } else { "u" };
        let (w, i) = (self.format.width(), self.format.int());
        write!(f, "{u}fixed<{w},{i},{},{}", self.rounding.name(), self.overflow.name())?;
        match self.overflow.saturated_bits() {
            0 => write!(f, ">"),
            n => write!(f, ",{n}>"),
        }
    }
}

impl Format {
    /// The HLS type of the grid, with HLS's default modes: `ap_fixed<16,6>`.
    pub fn hls(self) -> String {
        format!("ap_{self}")
    }
}

impl Type {
    /// The HLS spelling, both modes given: `ap_fixed<16,6,AP_RND,AP_SAT,0>`.
    pub fn hls(&self) -> String {
        let u = if self.format.is_signed() { "" } else { "u" };
        format!(
            "ap_{u}fixed<{},{},AP_{},AP_{},{}>",
            self.format.width(),
            self.format.int(),
            self.rounding.name(),
            self.overflow.name(),
            self.overflow.saturated_bits()
        )
    }
}

impl std::str::FromStr for Type {
    type Err = ParseTypeError;

    /// Our spelling with `RND,SAT` for omitted modes, or HLS's.
    fn from_str(s: &str) -> Result<Self, Self::Err> {
        parse_type(s, Modes::RND_SAT)
    }
}

impl serde::Serialize for Type {
    fn serialize<S: serde::Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.collect_str(self)
    }
}

impl<'de> serde::Deserialize<'de> for Type {
    fn deserialize<D: serde::Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        let text = String::deserialize(d)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_spellings() {
        let p = |s| parse_type(s, Modes::RND_SAT).unwrap().to_string();
        assert_eq!(p("fixed<16,6>"), "fixed<16,6,RND,SAT>");
        assert_eq!(p(" ufixed< 8 , -2 , RND_CONV , SAT_SYM > "), "ufixed<8,-2,RND_CONV,SAT_SYM>");
        assert_eq!(p("int<7>"), "fixed<7,7,RND,SAT>");
        assert_eq!(p("uint<7,TRN,WRAP,2>"), "ufixed<7,7,TRN,WRAP,2>");
        assert_eq!(p("ap_fixed<16,6>"), "fixed<16,6,TRN,WRAP>");
        assert_eq!(p("ap_ufixed<16,6,AP_RND_INF,AP_SAT_ZERO,0>"), "ufixed<16,6,RND_INF,SAT_ZERO>");
        assert_eq!(p("ap_int<4>"), "fixed<4,4,TRN,WRAP>");
        assert_eq!("fixed<16,6>".parse::<Type>().unwrap().hls(), "ap_fixed<16,6,AP_RND,AP_SAT,0>");
    }

    #[test]
    fn errors_say_what_to_write() {
        let e = |s| parse_type(s, Modes::RND_SAT).unwrap_err().to_string();
        assert!(e("fixed<16>").contains("write fixed<W,I>"));
        assert!(e("float").contains("'float' is not a type"));
        assert!(e("fixed<16,6,ROUND>").contains("TRN_ZERO"));
        assert!(e("fixed<200,6>").contains("200 bits"));
        assert!(e("fixed<99999999999,6>").contains("99999999999"));
        assert!(e("fixed<8,6,RND,SAT,3>").contains("saturated bits"));
        assert!(e("fixed<8,6,RND,WRAP,9>").contains("saturated bits"));
    }
}
