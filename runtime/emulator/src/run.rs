//! Batches: blocks of rows through the whole network, on all threads.

use std::{
    mem::MaybeUninit,
    ops::Range,
    sync::{Arc, Mutex, OnceLock},
    time::Instant,
};

use hs_hw::{Op, Program, VerifyError};
use hs_runtime::{Element, RunError, TensorInfo, codes::Layout};

use crate::{
    Isa, NodePlan, Plan, Width,
    compile::{Compiled, compile},
    dot::CHUNK,
    io::{Codes, Encode, Results, by_bytes, drain, fill},
    lane::{Buf, Cx, Temps},
    plan,
    rows::{self, Rows},
    step::{Step, StepOp},
    workers::Workers,
};
use hs_runtime::isa::Checked;

/// How to run. Nothing here changes a bit of the results.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Options {
    /// Threads, at least 1; `None`: as many as the machine runs at once. Emulators with the same number share them.
    pub threads: Option<usize>,
    /// Whether these threads do all the work, the caller's none: then emulators never compute on more.
    pub strict_threads: bool,
    /// Rows of a block, at least 1, spread over all threads; `None`: so many that a block's tensors fit the cache, and
    /// no more threads than have enough to do.
    pub block: Option<usize>,
    /// Integers to compute and store in at least, though narrower ones are proved to do; for tests.
    pub least_width: Option<Width>,
    /// Instruction set; `None`: the machine's best.
    pub isa: Option<Isa>,
    /// How the tensors of a block lie in memory; `None`: rows where windows slide over the input, and wherever
    /// few rows run, else lanes.
    pub layout: Option<plan::Layout>,
}

