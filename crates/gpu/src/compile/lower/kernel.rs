//! A kernel on the way from its template to a dispatch.

use crate::compile::bindings::{Bindings, Bound};
use crate::compile::expression::Keep;
use crate::compile::{Access, Alternative, Tuned};
use std::collections::HashMap;
use warmstart_graph::DType;
use warmstart_shaders as shaders;

/// A shader being put together from a template.
pub(super) struct Kernel {
    pub name: &'static str,
    /// What the plan's listing says, if not the operations of the root.
    pub label: Option<String>,
    pub template: String,
    pub constants: Vec<(&'static str, f64)>,
    pub bindings: Bindings,
    pub sections: Vec<(&'static str, String)>,
    /// What its next function is to store beside the value of its root, once that is bound.
    pub keeps: Option<Vec<Keep>>,
    /// The buffer in which it holds its rows, if it does.
    pub held_in: Option<String>,
    /// What its epilogue need not compute, since the same lane has stored it.
    pub stored: HashMap<usize, String>,
    pub alternatives: Vec<Alternative>,
    pub tuned: Option<Tuned>,
}

impl Kernel {
    pub fn new(name: &'static str, parts: &[&str]) -> Kernel {
        Kernel {
            name,
            label: None,
            template: parts.concat(),
            constants: Vec::new(),
            bindings: Bindings::default(),
            sections: Vec::new(),
            keeps: None,
            held_in: None,
            stored: HashMap::new(),
            alternatives: Vec::new(),
            tuned: None,
        }
    }

    pub fn source(&self) -> String {
        self.source_with(&[])
    }

    /// The source with some more sections.
    pub fn source_with(&self, more: &[(&'static str, String)]) -> String {
        let mut sections = [&self.sections[..], more].concat();
        sections.push(("bindings", self.bindings.wgsl()));
        let mut source = shaders::fill(&self.template, &sections);
        let is_rounded = |bound: &Bound| bound.element == "f16" && bound.access == Access::Write;
        if self.bindings.list.iter().any(is_rounded) {
            if !source.contains(shaders::HALF) {
                source.push_str(shaders::HALF);
            }
            source.push_str(shaders::ROUND_F16);
        }
        // A device may know how to store `f16` and not how to compute with it: only what has it asks.
        let binds = |element: &str| self.bindings.list.iter().any(|bound| bound.element == element);
        let enable = match self.name {
            "matmul_cooperative" => shaders::ENABLE_COOPERATIVE_MATRIX,
            _ if binds("f16") || binds("vec4<f16>") => shaders::ENABLE_F16,
            _ => return source,
        };
        [enable, &source].concat()
    }

    /// Whether it can take the place of another with what that one binds.
    pub fn binds_as(&self, other: &Kernel) -> bool {
        let (own, others) = (&self.bindings.list, &other.bindings.list);
        let same = |(a, b): (&Bound, &Bound)| a.place == b.place && a.access == b.access;
        own.len() == others.len() && own.iter().zip(others).all(same)
    }
}

/// The kernel of one expression for each element, and how many invocations it needs.
pub(super) fn elementwise(dtype: DType, elements: usize) -> (Kernel, u64) {
    let parts = [shaders::FUNCTIONS, shaders::HALF, shaders::ELEMENTWISE];
    if dtype.size() == 4 {
        let mut kernel = Kernel::new("elementwise", &[parts[0], parts[2]]);
        kernel.constants.push(("ELEMENTS", elements as f64));
        return (kernel, elements as u64);
    }
    let mut kernel = Kernel::new("elementwise", &parts);
    let (write, words) = write_together(dtype, elements, ["write", "value", "result"]);
    kernel.constants.push(("ELEMENTS", words as f64));
    kernel.sections.push(("write", write));
    (kernel, words as u64)
}

/// A function that writes all elements that share a word, so that one invocation writes them, and how many
/// words there are. Names are of that function, of the one that computes an element, and of the buffer.
pub(super) fn write_together(
    dtype: DType,
    elements: usize,
    [name, value, result]: [&str; 3],
) -> (String, usize) {
    let (together, bits) = match dtype {
        DType::F16 => (2, "half_of_float(bitcast<u32>(VALUE))"),
        DType::Bf16 => (2, "bfloat_of_float(bitcast<u32>(VALUE))"),
        DType::U8 => (4, "(VALUE)"),
        DType::F32 | DType::I32 | DType::U32 => (1, "VALUE"),
    };
    let words = elements.div_ceil(together);
    let first = bits.replace("VALUE", &format!("{value}({together}u * i)"));
    let mut write = format!("fn {name}(i: u32) {{\n    var word = {first};\n");
    for at in 1..together {
        let place = format!("{together}u * i + {at}u");
        let next = bits.replace("VALUE", &format!("{value}({place})"));
        let shift = 32 / together * at;
        write += &format!(
            "    if ({place} < {elements}u) {{\n        word |= {next} << {shift}u;\n    }}\n"
        );
    }
    write += &format!("    {result}[i] = word;\n}}\n");
    (write, words)
}
