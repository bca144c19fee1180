//! The memory of a plan: values that are never alive at the same time share room.
//!
//! Gradients that an optimizer or a norm reads lie one after the other in one packed buffer, which
//! counts as one value. `wgpu` lets a dispatch use a buffer in one way, so a kernel that reads and
//! writes parts of one binds both as what it writes (`Memory::bind`). It computes the same; but
//! whoever uses that buffer next waits.

use super::bindings::bound_as_written;
use super::lower::Lowered;
use super::share::{Item, Shared, least, share};
use super::simplify::Live;
use super::{Access, FetchSpec, Place, Step, Target, WIDEST};
use crate::plan_error::CompileError;
use std::collections::{BTreeSet, HashMap, HashSet};

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

    /// The buffer of values that a place is in, if it is in one.
    pub fn buffer(&self, place: Place) -> Option<usize> {
        self.places.get(&place).map(|&(buffer, ..)| buffer)
    }

    /// `wgpu` lets a dispatch use a buffer in one way. So what a kernel reads in a buffer in which it
    /// writes something else is bound as if it were written too.
    pub fn bind(&self, steps: &mut [Step]) {
        for step in steps {
            let Step::Dispatch(dispatch) = step else { continue };
            let written = |&&(_, access): &&(Place, Access)| access == Access::Write;
            let written = dispatch.bindings.iter().filter(written);
            let written: BTreeSet<usize> =
                written.filter_map(|&(place, _)| self.buffer(place)).collect();
            for (at, (place, access)) in dispatch.bindings.iter_mut().enumerate() {
                let is_written = self.buffer(*place).is_some_and(|own| written.contains(&own));
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
        Place::Packed => {
            let ends = lowered.packed.values().map(|(offset, bytes)| offset + bytes);
            ends.max().unwrap_or(0).next_multiple_of(WIDEST)
        }
        Place::Feed(_) | Place::Variable(_) | Place::Constant(_) | Place::Table(_) => 0,
    }
}

/// The places that a step uses, of those that are to be planned.
fn used(step: &Step) -> Vec<(Place, Access)> {
    let mut used = step.uses();
    used.retain(|(place, _)| matches!(place, Place::Value(_) | Place::Scratch(_) | Place::Packed));
    used
}

fn held(place: Place, lowered: &Lowered) -> Place {
    match place {
        Place::Value(id) if lowered.packed.contains_key(&id) => Place::Packed,
        place => place,
    }
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
        let used = used(step);
        // Halves are bound in one way or two, as the device knows `f16` or not. An update's kernel is
        // not written out, so nothing that it reads can be declared as written.
        let is_update = matches!(step, Step::Optimizer(_));
        let often = |place| {
            let is_half = matches!(place, Place::Value(id) if live.node(id).dtype.is_half());
            // A gradient beside all of them is bound with them, too.
            let is_same = |other: Place| {
                let packed = Place::Packed;
                let of_all = other == packed || place == packed;
                other == place || of_all && held(other, lowered) == held(place, lowered)
            };
            let times = used.iter().filter(|&&(other, _)| is_same(other)).count();
            is_update || is_half || times > 1
        };
        let used: Vec<(usize, Access, bool)> = used
            .iter()
            .map(|&(place, access)| {
                (use_at(&mut items, held(place, lowered), at, at), access, often(place))
            })
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
        use_at(&mut items, held(fetch.place, lowered), lowered.steps.len(), 0);
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
    let constants = constants.collect();
    let (order, items): (Vec<Place>, Vec<Item>) = items(live, lowered, fetches).into_iter().unzip();
    for (&place, item) in order.iter().zip(&items) {
        let bytes = bytes_of(place, live, lowered);
        if item.room > target.binding_bytes {
            let limit = target.binding_bytes;
            let what = match place {
                Place::Packed => return Err(CompileError::Gradients { bytes, limit }),
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
    let Shared { buffers, of, .. } = share(&items, target.binding_bytes, target.in_place);
    let mut places = HashMap::new();
    for (place, (buffer, offset)) in order.into_iter().zip(of) {
        places.insert(place, (buffer, offset, bytes_of(place, live, lowered)));
    }
    let unshared = items.iter().map(|item| item.room).sum();
    let mut memory = Memory { buffers, places, unshared, least: least(&items), constants };
    for (&id, &(offset, bytes)) in &lowered.packed {
        if let Some(&(buffer, start, _)) = memory.places.get(&Place::Packed) {
            memory.places.insert(Place::Value(id), (buffer, start + offset, bytes));
        }
    }
    Ok(memory)
}

#[cfg(test)]
#[path = "memory_tests.rs"]
mod tests;
