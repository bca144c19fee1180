//! What compiling comes to: dispatches in their order, where their operands lie, and what is fed,
//! read back, trained and assigned.

use super::classes::Class;
use super::lower::OptimizerStep;
use super::matmul::Rung;
use super::memory::Memory;
use super::simplify::Live;
use std::collections::BTreeMap;
use warmstart_graph::{DType, GraphDef, Location, NodeId, Op, Shape, TensorData, VariableId};

/// Where a kernel's operand lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Place {
    /// The value of a live node, in memory shared by liveness.
    Value(usize),
    /// What was fed to a placeholder, by its live node.
    Feed(usize),
    /// A variable of the session.
    Variable(VariableId),
    /// A constant of the graph, by its live node.
    Constant(usize),
    /// The gradients of a region, by number: they lie one after the other in one buffer.
    Packed(usize),
    /// Memory of one kernel's own, by number.
    Scratch(usize),
    /// A table made when the plan is, by number.
    Table(usize),
}

impl Place {
    /// Where the value of a live node lies.
    pub fn of(live: &Live, id: usize) -> Place {
        match &live.node(id).op {
            Op::Placeholder { .. } => Place::Feed(id),
            Op::Variable(variable) => Place::Variable(*variable),
            Op::Constant(_) => Place::Constant(id),
            _ => Place::Value(id),
        }
    }
}

/// Where a gradient lies: in which region, from which byte on, and how many bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Part {
    pub region: usize,
    pub offset: u64,
    pub bytes: u64,
}

/// The gradients that a norm or an optimizer reads, by live node. It reads those of a region as one array,
/// so a region is no larger than a binding.
#[derive(Clone, Debug, Default)]
pub(crate) struct Gradients(pub BTreeMap<usize, Part>);

impl Gradients {
    pub fn contains(&self, id: usize) -> bool {
        self.0.contains_key(&id)
    }

    /// The region that a value lies in, if it is a gradient.
    pub fn region(&self, id: usize) -> Option<usize> {
        self.0.get(&id).map(|part| part.region)
    }

    /// How many regions there are.
    pub fn regions(&self) -> usize {
        self.0.values().map(|part| part.region + 1).max().unwrap_or(0)
    }

