//! The third pass: one dispatch for each root, with its shader written out.
//!
//! Here is what all kernels share, and those that are one expression. Kernels with an anchor are in
//! `anchors.rs`, `reduce.rs`, `layer_norm.rs` and `product.rs`, how they read rows in `rows.rs`, norms and
//! optimizers in `update.rs`; `companions.rs` finds those that compute two values, and `cuts.rs` where those
//! are cut that bind too much.
//!
//! Every value is computed before any variable is written, so a fetched weight is that of before
//! the update. Two updates that write the same variable are refused when they are compiled
//! together, at their lines.

mod anchors;
mod casts;
mod companions;
mod cuts;
mod kernel;
mod layer_norm;
mod product;
mod reduce;
mod refused;
mod rows;
mod slices;
mod update;

use super::bindings::Bound;
use super::expression::{Function, Index};
use super::fuse::Fused;
use super::simplify::Live;
use super::wgsl::{scalar_type, stored_type};
use super::{Access, Dispatch, Gradients, Place, Step, Target};
use companions::Companions;
use kernel::{Kernel, elementwise};
use slices::PartialSums;
use std::collections::{BTreeMap, BTreeSet};
use warmstart_graph::{DType, GraphDef, Op, VariableId};
use warmstart_shaders as shaders;

pub(crate) use refused::Refused;
pub(crate) use update::{BLOCK, Does, MOST_BLOCKS, OptimizerStep, WIDEST, lanes};

pub(crate) struct Lowered {
    pub steps: Vec<Step>,
    pub tables: Vec<Vec<u32>>,
    /// Bytes of each scratch buffer.
    pub scratch: Vec<u64>,
    /// Live nodes whose values lie in packed regions.
    pub packed: Gradients,
    pub in_place: Vec<InPlace>,
}

/// A kernel that could write its result over one of the values that it reads.
pub(crate) struct InPlace {
    /// Its place among the steps.
    pub step: usize,
    pub root: usize,
    /// Values of the result's size that each invocation reads only where it then writes.
    pub values: Vec<usize>,
}

pub(crate) fn lower(
    def: &GraphDef,
    live: &Live,
    fused: &Fused,
    target: Target,
) -> Result<Lowered, Refused> {
    let packed = update::pack(live, target.binding_bytes);
    let lowered = Lowered {
        steps: Vec::new(),
        tables: Vec::new(),
        scratch: Vec::new(),
        packed,
        in_place: Vec::new(),
    };
    let Companions { carried, early } =
        companions::find(live, fused, &lowered.packed, target.storage_buffers);
    let mut members = vec![Vec::new(); live.nodes.len()];
    for (id, root) in fused.kernel.iter().enumerate() {
        if let Some(root) = *root {
            members[root].push(id);
        }
    }
    let (counted, cuts) = (BTreeSet::new(), BTreeSet::new());
    let (read_last, partial_sums) = (slices::read_last(live, fused), Vec::new());
    let mut lowering = Lowering {
        def,
        live,
        fused,
        members,
        target,
        lowered,
        carried,
        read_last,
        partial_sums,
        counted,
        cuts,
    };
    let carried: BTreeSet<usize> = lowering.carried.values().copied().collect();
    let roots =
        (0..live.nodes.len()).filter(|&id| fused.kernel[id] == Some(id) && !carried.contains(&id));
    let (updates, values): (Vec<usize>, Vec<usize>) =
        roots.partition(|&id| live.node(id).op.is_update());
    let (early, others): (Vec<usize>, Vec<usize>) =
        values.into_iter().partition(|root| early.contains(root));
    let values = early.into_iter().chain(others);
    let casts = casts::groups(live, fused, target);
    let with_first: BTreeSet<usize> =
        casts.iter().flat_map(|group| group[1..].iter().copied()).collect();
    let casts: BTreeMap<usize, Vec<usize>> =
        casts.into_iter().map(|group| (group[0], group)).collect();
    // Everything is read before anything is written.
    for root in values.filter(|root| !with_first.contains(root)) {
        match casts.get(&root) {
            Some(group) => lowering.cast_together(group)?,
            None => lowering.root(root)?,
        }
    }
    lowering.add_up_slices()?;
    let mut optimizers = BTreeMap::new();
    for &id in &updates {
        if let Op::OptimizerUpdate(update) = &live.node(id).op {
            optimizers.insert(id, lowering.optimizer(id, update)?);
        }
    }
    for id in updates {
        match optimizers.remove(&id) {
            Some(step) => lowering.lowered.steps.push(Step::Optimizer(step)),
            None => lowering.root(id)?,
        }
    }
    let Lowering { lowered, cuts, .. } = lowering;
    if cuts.is_empty() { Ok(lowered) } else { Err(Refused::TooManyBindings { cuts }) }
}

