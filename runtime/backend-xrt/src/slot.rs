//! A buffer slot of a compute unit, whatever opens the card.

/// Buffers for the rows of one launch, and the run of the kernel on them. Steps block; a worker has a thread a slot.
pub(crate) trait Slot: Send {
    /// Copies each input's bytes to the card, and clears there the trailers of outputs of so many bytes: one of a launch
    /// before must not pass for that of a kernel that did not run.
    fn copy_to_card(&mut self, inputs: &[&[u8]], outputs: &[usize]) -> Result<(), String>;

    /// Runs the kernel on `rows` rows, to its end.
    fn run(&mut self, rows: u32) -> Result<(), String>;

    /// Copies each output's bytes from the card.
    fn copy_from_card(&mut self, outputs: &mut [&mut [u8]]) -> Result<(), String>;
}

/// Slots by compute unit.
pub(crate) type Slots = Vec<Vec<Box<dyn Slot>>>;
