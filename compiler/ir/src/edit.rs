//! What passes need to rewrite a graph: uses, fresh names, substitution, compaction.

use std::collections::{HashMap, HashSet};

use crate::{Graph, Node, ValueId};

/// Who produces and who reads each value, as indices into [`Graph::nodes`] at the time of the call.
#[derive(Debug, Clone)]
pub struct Uses {
    producer: Vec<Option<usize>>,
    consumers: Vec<Vec<usize>>,
    output: Vec<bool>,
}

impl Uses {
    /// Reads `graph`.
    pub fn of(graph: &Graph) -> Self {
        let mut uses = Self {
            producer: vec![None; graph.values.len()],
            consumers: vec![Vec::new(); graph.values.len()],
            output: vec![false; graph.values.len()],
        };
        for (index, node) in graph.nodes.iter().enumerate() {
            for id in node.outputs.iter().flatten() {
                uses.producer[id.index()] = Some(index);
            }
            for id in node.inputs.iter().flatten() {
                uses.consumers[id.index()].push(index);
            }
        }
        for id in &graph.outputs {
            uses.output[id.index()] = true;
        }
        uses
    }

    /// The node that produces `id`.
    pub fn producer(&self, id: ValueId) -> Option<usize> {
        self.producer.get(id.index()).copied().flatten()
    }

    /// The nodes that read `id`, in order, one entry for each operand.
    pub fn consumers(&self, id: ValueId) -> &[usize] {
        self.consumers.get(id.index()).map_or(&[], Vec::as_slice)
    }

    /// Whether `id` is an output of the graph.
    pub fn is_output(&self, id: ValueId) -> bool {
        self.output.get(id.index()).copied().unwrap_or(false)
    }

    /// The one node that reads `id`, when nothing else does and it is no output of the graph.
    pub fn sole_consumer(&self, id: ValueId) -> Option<usize> {
        match self.consumers(id) {
            [only] if !self.is_output(id) => Some(*only),
            _ => None,
        }
    }

    /// Records that node `index` now produces `id`.
    pub fn set_producer(&mut self, id: ValueId, index: usize) {
        if let Some(slot) = self.producer.get_mut(id.index()) {
            *slot = Some(index);
        }
    }
}

/// Hands out names that are not taken.
#[derive(Debug, Clone, Default)]
pub struct Names {
    taken: HashSet<String>,
    next: HashMap<String, usize>,
}

impl Names {
    /// Nothing taken yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Knows every value name of `graph`.
    pub fn of_values(graph: &Graph) -> Self {
        Self { taken: graph.values.iter().map(|v| v.name.clone()).collect(), next: HashMap::new() }
    }

    /// Knows every node name of `graph`.
    pub fn of_nodes(graph: &Graph) -> Self {
        Self { taken: graph.nodes.iter().map(|n| n.name.clone()).collect(), next: HashMap::new() }
    }

    /// Takes `name`; false when it already was.
    pub fn take(&mut self, name: &str) -> bool {
        self.taken.insert(name.to_owned())
    }

    /// Takes and returns `base_<n>` with the smallest untried `n` that is free.
    pub fn numbered(&mut self, base: &str) -> String {
        let next = self.next.entry(base.to_owned()).or_insert(0);
        loop {
            let name = format!("{base}_{next}");
            *next += 1;
            if self.taken.insert(name.clone()) {
                return name;
            }
        }
    }

    /// Takes and returns `name` itself if it is free, else `name_<n>`.
    pub fn fresh(&mut self, name: &str) -> String {
        if self.take(name) { name.to_owned() } else { self.numbered(name) }
    }
}

impl Graph {
    /// Replaces operands: each `id` in `map` becomes what it maps to, through chains. Outputs of the graph keep their
    /// ids: a pass that replaces one must keep a node for it.
    pub fn substitute(&mut self, map: &HashMap<ValueId, ValueId>) {
        if map.is_empty() {
            return;
        }
        let resolve = |mut id: ValueId| {
            // The map's edges go from later to earlier values, hence end.
            while let Some(next) = map.get(&id) {
                id = *next;
            }
            id
        };
        for node in &mut self.nodes {
            for id in node.inputs.iter_mut().flatten() {
                *id = resolve(*id);
            }
        }
    }

    /// Keeps the nodes for which `keep` holds, given their index and themselves.
    pub fn retain_nodes(&mut self, mut keep: impl FnMut(usize, &Node) -> bool) {
        let mut index = 0;
        self.nodes.retain(|node| {
            index += 1;
            keep(index - 1, node)
        });
    }

    /// Drops values that no node, input or output mentions, and renumbers the rest in order. Every [`ValueId`] taken
    /// before is void.
    pub fn compact(&mut self) {
        let mut used = vec![false; self.values.len()];
        let mentioned = self.nodes.iter().flat_map(|n| n.inputs.iter().chain(&n.outputs).flatten());
        for id in mentioned.chain(&self.inputs).chain(&self.outputs) {
            used[id.index()] = true;
        }
        let mut renumbered = Vec::with_capacity(used.len());
        let mut next = 0;
        for keep in &used {
            renumbered.push(ValueId::new(next));
            next += usize::from(*keep);
        }
        let mut index = 0;
        self.values.retain(|_| {
            index += 1;
            used[index - 1]
        });
        let rename = |id: &mut ValueId| *id = renumbered[id.index()];
        for node in &mut self.nodes {
            node.inputs.iter_mut().flatten().for_each(rename);
            node.outputs.iter_mut().flatten().for_each(rename);
        }
        self.inputs.iter_mut().for_each(rename);
        self.outputs.iter_mut().for_each(rename);
    }
}
