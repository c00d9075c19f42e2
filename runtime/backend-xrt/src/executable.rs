//! A model on cards.
#![expect(unsafe_code, reason = "uses the memory of a slot that was handed over")]

use std::{
    ops::Range,
    sync::{
        Arc,
        mpsc::{self, Sender},
    },
};

use hs_card::{Done, Fault};
use hs_hw::{
    Fingerprint, Program, ValueId,
    abi::{BEAT_BYTES, Trailer},
};
use hs_runtime::{
    Buffer, CardStatus, Datatype, Element, Executable, RunError, Tensor, TensorInfo, codes::Layout,
};

use crate::{
    backend::NAME,
    card::{Card, Event, Unfinished},
    link::{Order, Place},
    shells,
    spot::SpotCheck,
};

/// A model on one or more cards.
pub(crate) struct XrtExecutable {
    name: String,
    infos: [Vec<TensorInfo>; 2],
    inputs: Vec<Layout>,
    outputs: Vec<Layout>,
    fingerprint: Fingerprint,
    cards: Vec<Arc<Card>>,
    spot: SpotCheck,
}

/// Packs rows of an input into a slot.
type Encode<'a> = dyn Fn(&Layout, usize, Range<usize>, &mut [u8]) -> Result<(), RunError> + Sync + 'a;
/// Unpacks rows of an output from a slot into a whole number of the result's rows.
type Decode<'a, T> = dyn Fn(&Layout, &[u8], &mut [T]) + Sync + 'a;

/// Rows of a call that go to one card.
struct Part<'a, T> {
    rows: Range<usize>,
    /// Places for the results of these rows, an output each.
    outputs: Vec<&'a mut [T]>,
}

impl XrtExecutable {
    pub(crate) fn new(name: &str, program: &Arc<Program>, cards: Vec<Arc<Card>>) -> Result<Self, String> {
        let ports = |ids: Vec<ValueId>| -> Vec<Layout> {
            ids.iter().filter_map(|id| Layout::of(program.node(*id))).collect()
        };
        let (inputs, outputs) = (ports(program.inputs()), ports(program.outputs()));
        let infos = [&inputs, &outputs].map(|ports| ports.iter().map(info).collect());
        let (fingerprint, spot) = (program.fingerprint(), SpotCheck::new(program)?);
        Ok(Self { name: name.to_owned(), infos, inputs, outputs, fingerprint, cards, spot })
    }