    /// What lies in a region.
    pub fn parts(&self, region: usize) -> impl Iterator<Item = (usize, Part)> {
        let parts = self.0.iter().map(|(&id, &part)| (id, part));
        parts.filter(move |(_, part)| part.region == region)
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Access {
    Read,
    /// Reading and writing: WGSL has no storage that is only written.
    Write,
}

/// One kernel launch.
#[derive(Clone, Debug)]
pub(crate) struct Dispatch {
    /// The operations it computes: `matmul+add+relu`.
    pub label: String,
    /// The kernel family.
    pub kernel: &'static str,
    pub source: String,
    pub constants: Vec<(&'static str, f64)>,
    pub bindings: Vec<(Place, Access)>,
    pub workgroups: [u32; 3],
    /// Bytes read and written if each is moved once.
    pub bytes: u64,
    /// Arithmetic operations.
    pub operations: u64,
    /// Other kernels for the same bindings.
    pub alternatives: Vec<Alternative>,
    /// Of what kind it is, if it has alternatives.
    pub tuned: Option<Tuned>,
}

/// What a choice among kernels goes by.
#[derive(Clone, Debug)]
pub(crate) struct Tuned {
    pub class: Class,
    /// What the kernel does beside the product; `rows` for those of rows.
    pub fused: &'static str,
    /// The dispatch's own kernel.
    pub usual: Variant,
}

/// Which of the kernels that compute the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Variant {
    /// A rung of the ladder of products.
    Product(Rung),
    /// Rows whose lanes hand on values through workgroup memory.
    Rows,
    /// Rows whose lanes hand on values by subgroups.
    SubgroupRows,
}

impl Variant {
    /// What it is called where choices are kept.
    pub fn name(self) -> &'static str {
        match self {
            Variant::Product(rung) => rung.name(),
            Variant::Rows => "rows",
            Variant::SubgroupRows => "subgroup-rows",
        }
    }

    /// The variant of this name.
    pub fn named(name: &str) -> Option<Variant> {
        match name {
            "rows" => Some(Variant::Rows),
            "subgroup-rows" => Some(Variant::SubgroupRows),
            _ => Rung::named(name).map(Variant::Product),
        }
    }

    /// Whether one kernel can serve all shapes.
    pub fn serves_all(self) -> bool {
        matches!(self, Variant::Product(rung) if rung.serves_all())
    }
}

/// Another kernel that computes what a dispatch does.
#[derive(Clone, Debug)]
pub(crate) struct Alternative {
    pub variant: Variant,
    pub kernel: &'static str,
    pub source: String,
    pub constants: Vec<(&'static str, f64)>,
    pub workgroups: [u32; 3],
}

/// One step of a program.
#[derive(Clone, Debug)]
pub(crate) enum Step {
    Dispatch(Dispatch),
    /// The update of all parameters: which buffers they are in only the session knows.
    Optimizer(OptimizerStep),
}

impl Step {
    /// Every place that it uses.
    pub fn uses(&self) -> Vec<(Place, Access)> {
        match self {
            Step::Dispatch(dispatch) => dispatch.bindings.clone(),
            Step::Optimizer(step) => step.uses(),
        }
    }
}

/// A value that is fed.
#[derive(Clone, Debug)]
pub(crate) struct FeedSpec {
    pub name: String,
    pub id: usize,
    pub shape: Shape,
    pub dtype: DType,
    pub location: Location,
}

impl FeedSpec {
    pub fn bytes(&self) -> u64 {
        bytes(&self.shape, self.dtype)
    }
}

/// A value that is read back.
#[derive(Clone, Debug)]
pub(crate) struct FetchSpec {
    /// The node of the user's graph.
    pub node: NodeId,
    pub place: Place,
    pub shape: Shape,
    pub dtype: DType,
}

impl FetchSpec {
    pub fn bytes(&self) -> u64 {
        bytes(&self.shape, self.dtype)
    }
}

/// Bytes of a value.
fn bytes(shape: &Shape, dtype: DType) -> u64 {
    shape.elements() as u64 * dtype.size() as u64
}

/// Who reads a variable first.
#[derive(Clone, Debug)]
pub(crate) struct Reader {
    pub variable: VariableId,
    pub operation: String,
    pub location: Location,
}

/// A graph ready to be put on a device.
pub(crate) struct Program {
    pub steps: Vec<Step>,
    pub feeds: Vec<FeedSpec>,
    pub fetches: Vec<FetchSpec>,
    pub constants: Vec<(usize, TensorData)>,
    /// Contents of tables, as words.
    pub tables: Vec<Vec<u32>>,
    pub memory: Memory,
    /// What norms and optimizers read; tests look at it.
    #[cfg(test)]
    pub gradients: Gradients,
    /// Every variable that is read, with its first reader.
    pub reads: Vec<Reader>,
    /// Every variable that an optimizer trains, its slots and counters included.
    pub trained: Vec<VariableId>,
    /// Every variable that is assigned.
    pub assigned: Vec<VariableId>,
}

impl Program {
    /// Notes what is fed, and which variables are read, trained and assigned.
    pub(super) fn describe(&mut self, def: &GraphDef, live: &Live) {
        let mut read = vec![false; def.variables.len()];
        let mut reader = |variable: VariableId, operation: &str, location: &Location| {
            if !std::mem::replace(&mut read[variable.0], true) {
                let (operation, location) = (operation.to_owned(), location.clone());
                self.reads.push(Reader { variable, operation, location });
            }
        };
        for (id, node) in live.nodes.iter().enumerate() {
            match &node.op {
                Op::Placeholder { name, shape, dtype } => self.feeds.push(FeedSpec {
                    name: name.clone(),
                    id,
                    shape: shape.clone(),
                    dtype: *dtype,
                    location: node.location.clone(),
                }),
                Op::Constant(data) if live.uniform(id).is_none() => {
                    self.constants.push((id, data.clone()));
                }
                // Uniform constants are written into the code, unless a product reads them.
                Op::Constant(data) if self.memory.needs_constant(id) => {
                    self.constants.push((id, data.clone()));
                }
                Op::OptimizerUpdate(update) => {
                    for variable in update.written() {
                        reader(variable, node.op.name(), &node.location);
                    }
                    self.trained.extend(update.written());
                }
                Op::Assign(variable) => self.assigned.push(*variable),
                _ => {}
            }
            for &input in &node.inputs {
                if let Op::Variable(variable) = live.node(input.0).op {
                    reader(variable, node.op.name(), &node.location);
                }
            }
        }
        // A global step may be that of several optimizers.
        self.trained.sort_unstable();
        self.trained.dedup();
    }
}
