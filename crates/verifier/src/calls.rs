//! Who calls whom, and how deep that goes.

use alloc::vec;
use alloc::vec::Vec;

use manyhands_sorted::Sorted;

use crate::module::Module;

/// The calls that a module can make. `call_indirect` may reach every function of its type that is in an
/// element segment; a node for each type stands between, so that there are no more edges than calls and functions.
pub struct Calls {
    /// For each defined function, what it calls: defined functions, and nodes of types.
    edges: Vec<Vec<u32>>,
    /// How many nodes are functions; those of types follow.
    functions: usize,
    imported: u32,
    /// For each type, the first one that is equal.
    node_of_type: Vec<u32>,
}

/// What a call through a table means, by a type.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Through {
    /// What the caller pays for the dearest of the functions that do not pay for themselves.
    pub units: u64,
    /// Whether any of the others may be reached, which find the meter in the global.
    pub pays: bool,
}

impl Calls {
    /// No calls yet, but what each indirect call may reach.
    pub fn of(module: &Module<'_>) -> Self {
        let (functions, imported) = (module.bodies.len(), module.imported());
        let mut same = Sorted::default();
        let mut node_of_type = Vec::with_capacity(module.types.len());
        for ty in &module.types {
            let next = functions as u32 + same.len() as u32;
            let key = (ty.params(), ty.results());
            let node = same.get(&key).copied().unwrap_or(next);
            if node == next {
                same.insert(key, node);
            }
            node_of_type.push(node);
        }
        let mut edges = vec![Vec::new(); functions + same.len()];
        for function in &module.tabled {
            let (Some(defined), Some(ty)) = (function.checked_sub(imported), module.functions.get(*function as usize))
            else {
                continue;
            };
            if let Some(node) = node_of_type.get(*ty as usize) {
                edges[*node as usize].push(defined);
            }
        }
        Self { edges, functions, imported, node_of_type }
    }

    /// Function number `from` of the defined ones calls the function of this index.
    pub fn call(&mut self, from: usize, function: u32) {
        if let (Some(to), Some(edges)) = (function.checked_sub(self.imported), self.edges.get_mut(from)) {
            edges.push(to);
        }
    }

    /// It calls whatever has this type.
    pub fn call_indirect(&mut self, from: usize, ty: u32) {
        if let (Some(node), Some(edges)) = (self.node_of_type.get(ty as usize), self.edges.get_mut(from)) {
            edges.push(*node);
        }
    }

    /// Whether a function calls nobody.
    pub fn is_leaf(&self, at: usize) -> bool {
        self.edges.get(at).is_none_or(Vec::is_empty)
    }

    /// For each type, what a call through a table means for whoever makes it. `costs` says of a function what its callers pay for it,
    /// and nothing if it pays for itself.
    pub fn through(&self, costs: impl Fn(usize) -> Option<u64>) -> Vec<Through> {
        let of_node = |callees: &Vec<u32>| {
            let mut through = Through { units: 0, pays: false };
            for at in callees {
                match costs(*at as usize) {
                    Some(units) => through.units = through.units.max(units),
                    None => through.pays = true,
                }
            }
            through
        };
        let of_nodes: Vec<Through> = self.edges[self.functions..].iter().map(of_node).collect();
        self.node_of_type.iter().map(|node| of_nodes[*node as usize - self.functions]).collect()
    }

    /// A function on every cycle: those from which a depth-first search, in the order of the module, sees a call of one that
    /// has not returned. Defined functions in an order in which callees come before their callers, but for such calls,
    /// come with it.
    pub fn heads(&self) -> (Vec<bool>, Vec<usize>) {
        #[derive(Clone, Copy, PartialEq)]
        enum State {
            New,
            Open,
            Done,
        }
        let mut heads = vec![false; self.functions];
        let mut order = Vec::with_capacity(self.functions);
        let mut states = vec![State::New; self.edges.len()];
        let mut open: Vec<(usize, usize)> = Vec::new();
        for root in 0..self.functions {
            if states[root] != State::New {
                continue;
            }
            states[root] = State::Open;
            open.push((root, 0));
            while let Some((node, next)) = open.last_mut() {
                let (node, edge) = (*node, self.edges[*node].get(*next).copied());
                *next += 1;
                let Some(to) = edge.map(|to| to as usize) else {
                    states[node] = State::Done;
                    open.pop();
                    if node < self.functions {
                        order.push(node);
                    }
                    continue;
                };
                match states[to] {
                    State::New => {
                        states[to] = State::Open;
                        open.push((to, 0));
                    }
                    // A type is no place to count at; whoever calls by it is on the cycle as well.
                    State::Open => heads[if to < self.functions { to } else { node }] = true,
                    State::Done => {}
                }
            }
        }
        (heads, order)
    }

    /// For each function, what the deepest row of calls takes that begins with it and meets no head after it.
    /// `None` if there is a cycle without a head.
    pub fn chains(&self, heads: &[bool], frames: &[u64]) -> Option<Vec<u64>> {
        const OPEN: u64 = u64::MAX;
        let mut chains: Vec<Option<u64>> = vec![None; self.edges.len()];
        let mut open: Vec<(usize, usize, u64)> = Vec::new();
        for root in 0..self.functions {
            if chains[root].is_some() {
                continue;
            }
            chains[root] = Some(OPEN);
            open.push((root, 0, 0));
            while let Some((node, next, deepest)) = open.last_mut() {
                let Some(to) = self.edges[*node].get(*next).map(|to| *to as usize) else {
                    let chain = *deepest + frames.get(*node).copied().unwrap_or(0);
                    chains[*node] = Some(chain);
                    open.pop();
                    if let Some((_, _, deepest)) = open.last_mut() {
                        *deepest = (*deepest).max(chain);
                    }
                    continue;
                };
                if heads.get(to).copied().unwrap_or(false) {
                    *next += 1;
                    continue;
                }
                match chains[to] {
                    None => {
                        *next += 1;
                        chains[to] = Some(OPEN);
                        open.push((to, 0, 0));
                    }
                    Some(OPEN) => return None,
                    Some(chain) => {
                        *next += 1;
                        *deepest = (*deepest).max(chain);
                    }
                }
            }
        }
        Some(chains.into_iter().take(self.functions).map(|chain| chain.unwrap_or(0)).collect())
    }
}
