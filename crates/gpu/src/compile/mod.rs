//! From a graph to a list of dispatches, with nothing made on the device: simplify, fuse, lower, plan memory,
//! order. `compile` at the end of this file calls the passes; what it returns is in `program.rs`, what it
//! knows of the device in `target.rs`. What touches the device is in `plan/`.

mod bindings;
pub(crate) mod classes;
mod expression;
mod fuse;
mod in_place;
mod lower;
pub(crate) mod matmul;
mod memory;
mod operand;
mod order;
mod own_norm;
mod packed;
mod program;
mod share;
mod simplify;
pub(crate) mod target;
mod wgsl;

use crate::plan_error::CompileError;
use fuse::Fused;
use lower::Lowered;
use simplify::Live;
use std::collections::BTreeSet;
use warmstart_graph::{GraphDef, NodeId};

#[cfg(test)]
pub(crate) use bindings::bound_as_written;
pub(crate) use lower::{BLOCK, Does, MOST_BLOCKS, OptimizerStep, WIDEST};
pub(crate) use memory::Memory;
pub(crate) use order::{Start, groups, starts};
pub(crate) use program::{
    Access, Alternative, Dispatch, FetchSpec, Gradients, Part, Place, Program, Step, Tuned, Variant,
};
pub(crate) use target::Target;
pub(crate) use wgsl::literal;

/// Dispatches in their order, and where values lie.
struct Arranged {
    lowered: Lowered,
    memory: Memory,
    fetches: Vec<FetchSpec>,
}

impl Arranged {
    fn new(
        live: &Live,
        mut lowered: Lowered,
        fetches: Vec<FetchSpec>,
        target: Target,
    ) -> Result<Arranged, CompileError> {
        let mut memory = memory::plan(live, &lowered, &fetches, target)?;
        let order = order::grouped(&lowered.steps, &lowered.packed, &memory, &fetches);
        if !order.is_sorted() {
            let steps = order.iter().map(|&at| lowered.steps[at].clone()).collect();
            let in_node_order = std::mem::replace(&mut lowered.steps, steps);
            let own = memory::plan(live, &lowered, &fetches, target)?;
            // Which values share a buffer depends on the order, and what shares one must wait.
            if own.total() <= memory.enough()
                && order::count(&lowered.steps, &own) < order::count(&in_node_order, &memory)
            {
                memory = own;
            } else {
                lowered.steps = in_node_order;
            }
        }
        Ok(Arranged { lowered, memory, fetches })
    }

    fn groups(&self) -> usize {
        order::count(&self.lowered.steps, &self.memory)
    }
}

/// Fuses and lowers, in as many rounds as it takes: kernels that would read more buffers than the device
/// allows are cut, until all fit. Tells how many rounds that were.
fn fitted(
    def: &GraphDef,
    live: &Live,
    target: Target,
) -> Result<(Fused, Lowered, usize), CompileError> {
    let mut apart = BTreeSet::new();
    let mut rounds = 0;
    loop {
        rounds += 1;
        let fused = fuse::fuse(live, &apart, target);
        match lower::lower(def, live, &fused, target) {
            Ok(lowered) => return Ok((fused, lowered, rounds)),
            Err(lower::Refused::TooManyBindings { cuts }) if !cuts.is_subset(&apart) => {
                apart.extend(cuts);
            }
            Err(refused) => return Err(refused.into_error(live, target)),
        }
    }
}

/// Compiles what is asked of a graph.
pub(crate) fn compile(
    def: &GraphDef,
    fetches: &[NodeId],
    updates: &[NodeId],
    target: Target,
) -> Result<Program, CompileError> {
    def.check_updates(updates)?;
    let live = simplify::simplify(def, fetches, updates);
    for (id, fetch) in live.fetches.iter().zip(fetches) {
        let node = live.node(*id);
        if node.dtype.is_narrow() {
            let location = def.node(*fetch).location.clone();
            return Err(CompileError::FetchHalf { location, dtype: node.dtype });
        }
    }
    let (mut fused, lowered, _) = fitted(def, &live, target)?;
    let fetch_specs = |fused: &Fused| -> Vec<FetchSpec> {
        let specs = live.fetches.iter().zip(fetches).map(|(&id, &node)| {
            let live_node = live.node(id);
            let (shape, dtype) = (live_node.shape.clone(), live_node.dtype);
            FetchSpec { node, place: fused.place(&live, id), shape, dtype }
        });
        specs.collect()
    };
    let fetches = fetch_specs(&fused);
    let over = in_place::over(&live, &lowered, &fetches);
    let mut arranged = Arranged::new(&live, lowered, fetches, target)?;
    if target.in_place && !over.is_empty() {
        fused.over = over;
        // What only saves memory refuses nothing.
        let lowered = lower::lower(def, &live, &fused, target).ok();
        let fetches = fetch_specs(&fused);
        let other = lowered.and_then(|lowered| Arranged::new(&live, lowered, fetches, target).ok());
        // A kernel that writes over what it reads has another text than one that does not, and whoever
        // else reads that must come before it: less memory means more waiting. Software adapters wait
        // anyway.
        let saves = |other: &Arranged| {
            let waits_more = !target.is_cpu && other.groups() > arranged.groups();
            other.memory.total() + target.spare < arranged.memory.total() && !waits_more
        };
        if let Some(other) = other.filter(saves) {
            arranged = other;
        }
    }
    let Arranged { mut lowered, memory, fetches } = arranged;
    memory.bind(&mut lowered.steps);
    let mut program = Program {
        steps: lowered.steps,
        feeds: Vec::new(),
        fetches,
        constants: Vec::new(),
        tables: lowered.tables,
        memory,
        #[cfg(test)]
        gradients: lowered.packed,
        reads: Vec::new(),
        trained: Vec::new(),
        assigned: Vec::new(),
    };
    program.describe(def, &live);
    Ok(program)
}

#[cfg(test)]
mod figures_tests;
#[cfg(test)]
mod tests;