struct Lowering<'a> {
    def: &'a GraphDef,
    live: &'a Live,
    fused: &'a Fused,
    /// For each root the nodes that its kernel computes, ascending.
    members: Vec<Vec<usize>>,
    target: Target,
    lowered: Lowered,
    /// For each root whose kernel computes another root's value too, that other root.
    carried: BTreeMap<usize, usize>,
    /// Whether each node is read by norms and updates alone.
    read_last: Vec<bool>,
    /// Of products in slices that are added up when all other values are there.
    partial_sums: Vec<PartialSums>,
    /// Global steps that a kernel lowered so far increments.
    counted: BTreeSet<VariableId>,
    /// Nodes to compute apart, so that kernels lowered so far bind no more than they can. If there are
    /// any, what is lowered is not used.
    cuts: BTreeSet<usize>,
}

impl Lowering<'_> {
    fn root(&mut self, root: usize) -> Result<(), Refused> {
        let anchor = self.fused.anchor[root];
        // Nothing to compute, except that updates act beyond their own (empty) value.
        if self.live.elements(root) == 0 && !self.live.node(root).op.is_update() {
            return Ok(());
        }
        match anchor.map(|id| (id, &self.live.node(id).op)) {
            None => self.map(root),
            Some((id, Op::MatMul { transpose_a, transpose_b })) => {
                self.product(root, id, *transpose_a, *transpose_b)
            }
            Some((id, Op::Reduce { reduction, axes, .. })) => {
                self.reduce(root, id, *reduction, axes)
            }
            Some((id, Op::ArgMax)) => self.argmax(root, id),
            Some((id, Op::Softmax)) => self.softmax(root, id, false),
            Some((id, Op::LogSoftmax)) => self.softmax(root, id, true),
            Some((id, Op::SoftmaxCrossEntropy { label_smoothing })) => {
                self.cross_entropy(root, id, *label_smoothing, false)
            }
            Some((id, Op::SoftmaxCrossEntropyGradient { label_smoothing })) => {
                self.cross_entropy(root, id, *label_smoothing, true)
            }
            Some((id, Op::LayerNorm { epsilon })) => self.layer_norm(root, id, *epsilon),
            Some((id, Op::LayerNormStatistics { epsilon })) => {
                self.layer_norm_statistics(root, id, *epsilon)
            }
            Some((id, Op::LayerNormGradient)) => self.layer_norm_gradient(root, id),
            Some((id, Op::ScatterAddRows { .. })) => self.scatter(root, id),
            Some((id, Op::GlobalNorm)) => self.global_norm(root, id),
            Some((id, Op::Assign(variable))) => {
                let place = Place::Variable(*variable);
                self.copy(root, self.live.node(id).inputs[0].0, place)
            }
            // Optimizers are lowered by `optimizer`, and nothing else is an anchor.
            Some((
                _,
                Op::OptimizerUpdate(_)
                | Op::Placeholder { .. }
                | Op::Variable(_)
                | Op::Constant(_)
                | Op::Unary(_)
                | Op::Binary(_)
                | Op::Select
                | Op::Cast(_)
                | Op::StopGradient
                | Op::RandomUniform { .. }
                | Op::Reshape(_)
                | Op::Transpose(_)
                | Op::BroadcastTo(_)
                | Op::Slice { .. }
                | Op::Pad { .. }
                | Op::Concat { .. }
                | Op::GatherRows
                | Op::Invalid
                | Op::ControlDependency,
            )) => self.map(root),
        }
    }

    fn function(
        &self,
        kernel: &mut Kernel,
        root: usize,
        section: &'static str,
        signature: &str,
        node: usize,
        index: &Index,
    ) {
        let function = Function::new(self.live, self.fused, &mut kernel.bindings, root, None);
        kernel.sections.push((section, function.write(signature, node, index)));
    }

    /// The expression after the anchor. Kernels call it once for each element, where they write it.
    fn epilogue(&self, kernel: &mut Kernel, root: usize, anchor: usize) {
        let index = Index::flat(&self.live.node(root).shape, "i");
        self.epilogue_at(kernel, root, anchor, "anchor: f32, i: u32", &index);
    }

    fn epilogue_at(
        &self,
        kernel: &mut Kernel,
        root: usize,
        anchor: usize,
        parameters: &str,
        index: &Index,
    ) {
        let keeps = self.bind_kept(kernel, root);
        let function =
            Function::new(self.live, self.fused, &mut kernel.bindings, root, Some(anchor))
                .of_own_element(kernel.held_in.as_deref() != Some("result"))
                .given(&kernel.stored)
                .keeping(keeps)
                .rounding(self.result_type(root) == "f16");
        let result = match self.result_type(root) {
            "f16" => "f16",
            _ => scalar_type(self.live.node(root).dtype),
        };
        let signature = format!("fn epilogue({parameters}) -> {result}");
        kernel.sections.push(("epilogue", function.write(&signature, root, index)));
    }

    /// What a kernel stores for its root. Kernels of one expression write two halves at once.
    fn result_type(&self, root: usize) -> &'static str {
        match self.live.node(root).dtype {
            DType::F16 if self.fused.anchor[root].is_some() => "f16",
            dtype => stored_type(dtype),
        }
    }

    fn bind_result(&self, kernel: &mut Kernel, root: usize) {
        let element = self.result_type(root);
        let place = self.fused.place(self.live, root);
        kernel.bindings.bind("result", place, Access::Write, element);
    }

    /// Binds the second result of a kernel, if it has one, and gives its root.
    fn bind_carried(&self, kernel: &mut Kernel, root: usize, name: &str) -> Option<usize> {
        let carried = *self.carried.get(&root)?;
        let place = self.fused.place(self.live, carried);
        kernel.bindings.bind(name, place, Access::Write, "f32");
        kernel.label = Some(format!("{}, {}", self.label(root), self.label(carried)));
        Some(carried)
    }

    /// Refuses loops of so many rounds that the device would not carry them out.
    fn carries_out(&self, root: usize, rounds: usize) -> Result<(), Refused> {
        match rounds > self.target.most_rounds() {
            true => Err(Refused::TooManyRounds { root, rounds }),
            false => Ok(()),
        }
    }

    /// Workgroups for so many, in two dimensions if one is too short.
    fn spread(&self, root: usize, groups: u64) -> Result<[u32; 3], Refused> {
        self.target.spread(groups).ok_or(Refused::TooManyWorkgroups { root })
    }

    /// Adds a dispatch. `operations` are those of its anchor; those of what is computed before and after it
    /// are counted where their functions are written.
    fn push(
        &mut self,
        root: usize,
        mut kernel: Kernel,
        workgroups: [u32; 3],
        operations: u64,
    ) -> Result<(), Refused> {
        let apart = self.result_apart(root, &mut kernel);
        let buffers = kernel.bindings.list.len();
        if buffers > self.target.storage_buffers {
            return self.cut(root, buffers);
        }
        if !self.cuts.is_empty() {
            return Ok(());
        }
        let bytes = kernel.bindings.bytes(|place| self.bytes(place));
        let operations = operations + kernel.bindings.operations;
        let values = self.in_place(root, &kernel);
        if !values.is_empty() {
            self.lowered.in_place.push(InPlace { step: self.lowered.steps.len(), root, values });
        }
        let dispatch = Dispatch {
            label: kernel.label.take().unwrap_or_else(|| self.label(root)),
            kernel: kernel.name,
            source: kernel.source(),
            constants: kernel.constants,
            bindings: kernel.bindings.list.iter().map(|b| (b.place, b.access)).collect(),
            workgroups,
            bytes,
            operations,
            alternatives: kernel.alternatives,
            tuned: kernel.tuned,
        };
        self.lowered.steps.push(Step::Dispatch(dispatch));
        match apart {
            Some(from) => self.copy_to_packed(root, from),
            None => Ok(()),
        }
    }

    /// The values over which a kernel could write its result.
    fn in_place(&self, root: usize, kernel: &Kernel) -> Vec<usize> {
        let list = &kernel.bindings.list;
        let is_result =
            |bound: &&Bound| bound.name == "result" && bound.place == Place::Value(root);
        let Some(result) = list.iter().find(is_result) else { return Vec::new() };
        // Halves are read and written as words, two at a time, and bytes four.
        let is_held =
            |id: usize| !self.lowered.packed.contains(id) && !self.live.node(id).dtype.is_narrow();
        let could = |bound: &Bound| match bound.place {
            Place::Value(id) => {
                let alike = bound.element == result.element
                    && self.live.elements(id) == self.live.elements(root);
                let bindings = list.iter().filter(|other| other.place == bound.place).count();
                let fine = alike && !bound.elsewhere && bindings == 1 && is_held(id);
                fine.then_some(id)
            }
            _ => None,
        };
        if is_held(root) { list.iter().filter_map(could).collect() } else { Vec::new() }
    }

    /// A kernel cannot read and write one buffer, and packed values of a region lie in one. If this one
    /// would, its result goes to a place of its own first.
    fn result_apart(&mut self, root: usize, kernel: &mut Kernel) -> Option<Place> {
        let packed = &self.lowered.packed;
        let own = packed.region(root)?;
        let reads_packed = kernel.bindings.list.iter().any(|bound| match bound.place {
            Place::Value(id) => bound.access == Access::Read && packed.region(id) == Some(own),
            _ => false,
        });
        let result =
            kernel.bindings.list.iter().position(|bound| {
                bound.place == Place::Value(root) && bound.access == Access::Write
            });
        let result = result.filter(|_| reads_packed)?;
        let place = self.scratch(self.live.elements(root) as u64 * 4);
        kernel.bindings.list[result].place = place;
        Some(place)
    }

    fn copy_to_packed(&mut self, root: usize, from: Place) -> Result<(), Refused> {
        let elements = self.live.elements(root);
        let mut kernel = Kernel::new("elementwise", &[shaders::FUNCTIONS, shaders::ELEMENTWISE]);
        kernel.label = Some(format!("copy of {}", self.label(root)));
        kernel.constants.push(("ELEMENTS", elements as f64));
        self.bind_result(&mut kernel, root);
        kernel.bindings.bind("values", from, Access::Read, "f32");
        let value = "fn value(i: u32) -> f32 {\n    return values[i];\n}\n";
        kernel.sections.push(("value", value.to_owned()));
        let workgroups = self.spread(root, (elements as u64).div_ceil(64))?;
        self.push(root, kernel, workgroups, 0)
    }

    fn bytes(&self, place: Place) -> u64 {
        match place {
            Place::Value(id) | Place::Feed(id) | Place::Constant(id) => {
                self.live.elements(id) as u64 * self.live.node(id).dtype.size() as u64
            }
            Place::Variable(id) => self.def.variable(id).bytes(),
            Place::Packed(region) => {
                self.lowered.packed.parts(region).map(|(_, part)| part.bytes).sum()
            }
            Place::Scratch(number) => self.lowered.scratch[number],
            Place::Table(number) => self.lowered.tables[number].len() as u64 * 4,
        }
    }

    /// The operations in a kernel, in order, but that a product is never left out.
    fn label(&self, root: usize) -> String {
        let mut members = self.members[root].clone();
        let is_product = |id: &usize| matches!(self.live.node(*id).op, Op::MatMul { .. });
        if let Some(at) = members.iter().position(is_product).filter(|_| members.len() > 4) {
            members[..=at].rotate_right(1);
        }
        let names: Vec<&str> = members.iter().map(|&id| self.live.node(id).op.name()).collect();
        match names.len() {
            0..=4 => names.join("+"),
            more => format!("{}+{}+..+{} ({more})", names[0], names[1], names[more - 1]),
        }
    }

    fn map(&mut self, root: usize) -> Result<(), Refused> {
        let elements = self.live.elements(root);
        let node = self.live.node(root);
        let (mut kernel, invocations) = elementwise(node.dtype, elements);
        self.bind_result(&mut kernel, root);
        let signature = format!("fn value(i: u32) -> {}", scalar_type(node.dtype));
        let index = Index::flat(&node.shape, "i");
        let keeps = self.bind_kept(&mut kernel, root);
        let function = Function::new(self.live, self.fused, &mut kernel.bindings, root, None);
        let value = function.of_own_element(true).keeping(keeps).write(&signature, root, &index);
        kernel.sections.push(("value", value));
        let workgroups = self.spread(root, invocations.div_ceil(64))?;
        self.push(root, kernel, workgroups, 0)
    }

    /// Copies a value to another place.
    fn copy(&mut self, root: usize, from: usize, to: Place) -> Result<(), Refused> {
        let elements = self.live.elements(from);
        if elements == 0 {
            return Ok(());
        }
        let node = self.live.node(from);
        let (mut kernel, invocations) = elementwise(node.dtype, elements);
        kernel.bindings.bind("result", to, Access::Write, stored_type(node.dtype));
        let signature = format!("fn value(i: u32) -> {}", scalar_type(node.dtype));
        let index = Index::flat(&node.shape, "i");
        self.function(&mut kernel, root, "value", &signature, from, &index);
        let workgroups = self.spread(root, invocations.div_ceil(64))?;
        self.push(root, kernel, workgroups, 0)
    }

    fn scratch(&mut self, bytes: u64) -> Place {
        self.lowered.scratch.push(bytes);
        Place::Scratch(self.lowered.scratch.len() - 1)
    }
}

/// What a kernel computes one beside the other, shortened where it is much.
fn listed(labels: &[String]) -> String {
    match labels {
        [first, second, .., last] if labels.len() > 4 => {
            format!("{first}, {second}, .., {last} ({})", labels.len())
        }
        _ => labels.join(", "),
    }
}
