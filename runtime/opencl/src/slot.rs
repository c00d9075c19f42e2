//! Buffers of a compute unit, and runs on them.
#![expect(unsafe_code, reason = "calls C")]

use std::{ptr, sync::Arc};

use opencl3::{
    command_queue::CommandQueue,
    event::Event,
    kernel::Kernel,
    memory::{Buffer, CL_MEM_READ_ONLY, CL_MEM_WRITE_ONLY, ClMem, cl_mem_flags},
    types::{CL_BLOCKING, cl_mem, cl_uint},
};

use crate::{Error, Unit, card::Loaded, error::failed};

/// Bytes of a slot's buffers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ports {
    /// Of each input.
    pub inputs: Vec<usize>,
    /// Of each output, with its trailer.
    pub outputs: Vec<usize>,
}

/// A buffer on the card.
#[derive(Debug)]
pub(crate) struct Memory {
    buffer: Buffer<u8>,
    bytes: usize,
}

/// Buffers for the rows of one launch, and the run of the kernel on them. Each step blocks until it is done.
#[derive(Debug)]
pub struct Slot {
    queue: CommandQueue,
    kernel: Kernel,
    inputs: Vec<Memory>,
    outputs: Vec<Memory>,
    /// Keep open what the kernel reads and is part of.
    _weights: Option<Arc<Memory>>,
    _loaded: Arc<Loaded>,
}

impl Unit {
    /// A slot with buffers of these sizes, in the memories that the compute unit reaches.
    pub fn slot(&self, ports: &Ports) -> Result<Slot, Error> {
        let found = ports.inputs.len() + ports.outputs.len();
        if found != self.ports {
            return Err(Error::Arguments {
                kernel: self.name.clone(),
                found: format!("{} pointers to rows", self.ports),
                expected: format!("{found}"),
            });
        }
        let kernel = self.kernel()?;
        let memories = |sizes: &[usize], flags| -> Result<Vec<Memory>, Error> {
            sizes.iter().map(|bytes| self.memory(*bytes, flags)).collect()
        };
        let inputs = memories(&ports.inputs, CL_MEM_READ_ONLY)?;
        let outputs = memories(&ports.outputs, CL_MEM_WRITE_ONLY)?;
        for (i, memory) in inputs.iter().chain(&outputs).chain(self.weights.as_deref()).enumerate() {
            // The number of rows is before the weights.
            self.pass(&kernel, if i < found { i } else { i + 1 }, memory)?;
        }
        let queue = self.loaded.queue()?;
        let (_weights, _loaded) = (self.weights.clone(), Arc::clone(&self.loaded));
        Ok(Slot { queue, kernel, inputs, outputs, _weights, _loaded })
    }

    /// Copies weights to the card.
    pub(crate) fn load(&self, weights: &[u8]) -> Result<Memory, Error> {
        let mut memory = self.memory(weights.len(), CL_MEM_READ_ONLY)?;
        self.pass(&self.kernel()?, self.ports + 1, &memory)?;
        memory.write(&self.loaded.queue()?, 0, weights, "the weights")?;
        Ok(memory)
    }

    fn kernel(&self) -> Result<Kernel, Error> {
        Kernel::create(&self.loaded.program, &self.name)
            .map_err(failed(format!("opening kernel {}", self.name)))
    }

    fn memory(&self, bytes: usize, flags: cl_mem_flags) -> Result<Memory, Error> {
        // A model may have rows of no bytes, a buffer not.
        let size = bytes.max(1);
        // SAFETY: no pointer of the host is passed.
        let buffer = unsafe { Buffer::create(&self.loaded.context, flags, size, ptr::null_mut()) };
        let buffer = buffer.map_err(failed(format!("making a buffer of {size} bytes")))?;
        Ok(Memory { buffer, bytes })
    }

    /// Makes a buffer an argument of the kernel. Before its first use: XRT then places it in the memory that the compute
    /// unit reaches.
    fn pass(&self, kernel: &Kernel, argument: usize, memory: &Memory) -> Result<(), Error> {
        let handle: cl_mem = memory.buffer.get();
        // SAFETY: the argument is a pointer, which `Program::unit` has checked, and the value is a buffer's handle.
        let done = unsafe { kernel.set_arg(argument as cl_uint, &handle) };
        done.map_err(failed(format!("passing argument {argument} of kernel {}", self.name)))
    }
}

