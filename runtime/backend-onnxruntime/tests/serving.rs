//! Models as they are served: whole tensors, whatever their axes.

mod common;

use std::sync::Arc;

use bytes::Bytes;
use common::{
    Dim::{self, Name, Size},
    FLOAT, STRING, exports, is_here, model, node, port,
};
use hs_backend_onnxruntime::OnnxRuntime;
use hs_runtime::{Backend, Buffer, Datatype, Device, Executable, LoadError, Model, RunError, Tensor, npy};

/// Loads a file that is gone afterwards; `None` when the machine has no ONNX Runtime.
fn load(file: &[u8], options: &[(&str, &str)]) -> Option<Result<Arc<dyn Executable>, LoadError>> {
    let backend = OnnxRuntime::serving();
    if !is_here(&backend) {
        return None;
    }
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("model.onnx");
    std::fs::write(&path, file).unwrap();
    let options = options.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
    let model = Model { name: "m".to_owned(), onnx: Some(path), options, ..Model::default() };
    Some(backend.load(&model))
}

/// `y = op(x)` of elements of one type.
fn unary(op: &str, element: u64, dims: &[Dim]) -> Vec<u8> {
    model(&[node(op, &["x"], "y")], &[port("x", element, dims)], &[port("y", element, dims)])
}

fn buffer<const N: usize>(shape: [usize; N], values: Vec<f32>) -> Buffer {
    Tensor::of(shape, values).unwrap().into()
}

#[test]
fn several_inputs_with_axes_of_any_size() {
    // As particle clouds are: points and a mask, as many as each event has.
    let x = port("points", FLOAT, &[Name("N"), Size(2), Name("n")]);
    let mask = port("mask", FLOAT, &[Name("N"), Size(1), Name("n")]);
    let y = port("y", FLOAT, &[Name("N"), Size(2), Name("n")]);
    let file = model(&[node("Mul", &["points", "mask"], "y")], &[x, mask], &[y]);
    let Some(loaded) = load(&file, &[]) else { return };
    let loaded = loaded.unwrap();
    assert!(loaded.has_batch() && !loaded.is_exact() && loaded.concurrency() == 1);
    assert_eq!(loaded.inputs()[0].shape, [Some(2), None]);
    for (rows, n) in [(1, 1), (3, 7), (2, 0), (0, 4)] {
        let points: Vec<f32> = (0..rows * 2 * n).map(|i| i as f32).collect();
        let mask: Vec<f32> = (0..rows * n).map(|i| (i % 2) as f32).collect();
        let at = |i: usize| mask.get(i / (2 * n) * n + i % n).copied().unwrap_or_default();
        let expected: Vec<f32> = points.iter().enumerate().map(|(i, p)| p * at(i)).collect();
        let inputs = [buffer([rows, 2, n], points), buffer([rows, 1, n], mask)];
        if rows * n == 0 {
            // Empty tensors are the model's own business: an answer or an error, no crash.
            let _ = loaded.run_buffers(&inputs);
            continue;
        }
        assert_eq!(loaded.run_buffers(&inputs).unwrap(), [buffer([rows, 2, n], expected)]);
    }
    let inputs = [buffer([1, 3, 1], vec![0.0; 3]), buffer([1, 1, 1], vec![0.0])];
    assert!(matches!(loaded.run_buffers(&inputs), Err(RunError::Shape { .. })));
    assert!(matches!(loaded.run_buffers(&inputs[..1]), Err(RunError::Inputs { .. })));
    // What only the runtime sees is its error.
    let inputs = [buffer([1, 2, 3], vec![0.0; 6]), buffer([1, 1, 2], vec![0.0; 2])];
    assert!(loaded.run_buffers(&inputs).unwrap_err().is_backends());
}

