//! What a card has: memory, and compute units with registers, which run beside each other.

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::process::abort;
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use std::thread;

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
///
/// Each unit runs on a thread of its own. A panic there ends the process by `abort`: a host cannot be told otherwise.
pub trait Kernel: Send + Sync {
    /// Runs the compute unit at an address, once, from its registers, in memory. The unit is busy until this returns.
    fn run(&self, unit: u64, registers: &Registers, memory: &Memory);
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

/// The memory of a card: what the host has allocated in it. Held by the host's side and by every running unit.
#[derive(Debug, Default)]
pub struct Memory(RwLock<BTreeMap<u64, Vec<u8>>>);

impl Memory {
    /// A copy of the bytes at an address; none where they are not all in one allocation.
    pub fn read(&self, address: u64, size: usize) -> Option<Vec<u8>> {
        let allocations = self.0.read().unwrap_or_else(PoisonError::into_inner);
        let (start, allocation) = allocations.range(..=address).next_back()?;
        let from = usize::try_from(address - start).ok()?;
        allocation.get(from..from.checked_add(size)?).map(<[u8]>::to_vec)
    }

    /// Whether bytes at an address are all in one allocation.
    pub fn holds(&self, address: u64, size: usize) -> bool {
        let allocations = self.0.read().unwrap_or_else(PoisonError::into_inner);
        let found = allocations.range(..=address).next_back();
        found.is_some_and(|(start, allocation)| {
            let end = (address - start).checked_add(size as u64);
            end.is_some_and(|end| end <= allocation.len() as u64)
        })
    }

    /// Writes bytes at an address; false, and nothing is written, where they would not all be in one allocation.
    pub fn write(&self, address: u64, bytes: &[u8]) -> bool {
        let mut allocations = self.0.write().unwrap_or_else(PoisonError::into_inner);
        let Some((start, allocation)) = allocations.range_mut(..=address).next_back() else { return false };
        let to = usize::try_from(address - start).ok().and_then(|from| allocation.get_mut(from..));
        let Some(to) = to.and_then(|to| to.get_mut(..bytes.len())) else { return false };
        to.copy_from_slice(bytes);
        true
    }

    pub(crate) fn allocate(&self, address: u64, size: u64) -> bool {
        let Some(end) = address.checked_add(size).filter(|_| size <= MOST) else { return false };
        let mut allocations = self.0.write().unwrap_or_else(PoisonError::into_inner);
        let before = allocations.range(..end).next_back();
        if before.is_some_and(|(start, bytes)| start + bytes.len() as u64 > address) {
            return false;
        }
        // The system gives zeroed memory when it is touched.
        let Ok(size) = usize::try_from(size) else { return false };
        allocations.insert(address, vec![0; size]);
        true
    }

    pub(crate) fn free(&self, address: u64) -> bool {
        self.0.write().unwrap_or_else(PoisonError::into_inner).remove(&address).is_some()
    }
}

struct Unit {
    registers: Registers,
    /// The control register as the host reads it.
    control: Arc<AtomicU8>,
}

/// A card.
#[derive(Default)]
pub(crate) struct Card {
    pub(crate) memory: Arc<Memory>,
    units: BTreeMap<u64, Unit>,
    kernel: Option<Arc<dyn Kernel>>,
}

impl Card {
    /// Gives the units something to compute. What still runs, runs on.
    pub(crate) fn load(&mut self, kernel: Arc<dyn Kernel>) {
        self.units.clear();
        self.kernel = Some(kernel);
    }

    /// Writes registers. Writing the start bit of the control register starts the unit; false where it is busy, or there
    /// is no kernel.
    pub(crate) fn write(&mut self, address: u64, data: &[u8]) -> bool {
        let (base, offset) = (address / UNIT_BYTES * UNIT_BYTES, (address % UNIT_BYTES) as usize);
        let unit = self
            .units
            .entry(base)
            .or_insert_with(|| Unit { registers: Registers::new(), control: Arc::new(AtomicU8::new(IDLE)) });
        let Some(to) = unit.registers.0.get_mut(offset..).and_then(|r| r.get_mut(..data.len())) else {
            return false;
        };
        to.copy_from_slice(data);
        if offset > 0 || data.first().is_none_or(|control| control & START == 0) {
            return true;
        }
        let Some(kernel) = self.kernel.clone() else { return false };
        if unit.control.swap(START, Ordering::AcqRel) == START {
            return false;
        }
        let (registers, control, memory) =
            (unit.registers.clone(), Arc::clone(&unit.control), Arc::clone(&self.memory));
        let run = move || {
            if catch_unwind(AssertUnwindSafe(|| kernel.run(base, &registers, &memory))).is_err() {
                abort();
            }
            control.store(DONE_IDLE_READY, Ordering::Release);
        };
        if thread::Builder::new().name(format!("unit {base:#x}")).spawn(run).is_err() {
            abort();
        }
        true
    }

