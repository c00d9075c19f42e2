//! The protocol's classification extension: the best classes instead of the values.

use bytes::Bytes;
use hs_runtime::{Buffer, Data, Datatype};

/// The best `classes` elements of each row, or of the whole buffer where there is no batch axis, as
/// `value:index[:label]`, the largest value first, the lower index first among equals.
///
/// # Errors
/// Element types that have no order.
pub(crate) fn classify(
    buffer: &Buffer,
    batched: bool,
    classes: usize,
    labels: &[String],
) -> Result<Buffer, String> {
    let Some(tensor) = buffer.to_tensor() else {
        return Err(format!("there are no classes among elements of {}", buffer.datatype()));
    };
    let values = tensor.to_f64();
    let rows = if batched { buffer.rows() } else { 1 };
    let row = values.len().checked_div(rows).unwrap_or(0);
    let classes = classes.min(row);
    let mut out = Vec::new();
    for (r, values) in values.chunks(row.max(1)).enumerate() {
        let mut order: Vec<usize> = (0..values.len()).collect();
        // Among floats, what is not a number comes last.
        order.sort_by(|a, b| {
            values[*b]
                .partial_cmp(&values[*a])
                .unwrap_or_else(|| values[*a].is_nan().cmp(&values[*b].is_nan()))
        });
        for index in &order[..classes] {
            let value = text(tensor.data(), r * row + index);
            let label = labels.get(*index).map_or(String::new(), |l| format!(":{l}"));
            let element = format!("{value}:{index}{label}");
            out.extend((element.len() as u32).to_le_bytes());
            out.extend(element.as_bytes());
        }
    }
    let shape: Vec<usize> = if batched { vec![rows, classes] } else { vec![classes] };
    Buffer::new(Datatype::Bytes, shape, Bytes::from(out)).map_err(|e| e.to_string())
}

/// Floats with six decimals, as clients of the extension know them.
fn text(data: &Data, at: usize) -> String {
    match data {
        Data::Bool(v) => u8::from(v[at]).to_string(),
        Data::I8(v) => v[at].to_string(),
        Data::I16(v) => v[at].to_string(),
        Data::I32(v) => v[at].to_string(),
        Data::I64(v) => v[at].to_string(),
        Data::U8(v) => v[at].to_string(),
        Data::U16(v) => v[at].to_string(),
        Data::U32(v) => v[at].to_string(),
        Data::U64(v) => v[at].to_string(),
        Data::F16(v) => format!("{:.6}", v[at]),
        Data::F32(v) => format!("{:.6}", v[at]),
        Data::F64(v) => format!("{:.6}", v[at]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use hs_runtime::{Tensor, byte_strings};

    fn strings(b: &Buffer) -> Vec<String> {
        byte_strings(b.data()).map(|e| String::from_utf8(e.unwrap().to_vec()).unwrap()).collect()
    }

    #[test]
    fn best_first_labels_where_there_are() {
        let t = Buffer::from(Tensor::of([2, 3], vec![0.5f32, 2.0, 2.0, f32::NAN, -1.0, 0.0]).unwrap());
        let labels = ["jet".to_owned(), "top".to_owned()];
        let c = classify(&t, true, 2, &labels).unwrap();
        assert_eq!(c.shape(), [2, 2]);
        assert_eq!(strings(&c), ["2.000000:1:top", "2.000000:2", "0.000000:2", "-1.000000:1:top"]);
        let all = classify(&t, false, 100, &[]).unwrap();
        assert_eq!(all.shape(), [6]);
        let ints = Buffer::from(Tensor::of([1, 2], vec![7i64, 9]).unwrap());
        assert_eq!(strings(&classify(&ints, true, 1, &[]).unwrap()), ["9:1"]);
    }

    #[test]
    fn no_rows_no_classes() {
        let none = Buffer::from(Tensor::of([0, 3], Vec::<f32>::new()).unwrap());
        assert_eq!(classify(&none, true, 2, &[]).unwrap().shape(), [0, 0]);
    }
}
