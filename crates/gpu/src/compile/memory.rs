//! The memory of a plan: values that are never alive at the same time share a buffer.

use super::lower::Lowered;
use super::simplify::Live;
use super::{FetchSpec, Place, Step, Target};
use crate::plan_error::CompileError;
use std::collections::{HashMap, HashSet};

/// Sizes and offsets are kept to multiples of this, which every device accepts for a binding.
pub(crate) const ALIGNMENT: u64 = 256;

/// Which buffer each place of a program is in.
pub(crate) struct Memory {
    /// Bytes of each buffer.
    pub buffers: Vec<u64>,
    /// For each place of the plan's own: buffer, offset, bytes.
    pub places: HashMap<Place, (usize, u64, u64)>,
    /// Bytes of all values if none shared a buffer.
    pub unshared: u64,
    constants: HashSet<usize>,
}

impl Memory {
    /// Bytes of all buffers together.
    pub fn total(&self) -> u64 {
        self.buffers.iter().sum()
    }

    /// Whether a kernel loads this constant.
    pub fn needs_constant(&self, id: usize) -> bool {
        self.constants.contains(&id)
    }
}

fn padded(bytes: u64) -> u64 {
    bytes.max(1).next_multiple_of(ALIGNMENT)
}

/// Places everything that is not a variable, a feed or a constant.
pub(crate) fn plan(
    live: &Live,
    lowered: &Lowered,
    fetches: &[FetchSpec],
    target: Target,
) -> Result<Memory, CompileError> {
    let bytes_of = |place: Place| match place {
        Place::Value(id) => live.elements(id) as u64 * live.node(id).dtype.size() as u64,
        Place::Scratch(number) => lowered.scratch[number],
        Place::Packed => {
            lowered.packed.values().map(|(offset, bytes)| offset + bytes).max().unwrap_or(0)
        }
        Place::Feed(_) | Place::Variable(_) | Place::Constant(_) | Place::Table(_) => 0,
    };
    let mut constants = HashSet::new();
    // First and last step at which each place is used, in order of first use.
    let mut order: Vec<Place> = Vec::new();
    let mut spans: HashMap<Place, (usize, usize)> = HashMap::new();
    for (at, step) in lowered.steps.iter().enumerate() {
        let used: Vec<Place> = match step {
            Step::Dispatch(dispatch) => dispatch.bindings.iter().map(|(place, _)| *place).collect(),
            Step::Optimizer { scalars, .. } => vec![*scalars, Place::Packed],
        };
        for place in used {
            let place = match place {
                Place::Value(id) if lowered.packed.contains_key(&id) => Place::Packed,
                Place::Constant(id) => {
                    constants.insert(id);
                    continue;
                }
                Place::Feed(_) | Place::Variable(_) | Place::Table(_) => continue,
                place => place,
            };
            let span = spans.entry(place).or_insert_with(|| {
                order.push(place);
                (at, at)
            });
            span.1 = at;
        }
    }
    for fetch in fetches {
        let place = match fetch.place {
            Place::Value(id) if lowered.packed.contains_key(&id) => Place::Packed,
            place => place,
        };
        // A fetched value without elements has no kernel, and still a place.
        let span = spans.entry(place).or_insert_with(|| {
            order.push(place);
            (0, 0)
        });
        span.1 = lowered.steps.len();
    }

    let mut memory = Memory { buffers: Vec::new(), places: HashMap::new(), unshared: 0, constants };
    // For each buffer the last step at which its present value is used.
    let mut busy_until: Vec<usize> = Vec::new();
    for place in order {
        let bytes = bytes_of(place);
        let room = padded(bytes);
        if room > target.binding_bytes {
            let what = match place {
                Place::Packed => "all gradients together".to_owned(),
                Place::Value(id) => {
                    format!(
                        "the result of {} at {}",
                        live.node(id).op.name(),
                        live.node(id).location
                    )
                }
                _ => "the scratch memory of a kernel".to_owned(),
            };
            return Err(CompileError::TooLarge { what, bytes, limit: target.binding_bytes });
        }
        memory.unshared += room;
        let (first, last) = spans[&place];
        // The free buffer that fits best; one that must grow is better than a new one.
        let free = (0..memory.buffers.len())
            .filter(|&buffer| busy_until[buffer] < first)
            .min_by_key(|&buffer| memory.buffers[buffer].abs_diff(room));
        let buffer = free.unwrap_or_else(|| {
            memory.buffers.push(0);
            busy_until.push(0);
            memory.buffers.len() - 1
        });
        memory.buffers[buffer] = memory.buffers[buffer].max(room);
        busy_until[buffer] = last;
        memory.places.insert(place, (buffer, 0, bytes));
    }
    for (&id, &(offset, bytes)) in &lowered.packed {
        if let Some(&(buffer, _, _)) = memory.places.get(&Place::Packed) {
            memory.places.insert(Place::Value(id), (buffer, offset, bytes));
        }
    }
    Ok(memory)
}