    /// Reads registers. Reading the control register takes the sign that the kernel is done. While a unit is busy it is
    /// the start bit alone: for XRT any other bit ends the run.
    pub(crate) fn read(&mut self, address: u64, size: u64) -> Option<Vec<u8>> {
        let (base, offset) = (address / UNIT_BYTES * UNIT_BYTES, (address % UNIT_BYTES) as usize);
        let size = usize::try_from(size).ok().filter(|size| offset + size <= UNIT_BYTES as usize)?;
        let Some(unit) = self.units.get(&base) else {
            let mut bytes = vec![0; size];
            if let (0, [control, ..]) = (offset, &mut bytes[..]) {
                *control = IDLE;
            }
            return Some(bytes);
        };
        let mut bytes = unit.registers.0[offset..offset + size].to_vec();
        if let (0, Some(control)) = (offset, bytes.first_chunk_mut::<4>()) {
            let taken =
                unit.control.compare_exchange(DONE_IDLE_READY, IDLE, Ordering::AcqRel, Ordering::Acquire);
            *control = u32::from(taken.unwrap_or_else(|now| now)).to_le_bytes();
        }
        Some(bytes)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Barrier;

    use super::*;

    #[test]
    fn memory_is_what_was_allocated() {
        let memory = Memory::default();
        assert!(memory.allocate(0, 64) && memory.allocate(4096, 64));
        for (address, size) in [(0, 1), (63, 1), (4000, 200), (4159, 9), (u64::MAX - 1, 9)] {
            assert!(!memory.allocate(address, size), "{address} {size}");
        }
        assert!(!memory.allocate(1 << 40, MOST + 1));
        assert!(memory.write(4100, &[7; 60]));
        assert_eq!(memory.read(4096, 64).unwrap()[..8], [0, 0, 0, 0, 7, 7, 7, 7]);
        for (address, size) in [(0, 65), (64, 1), (4095, 1), (4096, 65)] {
            assert_eq!(memory.read(address, size), None, "{address} {size}");
            assert!(!memory.holds(address, size), "{address} {size}");
            assert!(!memory.write(address, &vec![0; size]), "{address} {size}");
        }
        assert_eq!(memory.read(4096, usize::MAX), None);
        assert!(memory.holds(4100, 60) && !memory.holds(4100, usize::MAX));
        assert!(memory.free(0) && !memory.free(0));
    }

    /// Ends when two units run at the same time.
    struct Both(Barrier);

    impl Kernel for Both {
        fn run(&self, _: u64, _: &Registers, _: &Memory) {
            self.0.wait();
        }
    }

    fn status(card: &mut Card, unit: u64) -> u8 {
        card.read(unit, 4).unwrap()[0]
    }

    #[test]
    fn units_run_beside_each_other() {
        let mut card = Card::default();
        assert!(!card.write(0, &[START, 0, 0, 0]), "there is no kernel");
        card.load(Arc::new(Both(Barrier::new(2))));
        assert_eq!((status(&mut card, 0), status(&mut card, UNIT_BYTES)), (IDLE, IDLE));
        assert!(card.write(0, &[START, 0, 0, 0]));
        assert_eq!((status(&mut card, 0), status(&mut card, UNIT_BYTES)), (START, IDLE));
        assert!(!card.write(0, &[START, 0, 0, 0]), "it is busy");
        assert!(card.write(0, &[0; 64]), "arguments of the next run may be written");
        assert_eq!(status(&mut card, 0), START);
        assert!(card.write(UNIT_BYTES, &[START, 0, 0, 0]));
        for unit in [0, UNIT_BYTES] {
            let mut now = status(&mut card, unit);
            while now == START {
                thread::yield_now();
                now = status(&mut card, unit);
            }
            assert_eq!((now, status(&mut card, unit)), (DONE_IDLE_READY, IDLE), "said once");
        }
    }
}
