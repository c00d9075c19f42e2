//! The emulator as an executable: tensors, errors, plan.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use hs_emulator::{Emulator, EmulatorBackend, Isa, Layout, Options, PlanError, Width};
use hs_hw::Program;
use hs_runtime::{Backend, Buffer, Datatype, Executable, Input, Model, Payload, RunError, Source, Tensor};

/// Two inputs; the second is in ONNX channels-first and in hardware channels-last.
const TEXT: &str = r#"program "two" version 1
%0 = input "a" {index: 0, tensor: "a", onnx_shape: [2], perm: [0]} : [2] fixed<8,6,RND,SAT>
%1 = input "b" {index: 1, tensor: "b", onnx_shape: [2, 3], perm: [1, 0]} : [3, 2] fixed<8,6,RND,SAT>
%2 = dot(%0) "dense" {
  window: [],
  groups: 1,
  weight: fixed<4,4>[1, 2, -3, 4],
  bias: fixed<6,4>[1, -1],
  accum: exact{format: fixed<14,12>},
  act: clamp{lo: 0},
} : [2] ufixed<10,8,TRN,SAT>
%3 = output(%2) "y" {index: 0, tensor: "y", onnx_shape: [2], perm: [0]} : [2] ufixed<10,8,TRN,SAT>
%4 = output(%1) "z" {index: 1, tensor: "z", onnx_shape: [2, 3], perm: [1, 0]} : [3, 2] fixed<8,6,RND,SAT>
"#;

fn program() -> Program {
    let program = hs_hw::text::parse(TEXT).unwrap();
    program.verify().unwrap();
    program
}

fn inputs(rows: usize) -> Vec<Tensor> {
    let a = (0..rows * 2).map(|i| (i % 61) as f32 / 8.0 - 3.0).collect();
    let b = (0..rows * 6).map(|i| (i % 127) as f32 / 4.0 - 15.0).collect();
    vec![Tensor::of([rows, 2], a).unwrap(), Tensor::of([rows, 2, 3], b).unwrap()]
}

fn emulator(options: &Options) -> Emulator {
    Emulator::new(program(), options).unwrap()
}

#[test]
fn floats_in_floats_out() {
    let e = emulator(&Options::default());
    let a = Tensor::of([1, 2], vec![1.5f32, -0.25]).unwrap();
    let b = Tensor::of([1, 2, 3], vec![1f32, 2.0, 3.0, 4.0, 5.0, 1e9]).unwrap();
    let out = e.run(&[a.clone(), b.clone()]).unwrap();
    // 1.5 - 0.5 + 0.25 and max(-4.5 - 1 - 0.25, 0); the second output saturates.
    assert_eq!(out[0], Tensor::of([1, 2], vec![1.25f32, 0.0]).unwrap());
    assert_eq!(out[1], Tensor::of([1, 2, 3], vec![1f32, 2.0, 3.0, 4.0, 5.0, 31.75]).unwrap());
    let wide = e.run_f64(&[a, b]).unwrap();
    assert_eq!(wide[0], Tensor::of([1, 2], vec![1.25f64, 0.0]).unwrap());
    assert_eq!(e.inputs()[1].shape, [Some(2), Some(3)]);
    assert_eq!((e.name(), e.outputs()[0].datatype), ("two", Datatype::Fp32));
}

#[test]
fn floats_are_the_same_on_every_instruction_set() {
    // Rows of one float, of fewer than a vector's quarter has, and of more.
    for n in [1, 3, 4, 7, 20] {
        let text = format!(
            r#"program "same" version 1
%0 = input "x" {{index: 0, tensor: "x", onnx_shape: [{n}], perm: [0]}} : [{n}] fixed<12,6,RND,SAT>
%1 = output(%0) "y" {{index: 0, tensor: "y", onnx_shape: [{n}], perm: [0]}} : [{n}] fixed<12,6,RND,SAT>
"#
        );
        let program = Arc::new(hs_hw::text::parse(&text).unwrap());
        for isa in Isa::ALL.into_iter().filter(|isa| isa.is_available()) {
            let options =
                Options { isa: Some(isa), layout: Some(hs_emulator::Layout::Lanes), ..Options::default() };
            let e = Emulator::new(Arc::clone(&program), &options).unwrap();
            for rows in [1, 15, 16, 47, 300] {
                let x = (0..rows * n).map(|i| (i * 37 % 4096) as f32 / 64.0 - 32.0).collect();
                let x = Tensor::of([rows, n], x).unwrap();
                assert_eq!(e.run(std::slice::from_ref(&x)).unwrap(), [x], "{isa:?}, {rows} rows of {n}");
            }
        }
    }
}

