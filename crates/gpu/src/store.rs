//! Where variables live: few large buffers, laid out so that parameters and their slots run
//! parallel.
//!
//! Variables begin at multiples of 256 bytes. Trainable variables, each slot of each optimizer
//! (`m`, `v`, ...) and all other state have arenas of their own, cut at the size of a binding, so
//! that parameters and their slots can be updated by one kernel. Arenas that can be mapped are made
//! by several threads at once.

use crate::cores::on_all_cores;
use crate::device::ALIGNMENT;
use crate::device::gpu::{Gpu, MemoryKind};
use crate::error::{Conflict, GpuError, SessionError};
use crate::origin::{Missing, Origin};
use crate::transfer::huge_pages;
use foldhash::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use warmstart_graph::words::closest;
use warmstart_graph::{DType, Role, Shape, Variable};

/// A variable and where its value came from.
#[derive(Clone, Debug)]
pub struct VariableInfo {
    /// Its declaration, which plans and reports share.
    pub variable: Arc<Variable>,
    /// Where its value came from.
    pub origin: Origin,
}

impl VariableInfo {
    /// The name.
    pub fn name(&self) -> &str {
        &self.variable.name
    }

    /// The extents.
    pub fn shape(&self) -> &Shape {
        &self.variable.shape
    }

    /// The element type.
    pub fn dtype(&self) -> DType {
        self.variable.dtype
    }
}

/// A variable's place in device memory.
#[derive(Clone, Debug)]
pub(crate) struct VariableSlice {
    /// The index of the arena.
    pub arena: usize,
    /// The arena's buffer.
    pub buffer: wgpu::Buffer,
    /// Where in the buffer the value begins; a multiple of [`ALIGNMENT`].
    pub offset: u64,
    /// Bytes of the value; what follows up to the next multiple of [`ALIGNMENT`] is padding, which
    /// kernels and copies of whole words may touch.
    pub bytes: u64,
}

impl VariableSlice {
    /// The bytes up to the next whole word.
    pub fn padded(&self) -> u64 {
        self.bytes.next_multiple_of(wgpu::COPY_BUFFER_ALIGNMENT)
    }

    /// The variable as a binding. An empty one gets a word of its own padding, since no binding
    /// can be empty.
    pub fn binding(&self) -> wgpu::BindingResource<'_> {
        let words = self.padded().max(wgpu::COPY_BUFFER_ALIGNMENT);
        crate::device::gpu::binding(&self.buffer, self.offset, words)
    }
}

/// One variable of the store.
#[derive(Debug)]
pub(crate) struct Entry {
    pub info: VariableInfo,
    pub slice: VariableSlice,
}

/// The variables of a session.
#[derive(Debug, Default)]
pub(crate) struct Store {
    entries: Vec<Entry>,
    by_name: HashMap<String, usize>,
    arenas: Vec<wgpu::Buffer>,
}

/// How much was declared at some time.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Declared {
    entries: usize,
    arenas: usize,
}

/// Which variables share arenas.
#[derive(PartialEq, Eq, Hash, Clone, Debug)]
enum Group {
    Trainable,
    Slot { optimizer: String, slot: String },
    State,
}

impl Group {
    fn of(role: &Role) -> Group {
        match role {
            Role::Trainable => Group::Trainable,
            Role::Slot { variable: Some(_), optimizer, slot } => {
                Group::Slot { optimizer: optimizer.clone(), slot: slot.clone() }
            }
            // A slot of the optimizer as a whole runs parallel to no parameter.
            Role::Slot { variable: None, .. } | Role::State => Group::State,
        }
    }
}

/// Where new variables go.
#[derive(Debug)]
struct Layout {
    /// For each variable its arena, an index into `sizes`, and its offset in it.
    places: Vec<(usize, u64)>,
    /// The bytes of each arena.
    sizes: Vec<u64>,
}

/// The bytes that a variable takes in an arena; none if that is more than any number.
pub(crate) fn room(variable: &Variable) -> Option<u64> {
    // An empty variable takes room too, so that it has bytes to bind.
    variable.bytes().max(1).checked_next_multiple_of(ALIGNMENT)
}

/// The same, unless no arena of this many bytes holds it.
fn room_within(variable: &Variable, limit: u64) -> Option<u64> {
    room(variable).filter(|&room| room <= limit / ALIGNMENT * ALIGNMENT)
}

/// The most bytes of an arena.
fn arena_limit(gpu: &Gpu) -> u64 {
    let limits = gpu.limits();
    limits.max_storage_buffer_binding_size.min(limits.max_buffer_size)
}

fn too_large(variable: &Variable, limit: u64) -> SessionError {
    let Variable { name, dtype, shape, location, .. } = variable.clone();
    SessionError::TooLarge { name, dtype, shape, location, limit }
}