    fn rows<'a>(&self, shapes: impl ExactSizeIterator<Item = &'a [usize]>) -> Result<usize, RunError> {
        let found = shapes.len();
        if found != self.inputs.len() {
            let expected = self.infos[0].iter().map(|i| i.name.clone()).collect();
            return Err(RunError::Inputs { expected, found });
        }
        let mut rows = None;
        for (port, shape) in self.inputs.iter().zip(shapes) {
            let found = port.rows_of(shape)?;
            let expected = *rows.get_or_insert(found);
            if found != expected {
                return Err(RunError::Rows { input: port.tensor().to_owned(), found, expected });
            }
        }
        Ok(rows.unwrap_or(0))
    }

    /// Runs rows on the cards; a tensor an output.
    fn compute<T: Element>(
        &self,
        rows: usize,
        encode: &Encode<'_>,
        decode: &Decode<'_, T>,
    ) -> Result<Vec<Tensor>, RunError> {
        let mut results: Vec<Vec<T>> =
            self.outputs.iter().map(|o| vec![T::ZERO; o.row_len() * rows]).collect();
        let mut parts = self.parts(rows, &mut results);
        if let [part] = &mut parts[..] {
            self.run_part(part, encode, decode)?;
        } else {
            std::thread::scope(|scope| {
                let run = |mut part| scope.spawn(move || self.run_part(&mut part, encode, decode));
                let threads: Vec<_> = parts.into_iter().map(run).collect();
                threads.into_iter().try_for_each(|thread| {
                    thread
                        .join()
                        .unwrap_or_else(|_| Err(failed("a thread that fed a card panicked".to_owned())))
                })
            })?;
        }
        let tensor = |(port, data): (&Layout, Vec<T>)| {
            let shape: Vec<usize> = [rows].into_iter().chain(port.onnx_shape().iter().copied()).collect();
            Tensor::of(shape, data).map_err(|e| failed(e.to_string()))
        };
        self.outputs.iter().zip(results).map(tensor).collect()
    }

    /// The rows, a part for each card that works, as long as a part is worth a launch.
    fn parts<'a, T>(&self, rows: usize, results: &'a mut [Vec<T>]) -> Vec<Part<'a, T>> {
        if rows == 0 {
            return Vec::new();
        }
        let working = self.cards.iter().filter(|c| c.load().0).count();
        let launch = self.cards.first().map_or(rows, |c| c.plan().rows);
        let size = rows.div_ceil(working.clamp(1, rows.div_ceil(launch)));
        let starts = (0..rows).step_by(size);
        let mut parts: Vec<Part<'a, T>> =
            starts.map(|s| Part { rows: s..rows.min(s + size), outputs: Vec::new() }).collect();
        for (port, result) in self.outputs.iter().zip(results) {
            for (part, piece) in parts.iter_mut().zip(result.chunks_mut(size * port.row_len())) {
                part.outputs.push(piece);
            }
        }
        parts
    }

    /// Runs a part on the card with the fewest rows, and what that does not compute on the next.
    fn run_part<T>(
        &self,
        part: &mut Part<'_, T>,
        encode: &Encode<'_>,
        decode: &Decode<'_, T>,
    ) -> Result<(), RunError> {
        let mut left: Vec<&Arc<Card>> = self.cards.iter().collect();
        let (mut todo, mut whys) = (vec![part.rows.clone()], Vec::new());
        while !todo.is_empty() {
            let best = left.iter().enumerate().min_by_key(|(_, card)| {
                let (working, outstanding) = card.load();
                (!working, outstanding)
            });
            let Some((at, _)) = best else {
                return Err(failed(format!("no card computed the rows: {}", whys.join("; "))));
            };
            let card = left.swap_remove(at);
            let mut undone = Vec::new();
            for rows in todo {
                if let Err(unfinished) = self.run_on(card, part, rows, encode, decode)? {
                    undone.extend(unfinished.rows);
                    whys.push(format!("card {}: {}", card.plan().device, unfinished.why));
                }
            }
            whys.dedup();
            todo = undone;
        }
        Ok(())
    }

    /// Runs rows on a card: packs into and unpacks from the slots that its thread names.
    fn run_on<T>(
        &self,
        card: &Card,
        part: &mut Part<'_, T>,
        rows: Range<usize>,
        encode: &Encode<'_>,
        decode: &Decode<'_, T>,
    ) -> Result<Result<(), Unfinished>, RunError> {
        let _held = card.hold(rows.len());
        let (events, (to, orders)) = (card.events(), mpsc::channel());
        let gone =
            |why: &str| Unfinished { why: why.to_owned(), rows: std::iter::once(rows.clone()).collect() };
        if events.send(Event::Rows { rows: rows.len(), to }).is_err() {
            return Ok(Err(gone("its thread is gone")));
        }
        // Which rows are wrong must not depend on which launch is packed first.
        let mut wrong: Option<(usize, RunError)> = None;
        loop {
            let (ticket, result) = match orders.recv() {
                Ok(Order::Pack(place)) => {
                    let first = rows.start + place.rows.start;
                    if let Err(error) = self.pack(&place, first, encode)
                        && wrong.as_ref().is_none_or(|(at, _)| first < *at)
                    {
                        wrong = Some((first, error));
                    }
                    (place.ticket, Ok(()))
                }
                Ok(Order::Unpack(place)) => {
                    (place.ticket, self.unpack(&place, &events, rows.start, part, decode).map_err(Fault))
                }
                Ok(Order::Ended(result)) => {
                    let shifted = |r: Range<usize>| r.start + rows.start..r.end + rows.start;
                    return match wrong {
                        Some((_, error)) => Err(error),
                        None => Ok(result.map_err(|u| Unfinished {
                            rows: if u.rows.is_empty() {
                                vec![rows.clone()]
                            } else {
                                u.rows.into_iter().map(shifted).collect()
                            },
                            ..u
                        })),
                    };
                }
                Err(_) => return Ok(Err(gone("its thread ended"))),
            };
            // A card that is closed meanwhile ends the orders too.
            let _: Result<_, _> = events.send(Event::Done(Done { ticket, result }));
        }
    }

    fn pack(&self, place: &Place, first: usize, encode: &Encode<'_>) -> Result<(), RunError> {
        let count = place.rows.len();
        for (i, port) in self.inputs.iter().enumerate() {
            let range = place.plan.input(place.unit, place.slot, i, count);
            // SAFETY: the slot is this thread's until it gives the ticket back.
            let to = unsafe { place.memory.bytes_mut(range) };
            encode(port, i, first..first + count, to)?;
        }
        Ok(())
    }

    /// `start`: first row of the job.
    fn unpack<T>(
        &self,
        place: &Place,
        events: &Sender<Event>,
        start: usize,
        part: &mut Part<'_, T>,
        decode: &Decode<'_, T>,
    ) -> Result<(), String> {
        let count = place.rows.len();
        let trailer = Trailer::new(u32::try_from(count).map_err(|e| e.to_string())?, &self.fingerprint);
        let first = start + place.rows.start - part.rows.start;
        let mut outputs = Vec::with_capacity(self.outputs.len());
        for (o, port) in self.outputs.iter().enumerate() {
            // SAFETY: the slot is this thread's until it gives the ticket back.
            let from = unsafe { place.memory.bytes(place.plan.output(place.unit, place.slot, o, count)) };
            let (packed, end) = from.split_at(from.len() - BEAT_BYTES);
            trailer.check(end).map_err(|e| format!("output '{}': {e}", port.tensor()))?;
            outputs.push((port, packed));
        }
        let inputs = self.inputs.iter().enumerate().map(|(i, port)| {
            let range = place.plan.input(place.unit, place.slot, i, count);
            // SAFETY: as above, and the card only reads them.
            (port, unsafe { place.memory.bytes(range) })
        });
        self.spot.check(count, &inputs.collect::<Vec<_>>(), &outputs).inspect_err(|why| {
            let event = Event::Wrong { memory: Arc::clone(&place.memory), why: why.clone() };
            // The card may have been closed.
            let _: Result<_, _> = events.send(event);
        })?;
        for ((port, packed), results) in outputs.into_iter().zip(&mut part.outputs) {
            let elements = port.row_len();
            decode(port, packed, &mut results[first * elements..(first + count) * elements]);
        }
        Ok(())
    }
}