/// A Program or options that the emulator refuses.
#[derive(Debug, thiserror::Error)]
pub enum PlanError {
    /// The Program breaks the rules of the hardware IR.
    #[error("the program does not verify: {}", .0.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))]
    Verify(Vec<VerifyError>),
    /// No lane is wide enough.
    #[error("node '{node}': its exact values need more than 128 bits")]
    TooWide {
        /// Name of the node.
        node: String,
    },
    /// The machine lacks the instruction set that was asked for.
    #[error("this machine has no {0:?}")]
    Isa(Isa),
    /// An option of zero.
    #[error("{0} must be at least 1")]
    Zero(&'static str),
}

/// A Program ready to run on the CPU.
pub struct Emulator {
    pub(crate) program: Arc<Program>,
    pub(crate) infos: [Vec<TensorInfo>; 2],
    pub(crate) inputs: Vec<Layout>,
    pub(crate) outputs: Vec<Layout>,
    engine: Engine,
    /// The same for few rows, made when they first come, where the layout was left to us; `None`: there is no other.
    few: Option<OnceLock<Option<Rows>>>,
    least: Width,
    isa: Checked,
    pub(crate) threads: usize,
    block: usize,
    /// Whether the block's size was asked for.
    asked: bool,
    /// Multiplications of a row, and as much for each input as its conversion costs.
    pub(crate) row_work: u64,
    pub(crate) strict: bool,
    workers: OnceLock<Arc<Workers>>,
    scratch: Mutex<Vec<Scratch>>,
}

/// A compiled Program.
enum Engine {
    Lanes(Compiled),
    Rows(Rows),
}

/// Fewer rows than this would leave most lanes empty.
const FEW: usize = 8;

/// Multiplications that are worth another thread: some 5 to 50 µs, and a thread that sleeps takes as long to wake.
const SHARE: u64 = 1 << 20;

/// Memory of one thread.
#[derive(Default)]
struct Scratch {
    rows: rows::Scratch,
    bufs: Vec<Buf>,
    temps: Temps,
    /// Rows that have been fetched.
    fetched: Vec<u8>,
    /// Codes of a block's rows.
    codes: Vec<u8>,
    results: Results,
}

/// Where the codes of one output of a block go.
pub(crate) enum Sink<'a> {
    /// Values in ONNX order.
    F32(&'a mut [f32]),
    /// Values in ONNX order.
    F64(&'a mut [f64]),
    /// Codes in ONNX order.
    Raw(&'a mut [i64]),
    /// Codes in hardware order.
    Codes(&'a mut [i64]),
}

/// Rows that run together.
struct Block<'a, 'to, T> {
    rows: Range<usize>,
    /// Where each of their outputs goes: without an error it is written.
    to: &'a mut [&'to mut [MaybeUninit<T>]],
    sink: fn(&mut [T]) -> Sink<'_>,
}

/// Bytes of a block's tensors that should stay in the first-level cache, beside weights, and in the second-level one.
const CACHE_1: usize = 30 << 10;
const CACHE_2: usize = 512 << 10;

impl Emulator {
    /// Verifies, plans and prepares a Program.
    pub fn new(program: impl Into<Arc<Program>>, options: &Options) -> Result<Self, PlanError> {
        let program: Arc<Program> = program.into();
        program.verify().map_err(PlanError::Verify)?;
        let isa = options.isa.unwrap_or_else(Isa::best);
        let isa = Checked::new(isa).ok_or(PlanError::Isa(isa))?;
        let available = || std::thread::available_parallelism().map_or(1, usize::from);
        let threads = options.threads.unwrap_or_else(available);
        if threads == 0 {
            return Err(PlanError::Zero("threads"));
        }
        let least = options.least_width.unwrap_or(Width::I8);
        let layout = options.layout.unwrap_or_else(|| layout_of(&program));
        let engine = match layout {
            plan::Layout::Lanes => Engine::Lanes(compile(&program, least, isa.isa())?),
            plan::Layout::Rows => Engine::Rows(Rows::compile(&program, least, isa.isa())?),
        };
        let few = matches!((options.layout, &engine), (None, Engine::Lanes(_))).then(OnceLock::new);
        let block = match options.block {
            Some(0) => return Err(PlanError::Zero("block")),
            Some(n) => n,
            None => engine.block(),
        };
        let layouts = |ids: Vec<hs_hw::ValueId>| -> Vec<Layout> {
            let layout = |id: &hs_hw::ValueId| Layout::of(program.node(*id)).expect("an input or output");
            ids.iter().map(|id| layout(id).with_isa(isa)).collect()
        };
        let (inputs, outputs) = (layouts(program.inputs()), layouts(program.outputs()));
        let infos = [&inputs, &outputs].map(|side| side.iter().map(crate::executable::info).collect());
        let macs: u64 = engine.nodes().iter().map(|n| n.macs).sum();
        let row_work = macs + inputs.iter().map(|i| 8 * i.row_len() as u64).sum::<u64>();
        Ok(Self {
            row_work,
            infos,
            inputs,
            outputs,
            engine,
            few,
            least,
            isa,
            threads,
            strict: options.strict_threads,
            block,
            asked: options.block.is_some(),
            workers: OnceLock::new(),
            scratch: Mutex::default(),
            program,
        })
    }

    /// The Program that runs.
    pub fn program(&self) -> &Arc<Program> {
        &self.program
    }

    /// What was chosen for each node, and why.
    pub fn plan(&self) -> Plan {
        let nodes = self.engine.nodes().to_vec();
        Plan {
            layout: self.engine.layout(),
            isa: self.isa.isa(),
            threads: self.threads,
            block: self.block,
            block_bytes: self.engine.block_bytes(self.block.next_multiple_of(self.engine.chunk())),
            macs: nodes.iter().map(|n| n.macs).sum(),
            nodes,
        }
    }

    /// The plan, and what each node's kernel multiplied on one core in some runs of a full block of zeros; it takes
    /// about as long as ten blocks.
    ///
    /// # Errors
    /// What running gives, which zeros do not cause.
    pub fn measured_plan(&self) -> Result<Plan, RunError> {
        const RUNS: usize = 8;
        let mut plan = self.plan();
        let rows = self.block;
        let engine = self.engine_for(rows.max(FEW));
        let zeros = |_: usize, _: Range<usize>, out: Codes<'_>, _: &mut Vec<u8>| {
            by_bytes!(out, |out| out.fill([0; _]));
            Ok(())
        };
        let mut results: Vec<Vec<i64>> = self.room(rows);
        let mut best = vec![f64::INFINITY; plan.nodes.len()];
        let mut scratch = self.borrow();
        for _ in 0..=RUNS {
            let mut times = vec![0.0; plan.nodes.len()];
            let mut to: Vec<_> = results.iter_mut().map(Vec::spare_capacity_mut).collect();
            let block = Block { rows: 0..rows, to: &mut to, sink: |to| Sink::Codes(to) };
            self.run_block(engine, block, (&zeros, Some(&mut times)), &mut scratch)?;
            best.iter_mut().zip(times).for_each(|(best, time)| *best = best.min(time));
        }
        self.give_back(scratch);
        for (node, seconds) in plan.nodes.iter_mut().zip(best) {
            let done = node.macs as f64 * rows as f64;
            node.gmacs = (node.macs > 0 && seconds > 0.0).then(|| done / seconds / 1e9);
        }
        Ok(plan)
    }

    /// Runs codes: for each model input, in order, `rows` rows one after the other, elements in hardware order;
    /// the result likewise for each model output.
    ///
    /// # Errors
    /// The wrong number of inputs or elements, and codes that an input's type cannot hold.
    pub fn run_codes(&self, inputs: &[&[i64]], rows: usize) -> Result<Vec<Vec<i64>>, RunError> {
        self.check_number(inputs.len())?;
        for (layout, codes) in self.inputs.iter().zip(inputs) {
            if layout.row_len().checked_mul(rows) != Some(codes.len()) {
                return Err(RunError::Shape {
                    input: layout.tensor().to_owned(),
                    found: vec![codes.len()],
                    expected: vec![layout.row_len()],
                });
            }
        }
        let encode = |i: usize, rows: Range<usize>, out: Codes<'_>, _: &mut Vec<u8>| {
            let (layout, n) = (&self.inputs[i], self.inputs[i].row_len());
            let codes = &inputs[i][rows.start * n..rows.end * n];
            // Tensors have at most 64 bits, 63 when unsigned.
            let (lo, hi) = (layout.ty().format.min() as i64, layout.ty().format.max() as i64);
            let bad = |c: &i64| *c < lo || *c > hi;
            if !codes.iter().fold(false, |any, c| any | bad(c)) {
                by_bytes!(out, |out| out.iter_mut().zip(codes).for_each(|(out, c)| *out = low(*c)));
                return Ok(());
            }
            let at = codes.iter().position(bad).unwrap_or(0);
            Err(RunError::Code {
                input: layout.tensor().to_owned(),
                row: rows.start + at / n,
                element: at % n,
                code: i128::from(codes[at]),
                ty: layout.ty().to_string(),
            })
        };
        self.run_blocks(rows, &encode, |to| Sink::Codes(to))
    }

    pub(crate) fn check_number(&self, found: usize) -> Result<(), RunError> {
        if found == self.inputs.len() {
            return Ok(());
        }
        let expected = self.inputs.iter().map(|i| i.tensor().to_owned()).collect();
        Err(RunError::Inputs { expected, found })
    }

    /// Threads that so many rows are spread over: not more than have enough to do to be worth waking.
    fn threads_for(&self, rows: usize) -> usize {
        let worth = self.row_work.saturating_mul(rows as u64) / SHARE;
        let worth = usize::try_from(worth).unwrap_or(usize::MAX);
        if self.asked { self.threads } else { worth.clamp(1, self.threads) }
    }

    /// Rows of a block when `rows` are to run: fewer than planned where that keeps more threads busy, and where the last
    /// blocks would keep some waiting for others.
    pub(crate) fn block_for(&self, rows: usize) -> usize {
        let (threads, chunk) = (self.threads_for(rows), self.engine.chunk());
        let most = self.block.min(rows.div_ceil(threads).max(1).next_multiple_of(chunk));
        if threads == 1 || self.asked {
            return most;
        }
        let busiest = |block: &usize| rows.div_ceil(*block).div_ceil(threads) * block;
        (most.div_ceil(2)..=most).rev().step_by(chunk).min_by_key(busiest).unwrap_or(most)
    }

    /// What runs so many rows.
    fn engine_for(&self, rows: usize) -> EngineRef<'_> {
        let few = || self.few.as_ref().filter(|_| rows < FEW);
        let make = || Rows::compile(&self.program, self.least, self.isa.isa()).ok();
        match (&self.engine, few().and_then(|few| few.get_or_init(make).as_ref())) {
            (Engine::Rows(r), _) | (Engine::Lanes(_), Some(r)) => EngineRef::Rows(r),
            (Engine::Lanes(c), None) => EngineRef::Lanes(c),
        }
    }