#[test]
fn buffers_are_tensors() {
    let e = emulator(&Options::default());
    for rows in [0, 1, 100] {
        let tensors = inputs(rows);
        let buffers: Vec<Buffer> = tensors.iter().cloned().map(Buffer::from).collect();
        let expected: Vec<Buffer> = e.run(&tensors).unwrap().into_iter().map(Buffer::from).collect();
        assert_eq!(e.run_buffers(&buffers).unwrap(), expected);
    }
    let mut buffers: Vec<Buffer> = inputs(2).into_iter().map(Buffer::from).collect();
    buffers[1] = Buffer::from(Tensor::of([2, 2, 3], vec![0f64; 12]).unwrap());
    let error = e.run_buffers(&buffers).unwrap_err().to_string();
    assert_eq!(error, "input 'b' has elements of FP64, expected FP32");
    buffers[1] = Buffer::from(Tensor::of([1, 2, 3], vec![0f32; 6]).unwrap());
    assert!(matches!(e.run_buffers(&buffers), Err(RunError::Rows { .. })));
    assert!(matches!(e.run_buffers(&buffers[..1]), Err(RunError::Inputs { .. })));
}

#[test]
fn raw_codes_are_in_onnx_order() {
    let e = emulator(&Options::default());
    let a = Tensor::of([1, 2], vec![6i8, -1]).unwrap();
    let b = Tensor::of([1, 2, 3], vec![1i64, 2, 3, 4, 5, -128]).unwrap();
    let out = e.run_raw(&[a, b]).unwrap();
    assert_eq!(out[0], Tensor::of([1, 2], vec![5i64, 0]).unwrap());
    assert_eq!(out[1], Tensor::of([1, 2, 3], vec![1i64, 2, 3, 4, 5, -128]).unwrap());
    let codes = e.run_codes(&[&[6, -1], &[1, 4, 2, 5, 3, -128]], 1).unwrap();
    assert_eq!(codes, [vec![5, 0], vec![1, 4, 2, 5, 3, -128]]);
}

#[test]
fn splitting_changes_nothing() {
    let whole = emulator(&Options { threads: Some(1), ..Options::default() }).run(&inputs(300)).unwrap();
    for (threads, block) in [(1, 1), (2, 7), (3, 64), (3, 16), (4, 1000)] {
        let options = Options { threads: Some(threads), block: Some(block), ..Options::default() };
        let e = Arc::new(emulator(&options));
        assert_eq!(e.run(&inputs(300)).unwrap(), whole, "{options:?}");
        let several: Vec<_> = (0..3).map(|_| Arc::clone(&e)).collect();
        let running: Vec<_> =
            several.into_iter().map(|e| std::thread::spawn(move || e.run(&inputs(300)).unwrap())).collect();
        running.into_iter().for_each(|t| assert_eq!(t.join().unwrap(), whole, "{options:?}"));
    }
}

#[test]
fn the_first_bad_row_is_reported_whatever_the_split() {
    let spoil = |t: &Tensor, at: usize| {
        let mut v = t.as_slice::<f32>().unwrap().to_vec();
        v[at] = f32::NAN;
        Tensor::of(t.shape(), v).unwrap()
    };
    let x = inputs(200);
    let bad = [spoil(&x[0], 2 * 150 + 1), spoil(&spoil(&x[1], 6 * 70 + 4), 6 * 199)];
    for (threads, block) in [(1, 16), (3, 16), (1, 1000), (2, 64)] {
        let options = Options { threads: Some(threads), block: Some(block), ..Options::default() };
        let e = emulator(&options).run(&bad).unwrap_err();
        assert_eq!(e.to_string(), "input 'b', row 70, element 4 is NaN; fixed point has no such value");
    }
}

