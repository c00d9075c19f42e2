//! Names in messages and reports back to the nodes of the ONNX model.

use hs_hw::Program;

use crate::hls;

/// What emission puts before a node's identifier.
const PREFIXES: &[&str] = &["cfg_", "wt_", "w_", "b_", "e_", "v_", "k_", "t_", "f_", "c_", "x_", "y_"];

/// The identifiers of a project and the nodes that they stand for.
#[derive(Debug, Clone)]
pub struct Nodes {
    /// Identifier and node, the longest identifiers first.
    all: Vec<(String, String)>,
}

impl Nodes {
    /// Those of the project that `hls::emit` makes of `program` under the name `name`.
    pub fn of(program: &Program, name: &str) -> Self {
        let ids = hls::names::project(program, name).1;
        let mut all: Vec<_> = ids.into_iter().zip(program.nodes.iter().map(|n| n.name.clone())).collect();
        all.sort_by_key(|(id, _)| std::cmp::Reverse(id.len()));
        Self { all }
    }

    /// The node that a message names by a function, array or channel of the project, such as `conv_stream<cfg_fc1>` or
    /// `c0_fc1`; that of the longest identifier if there are several.
    pub fn find(&self, text: &str) -> Option<&str> {
        let named = |(id, _): &&(String, String)| {
            text.match_indices(id.as_str()).any(|(at, _)| {
                let (before, after) = (&text[..at], &text[at + id.len()..]);
                // Longer names of the RTL go on with an underscore.
                after.chars().next().is_none_or(|c| !c.is_ascii_alphanumeric()) && is_prefix(before)
            })
        };
        self.all.iter().find(named).map(|(_, node)| node.as_str())
    }
}

/// Whether what stands before an identifier ends in one of our prefixes, itself at the start of a word or of a part of one.
fn is_prefix(before: &str) -> bool {
    PREFIXES.iter().any(|prefix| {
        // A channel of a clone has its number: `c0_`.
        let bare = match before.strip_suffix(prefix) {
            Some(bare) => bare,
            None if *prefix == "c_" => {
                let Some(bare) = before.strip_suffix('_') else { return false };
                let number = bare.trim_end_matches(|c: char| c.is_ascii_digit());
                match number.strip_suffix('c').filter(|_| number.len() < bare.len()) {
                    Some(bare) => bare,
                    None => return false,
                }
            }
            None => return false,
        };
        bare.chars().next_back().is_none_or(|c| !c.is_ascii_alphanumeric())
    })
}