    /// Room for the elements of each output.
    fn room<T>(&self, rows: usize) -> Vec<Vec<T>> {
        self.outputs.iter().map(|o| Vec::with_capacity(o.row_len() * rows)).collect()
    }

    /// Runs all blocks: the elements of each output. Of several errors the one in the first row counts.
    #[allow(unsafe_code)]
    pub(crate) fn run_blocks<T: Element>(
        &self,
        rows: usize,
        encode: &Encode<'_>,
        sink: fn(&mut [T]) -> Sink<'_>,
    ) -> Result<Vec<Vec<T>>, RunError> {
        let (engine, block, outputs) = (self.engine_for(rows), self.block_for(rows), self.outputs.len());
        let mut results: Vec<Vec<T>> = self.room(rows);
        // The outputs of the first block, then those of the next.
        let mut parts = Vec::with_capacity(rows.div_ceil(block) * outputs);
        let mut left: Vec<_> = results.iter_mut().map(Vec::spare_capacity_mut).collect();
        for first in (0..rows).step_by(block) {
            let n = block.min(rows - first);
            for (left, o) in left.iter_mut().zip(&self.outputs) {
                parts.extend(left.split_off_mut(..o.row_len() * n));
            }
        }
        assert_eq!(parts.len(), rows.div_ceil(block) * outputs, "a part of each output for each block");
        let run = |i: usize, to: &mut [&mut [MaybeUninit<T>]], scratch: &mut Scratch| {
            let rows = i * block..rows.min((i + 1) * block);
            self.run_block(engine, Block { rows, to, sink }, (encode, None), scratch)
        };
        if self.threads_for(rows) == 1 || rows <= block {
            let mut in_turn = || {
                let mut scratch = self.borrow();
                let mut blocks = parts.chunks_mut(outputs).enumerate();
                let result = blocks.try_for_each(|(i, parts)| run(i, parts, &mut scratch));
                self.give_back(scratch);
                result
            };
            if self.strict { self.workers()?.run(in_turn) } else { in_turn() }?;
        } else {
            let memory = (|| self.borrow(), |scratch| self.give_back(scratch));
            self.workers()?.each(parts.chunks_mut(outputs), memory, run)?;
        }
        for (result, o) in results.iter_mut().zip(&self.outputs) {
            // SAFETY: without an error every block has written all of its part.
            unsafe { result.set_len(o.row_len() * rows) };
        }
        Ok(results)
    }

