//! From a graph to a list of dispatches, without touching a device: simplify, fuse, lower, plan memory.
//! What touches the device is in `plan/`.

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
mod share;
mod simplify;

use crate::device::Gpu;
use crate::plan_error::CompileError;
use classes::Class;
use fuse::Fused;
use lower::Lowered;
use matmul::Rung;
use simplify::Live;
use std::collections::BTreeSet;
use warmstart_graph::{DType, GraphDef, Location, NodeId, Op, TensorData, VariableId};

#[cfg(test)]
pub(crate) use expression::bound_as_written;
pub(crate) use expression::literal;
pub(crate) use lower::{BLOCK, OptimizerStep, WIDEST, lanes, together};
pub(crate) use memory::{ALIGNMENT, Memory};
pub(crate) use order::{Start, groups, starts};

/// What the device can do, as far as compiling depends on it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Target {
    /// A software adapter: it likes wide register tiles and no workgroup memory.
    pub is_cpu: bool,
    /// Who made the GPU.
    pub maker: &'static str,
    /// How many invocations each subgroup has, if that is fixed.
    pub subgroup_size: Option<u32>,
    /// How many invocations a subgroup has at least, if shaders may use subgroups.
    pub least_subgroup: Option<u32>,
    /// Whether shaders may read integers of 64 bits.
    pub has_int64: bool,
    /// Whether shaders may have `f16`. A plan uses them only if they become the right `f32`.
    pub has_f16: bool,
    /// The size of cooperative matrices that multiply `f16` into `f32`, if shaders may have them. A plan
    /// uses them only if what they compute is right.
    pub cooperative: Option<u32>,
    pub storage_buffers: usize,
    pub binding_bytes: u64,
    pub workgroups: u32,
    /// Whether other kernels that compute the same are wanted, to be measured.
    pub alternatives: bool,
    /// Whether lanes of a row hand on values by subgroups where they could, unmeasured. Tests compare the
    /// two.
    pub subgroup_rows: bool,
    /// Whether a kernel may write where it reads: its result over what that is computed from, or beside
    /// it in one buffer. Tests compare the two.
    pub in_place: bool,
    /// Whether what several kernels read may be stored beside another result, or computed by each. Tests
    /// compare the two.
    pub keeps: bool,
}

impl Target {
    pub fn of(gpu: &Gpu) -> Target {
        let limits = gpu.limits();
        Target {
            is_cpu: gpu.is_cpu(),
            maker: gpu.tuner().maker(),
            subgroup_size: gpu.subgroup_size(),
            least_subgroup: gpu.least_subgroup(),
            has_int64: gpu.features().contains(wgpu::Features::SHADER_INT64),
            has_f16: gpu.features().contains(wgpu::Features::SHADER_F16),
            cooperative: gpu.cooperative_matrix_size(),
            storage_buffers: limits.max_storage_buffers_per_shader_stage as usize,
            binding_bytes: limits.max_storage_buffer_binding_size.min(limits.max_buffer_size),
            workgroups: limits.max_compute_workgroups_per_dimension,
            alternatives: gpu.tuner().wants_alternatives(gpu.is_cpu()),
            subgroup_rows: false,
            in_place: true,
            keeps: true,
        }
    }

    /// A GPU, for tests of what needs no device.
    #[cfg(test)]
    pub const GPU: Target = Target {
        is_cpu: false,
        maker: "other",
        subgroup_size: Some(32),
        least_subgroup: Some(32),
        has_int64: true,
        has_f16: true,
        cooperative: None,
        storage_buffers: 16,
        binding_bytes: 1 << 31,
        workgroups: 65535,
        alternatives: false,
        subgroup_rows: false,
        in_place: true,
        keeps: true,
    };
}

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
    /// The gradients, one after the other in one buffer.
    Packed,
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
    /// Arithmetic operations of its anchor.
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
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
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
    pub shape: warmstart_graph::Shape,
    pub dtype: DType,
    pub location: Location,
}

/// A value that is read back.
#[derive(Clone, Debug)]
pub(crate) struct FetchSpec {
    /// The node of the user's graph.
    pub node: NodeId,
    pub place: Place,
    pub shape: warmstart_graph::Shape,
    pub dtype: DType,
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
    /// Every variable that is read, with its first reader.
    pub reads: Vec<Reader>,
    /// Every variable that an optimizer trains, its slots and counters included.
    pub trained: Vec<VariableId>,
    /// Every variable that is assigned.
    pub assigned: Vec<VariableId>,
}

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
            if own.total() <= memory.total()
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
        let lowered = lower::lower(def, &live, &fused, target);
        let lowered = lowered.map_err(|refused| refused.into_error(&live, target))?;
        let other = Arranged::new(&live, lowered, fetch_specs(&fused), target)?;
        // Whoever else reads what is written over must come before it, and less memory means more
        // waiting. Software adapters wait anyway.
        let waits_more = !target.is_cpu && other.groups() > arranged.groups();
        if other.memory.total() < arranged.memory.total() && !waits_more {
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
        reads: Vec::new(),
        trained: Vec::new(),
        assigned: Vec::new(),
    };
    program.describe(def, &live);
    Ok(program)
}

impl Program {
    /// Notes what is fed, and which variables are read, trained and assigned.
    fn describe(&mut self, def: &GraphDef, live: &Live) {
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

#[cfg(test)]
#[path = "cuts_tests.rs"]
mod tests;
