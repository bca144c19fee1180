//! What a kernel binds: buffers with their names in the shader.

use super::{Access, Place};
use std::collections::HashMap;
use std::fmt::Write as _;
use warmstart_shaders as shaders;

/// What a kernel reads and writes, each with its name in the shader; the position is the binding.
#[derive(Default)]
pub(crate) struct Bindings {
    pub list: Vec<Bound>,
    /// Elementwise operations of the functions that read them, one for each element.
    pub operations: u64,
}

pub(crate) struct Bound {
    pub name: String,
    pub place: Place,
    pub access: Access,
    pub element: &'static str,
    /// Whether an invocation may read any other element of it than that which it then writes.
    pub elsewhere: bool,
    /// How many bytes of it are read, at most.
    pub read: u64,
}

impl Bindings {
    /// Binds a place under a name.
    pub fn bind(&mut self, name: &str, place: Place, access: Access, element: &'static str) {
        let read = if access == Access::Read { u64::MAX } else { 0 };
        self.list.push(Bound {
            name: name.to_owned(),
            place,
            access,
            element,
            elsewhere: true,
            read,
        });
    }

    /// Binds a place of which so many bytes are read.
    pub fn bind_part(&mut self, name: &str, place: Place, bytes: u64, element: &'static str) {
        self.bind(name, place, Access::Read, element);
        if let Some(bound) = self.list.last_mut() {
            bound.read = bytes;
        }
    }

    /// Bytes read and written if each is moved once, of bindings of which each holds so many: a buffer that
    /// is bound twice is one, and of one that is read in part that part counts.
    pub fn bytes(&self, held: impl Fn(Place) -> u64) -> u64 {
        let mut moved: HashMap<Place, [u64; 2]> = HashMap::new();
        for bound in &self.list {
            let whole = held(bound.place);
            let [read, written] = moved.entry(bound.place).or_default();
            *read = read.saturating_add(bound.read).min(whole);
            if bound.access == Access::Write {
                *written = whole;
            }
        }
        moved.into_values().flatten().sum()
    }

    /// The name under which so many bytes of a place are read, and the WGSL type that it is bound as an
    /// array of; bound now if it is not yet. What a product reads as pairs or fours, of floats or of numbers
    /// of 16 bits, is not bound once more for single ones: no part of a buffer may be bound twice where the
    /// kernel also writes that buffer.
    pub fn read(
        &mut self,
        place: Place,
        element: &'static str,
        elsewhere: bool,
        bytes: u64,
    ) -> (String, &'static str) {
        let holds = |bound: &&mut Bound| {
            // A place is of one dtype: what is wanted as words here holds numbers of 16 bits if it is bound
            // as such.
            let is_alike = match element {
                "f32" => shaders::FLOATS.contains(&bound.element),
                "u32" => shaders::HALVES.contains(&bound.element),
                _ => bound.element == element,
            };
            bound.place == place && is_alike
        };
        if let Some(bound) = self.list.iter_mut().find(holds) {
            bound.elsewhere |= elsewhere;
            bound.read = bound.read.saturating_add(bytes);
            return (bound.name.clone(), bound.element);
        }
        let name = format!("input{}", self.list.len());
        let access = Access::Read;
        self.list.push(Bound {
            name: name.clone(),
            place,
            access,
            element,
            elsewhere,
            read: bytes,
        });
        (name, element)
    }

    /// The declarations.
    pub fn wgsl(&self) -> String {
        let mut text = String::new();
        for (at, bound) in self.list.iter().enumerate() {
            let access = match bound.access {
                Access::Read => "read",
                Access::Write => "read_write",
            };
            let _ = writeln!(
                text,
                "@group(0) @binding({at}) var<storage, {access}> {}: array<{}>;",
                bound.name, bound.element
            );
        }
        text
    }
}

/// The source of a kernel with a binding that it only reads declared as one that it also writes.
pub(crate) fn bound_as_written(source: &str, binding: usize) -> String {
    let declared = |access| format!("@group(0) @binding({binding}) var<storage, {access}> ");
    source.replacen(&declared("read"), &declared("read_write"), 1)
}
