//! The encoding of protocol buffers, as much of it as the calls need.

/// A field's value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Value<'a> {
    Number(u64),
    Bytes(&'a [u8]),
}

/// A message, taken apart.
#[derive(Debug, Default)]
pub(crate) struct Fields<'a>(Vec<(u32, Value<'a>)>);

impl<'a> Fields<'a> {
    /// None if the bytes are not a message.
    pub(crate) fn parse(mut bytes: &'a [u8]) -> Option<Self> {
        let mut fields = Vec::new();
        while !bytes.is_empty() {
            let tag = varint(&mut bytes)?;
            let value = match tag & 7 {
                0 => Value::Number(varint(&mut bytes)?),
                1 => Value::Number(u64::from_le_bytes(*take(&mut bytes, 8)?.first_chunk()?)),
                2 => {
                    let length = usize::try_from(varint(&mut bytes)?).ok()?;
                    Value::Bytes(take(&mut bytes, length)?)
                }
                5 => Value::Number(u32::from_le_bytes(*take(&mut bytes, 4)?.first_chunk()?).into()),
                _ => return None,
            };
            fields.push((u32::try_from(tag >> 3).ok()?, value));
        }
        Some(Self(fields))
    }

    /// A number; zero where it is missing, as proto2 has it.
    pub(crate) fn number(&self, field: u32) -> u64 {
        self.values(field)
            .filter_map(|value| if let Value::Number(n) = value { Some(n) } else { None })
            .last()
            .unwrap_or(0)
    }

    /// Bytes; none where they are missing.
    pub(crate) fn bytes(&self, field: u32) -> &'a [u8] {
        self.all_bytes(field).last().unwrap_or_default()
    }

    /// Each occurrence of a repeated field.
    pub(crate) fn all_bytes(&self, field: u32) -> impl Iterator<Item = &'a [u8]> {
        self.values(field).filter_map(|value| if let Value::Bytes(b) = value { Some(b) } else { None })
    }

    /// Text, as far as it is UTF-8.
    pub(crate) fn text(&self, field: u32) -> String {
        String::from_utf8_lossy(self.bytes(field)).into_owned()
    }

    fn values(&self, field: u32) -> impl Iterator<Item = Value<'a>> {
        self.0.iter().filter(move |(number, _)| *number == field).map(|(_, value)| *value)
    }
}

fn take<'a>(bytes: &mut &'a [u8], count: usize) -> Option<&'a [u8]> {
    let (taken, rest) = bytes.split_at_checked(count)?;
    *bytes = rest;
    Some(taken)
}

fn varint(bytes: &mut &[u8]) -> Option<u64> {
    let mut value = 0;
    for shift in (0..64).step_by(7) {
        let byte = take(bytes, 1)?[0];
        value |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Some(value);
        }
    }
    None
}

/// A message to be sent.
#[derive(Debug, Default)]
pub(crate) struct Message(Vec<u8>);

impl Message {
    pub(crate) fn number(mut self, field: u32, value: u64) -> Self {
        self.varint(u64::from(field) << 3);
        self.varint(value);
        self
    }

    pub(crate) fn bytes(mut self, field: u32, bytes: &[u8]) -> Self {
        self.varint(u64::from(field) << 3 | 2);
        self.varint(bytes.len() as u64);
        self.0.extend_from_slice(bytes);
        self
    }

    pub(crate) fn fixed64(mut self, field: u32, value: u64) -> Self {
        self.varint(u64::from(field) << 3 | 1);
        self.0.extend_from_slice(&value.to_le_bytes());
        self
    }

    pub(crate) fn into_bytes(self) -> Vec<u8> {
        self.0
    }

    fn varint(&mut self, mut value: u64) {
        while value >= 0x80 {
            self.0.push(value as u8 | 0x80);
            value >>= 7;
        }
        self.0.push(value as u8);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_have_the_bytes_of_protocol_buffers() {
        let message = Message::default().number(1, 300).bytes(2, b"ab").fixed64(3, 5);
        let bytes = message.into_bytes();
        assert_eq!(bytes, *b"\x08\xac\x02\x12\x02ab\x19\x05\0\0\0\0\0\0\0");
        let fields = Fields::parse(&bytes).unwrap();
        assert_eq!((fields.number(1), fields.bytes(2), fields.number(3)), (300, &b"ab"[..], 5));
        assert_eq!((fields.number(4), fields.bytes(4)), (0, &[][..]));
    }

    #[test]
    fn fixed_numbers_and_repeated_fields_are_read() {
        let fields = Fields::parse(b"\x0d\x07\0\0\0\x12\x01a\x12\x01b\x08\x09").unwrap();
        assert_eq!(fields.number(1), 9);
        assert_eq!(fields.all_bytes(2).collect::<Vec<_>>(), [b"a", b"b"]);
        assert_eq!(fields.text(2), "b");
    }

    #[test]
    fn numbers_up_to_the_largest_come_back() {
        for value in [0, 0x7f, 0x80, u64::from(u32::MAX), u64::MAX] {
            let bytes = Message::default().number(1, value).into_bytes();
            assert_eq!(Fields::parse(&bytes).unwrap().number(1), value);
        }
    }

    #[test]
    fn what_is_no_message_is_refused() {
        for bytes in [
            &b"\x08"[..],
            b"\x08\x80",
            b"\x12\x05ab",
            b"\x0d\0\0",
            b"\x0b",
            b"\x12\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01",
        ] {
            assert!(Fields::parse(bytes).is_none(), "{bytes:?}");
        }
        assert!(Fields::parse(&[0xff; 32]).is_none());
    }
}