    fn workers(&self) -> Result<&Workers, RunError> {
        if let Some(workers) = self.workers.get() {
            return Ok(workers);
        }
        let shared = Workers::shared(self.threads, self.strict)?;
        Ok(self.workers.get_or_init(|| shared))
    }

    fn borrow(&self) -> Scratch {
        let free = self.scratch.lock().map(|mut s| s.pop()).unwrap_or_default();
        free.unwrap_or_default()
    }

    fn give_back(&self, scratch: Scratch) {
        if let Ok(mut free) = self.scratch.lock() {
            free.push(scratch);
        }
    }

    fn run_block<T: Element>(
        &self,
        engine: EngineRef<'_>,
        block: Block<'_, '_, T>,
        (encode, times): (&Encode<'_>, Option<&mut [f64]>),
        scratch: &mut Scratch,
    ) -> Result<(), RunError> {
        let n = block.rows.len();
        let Scratch { rows, bufs, temps, fetched, codes, results } = scratch;
        let mut inputs = Inputs { encode, fetched, rows: block.rows, first: None, times };
        match engine {
            EngineRef::Lanes(compiled) => self.run_lanes(compiled, &mut inputs, (bufs, temps, codes)),
            EngineRef::Rows(r) => r.run(self.isa, &mut inputs, rows),
        }
        if let Some(e) = inputs.first {
            return Err(e);
        }
        for (i, (layout, to)) in self.outputs.iter().zip(block.to).enumerate() {
            // The zeros are overwritten while they are in this thread's cache.
            let sink = (block.sink)(zeros(&mut to[..layout.row_len() * n]));
            match engine {
                EngineRef::Lanes(c) => {
                    drain(&bufs[c.outputs[i]], (n, n.next_multiple_of(CHUNK)), layout, sink, results);
                }
                EngineRef::Rows(r) => r.output((i, n), rows, layout, sink, results),
            }
        }
        Ok(())
    }

    fn run_lanes(
        &self,
        compiled: &Compiled,
        inputs: &mut Inputs<'_>,
        (bufs, temps, codes): (&mut Vec<Buf>, &mut Temps, &mut Vec<u8>),
    ) {
        let rows = inputs.rows.len();
        let lanes = rows.next_multiple_of(CHUNK);
        if bufs.is_empty() {
            bufs.extend(compiled.slots.iter().map(|s| Buf::new(s.width)));
        }
        for (slot, buf) in compiled.slots.iter().zip(&mut *bufs) {
            buf.reserve(slot.len * lanes);
        }
        for step in &compiled.steps {
            let clock = inputs.clock();
            let mut out = std::mem::replace(&mut bufs[step.out], Buf::new(Width::I32));
            out.begin(step.packing);
            if let StepOp::Input(i) = step.op {
                let size = (rows, step.len, lanes);
                fill(self.isa, &mut out, size, codes, |rows, codes| inputs.read(i, rows, codes));
            } else if inputs.first.is_none() {
                run_step(step, bufs, &mut out, &mut Cx { isa: self.isa, lanes, temps });
            }
            bufs[step.out] = out;
            inputs.took(step.node, clock);
        }
    }
}

/// The inputs of a block as they are read.
pub(crate) struct Inputs<'a> {
    encode: &'a Encode<'a>,
    fetched: &'a mut Vec<u8>,
    pub(crate) rows: Range<usize>,
    /// The error in the first row that has one.
    pub(crate) first: Option<RunError>,
    /// Seconds of each node, where they are asked for.
    times: Option<&'a mut [f64]>,
}

