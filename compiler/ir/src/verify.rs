//! The invariants of a graph.

use std::collections::HashSet;

use crate::{Graph, ValueId};

/// An invariant that does not hold.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum VerifyError {
    /// An id beyond the list of values.
    #[error("{place} mentions value {id}, of {len}")]
    UnknownValue {
        /// Where it is mentioned.
        place: String,
        /// The id.
        id: usize,
        /// How many values there are.
        len: usize,
    },
    /// Two values, or two nodes, of one name, or an empty name.
    #[error("the {what} name '{name}' is empty or not unique")]
    Name {
        /// `value` or `node`.
        what: &'static str,
        /// The name.
        name: String,
    },
    /// A value that is produced twice, or is an input or constant and also produced.
    #[error("value '{value}' is defined more than once")]
    Redefined {
        /// The value.
        value: String,
    },
    /// A value read before, or without, its definition.
    #[error("{place} reads '{value}' before anything defines it")]
    Undefined {
        /// Who reads it.
        place: String,
        /// The value.
        value: String,
    },
    /// A constant whose tensor disagrees with its declared type or shape.
    #[error("constant '{value}' disagrees with its declared type or shape")]
    ConstantType {
        /// The value.
        value: String,
    },
    /// A grid whose scales do not match the constant's axis.
    #[error("the quantisation grid of '{value}' does not fit its shape")]
    Grid {
        /// The value.
        value: String,
    },
}

impl Graph {
    /// Checks that names are unique, each value is defined once and before it is read, and constants match their
    /// declarations.
    pub fn verify(&self) -> Result<(), VerifyError> {
        let mut names = HashSet::new();
        for value in &self.values {
            if value.name.is_empty() || !names.insert(value.name.as_str()) {
                return Err(VerifyError::Name { what: "value", name: value.name.clone() });
            }
            if let Some(tensor) = &value.constant
                && (value.dtype != Some(tensor.dtype()) || value.shape.as_deref() != Some(tensor.shape()))
            {
                return Err(VerifyError::ConstantType { value: value.name.clone() });
            }
            if let Some(grid) = &value.grid {
                let len = match (grid.axis, &value.shape) {
                    (None, _) => 1,
                    (Some(axis), Some(shape)) => shape.get(axis).copied().unwrap_or(0),
                    (Some(_), None) => 0,
                };
                if value.constant.is_none() || grid.scale.len() != len || len == 0 {
                    return Err(VerifyError::Grid { value: value.name.clone() });
                }
            }
        }
        let mut defined: Vec<bool> = self.values.iter().map(|v| v.constant.is_some()).collect();
        for id in &self.inputs {
            self.define(&mut defined, *id, || "the graph's input list".to_owned())?;
        }
        let mut names = HashSet::new();
        for node in &self.nodes {
            if node.name.is_empty() || !names.insert(node.name.as_str()) {
                return Err(VerifyError::Name { what: "node", name: node.name.clone() });
            }
            let place = || format!("node '{}'", node.name);
            for id in node.inputs.iter().flatten() {
                self.read(&defined, *id, place)?;
            }
            for id in node.outputs.iter().flatten() {
                self.define(&mut defined, *id, place)?;
            }
        }
        for id in &self.outputs {
            self.read(&defined, *id, || "the graph's output list".to_owned())?;
        }
        Ok(())
    }

    fn known(&self, id: ValueId, place: impl Fn() -> String) -> Result<usize, VerifyError> {
        let (id, len) = (id.index(), self.values.len());
        if id < len { Ok(id) } else { Err(VerifyError::UnknownValue { place: place(), id, len }) }
    }

    fn define(
        &self,
        defined: &mut [bool],
        id: ValueId,
        place: impl Fn() -> String,
    ) -> Result<(), VerifyError> {
        let index = self.known(id, place)?;
        if std::mem::replace(&mut defined[index], true) {
            return Err(VerifyError::Redefined { value: self.values[index].name.clone() });
        }
        Ok(())
    }

    fn read(&self, defined: &[bool], id: ValueId, place: impl Fn() -> String) -> Result<(), VerifyError> {
        let index = self.known(id, &place)?;
        if !defined[index] {
            return Err(VerifyError::Undefined { place: place(), value: self.values[index].name.clone() });
        }
        Ok(())
    }
}