/// Refuses variables that no arena can hold, as declaring them does.
pub(crate) fn check_sizes<'a>(
    gpu: &Gpu,
    variables: impl IntoIterator<Item = &'a Variable>,
) -> Result<(), SessionError> {
    let limit = arena_limit(gpu);
    match variables.into_iter().find(|variable| room_within(variable, limit).is_none()) {
        Some(variable) => Err(too_large(variable, limit)),
        None => Ok(()),
    }
}

/// Lays out new variables in arenas of at most `limit` bytes; the error is the index of a variable
/// that is larger.
fn lay_out(variables: &[&Variable], limit: u64) -> Result<Layout, usize> {
    let limit = limit / ALIGNMENT * ALIGNMENT;
    let mut arenas: Vec<u64> = Vec::new();
    let mut open: HashMap<Group, usize> = HashMap::default();
    let mut places = Vec::with_capacity(variables.len());
    for (index, variable) in variables.iter().enumerate() {
        let room = room_within(variable, limit).ok_or(index)?;
        let group = Group::of(&variable.role);
        let arena = match open.get(&group) {
            Some(&arena) if arenas[arena] + room <= limit => arena,
            _ => {
                arenas.push(0);
                open.insert(group, arenas.len() - 1);
                arenas.len() - 1
            }
        };
        places.push((arena, arenas[arena]));
        arenas[arena] += room;
    }
    Ok(Layout { places, sizes: arenas })
}

/// Makes the arenas. `wgpu` fills mapped memory with zeros, and the system makes it page by page as
/// that happens: together far slower than filling it with weights later. So where they cannot be
/// had of huge pages, each is mapped when it is made, in a thread of its own.
fn allocate(
    gpu: &Gpu,
    sizes: &[u64],
    usage: wgpu::BufferUsages,
) -> Result<Vec<wgpu::Buffer>, GpuError> {
    let what = "memory for variables";
    if gpu.memory() == MemoryKind::Staged {
        return sizes.iter().map(|&bytes| gpu.buffer(what, bytes, usage)).collect();
    }
    let huge = sizes.iter().map(|&bytes| huge_pages::buffer(gpu, what, bytes, usage));
    if let Some(made) = huge.collect() {
        return Ok(made);
    }
    let next = AtomicUsize::new(0);
    let made: Vec<OnceLock<_>> = sizes.iter().map(|_| OnceLock::new()).collect();
    on_all_cores(sizes.len(), || {
        while let Some(index) =
            Some(next.fetch_add(1, Ordering::Relaxed)).filter(|&i| i < sizes.len())
        {
            let buffer = gpu.mapped_buffer(what, sizes[index], usage);
            // Each index is handed out once.
            let _ = made[index].set(buffer.and_then(|buffer| {
                gpu.checked(what, |_| buffer.unmap())?;
                Ok(buffer)
            }));
        }
    });
    made.into_iter().filter_map(OnceLock::into_inner).collect()
}

impl Store {
    /// Adds the variables that are new. Either all are declared afterwards or the store is as it
    /// was.
    pub fn declare(&mut self, gpu: &Gpu, variables: &[Variable]) -> Result<(), SessionError> {
        let mut fresh: Vec<&Variable> = Vec::new();
        let mut fresh_names: HashMap<&str, usize> = HashMap::default();
        let mut conflicts = Vec::new();
        for (likely, variable) in variables.iter().enumerate() {
            let held = match self.find_near(likely, &variable.name) {
                Some(index) => &*self.entries[index].info.variable,
                None => match fresh_names.get(variable.name.as_str()) {
                    Some(&index) => fresh[index],
                    None => {
                        fresh_names.insert(&variable.name, fresh.len());
                        fresh.push(variable);
                        continue;
                    }
                },
            };
            if (held.dtype, &held.shape) != (variable.dtype, &variable.shape) {
                let place = |v: &Variable| (v.dtype, v.shape.clone(), v.location.clone());
                conflicts.push(Conflict {
                    name: variable.name.clone(),
                    held: place(held),
                    declared: place(variable),
                });
            }
        }
        if !conflicts.is_empty() {
            return Err(SessionError::Conflict(conflicts));
        }
        // Kernels that make values and cast them know no others.
        if let Some(other) = fresh.iter().find(|v| !DType::OF_VARIABLES.contains(&v.dtype)) {
            let (name, location) = (other.name.clone(), other.location.clone());
            return Err(SessionError::VariableDType { name, dtype: other.dtype, location });
        }
        let limit = arena_limit(gpu);
        let Layout { places, sizes } =
            lay_out(&fresh, limit).map_err(|index| too_large(fresh[index], limit))?;
        let mut usage = wgpu::BufferUsages::STORAGE
            | wgpu::BufferUsages::COPY_SRC
            | wgpu::BufferUsages::COPY_DST;
        usage.set(wgpu::BufferUsages::MAP_WRITE, gpu.memory() == MemoryKind::Mappable);
        let arenas = allocate(gpu, &sizes, usage)?;
        let first = self.arenas.len();
        for (variable, (arena, offset)) in fresh.into_iter().zip(places) {
            let slice = VariableSlice {
                arena: first + arena,
                buffer: arenas[arena].clone(),
                offset,
                bytes: variable.bytes(),
            };
            let origin = Origin::Uninitialized(Missing::NeverInitialized);
            let info = VariableInfo { variable: Arc::new(variable.clone()), origin };
            self.by_name.insert(variable.name.clone(), self.entries.len());
            self.entries.push(Entry { info, slice });
        }
        self.arenas.extend(arenas);
        Ok(())
    }