fn info(layout: &Layout) -> TensorInfo {
    TensorInfo {
        name: layout.tensor().to_owned(),
        datatype: Datatype::Fp32,
        shape: layout.onnx_shape().iter().map(|d| Some(*d)).collect(),
    }
}

fn failed(message: String) -> RunError {
    RunError::Backend { backend: NAME, message }
}

impl Executable for XrtExecutable {
    fn name(&self) -> &str {
        &self.name
    }

    fn inputs(&self) -> &[TensorInfo] {
        &self.infos[0]
    }

    fn outputs(&self) -> &[TensorInfo] {
        &self.infos[1]
    }

    fn run(&self, inputs: &[Tensor]) -> Result<Vec<Tensor>, RunError> {
        let rows = self.rows(inputs.iter().map(Tensor::shape))?;
        let encode =
            |port: &Layout, i: usize, rows: Range<usize>, to: &mut [u8]| port.pack(&inputs[i], rows, to);
        self.compute(rows, &encode, &Layout::unpack_f32)
    }

    fn run_raw(&self, inputs: &[Tensor]) -> Result<Vec<Tensor>, RunError> {
        let rows = self.rows(inputs.iter().map(Tensor::shape))?;
        let encode =
            |port: &Layout, i: usize, rows: Range<usize>, to: &mut [u8]| port.pack_raw(&inputs[i], rows, to);
        self.compute(rows, &encode, &Layout::unpack_raw)
    }

    fn run_buffers(&self, inputs: &[Buffer]) -> Result<Vec<Buffer>, RunError> {
        let rows = self.rows(inputs.iter().map(Buffer::shape))?;
        hs_runtime::check_inputs(&self.infos[0], inputs)?;
        let encode =
            |port: &Layout, i: usize, rows: Range<usize>, to: &mut [u8]| port.pack(&inputs[i], rows, to);
        Ok(self.compute(rows, &encode, &Layout::unpack_f32)?.into_iter().map(Buffer::from).collect())
    }

    fn concurrency(&self) -> usize {
        self.cards.iter().map(|c| c.plan().units.len() * c.plan().slots).sum()
    }

    fn is_exact(&self) -> bool {
        true
    }

    fn cards(&self) -> Vec<CardStatus> {
        let status = |card: &Arc<Card>| {
            let mut status = card.status()?;
            if let Some(address) = &card.plan().address {
                shells::sense(&mut status, address);
            }
            Some(status)
        };
        self.cards.iter().filter_map(status).collect()
    }
}
