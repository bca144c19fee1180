//! The memory of a plan: values that are never alive at the same time share room.
//!
//! Gradients that an optimizer or a norm reads lie one after the other in one piece of a buffer, or in as
//! many as it takes for a binding to hold each. A gradient is there from when it is written until all of its
//! piece have been read; before, others may lie there (`packed.rs`). `wgpu` lets a dispatch use a buffer in
//! one way, so a kernel that reads and writes parts of one binds both as what it writes (`Memory::bind`). It
//! computes the same; but whoever uses that buffer next waits.

use super::bindings::bound_as_written;
use super::lower::Lowered;
use super::matmul::SMALL;
use super::packed::{Packed, Piece, place};
use super::share::{Item, Shared};
use super::simplify::Live;
use super::{Access, FetchSpec, Gradients, Place, Step, Target, WIDEST};
use crate::device::ALIGNMENT;
use crate::plan_error::CompileError;
use std::collections::{BTreeSet, HashMap, HashSet};

/// Which buffer each place of a program is in.
pub(crate) struct Memory {
    /// Bytes of each buffer.
    pub buffers: Vec<u64>,
    /// For each place of the plan's own: buffer, offset, bytes.
    pub places: HashMap<Place, (usize, u64, u64)>,
    /// Bytes of all values if none shared a buffer.
    pub unshared: u64,
    /// What no placement takes less than: the largest sum of values that are alive at once, one that is
    /// written over another counting with it once, or more where values can have no buffer in common.
    pub least: u64,
    constants: HashSet<usize>,
}

impl Memory {
    /// Bytes of all buffers together.
    pub fn total(&self) -> u64 {
        self.buffers.iter().sum()
    }

    /// What a plan takes at most if there are gradients, for fewer groups.
    pub fn enough(&self) -> u64 {
        let has_gradients = self.places.contains_key(&Place::Packed(0));
        if has_gradients { self.total().max(self.least + self.least / 10) } else { self.total() }
    }

    /// The buffer of values that a place is in, if it is in one.
    pub fn buffer(&self, place: Place) -> Option<usize> {
        self.places.get(&place).map(|&(buffer, ..)| buffer)
    }

    /// `wgpu` lets a dispatch use a buffer in one way. So what a kernel reads in a buffer in which it
    /// writes something else is bound as if it were written too. In small products of software adapters all
    /// values, variables and feeds are, wherever they lie, so that these kernels have one text: to compile
    /// another takes as long as a hundred steps of a small model. (A product of a value and itself, which
    /// must not be bound twice as written, stays as it is.)
    pub fn bind(&self, steps: &mut [Step]) {
        for step in steps {
            let Step::Dispatch(dispatch) = step else { continue };
            let written = |&&(_, access): &&(Place, Access)| access == Access::Write;
            let written = dispatch.bindings.iter().filter(written);
            let written: BTreeSet<usize> =
                written.filter_map(|&(place, _)| self.buffer(place)).collect();
            let places = || dispatch.bindings.iter().map(|&(place, _)| place);
            // What is written may be bound once.
            let one_text = dispatch.kernel == SMALL
                && places().collect::<HashSet<Place>>().len() == dispatch.bindings.len();
            for (at, (place, access)) in dispatch.bindings.iter_mut().enumerate() {
                let is_written = match place {
                    Place::Table(_) => false,
                    _ if one_text => true,
                    _ => self.buffer(*place).is_some_and(|own| written.contains(&own)),
                };
                if is_written && *access == Access::Read {
                    *access = Access::Write;
                    let others = dispatch.alternatives.iter_mut().map(|other| &mut other.source);
                    for source in others.chain([&mut dispatch.source]) {
                        *source = bound_as_written(source, at);
                    }
                }
            }
        }
    }

    /// Whether a kernel loads this constant.
    pub fn needs_constant(&self, id: usize) -> bool {
        self.constants.contains(&id)
    }
}

pub(super) fn padded(bytes: u64) -> u64 {
    bytes.max(1).next_multiple_of(ALIGNMENT)
}

fn bytes_of(place: Place, live: &Live, lowered: &Lowered) -> u64 {
    match place {
        Place::Value(id) => live.elements(id) as u64 * live.node(id).dtype.size() as u64,
        Place::Scratch(number) => lowered.scratch[number],
        // The last gradient has room up to a multiple of its alignment, as all have.
        Place::Packed(region) => {
            let ends = lowered.packed.parts(region).map(|(_, part)| part.offset + part.bytes);
            ends.max().unwrap_or(0).next_multiple_of(WIDEST)
        }
        Place::Feed(_) | Place::Variable(_) | Place::Constant(_) | Place::Table(_) => 0,
    }
}

/// The places that a step uses, of those that are to be planned: of packed gradients each.
pub(super) fn used(step: &Step, packed: &Gradients) -> impl Iterator<Item = (Place, Access)> {
    let each = |(place, access)| {
        let (one, all) = match place {
            Place::Value(_) | Place::Scratch(_) => (Some(place), None),
            Place::Packed(region) => {
                (None, Some(packed.parts(region).map(|(id, _)| Place::Value(id))))
            }
            _ => (None, None),
        };
        one.into_iter().chain(all.into_iter().flatten()).map(move |place| (place, access))
    };
    step.uses().into_iter().flat_map(each)
}

