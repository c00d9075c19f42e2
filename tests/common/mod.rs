//! The ways to run the emulator, between which no bit may differ.

use std::sync::{Arc, Once};

use hs_emulator::{Emulator, Isa, Layout, Options};
use hs_hw::Program;

/// Emulators of `program` for `rows` rows, each with its name: as it runs by itself, then with every instruction set
/// and both layouts, on 1, 2 and 3 threads in turn, in blocks of which each thread has one. An instruction set that
/// this machine lacks is named on a line of its own.
///
/// # Errors
/// The way that does not load, and why.
pub(crate) fn emulators(
    program: &Arc<Program>,
    rows: usize,
) -> impl Iterator<Item = Result<(String, Emulator), String>> {
    static LACKING: Once = Once::new();
    let (available, lacking): (Vec<Isa>, Vec<Isa>) = Isa::ALL.into_iter().partition(|isa| isa.is_available());
    LACKING.call_once(|| {
        lacking.iter().for_each(|isa| println!("SKIPPED: emulator ({isa:?}): this machine lacks it"))
    });
    let pairs: Vec<(Isa, Layout)> = available
        .into_iter()
        .flat_map(|isa| [Layout::Lanes, Layout::Rows].map(|layout| (isa, layout)))
        .collect();
    // Each number of threads has its turn, however few instruction sets there are.
    let n = pairs.len().max(3);
    let forced =
        pairs.into_iter().cycle().zip((1..=3).cycle()).take(n).map(move |((isa, layout), threads)| {
            let options = Options {
                threads: Some(threads),
                block: Some(rows.div_ceil(threads).max(1)),
                isa: Some(isa),
                layout: Some(layout),
                ..Options::default()
            };
            (format!("emulator ({isa:?}, {layout:?}, {threads} threads)"), options)
        });
    std::iter::once(("emulator".to_owned(), Options::default())).chain(forced).map(|(name, options)| {
        match Emulator::new(Arc::clone(program), &options) {
            Ok(emulator) => Ok((name, emulator)),
            Err(e) => Err(format!("{name}: {e}")),
        }
    })
}
