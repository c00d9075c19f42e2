//! How large a model may be: what is larger is refused before it costs memory or time, with the limit's name.

use crate::diagnostic::Diagnostic;

/// Something that is bounded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Limit {
    /// Bytes of the ONNX file, without external data.
    File,
    /// Nodes of the graph.
    Nodes,
    /// Nodes one behind the other.
    Depth,
    /// Elements of one tensor, for one row.
    Elements,
    /// Elements of all constants together, stored ones and computed ones.
    Constants,
    /// Multiplications done to compute constants.
    Folding,
    /// Bytes of the package.
    Package,
}

impl Limit {
    /// All of them.
    pub const ALL: [Self; 7] =
        [Self::File, Self::Nodes, Self::Depth, Self::Elements, Self::Constants, Self::Folding, Self::Package];

    /// Its name, as a user gives it.
    pub fn name(self) -> &'static str {
        match self {
            Self::File => "file",
            Self::Nodes => "nodes",
            Self::Depth => "depth",
            Self::Elements => "elements",
            Self::Constants => "constants",
            Self::Folding => "folding",
            Self::Package => "package",
        }
    }

    /// What is counted.
    pub fn meaning(self) -> &'static str {
        match self {
            Self::File => "bytes of the ONNX file, without external data",
            Self::Nodes => "nodes of the graph",
            Self::Depth => "nodes one behind the other",
            Self::Elements => "elements in one tensor",
            Self::Constants => "elements of all constants together",
            Self::Folding => "multiplications done to compute constants",
            Self::Package => "bytes of the package",
        }
    }

    /// The bound when nothing is said.
    pub fn default_bound(self) -> u64 {
        match self {
            Self::File => 1 << 29,
            Self::Nodes => 100_000,
            Self::Depth => 20_000,
            Self::Elements | Self::Constants => 1 << 26,
            Self::Folding => 1 << 33,
            Self::Package => 1 << 30,
        }
    }

    /// The limit called `name`.
    pub fn find(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|l| l.name() == name)
    }
}

/// A bound for each [`Limit`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits([u64; Limit::ALL.len()]);

impl Default for Limits {
    fn default() -> Self {
        Self(Limit::ALL.map(Limit::default_bound))
    }
}

impl Limits {
    /// No bounds, for what has been checked already.
    pub const NONE: Self = Self([u64::MAX; Limit::ALL.len()]);

    /// The bound of `limit`, inclusive.
    pub fn get(&self, limit: Limit) -> u64 {
        self.0[limit as usize]
    }

    /// Sets the bound of `limit`.
    pub fn set(&mut self, limit: Limit, bound: u64) {
        self.0[limit as usize] = bound;
    }

    /// An error that names the limit where `found` is beyond it.
    pub fn check(&self, limit: Limit, found: u64) -> Result<(), Diagnostic> {
        let bound = self.get(limit);
        if found <= bound {
            return Ok(());
        }
        let (name, meaning) = (limit.name(), limit.meaning());
        Err(Diagnostic::error(format!("{found} {meaning} are more than the limit of {bound}"))
            .help(format!("if the model is meant to be so large, raise the limit: --limit {name}={found}")))
    }

    /// [`Limits::check`] of the elements of a tensor of `shape`.
    pub fn check_shape(&self, shape: &[usize]) -> Result<(), Diagnostic> {
        // An empty tensor may claim any size along its other axes.
        let count = shape.iter().try_fold(1u64, |n, d| n.checked_mul((*d).max(1) as u64));
        self.check(Limit::Elements, count.unwrap_or(u64::MAX))
            .map_err(|e| Diagnostic { message: format!("the shape {shape:?}: {}", e.message), ..e })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_limit_is_inclusive_and_names_its_flag() {
        let mut limits = Limits::default();
        limits.set(Limit::Nodes, 3);
        assert_eq!(limits.check(Limit::Nodes, 3), Ok(()));
        let error = limits.check(Limit::Nodes, 4).unwrap_err().to_string();
        assert!(error.contains("4 nodes of the graph are more than the limit of 3"), "{error}");
        assert!(error.contains("--limit nodes=4"), "{error}");
        for (i, limit) in Limit::ALL.into_iter().enumerate() {
            assert_eq!((limit as usize, Limit::find(limit.name())), (i, Some(limit)));
        }
    }

    #[test]
    fn a_shape_that_overflows_is_beyond_every_limit() {
        let limits = Limits::default();
        assert!(limits.check_shape(&[usize::MAX, usize::MAX, 0]).is_err());
        assert!(limits.check_shape(&[1 << 13, 1 << 13, 0]).is_ok());
        assert!(limits.check_shape(&[1 << 13, 1 << 13, 2]).unwrap_err().message.contains("the shape [8192"));
    }
}
