//! What a kernel binds: buffers with their names in the shader.

use super::{Access, Place};
use std::fmt::Write as _;
use warmstart_shaders as shaders;

/// What a kernel reads and writes, each with its name in the shader; the position is the binding.
#[derive(Default)]
pub(crate) struct Bindings {
    pub list: Vec<Bound>,
}

pub(crate) struct Bound {
    pub name: String,
    pub place: Place,
    pub access: Access,
    pub element: &'static str,
    /// Whether an invocation may read any other element of it than that which it then writes.
    pub elsewhere: bool,
}

impl Bindings {
    /// Binds a place under a name.
    pub fn bind(&mut self, name: &str, place: Place, access: Access, element: &'static str) {
        let name = name.to_owned();
        self.list.push(Bound { name, place, access, element, elsewhere: true });
    }

    /// The name under which a place is read, and the WGSL type that it is bound as an array of; bound now if
    /// it is not yet. What a product reads as pairs or fours of floats is not bound once more for single ones:
    /// no part of a buffer may be bound twice where the kernel also writes that buffer.
    pub fn read(
        &mut self,
        place: Place,
        element: &'static str,
        elsewhere: bool,
    ) -> (String, &'static str) {
        let holds = |bound: &&mut Bound| {
            let is_float = element == "f32" && shaders::FLOATS.contains(&bound.element);
            bound.place == place && (bound.element == element || is_float)
        };
        if let Some(bound) = self.list.iter_mut().find(holds) {
            bound.elsewhere |= elsewhere;
            return (bound.name.clone(), bound.element);
        }
        let name = format!("input{}", self.list.len());
        let access = Access::Read;
        self.list.push(Bound { name: name.clone(), place, access, element, elsewhere });
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