impl Memory {
    fn check(&self, found: usize, what: &str) -> Result<(), Error> {
        if found <= self.bytes {
            return Ok(());
        }
        Err(Error::Length { what: what.to_owned(), found, expected: self.bytes })
    }

    /// Copies to the buffer, from byte `start` on.
    fn write(&mut self, queue: &CommandQueue, start: usize, from: &[u8], what: &str) -> Result<(), Error> {
        self.check(start.saturating_add(from.len()), what)?;
        if from.is_empty() {
            return Ok(());
        }
        // SAFETY: as many bytes as the buffer has at most; a call that blocks is done with them when it returns.
        let done = unsafe { queue.enqueue_write_buffer(&mut self.buffer, CL_BLOCKING, start, from, &[]) };
        done.map(drop).map_err(failed(format!("copying {what} to the card")))
    }

    /// Copies from the start of the buffer.
    fn read(&self, queue: &CommandQueue, to: &mut [u8], what: &str) -> Result<(), Error> {
        self.check(to.len(), what)?;
        if to.is_empty() {
            return Ok(());
        }
        // SAFETY: as in `write`.
        let done = unsafe { queue.enqueue_read_buffer(&self.buffer, CL_BLOCKING, 0, to, &[]) };
        done.map(drop).map_err(failed(format!("copying {what} from the card")))
    }
}

impl Slot {
    /// Copies each input's bytes to the start of its buffer.
    pub fn copy_to_card(&mut self, inputs: &[&[u8]]) -> Result<(), Error> {
        count("inputs", inputs.len(), self.inputs.len())?;
        for (i, (memory, bytes)) in self.inputs.iter_mut().zip(inputs).enumerate() {
            memory.write(&self.queue, 0, bytes, &format!("input {i}"))?;
        }
        Ok(())
    }

    /// Writes zeros over the last `bytes` bytes of each output, of which so many are to be copied back.
    pub fn clear_ends(&mut self, outputs: &[usize], bytes: usize) -> Result<(), Error> {
        count("outputs", outputs.len(), self.outputs.len())?;
        let zeros = vec![0; bytes];
        for (i, (memory, length)) in self.outputs.iter_mut().zip(outputs).enumerate() {
            memory.write(
                &self.queue,
                length.saturating_sub(bytes),
                &zeros,
                &format!("the end of output {i}"),
            )?;
        }
        Ok(())
    }

    /// Runs the kernel on `rows` rows, to its end.
    pub fn run(&mut self, rows: u32) -> Result<(), Error> {
        let what = "running the kernel";
        let argument = (self.inputs.len() + self.outputs.len()) as cl_uint;
        // SAFETY: the argument is a scalar of 32 bits, which `Program::unit` has checked.
        unsafe { self.kernel.set_arg(argument, &rows) }.map_err(failed(what))?;
        let one = [1];
        // SAFETY: the kernel has all its arguments, whose buffers live as long as it; the ranges have one dimension each.
        let event: Result<Event, _> = unsafe {
            let kernel = self.kernel.get();
            self.queue.enqueue_nd_range_kernel(kernel, 1, ptr::null(), one.as_ptr(), one.as_ptr(), &[])
        };
        event.and_then(|event| event.wait()).map_err(failed(what))
    }

    /// Copies the start of each output's buffer.
    pub fn copy_from_card(&mut self, outputs: &mut [&mut [u8]]) -> Result<(), Error> {
        count("outputs", outputs.len(), self.outputs.len())?;
        for (i, (memory, bytes)) in self.outputs.iter().zip(outputs).enumerate() {
            memory.read(&self.queue, bytes, &format!("output {i}"))?;
        }
        Ok(())
    }
}

fn count(what: &'static str, found: usize, expected: usize) -> Result<(), Error> {
    if found == expected { Ok(()) } else { Err(Error::Count { what, found, expected }) }
}