impl Inputs<'_> {
    /// The time, where it is asked for.
    pub(crate) fn clock(&self) -> Option<Instant> {
        self.times.as_ref().map(|_| Instant::now())
    }

    /// Notes what a node took since `clock`.
    pub(crate) fn took(&mut self, node: usize, clock: Option<Instant>) {
        if let (Some(times), Some(clock)) = (&mut self.times, clock) {
            times[node] += clock.elapsed().as_secs_f64();
        }
    }

    /// Codes of input `i` for some rows of the block; after an error they are of no use.
    pub(crate) fn read(&mut self, i: usize, rows: Range<usize>, codes: Codes<'_>) {
        let start = self.rows.start;
        if let Err(e) = (self.encode)(i, start + rows.start..start + rows.end, codes, self.fetched)
            && self.first.as_ref().is_none_or(|f| row_of(&e) < row_of(f))
        {
            self.first = Some(e);
        }
    }
}

/// The engine that runs a batch.
#[derive(Clone, Copy)]
enum EngineRef<'a> {
    Lanes(&'a Compiled),
    Rows(&'a Rows),
}

impl Engine {
    fn layout(&self) -> plan::Layout {
        match self {
            Self::Lanes(_) => plan::Layout::Lanes,
            Self::Rows(_) => plan::Layout::Rows,
        }
    }

    fn nodes(&self) -> &[NodePlan] {
        match self {
            Self::Lanes(c) => &c.nodes,
            Self::Rows(r) => &r.nodes,
        }
    }

    /// Bytes of all buffers for so many rows.
    fn block_bytes(&self, rows: usize) -> usize {
        match self {
            Self::Lanes(c) => c.slots.iter().map(|s| s.len * (s.width.bits() / 8) as usize * rows).sum(),
            Self::Rows(r) => r.block_bytes(rows),
        }
    }

    /// Rows that a block has a multiple of.
    fn chunk(&self) -> usize {
        match self {
            Self::Lanes(_) => CHUNK,
            Self::Rows(_) => 1,
        }
    }

    /// Rows of a block whose tensors stay in the cache.
    fn block(&self) -> usize {
        match self {
            Self::Lanes(_) => {
                let fits = |(n, cache): &(usize, usize)| self.block_bytes(*n) <= *cache;
                let blocks = [(256, CACHE_1), (128, CACHE_1), (64, CACHE_2)];
                blocks.into_iter().find(fits).map_or(CHUNK, |(n, _)| n)
            }
            Self::Rows(r) => r.block(),
        }
    }
}

/// The layout that suits a Program: windows that slide over a tensor read its elements many times, which pays where
/// they are small and lie side by side.
fn layout_of(program: &Program) -> plan::Layout {
    let slides = |node: &hs_hw::Node| match &node.op {
        Op::Dot(d) => !d.window.is_empty(),
        Op::Pool(p) => !p.window.is_empty(),
        Op::Input { .. }
        | Op::Output { .. }
        | Op::Const(_)
        | Op::Affine { .. }
        | Op::Requant(_)
        | Op::Binary { .. }
        | Op::Table(_)
        | Op::Softmax(_)
        | Op::Reshape
        | Op::Permute(_)
        | Op::Concat { .. }
        | Op::Pad { .. } => false,
    };
    if program.nodes.iter().any(slides) { plan::Layout::Rows } else { plan::Layout::Lanes }
}

pub(crate) fn run_step(step: &Step, bufs: &[Buf], out: &mut Buf, cx: &mut Cx<'_>) {
    match step.width {
        Width::I8 | Width::I16 | Width::I32 => step.run::<i32>(bufs, out, cx),
        Width::I64 => step.run::<i64>(bufs, out, cx),
        Width::I128 => step.run::<i128>(bufs, out, cx),
    }
}

/// The same elements, all zero.
#[allow(unsafe_code)]
fn zeros<T: Element>(to: &mut [MaybeUninit<T>]) -> &mut [T] {
    for element in &mut *to {
        element.write(T::ZERO);
    }
    // SAFETY: each has just been written.
    unsafe { to.assume_init_mut() }
}

/// The low bytes of a code.
fn low<const N: usize>(code: i64) -> [u8; N] {
    let bytes = code.to_le_bytes();
    std::array::from_fn(|i| bytes[i])
}

/// The row that an error is about.
fn row_of(e: &RunError) -> usize {
    match e {
        RunError::Nan { row, .. } | RunError::Code { row, .. } => *row,
        RunError::Inputs { .. }
        | RunError::Shape { .. }
        | RunError::Dtype { .. }
        | RunError::Datatype { .. }
        | RunError::TooManyRows { .. }
        | RunError::Rows { .. }
        | RunError::Source { .. }
        | RunError::NoCodes(_)
        | RunError::Backend { .. } => 0,
    }
}
