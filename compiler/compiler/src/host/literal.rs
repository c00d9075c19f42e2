//! Any text as a string literal.

use std::fmt::Write as _;

/// Arguments of a `std::string_view`: a literal of UTF-8 bytes and their number, zero bytes included.
pub(super) fn cpp(text: &str) -> String {
    let mut literal = String::from("{\"");
    for byte in text.bytes() {
        match byte {
            b'"' | b'\\' | b'?' => {
                literal.push('\\');
                literal.push(char::from(byte));
            }
            b' '..=b'~' => literal.push(char::from(byte)),
            // Three octal digits end an escape whatever follows.
            _ => {
                let _ = write!(literal, "\\{byte:03o}");
            }
        }
    }
    let _ = write!(literal, "\", {}}}", text.len());
    literal
}

/// A `&str`.
pub(super) fn rust(text: &str) -> String {
    format!("\"{}\"", text.escape_default())
}