    /// How much is declared now.
    pub fn declared(&self) -> Declared {
        Declared { entries: self.entries.len(), arenas: self.arenas.len() }
    }

    /// Gives up what was declared since then, and its memory.
    pub fn back_to(&mut self, before: Declared) {
        for entry in self.entries.drain(before.entries..) {
            self.by_name.remove(entry.info.name());
        }
        self.arenas.truncate(before.arenas);
    }

    /// Notes that these are trained. The graph that declared one first may have had it
    /// [frozen](warmstart_graph::Scope::frozen); whoever looks for weights, as a save does for those
    /// that are not finite, must find it.
    pub fn mark_trainable(&mut self, trained: &[&Variable]) {
        for index in trained.iter().filter_map(|variable| self.by_name.get(&variable.name)) {
            let variable = &mut self.entries[*index].info.variable;
            if variable.role == Role::State {
                Arc::make_mut(variable).role = Role::Trainable;
            }
        }
    }

    pub fn entries(&self) -> &[Entry] {
        &self.entries
    }

    pub fn entries_mut(&mut self) -> &mut [Entry] {
        &mut self.entries
    }

    /// The buffers that the variables live in; a [`VariableSlice`] has the index of its own.
    pub fn arenas(&self) -> &[wgpu::Buffer] {
        &self.arenas
    }

    /// Where a variable stands, if there is one of this name; `likely` is looked at first. Whoever asks
    /// for thousands of variables mostly asks in their order.
    fn find_near(&self, likely: usize, name: &str) -> Option<usize> {
        match self.entries.get(likely) {
            Some(entry) if entry.info.name() == name => Some(likely),
            _ => self.by_name.get(name).copied(),
        }
    }

    /// As [`Store::index`]; `likely` is looked at first.
    pub fn index_near(&self, likely: usize, name: &str) -> Result<usize, SessionError> {
        self.find_near(likely, name).ok_or_else(|| SessionError::UnknownVariable {
            name: name.to_owned(),
            close: closest(name, self.entries.iter().map(|entry| entry.info.name())),
        })
    }

    /// The index of a variable, or an error with the closest names.
    pub fn index(&self, name: &str) -> Result<usize, SessionError> {
        self.index_near(usize::MAX, name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use warmstart_graph::{Initializer, Location};

    fn variable(name: &str, elements: usize, role: Role) -> Variable {
        Variable {
            name: name.to_owned(),
            shape: Shape::from([elements]),
            dtype: DType::F32,
            initializer: Initializer::Zeros,
            role,
            location: Location::caller(),
        }
    }

    fn slot(name: &str, elements: usize, slot: &str) -> Variable {
        let variable_name = name.to_owned();
        let role = Role::Slot {
            variable: Some(variable_name),
            optimizer: "adam".to_owned(),
            slot: slot.to_owned(),
        };
        variable(&format!("{name}/adam/{slot}"), elements, role)
    }

    #[test]
    fn parameters_and_their_slots_run_parallel() {
        let step = Role::Slot { variable: None, optimizer: "adam".into(), slot: "step".into() };
        let mut all = vec![variable("adam/step", 1, step)];
        for (name, elements) in [("a", 65), ("b", 0), ("c", 200), ("d", 7)] {
            all.push(variable(name, elements, Role::Trainable));
            all.push(slot(name, elements, "m"));
            all.push(slot(name, elements, "v"));
        }
        let Layout { places, sizes } = lay_out(&all.iter().collect::<Vec<_>>(), 1536).unwrap();
        let parameters: Vec<u64> = places[1..].iter().step_by(3).map(|p| p.1).collect();
        assert_eq!(parameters, [0, 512, 0, 1024]);
        for triple in places[1..].chunks(3) {
            assert!(triple.iter().all(|place| place.1 == triple[0].1), "{places:?}");
            assert!(triple[0].0 != triple[1].0 && triple[1].0 != triple[2].0);
        }
        assert!(sizes.iter().all(|&size| size <= 1536 && size % ALIGNMENT == 0), "{sizes:?}");
    }

    #[test]
    fn a_variable_larger_than_a_binding_is_found() {
        let small = variable("small", 4, Role::State);
        let large = variable("large", 1 << 20, Role::State);
        let vast = variable("vast", usize::MAX, Role::State);
        assert_eq!(lay_out(&[&small, &large], 1 << 20).unwrap_err(), 1);
        assert_eq!(lay_out(&[&vast], u64::MAX).unwrap_err(), 0);
    }
}