#[test]
fn bad_requests_are_errors() {
    let e = emulator(&Options::default());
    let text = |r: Result<Vec<Tensor>, RunError>| r.unwrap_err().to_string();
    assert_eq!(text(e.run(&inputs(2)[..1])), "1 inputs, but the model has 2: a, b");
    let [a, b] = <[Tensor; 2]>::try_from(inputs(2)).unwrap();
    assert!(text(e.run(&[a.clone(), b.slice_rows(0..1)])).contains("input 'b' has 1 rows"));
    assert!(
        text(e.run(&[b.clone(), a.clone()])).contains("input 'a' has shape [2, 2, 3], expected [rows, 2]")
    );
    assert!(text(e.run_raw(&[a, b])).contains("as integers"));
    let codes = |a: &[i64], rows| e.run_codes(&[a, &[0; 6]], rows).unwrap_err().to_string();
    assert!(codes(&[0, 128], 1).contains("row 0, element 1 is 128, which is no code of fixed<8,6,RND,SAT>"));
    assert!(codes(&[0], 1).contains("'a' has shape [1]"));
    assert!(codes(&[0, 0], usize::MAX).contains("'a' has shape [2]"));
}

#[test]
fn bad_programs_and_options_are_errors() {
    let mut broken = program();
    broken.nodes[2].shape = vec![3];
    assert!(matches!(Emulator::new(broken, &Options::default()), Err(PlanError::Verify(_))));
    let zero = |options| Emulator::new(program(), &options).err().map(|e| e.to_string());
    let threads = Options { threads: Some(0), ..Options::default() };
    assert_eq!(zero(threads).as_deref(), Some("threads must be at least 1"));
    let block = Options { block: Some(0), ..Options::default() };
    assert_eq!(zero(block).as_deref(), Some("block must be at least 1"));
}

#[test]
fn the_plan_says_what_and_why() {
    let options = Options { threads: Some(2), isa: Some(Isa::Generic), ..Options::default() };
    let plan = emulator(&options).plan();
    let dense = &plan.nodes[2];
    assert_eq!(
        (dense.kernel.as_str(), dense.computes, dense.stores),
        ("tiled", Some(Width::I32), Width::I32)
    );
    // -3 × 127 - 4 × 128 - 1 and 3 × 128 + 4 × 127.
    assert_eq!(dense.range, Some(("-894".to_owned(), "892".to_owned())));
    assert_eq!((dense.macs, plan.macs, dense.operand_bits.as_slice()), (4, 4, &[8, 4][..]));
    assert_eq!(dense.why, "every partial sum needs 11 bits");
    let text = plan.to_string();
    assert!(text.starts_with("2 threads, Generic, Lanes, blocks of 256 rows in "), "{text}");
    assert_eq!(text.lines().count(), 1 + plan.nodes.len());
    let wide = Options { least_width: Some(Width::I128), ..options };
    assert_eq!(emulator(&wide).plan().nodes[2].computes, Some(Width::I128));
}

#[test]
fn the_backend_loads_programs() {
    let backend = EmulatorBackend::default();
    let model = Model { name: "m".to_owned(), program: Some(Arc::new(program())), ..Model::default() };
    assert_eq!(backend.load(&model).unwrap().run(&inputs(3)).unwrap()[0].rows(), 3);
    let none = backend.load(&Model { name: "m".to_owned(), ..Model::default() }).err().unwrap();
    assert_eq!(none.to_string(), "backend 'emulator' runs a compiled program, which 'm' has not");
    assert!(backend.availability().to_string().starts_with("available: "));
}

/// Floats that lie elsewhere, how many bytes were read at once at most, and how many can be read at all.
#[derive(Debug)]
struct Elsewhere(Vec<u8>, AtomicUsize, usize);

impl Source for Elsewhere {
    fn size(&self) -> usize {
        self.0.len()
    }

    fn read(&self, at: usize, to: &mut [u8]) -> Result<(), String> {
        self.1.fetch_max(to.len(), Ordering::Relaxed);
        let all = self.0.get(..self.2).unwrap_or(&self.0);
        to.copy_from_slice(all.get(at..at + to.len()).ok_or("it is cut short")?);
        Ok(())
    }
}