#[test]
fn the_first_axis_is_the_batch_where_its_name_says_so() {
    let batched = |dims: &[Dim], options: &[(&str, &str)]| {
        let loaded = load(&unary("Neg", FLOAT, dims), options)?.unwrap();
        Some((loaded.has_batch(), loaded.inputs()[0].shape.clone()))
    };
    let Some(found) = batched(&[Name("batch_size"), Size(3)], &[]) else { return };
    assert_eq!(found, (true, vec![Some(3)]));
    for name in ["N", "s0", "unk__7", "BATCH"] {
        assert_eq!(batched(&[Name(name), Size(3)], &[]).unwrap(), (true, vec![Some(3)]), "{name}");
    }
    // Hits of two events must not meet.
    for name in ["hits", "n_nodes", "seq"] {
        assert_eq!(batched(&[Name(name), Size(3)], &[]).unwrap(), (false, vec![None, Some(3)]), "{name}");
    }
    let asked = [("max_batch_size", "8")];
    assert_eq!(batched(&[Name("hits"), Size(3)], &asked).unwrap(), (true, vec![Some(3)]));
    assert_eq!(batched(&[Size(1), Size(3)], &asked).unwrap(), (false, vec![Some(1), Some(3)]));
    assert_eq!(batched(&[], &asked).unwrap(), (false, vec![]));
}

#[test]
fn scalars_and_fixed_batches_run_as_they_are() {
    let Some(scalar) = load(&unary("Neg", FLOAT, &[]), &[]) else { return };
    assert_eq!(scalar.unwrap().run_buffers(&[buffer([], vec![2.0])]).unwrap(), [buffer([], vec![-2.0])]);
    let fixed = load(&unary("Neg", FLOAT, &[Size(2), Size(1)]), &[]).unwrap().unwrap();
    assert_eq!(
        fixed.run_buffers(&[buffer([2, 1], vec![1.0, 2.0])]).unwrap(),
        [buffer([2, 1], vec![-1.0, -2.0])]
    );
    assert!(matches!(fixed.run_buffers(&[buffer([1, 1], vec![1.0])]), Err(RunError::Shape { .. })));
    assert_eq!(fixed.run(&[Tensor::of([2, 1], vec![1f32, 2.0]).unwrap()]).unwrap().len(), 1);
}

#[test]
fn every_type_of_any_alignment() {
    let types = [
        (1, Datatype::Fp32),
        (2, Datatype::Uint8),
        (3, Datatype::Int8),
        (4, Datatype::Uint16),
        (5, Datatype::Int16),
        (6, Datatype::Int32),
        (7, Datatype::Int64),
        (9, Datatype::Bool),
        (10, Datatype::Fp16),
        (11, Datatype::Fp64),
        (12, Datatype::Uint32),
        (13, Datatype::Uint64),
        (16, Datatype::Bf16),
    ];
    for (element, datatype) in types {
        let Some(loaded) = load(&unary("Identity", element, &[Name("N"), Size(3)]), &[]) else { return };
        let loaded = loaded.unwrap();
        assert_eq!(loaded.inputs()[0].datatype, datatype);
        let size = datatype.size().unwrap();
        for shift in [0, 1, 3] {
            let bytes: Vec<u8> = (0..shift + 6 * size).map(|i| (i % 2) as u8).collect();
            let x = Buffer::new(datatype, [2, 3], Bytes::from(bytes).slice(shift..)).unwrap();
            assert_eq!(loaded.run_buffers(std::slice::from_ref(&x)).unwrap(), [x], "{datatype}");
        }
        let other = if datatype == Datatype::Fp32 { Datatype::Int32 } else { Datatype::Fp32 };
        let x = Buffer::new(other, [1, 3], Bytes::from(vec![0; 12])).unwrap();
        assert!(matches!(loaded.run_buffers(&[x]), Err(RunError::Datatype { .. })));
    }
    let Some(truth) = load(&unary("Identity", 9, &[Name("N")]), &[]) else { return };
    let odd = Buffer::new(Datatype::Bool, [3], Bytes::from_static(&[0, 2, 255])).unwrap();
    assert_eq!(truth.unwrap().run_buffers(&[odd]).unwrap()[0].data()[..], [0, 1, 1]);
}