/// What needs room, in order of first use.
pub(super) fn items(live: &Live, lowered: &Lowered, fetches: &[FetchSpec]) -> Vec<(Place, Item)> {
    let mut items: Vec<(Place, Item)> = Vec::new();
    let mut number: HashMap<Place, usize> = HashMap::new();
    let mut use_at = |items: &mut Vec<(Place, Item)>, place: Place, step: usize, since: usize| {
        let at = *number.entry(place).or_insert_with(|| {
            let room = padded(bytes_of(place, live, lowered));
            let (first, last) = (since, since);
            let (apart, never) = Default::default();
            items.push((place, Item { room, first, last, apart, never }));
            items.len() - 1
        });
        items[at].1.last = step;
        at
    };
    for (at, step) in lowered.steps.iter().enumerate() {
        let used: Vec<(usize, Access)> = used(step, &lowered.packed)
            .map(|(place, access)| (use_at(&mut items, place, at, at), access))
            .collect();
        let mut times: HashMap<usize, usize> = HashMap::new();
        used.iter().for_each(|&(item, _)| *times.entry(item).or_default() += 1);
        // An update's kernel is not written out, so nothing that it reads can be declared as written.
        let is_update = matches!(step, Step::Optimizer(_));
        let used: Vec<(usize, Access, bool)> = used
            .into_iter()
            .map(|(item, access)| (item, access, is_update || times[&item] > 1))
            .collect();
        for &(a, _, a_often) in used.iter().filter(|(_, access, _)| *access == Access::Write) {
            for &(b, _, b_often) in used.iter().filter(|&&(b, ..)| b != a) {
                for (one, other) in [(a, b), (b, a)] {
                    items[one].1.apart.insert(other);
                    if a_often || b_often {
                        items[one].1.never.insert(other);
                    }
                }
            }
        }
    }
    for fetch in fetches {
        // A fetched value without elements has no kernel, and still a place.
        use_at(&mut items, fetch.place, lowered.steps.len(), 0);
    }
    items
}

/// Places everything that is not a variable, a feed or a constant.
pub(crate) fn plan(
    live: &Live,
    lowered: &Lowered,
    fetches: &[FetchSpec],
    target: Target,
) -> Result<Memory, CompileError> {
    let bindings = lowered.steps.iter().flat_map(|step| match step {
        Step::Dispatch(dispatch) => &dispatch.bindings[..],
        Step::Optimizer(_) => &[],
    });
    let constants = bindings.filter_map(|&(place, _)| match place {
        Place::Constant(id) => Some(id),
        _ => None,
    });
    let constants: HashSet<usize> = constants.collect();
    let (order, items): (Vec<Place>, Vec<Item>) = items(live, lowered, fetches).into_iter().unzip();
    let unshared = items.iter().map(|item| item.room).sum();
    for (&place, item) in order.iter().zip(&items) {
        let bytes = bytes_of(place, live, lowered);
        if item.room > target.binding_bytes {
            let limit = target.binding_bytes;
            let what = match place {
                Place::Value(id) => {
                    format!(
                        "the result of {} at {}",
                        live.node(id).op.name(),
                        live.node(id).location
                    )
                }
                _ => "the scratch memory of a kernel".to_owned(),
            };
            return Err(CompileError::TooLarge { what, bytes, limit });
        }
    }
    let piece = |region: usize| {
        let part = |place: &Place| match place {
            Place::Value(id) => lowered.packed.0.get(id).filter(|part| part.region == region),
            _ => None,
        };
        let parts = order.iter().enumerate();
        Piece {
            offsets: parts.filter_map(|(item, place)| Some((item, part(place)?.offset))).collect(),
            room: padded(bytes_of(Place::Packed(region), live, lowered)),
        }
    };
    let all = (0..lowered.packed.regions()).map(|region| (region, piece(region)));
    // A region that no kernel reads has no gradients with elements.
    let used = all.filter(|(_, piece)| !piece.offsets.is_empty());
    let (regions, pieces): (Vec<usize>, Vec<Piece>) = used.unzip();
    let spare = if target.is_cpu { 0 } else { target.spare };
    let packed = Packed { pieces, spare, ..Packed::default() };
    let memory = |shared: &Shared, least: u64| {
        let mut places = HashMap::new();
        for (&region, piece) in regions.iter().zip(&packed.pieces) {
            if let Some(&(part, offset)) = piece.offsets.first() {
                let (buffer, start) = shared.of[part];
                let place = Place::Packed(region);
                places.insert(place, (buffer, start - offset, bytes_of(place, live, lowered)));
            }
        }
        for (&place, &(buffer, offset)) in order.iter().zip(&shared.of) {
            places.insert(place, (buffer, offset, bytes_of(place, live, lowered)));
        }
        let (buffers, constants) = (shared.buffers.clone(), HashSet::new());
        Memory { buffers, places, unshared, least, constants }
    };
    // Software adapters run one dispatch after the other anyway.
    let waits = |shared: &Shared| match target.is_cpu {
        true => 0,
        false => super::order::count(&lowered.steps, &memory(shared, 0)),
    };
    let limit = target.binding_bytes;
    let (shared, least) = place(&items, &packed, limit, target.in_place, &waits);
    Ok(Memory { constants, ..memory(&shared, least) })
}

#[cfg(test)]
#[path = "memory_tests.rs"]
mod tests;