#[test]
fn what_lies_elsewhere_is_read_block_by_block() {
    const ROWS: usize = 1000;
    let tensors = inputs(ROWS);
    let bytes = |t: &Tensor| Buffer::from(t.clone()).into_data().to_vec();
    let elsewhere = |t: &Tensor, bytes: Vec<u8>, end: usize| {
        let source = Arc::new(Elsewhere(bytes, AtomicUsize::new(0), end));
        let payload = Payload::Source(Arc::clone(&source) as Arc<dyn Source>);
        (Input::new(Datatype::Fp32, t.shape().to_vec(), &payload).unwrap(), source)
    };
    for layout in [Layout::Lanes, Layout::Rows] {
        for (threads, block) in [(1, 1000), (1, 64), (3, 33)] {
            let options = Options {
                threads: Some(threads),
                block: Some(block),
                layout: Some(layout),
                ..Options::default()
            };
            let e = emulator(&options);
            let [a, b] = [0, 1].map(|i| elsewhere(&tensors[i], bytes(&tensors[i]), usize::MAX));
            let expected = e.run(&tensors).unwrap().into_iter().map(Buffer::from).collect::<Vec<_>>();
            assert_eq!(e.run_inputs(&[a.0.clone(), b.0.clone()]).unwrap(), expected);
            assert_eq!(
                e.run_inputs(&[Buffer::from(tensors[0].clone()).into(), b.0.clone()]).unwrap(),
                expected
            );
            let most = block.next_multiple_of(32) * 6 * 4;
            assert!(b.1.1.load(Ordering::Relaxed) <= most, "{options:?}");
            // The first row that is wrong has its number, whichever block it is in.
            let mut wrong = bytes(&tensors[1]);
            for row in [900, 700] {
                wrong[(row * 6 + 5) * 4..][..4].copy_from_slice(&f32::NAN.to_le_bytes());
            }
            let (wrong, _) = elsewhere(&tensors[1], wrong, usize::MAX);
            let error = e.run_inputs(&[a.0.clone(), wrong]).unwrap_err();
            assert!(matches!(error, RunError::Nan { row: 700, element: 5, .. }), "{error}");
            let (cut, _) = elsewhere(&tensors[1], bytes(&tensors[1]), 999 * 24);
            let error = e.run_inputs(&[a.0, cut]).unwrap_err();
            assert_eq!(error.to_string(), "input 'b' cannot be read: it is cut short");
        }
    }
    let e = emulator(&Options::default());
    let source = Payload::Source(Arc::new(Elsewhere(vec![0; 16], AtomicUsize::new(0), 16)));
    let wrong = Input::new(Datatype::Fp64, vec![1, 2], &source).unwrap();
    let b = Input::from(Buffer::from(inputs(1).remove(1)));
    assert!(matches!(e.run_inputs(&[wrong, b.clone()]), Err(RunError::Datatype { .. })));
    assert!(matches!(e.run_inputs(&[b]), Err(RunError::Inputs { .. })));
}

#[test]
fn strict_threads_do_all_the_work() {
    let options = Options { threads: Some(1), strict_threads: true, ..Options::default() };
    let (strict, free) = (emulator(&options), emulator(&Options::default()));
    assert!(free.is_quick(1) && !strict.is_quick(1));
    for rows in [1, 3, 700] {
        assert_eq!(strict.run(&inputs(rows)).unwrap(), free.run(&inputs(rows)).unwrap());
    }
    // However many callers there are, there is one thread for all emulators of that number.
    let other = emulator(&options);
    std::thread::scope(|s| {
        for e in [&strict, &other, &strict, &other] {
            s.spawn(|| (0..50).for_each(|_| assert_eq!(e.run(&inputs(300)).unwrap()[0].rows(), 300)));
        }
    });
    let comm = |dir: std::fs::DirEntry| std::fs::read_to_string(dir.path().join("comm")).unwrap_or_default();
    let Ok(tasks) = std::fs::read_dir("/proc/self/task") else { return };
    let threads = tasks.filter_map(Result::ok).map(comm).filter(|name| name.trim() == "emulator-1-0").count();
    assert_eq!(threads, 1);
}
