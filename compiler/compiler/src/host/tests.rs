use super::*;

#[test]
fn texts_are_literals_whatever_they_hold() {
    assert_eq!(cpp("a\"b\\??/\n\0\u{e9}7"), r#"{"a\"b\\\?\?/\012\000\303\2517", 12}"#);
    assert_eq!(rust("a\"b\\\n\0\u{e9}"), r#""a\"b\\\n\u{0}\u{e9}""#);
}

#[test]
fn values_are_not_templates() {
    let value = |key: &str| match key {
        "A" => Some("@B@"),
        "B" => Some("b"),
        _ => None,
    };
    assert_eq!(fill("x@A@y@B@@A@ $@ a@b@ @", value), "x@B@yb@B@ $@ a@b@ @");
}
