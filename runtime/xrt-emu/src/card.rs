//! What a card has: memory, and compute units with registers.

use std::collections::BTreeMap;
use std::path::PathBuf;

/// Bytes of a compute unit's addresses: what XRT's tools give each.
pub const UNIT_BYTES: u64 = 0x10000;

/// The largest allocation that is believed, in bytes.
const MOST: u64 = 4 << 30;

/// Bits of the control register, at offset 0 of a compute unit.
const START: u8 = 0x1;
const IDLE: u8 = 0x4;
const DONE_IDLE_READY: u8 = 0xe;

/// What an xclbin brings.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Image {
    /// The file with its EMBEDDED_METADATA, XML.
    pub metadata: PathBuf,
    /// The file with its BITSTREAM.
    pub bitstream: PathBuf,
    /// Bytes of each memory bank of the card.
    pub banks: Vec<u64>,
}

/// What the compute units of a card compute.
pub trait Kernel {
    /// Takes what an xclbin brings; the error says why it cannot.
    fn load(&mut self, image: &Image) -> Result<(), String>;

    /// Runs the compute unit at an address, once, from its registers, in memory.
    fn run(&mut self, unit: u64, registers: &Registers, memory: &mut Memory);
}

/// The registers of a compute unit, from its arguments on as the kernel's interface has them.
#[derive(Debug, Clone)]
pub struct Registers(Vec<u8>);

impl Registers {
    fn new() -> Self {
        Self(vec![0; UNIT_BYTES as usize])
    }

    /// The argument of 4 bytes at an offset; zero where there are no registers.
    pub fn u32(&self, offset: usize) -> u32 {
        self.0
            .get(offset..)
            .and_then(|bytes| bytes.first_chunk())
            .map_or(0, |bytes| u32::from_le_bytes(*bytes))
    }

    /// The argument of 8 bytes at an offset; zero where there are no registers.
    pub fn u64(&self, offset: usize) -> u64 {
        self.0
            .get(offset..)
            .and_then(|bytes| bytes.first_chunk())
            .map_or(0, |bytes| u64::from_le_bytes(*bytes))
    }
}

/// The memory of a card: what the host has allocated in it.
#[derive(Debug, Default)]
pub struct Memory(BTreeMap<u64, Vec<u8>>);

impl Memory {
    /// Bytes at an address; none where they are not all in one allocation.
    pub fn bytes(&self, address: u64, size: usize) -> Option<&[u8]> {
        let (start, allocation) = self.0.range(..=address).next_back()?;
        let from = usize::try_from(address - start).ok()?;
        allocation.get(from..from.checked_add(size)?)
    }

    /// Bytes at an address, to be written; none where they are not all in one allocation.
    pub fn bytes_mut(&mut self, address: u64, size: usize) -> Option<&mut [u8]> {
        let (start, allocation) = self.0.range_mut(..=address).next_back()?;
        let from = usize::try_from(address - start).ok()?;
        allocation.get_mut(from..from.checked_add(size)?)
    }

    fn allocate(&mut self, address: u64, size: u64) -> bool {
        let Some(end) = address.checked_add(size).filter(|_| size <= MOST) else { return false };
        let before = self.0.range(..end).next_back();
        if before.is_some_and(|(start, bytes)| start + bytes.len() as u64 > address) {
            return false;
        }
        // The system gives zeroed memory when it is touched.
        let Ok(size) = usize::try_from(size) else { return false };
        self.0.insert(address, vec![0; size]);
        true
    }
}

struct Unit {
    registers: Registers,
    control: u8,
}

/// A card without its kernel.
#[derive(Default)]
pub(crate) struct Card {
    memory: Memory,
    units: BTreeMap<u64, Unit>,
}

impl Card {
    pub(crate) fn allocate(&mut self, address: u64, size: u64) -> bool {
        self.memory.allocate(address, size)
    }

    pub(crate) fn free(&mut self, address: u64) -> bool {
        self.memory.0.remove(&address).is_some()
    }

    pub(crate) fn memory(&mut self) -> &mut Memory {
        &mut self.memory
    }

    /// Writes registers. Writing the start bit of the control register runs the kernel, to its end.
    pub(crate) fn write(&mut self, address: u64, data: &[u8], kernel: &mut impl Kernel) -> bool {
        let (base, offset) = (address / UNIT_BYTES * UNIT_BYTES, (address % UNIT_BYTES) as usize);
        let unit =
            self.units.entry(base).or_insert_with(|| Unit { registers: Registers::new(), control: IDLE });
        let Some(to) = unit.registers.0.get_mut(offset..).and_then(|r| r.get_mut(..data.len())) else {
            return false;
        };
        to.copy_from_slice(data);
        if offset == 0 && data.first().is_some_and(|control| control & START != 0) {
            kernel.run(base, &unit.registers, &mut self.memory);
            unit.control = DONE_IDLE_READY;
        }
        true
    }

    /// Reads registers. Reading the control register takes the sign that the kernel is done.
    pub(crate) fn read(&mut self, address: u64, size: u64) -> Option<Vec<u8>> {
        let (base, offset) = (address / UNIT_BYTES * UNIT_BYTES, (address % UNIT_BYTES) as usize);
        let size = usize::try_from(size).ok().filter(|size| offset + size <= UNIT_BYTES as usize)?;
        let Some(unit) = self.units.get_mut(&base) else {
            let mut bytes = vec![0; size];
            if let (0, [control, ..]) = (offset, &mut bytes[..]) {
                *control = IDLE;
            }
            return Some(bytes);
        };
        let mut bytes = unit.registers.0[offset..offset + size].to_vec();
        if let (0, Some(control)) = (offset, bytes.first_chunk_mut::<4>()) {
            *control = u32::from(unit.control).to_le_bytes();
            unit.control = IDLE;
        }
        Some(bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_what_was_allocated() {
        let mut memory = Memory::default();
        assert!(memory.allocate(0, 64) && memory.allocate(4096, 64));
        for (address, size) in [(0, 1), (63, 1), (4000, 200), (4159, 9), (u64::MAX - 1, 9)] {
            assert!(!memory.allocate(address, size), "{address} {size}");
        }
        assert!(!memory.allocate(1 << 40, MOST + 1));
        memory.bytes_mut(4100, 60).unwrap().fill(7);
        assert_eq!(memory.bytes(4096, 64).unwrap()[..8], [0, 0, 0, 0, 7, 7, 7, 7]);
        for (address, size) in [(0, 65), (64, 1), (4095, 1), (4096, 65), (4096, usize::MAX)] {
            assert_eq!(memory.bytes(address, size), None, "{address} {size}");
            assert_eq!(memory.bytes_mut(address, size), None, "{address} {size}");
        }
    }
}