#[test]
fn the_same_numbers_as_the_reference() {
    for name in ["torch_legacy-digits_cnn", "torch_dynamo-digits_mlp_extdata", "keras3_export-digits_cnn"] {
        let serving = OnnxRuntime::serving();
        if !is_here(&serving) {
            return;
        }
        let onnx = Some(exports().join(format!("{name}.onnx")));
        let model = Model { name: name.to_owned(), onnx, ..Model::default() };
        let (fast, reference) = (serving.load(&model).unwrap(), OnnxRuntime::default().load(&model).unwrap());
        let x = npy::load(exports().join(format!("{name}.x.npy"))).unwrap();
        // A served model takes its own type only.
        let x = Tensor::of(x.shape(), x.to_f64().into_iter().map(|v| v as f32).collect()).unwrap();
        let expected = reference.run(std::slice::from_ref(&x)).unwrap()[0].to_f64();
        let found = fast.run(std::slice::from_ref(&x)).unwrap().remove(0);
        let worst = found.to_f64().iter().zip(expected).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max);
        assert!(worst <= 1e-4, "{name}: {worst}");
        assert!(fast.has_batch());
        assert_eq!(fast.run(&[x.slice_rows(0..0)]).unwrap()[0].rows(), 0);
    }
}

#[test]
fn calls_run_at_the_same_time() {
    let options = [("instances", "3"), ("intra_op_thread_count", "1"), ("inter_op_thread_count", "1")];
    let Some(loaded) = load(&unary("Neg", FLOAT, &[Name("N"), Size(64)]), &options) else { return };
    let loaded = loaded.unwrap();
    assert_eq!(loaded.concurrency(), 3);
    std::thread::scope(|scope| {
        for t in 0..6 {
            let loaded = &loaded;
            scope.spawn(move || {
                for i in 0..50 {
                    let rows = 1 + (t + i) % 5;
                    let x: Vec<f32> = (0..rows * 64).map(|v| (v * (t + 1) + i) as f32).collect();
                    let y: Vec<f32> = x.iter().map(|v| -v).collect();
                    assert_eq!(
                        loaded.run_buffers(&[buffer([rows, 64], x)]).unwrap(),
                        [buffer([rows, 64], y)]
                    );
                }
            });
        }
    });
}

#[test]
fn what_cannot_be_served_says_why() {
    let strings = unary("Identity", STRING, &[Name("N")]);
    let Some(loaded) = load(&strings, &[]) else { return };
    let e = loaded.err().unwrap().to_string();
    assert!(e.contains("'x'") && e.contains("strings"), "{e}");
    for key in ["instances", "intra_op_thread_count", "inter_op_thread_count"] {
        let e =
            load(&unary("Neg", FLOAT, &[Name("N")]), &[(key, "many")]).unwrap().err().unwrap().to_string();
        assert!(e.contains(&format!("{key} is 'many'")), "{e}");
    }
    let e = load(b"not a model", &[]).unwrap().err().unwrap().to_string();
    assert!(e.contains("m: ONNX Runtime refuses"), "{e}");
}

#[test]
fn a_gpu_that_is_not_there_says_why() {
    let backend = OnnxRuntime::serving();
    if !is_here(&backend) {
        return;
    }
    let Err(why) = backend.accelerator() else { return };
    assert!(why.contains("without CUDA") && why.contains("HYPERSONIC_ONNXRUNTIME"), "{why}");
    let onnx = Some(exports().join("torch_legacy-digits_mlp.onnx"));
    let device = Device::Accelerator(0);
    let model = Model { name: "m".to_owned(), onnx, device, ..Model::default() };
    let e = backend.load(&model).err().unwrap();
    assert!(matches!(e, LoadError::NotAvailable { .. }), "{e}");
}
