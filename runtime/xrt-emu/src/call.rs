//! The calls of the host, and their answers.

use std::path::PathBuf;

use crate::wire::{Fields, Message};

/// Bytes of a call's header: field 1 the body's size, 64 bits; field 2 the number of the call, 32 bits.
pub(crate) const HEADER: usize = 14;

/// A call, as the host means it.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Call<'a> {
    /// The host closes the device; with `end` for good.
    Close {
        end: bool,
    },
    /// An xclbin is loaded. The host has written two of its sections to files.
    Load {
        metadata: PathBuf,
        bitstream: PathBuf,
        banks: Vec<u64>,
    },
    Allocate {
        address: u64,
        size: u64,
    },
    Free {
        address: u64,
    },
    ToCard {
        address: u64,
        data: &'a [u8],
    },
    FromCard {
        address: u64,
        size: u64,
    },
    /// Registers, by their absolute address.
    Write {
        address: u64,
        data: &'a [u8],
    },
    Read {
        address: u64,
        size: u64,
    },
    /// A register of a compute unit that the host has for itself.
    WriteRegister {
        unit: u64,
        offset: u64,
        data: &'a [u8],
    },
    ReadRegister {
        unit: u64,
        offset: u64,
        size: u64,
    },
    /// A call that needs no more than a yes: streams, versions, and what later hosts may send.
    Other,
}

/// An answer.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Answer {
    /// Whether it was done.
    Done(bool),
    /// Bytes copied to the card.
    Copied(u64),
    /// Bytes from the card, after how many they are.
    Bytes(Vec<u8>),
    /// Registers' bytes, after whether they could be read.
    Registers(Option<Vec<u8>>),
}

/// The size of the body and the number of the call.
pub(crate) fn header(bytes: &[u8; HEADER]) -> Option<(u64, u64)> {
    let fields = Fields::parse(bytes)?;
    Some((fields.number(1), fields.number(2)))
}

impl<'a> Call<'a> {
    /// None if the body is not a message.
    pub(crate) fn parse(number: u64, body: &'a [u8]) -> Option<Self> {
        let fields = Fields::parse(body)?;
        let n = |field| fields.number(field);
        Some(match number {
            1 => Self::Close { end: n(3) != 0 },
            3 => Self::Load {
                metadata: fields.text(1).into(),
                bitstream: fields.text(2).into(),
                banks: fields
                    .all_bytes(8)
                    .map(|bank| Some(Fields::parse(bank)?.number(7)))
                    .collect::<Option<_>>()?,
            },
            4 => Self::Allocate { address: n(1), size: n(2) },
            5 => Self::Free { address: n(1) },
            6 => {
                let data = fields.bytes(4);
                let size = usize::try_from(n(5)).unwrap_or(usize::MAX).min(data.len());
                Self::ToCard { address: n(3), data: &data[..size] }
            }
            7 => Self::FromCard { address: n(4), size: n(5) },
            9 => Self::Write { address: n(2), data: fields.bytes(4) },
            11 => Self::Read { address: n(2), size: n(3) },
            51 => Self::WriteRegister { unit: n(1), offset: n(2), data: fields.bytes(3) },
            52 => Self::ReadRegister { unit: n(1), offset: n(2), size: n(3) },
            _ => Self::Other,
        })
    }
}

impl Answer {
    /// Header and body. The header has the size only: a host takes no other field.
    pub(crate) fn to_bytes(&self) -> Vec<u8> {
        let message = Message::default();
        let body = match self {
            Self::Done(done) => message.number(1, u64::from(*done)),
            Self::Copied(size) => message.number(1, *size),
            Self::Bytes(bytes) => message.number(1, bytes.len() as u64).bytes(2, bytes),
            Self::Registers(bytes) => {
                message.number(1, u64::from(bytes.is_some())).bytes(2, bytes.as_deref().unwrap_or_default())
            }
        };
        let body = body.into_bytes();
        let mut bytes = Message::default().fixed64(1, body.len() as u64).into_bytes();
        bytes.extend(body);
        bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_header_is_a_size_and_a_number() {
        assert_eq!(header(b"\x09\x05\0\0\0\0\0\0\0\x15\x04\0\0\0"), Some((5, 4)));
        assert_eq!(header(b"\x09\x05\0\0\0\0\0\0\0\x12\x09abc"), None);
    }

    #[test]
    fn calls_are_read_field_by_field() {
        let m = Message::default;
        let parse =
            |number, message: Message| format!("{:?}", Call::parse(number, &message.into_bytes()).unwrap());
        assert_eq!(parse(1, m().number(3, 1)), "Close { end: true }");
        let bank = |size| m().number(7, size).into_bytes();
        let load = m().bytes(1, b"/r/xmltmp").bytes(2, b"/r/dltmp").bytes(8, &bank(64)).bytes(8, &bank(32));
        assert_eq!(
            parse(3, load),
            r#"Load { metadata: "/r/xmltmp", bitstream: "/r/dltmp", banks: [64, 32] }"#
        );
        assert_eq!(parse(4, m().number(1, 4096).number(2, 64)), "Allocate { address: 4096, size: 64 }");
        assert_eq!(parse(5, m().number(1, 4096)), "Free { address: 4096 }");
        let to = m().number(2, 9).number(3, 4096).bytes(4, b"abc").number(5, 2).number(6, 77);
        assert_eq!(parse(6, to), "ToCard { address: 4096, data: [97, 98] }");
        let from = m().bytes(3, b"xx").number(4, 4096).number(5, 2);
        assert_eq!(parse(7, from), "FromCard { address: 4096, size: 2 }");
        assert_eq!(
            parse(9, m().number(2, 16).number(3, 1).bytes(4, b"a")),
            "Write { address: 16, data: [97] }"
        );
        assert_eq!(parse(11, m().number(2, 16).number(3, 4)), "Read { address: 16, size: 4 }");
        let write = m().number(1, 1 << 16).number(2, 40).bytes(3, b"a");
        assert_eq!(parse(51, write), "WriteRegister { unit: 65536, offset: 40, data: [97] }");
        let read = m().number(1, 1 << 16).number(2, 40).number(3, 4);
        assert_eq!(parse(52, read), "ReadRegister { unit: 65536, offset: 40, size: 4 }");
        assert_eq!(parse(28, m()), "Other");
        assert_eq!(parse(53, m().number(1, 3)), "Other");
        assert_eq!(Call::parse(3, &m().bytes(8, b"\xff").into_bytes()), None);
    }

    #[test]
    fn answers_have_a_header_of_nine_bytes() {
        let bytes = |answer: Answer| answer.to_bytes();
        assert_eq!(bytes(Answer::Done(true)), *b"\x09\x02\0\0\0\0\0\0\0\x08\x01");
        assert_eq!(bytes(Answer::Copied(300)), *b"\x09\x03\0\0\0\0\0\0\0\x08\xac\x02");
        assert_eq!(bytes(Answer::Bytes(b"ab".to_vec())), *b"\x09\x06\0\0\0\0\0\0\0\x08\x02\x12\x02ab");
        assert_eq!(bytes(Answer::Registers(Some(vec![1, 0, 0, 0])))[9..], *b"\x08\x01\x12\x04\x01\0\0\0");
        assert_eq!(bytes(Answer::Registers(None))[9..], *b"\x08\0\x12\0");
    }
}
