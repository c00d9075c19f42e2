//! Answers in the order in which their batches were formed.

use std::{
    collections::BTreeMap,
    sync::{Mutex, PoisonError},
};

use super::batch::Reply;

/// Holds answers back until it is their turn.
#[derive(Debug, Default)]
pub(super) struct Order(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    turn: u64,
    held: BTreeMap<u64, Vec<Reply>>,
}

impl Order {
    /// Sends the answers of the batch with that number, from 0 without gaps, and of those after it that waited for it.
    pub(super) fn send(&self, number: u64, replies: Vec<Reply>) {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        state.held.insert(number, replies);
        let mut turn = state.turn;
        while let Some(replies) = state.held.remove(&turn) {
            replies.into_iter().for_each(Reply::send);
            turn += 1;
        }
        state.turn = turn;
    }
}
