//! Ops that move elements.

use super::{Cx, each::Source, storage::Tensor};
use crate::{
    lane::Lane,
    moves::{self, ZERO},
};

/// Every result element is an input element or zero.
#[derive(Debug)]
pub(super) struct Gather {
    pieces: Box<[Piece]>,
}

/// Neighbours that stay neighbours; `None`: zeros.
#[derive(Debug)]
struct Piece {
    from: Option<usize>,
    n: usize,
}

impl Gather {
    pub(super) fn new(gather: &moves::Gather) -> Self {
        let mut pieces: Vec<Piece> = Vec::new();
        for from in &gather.from {
            let from = Some(*from as usize).filter(|_| *from != ZERO);
            match pieces.last_mut() {
                Some(p) if p.from.map(|f| f + p.n) == from => p.n += 1,
                _ => pieces.push(Piece { from, n: 1 }),
            }
        }
        Self { pieces: pieces.into() }
    }

    /// From rows of `from` elements to rows of `to`.
    pub(super) fn run(&self, x: &Tensor, out: &mut Tensor, (from, to): (usize, usize), rows: usize) {
        macro_rules! gather {
            ($($kind:ident)*) => {
                match (x, out) {
                    $((Tensor::$kind(x), Tensor::$kind(out)) => {
                        for (x, out) in x.chunks_exact(from).zip(out.chunks_exact_mut(to)).take(rows) {
                            let mut at = 0;
                            for piece in &self.pieces {
                                let out = &mut out[at..at + piece.n];
                                at += piece.n;
                                match piece.from {
                                    Some(from) => out.copy_from_slice(&x[from..from + piece.n]),
                                    None => out.fill(0),
                                }
                            }
                        }
                    })*
                    _ => unreachable!("planned: what is only moved is stored alike"),
                }
            };
        }
        gather!(U8 I8 I16 U16 I32 I64);
    }
}

/// Inputs side by side, each cast.
pub(super) fn concat<'a, A: Lane>(
    concat: &moves::Concat,
    inputs: impl Iterator<Item = (Source<'a>, usize)>,
    out: &mut Tensor,
    len: usize,
    cx: &mut Cx<'_>,
) {
    const PIECE: usize = 512;
    let (isa, rows) = (cx.isa, cx.rows);
    let row = cx.temps.lanes.get::<A>(PIECE);
    for (part, (x, from)) in concat.parts.iter().zip(inputs) {
        for r in 0..rows {
            for o in 0..part.outer {
                for at in (0..part.run).step_by(PIECE) {
                    let row = &mut row[..PIECE.min(part.run - at)];
                    x.load(isa, (r, from), o * part.run + at, row);
                    part.cast.apply(isa, row);
                    out.store(isa, r * len + o * part.stride + part.first + at, row);
                }
            }
        }
    }
}
