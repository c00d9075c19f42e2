//! Node attributes.

use hs_ir::Attr;

use super::external::Folder;
use super::proto::AttributeProto;
use super::tensor;

/// The attribute's value; `None` for kinds that no supported operator has (subgraphs, types, sparse tensors). The error
/// says what is wrong with it.
pub(super) fn decode(proto: &AttributeProto, folder: Option<&Folder>) -> Result<Option<Attr>, String> {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    Ok(Some(match kind(proto) {
        1 => Attr::Float(proto.f),
        2 => Attr::Int(proto.i),
        3 => Attr::Str(text(&proto.s)),
        4 => match &proto.t {
            Some(t) => Attr::Tensor(tensor::decode(t, folder)?),
            None => return Err("it holds no tensor".to_owned()),
        },
        6 => Attr::Floats(proto.floats.clone()),
        7 => Attr::Ints(proto.ints.clone()),
        8 => Attr::Strs(proto.strings.iter().map(|s| text(s)).collect()),
        _ => return Ok(None),
    }))
}

/// The declared kind, or, where old exporters left it out, the one whose field is filled.
fn kind(proto: &AttributeProto) -> i32 {
    match proto.r#type {
        0 if proto.t.is_some() => 4,
        0 if !proto.floats.is_empty() => 6,
        0 if !proto.ints.is_empty() => 7,
        0 if !proto.strings.is_empty() => 8,
        0 if !proto.s.is_empty() => 3,
        0 if proto.f != 0.0 => 1,
        0 => 2,
        declared => declared,
    }
}
