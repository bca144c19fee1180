//! The third pass: one dispatch for each root, with its shader written out.

use super::expression::{Bindings, Function, Index, scalar_type, stored_type};
use super::fuse::{Fused, is_view, operand};
use super::matmul::{self, Operand, Product};
use super::simplify::Live;
use super::{Access, Dispatch, Place, Step, Target};
use crate::plan_error::CompileError;
use std::collections::BTreeMap;
use warmstart_graph::ops::{OptimizerUpdate, Reduction, Rule};
use warmstart_graph::{GraphDef, Op, Shape};
use warmstart_shaders as shaders;

/// Elements of a packed value begin at multiples of this many bytes.
const PACK_ALIGNMENT: u64 = 256;
/// Elements that one workgroup of the norm or the optimizer works on.
pub(crate) const BLOCK: u64 = 1024;

pub(crate) struct Lowered {
    pub steps: Vec<Step>,
    pub tables: Vec<Vec<u32>>,
    /// Bytes of each scratch buffer.
    pub scratch: Vec<u64>,
    /// Live nodes whose values lie in the packed buffer: offset and bytes.
    pub packed: BTreeMap<usize, (u64, u64)>,
}

/// Why a graph could not be lowered as it was fused.
pub(crate) enum Refused {
    /// A kernel would bind more buffers than the device allows; computing this node apart helps.
    TooManyBindings { cut: usize },
    /// It would even with nothing fused.
    Hopeless { root: usize, buffers: usize },
    /// More workgroups than the device launches.
    TooManyWorkgroups { root: usize },
}

impl Refused {
    pub fn into_error(self, live: &Live, target: Target) -> CompileError {
        match self {
            Refused::TooManyBindings { cut: root } => {
                Refused::Hopeless { root, buffers: 0 }.into_error(live, target)
            }
            Refused::Hopeless { root, buffers } => CompileError::TooManyBuffers {
                operation: live.node(root).op.name().to_owned(),
                location: live.node(root).location.clone(),
                buffers,
                limit: target.storage_buffers,
            },
            Refused::TooManyWorkgroups { root } => CompileError::TooManyWorkgroups {
                operation: live.node(root).op.name().to_owned(),
                location: live.node(root).location.clone(),
                shape: live.node(root).shape.clone(),
                limit: target.workgroups,
            },
        }
    }
}

pub(crate) fn lower(
    def: &GraphDef,
    live: &Live,
    fused: &Fused,
    target: Target,
) -> Result<Lowered, Refused> {
    let packed = pack(live);
    let lowered = Lowered { steps: Vec::new(), tables: Vec::new(), scratch: Vec::new(), packed };
    let mut lowering = Lowering { def, live, fused, target, lowered };
    let roots = (0..live.nodes.len()).filter(|&id| fused.kernel[id] == Some(id));
    let (updates, values): (Vec<usize>, Vec<usize>) =
        roots.partition(|&id| live.node(id).op.is_update());
    // Everything is read before anything is written.
    for root in values.into_iter().chain(updates) {
        lowering.root(root)?;
    }
    Ok(lowering.lowered)
}

/// Places the inputs of norms and optimizers one after the other.
fn pack(live: &Live) -> BTreeMap<usize, (u64, u64)> {
    let mut packed = BTreeMap::new();
    let mut offset = 0;
    for node in &live.nodes {
        let skip = match node.op {
            Op::GlobalNorm => 0,
            Op::OptimizerUpdate(_) => 2,
            _ => continue,
        };
        for input in &node.inputs[skip..] {
            packed.entry(input.0).or_insert_with(|| {
                let bytes = live.elements(input.0) as u64 * 4;
                let start = offset;
                offset += bytes.max(1).next_multiple_of(PACK_ALIGNMENT);
                (start, bytes)
            });
        }
    }
    packed
}

struct Lowering<'a> {
    def: &'a GraphDef,
    live: &'a Live,
    fused: &'a Fused,
    target: Target,
    lowered: Lowered,
}

/// A shader being put together from a template.
struct Kernel {
    name: &'static str,
    template: String,
    constants: Vec<(&'static str, f64)>,
    bindings: Bindings,
    sections: Vec<(&'static str, String)>,
}

impl Kernel {
    fn new(name: &'static str, parts: &[&str]) -> Kernel {
        Kernel {
            name,
            template: parts.concat(),
            constants: Vec::new(),
            bindings: Bindings::default(),
            sections: Vec::new(),
        }
    }

    fn source(&self) -> String {
        let mut sections = self.sections.clone();
        sections.push(("bindings", self.bindings.wgsl()));
        shaders::fill(&self.template, &sections)
    }
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
            Some((id, Op::ScatterAddRows { .. })) => self.scatter(root, id),
            Some((id, Op::GlobalNorm)) => self.global_norm(root, id),
            Some((id, Op::Assign(variable))) => {
                let place = Place::Variable(*variable);
                self.copy(root, self.live.node(id).inputs[0].0, place)
            }
            Some((id, Op::OptimizerUpdate(update))) => self.optimizer(root, id, update),
            // Maps are never anchors.
            Some((_, _)) => self.map(root),
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

    /// The expression after the anchor.
    fn epilogue(&self, kernel: &mut Kernel, root: usize, anchor: usize) {
        let index = Index::flat(&self.live.node(root).shape, "i");
        let function =
            Function::new(self.live, self.fused, &mut kernel.bindings, root, Some(anchor));
        let result = scalar_type(self.live.node(root).dtype);
        let signature = format!("fn epilogue(anchor: f32, i: u32) -> {result}");
        kernel.sections.push(("epilogue", function.write(&signature, root, &index)));
    }

    fn bind_result(&self, kernel: &mut Kernel, root: usize) {
        let element = stored_type(self.live.node(root).dtype);
        kernel.bindings.bind("result", Place::Value(root), Access::Write, element);
    }

    /// Workgroups for so many, in two dimensions if one is too short.
    fn spread(&self, root: usize, groups: u64) -> Result<[u32; 3], Refused> {
        let limit = u64::from(self.target.workgroups);
        let rows = groups.div_ceil(limit).max(1);
        if rows > limit {
            return Err(Refused::TooManyWorkgroups { root });
        }
        Ok([groups.div_ceil(rows).max(1) as u32, rows as u32, 1])
    }

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
            return Err(self.too_many(root, buffers));
        }
        let bytes = kernel.bindings.list.iter().map(|bound| self.bytes(bound.place)).sum();
        let dispatch = Dispatch {
            label: self.label(root),
            kernel: kernel.name,
            source: kernel.source(),
            constants: kernel.constants,
            bindings: kernel.bindings.list.iter().map(|b| (b.place, b.access)).collect(),
            workgroups,
            bytes,
            operations,
        };
        self.lowered.steps.push(Step::Dispatch(dispatch));
        match apart {
            Some(from) => self.copy_to_packed(root, from),
            None => Ok(()),
        }
    }

    /// A kernel cannot read and write one buffer, and packed values lie in one. If this one would,
    /// its result goes to a place of its own first.
    fn result_apart(&mut self, root: usize, kernel: &mut Kernel) -> Option<Place> {
        let packed = &self.lowered.packed;
        let reads_packed = kernel.bindings.list.iter().any(|bound| match bound.place {
            Place::Value(id) => bound.access == Access::Read && packed.contains_key(&id),
            _ => false,
        });
        let result = kernel.bindings.list.iter().position(|bound| {
            bound.place == Place::Value(root)
                && bound.access == Access::Write
                && packed.contains_key(&root)
        });
        let result = result.filter(|_| reads_packed)?;
        let place = self.scratch(self.live.elements(root) as u64 * 4);
        kernel.bindings.list[result].place = place;
        Some(place)
    }

    fn copy_to_packed(&mut self, root: usize, from: Place) -> Result<(), Refused> {
        let elements = self.live.elements(root);
        let mut kernel = Kernel::new("elementwise", &[shaders::FUNCTIONS, shaders::ELEMENTWISE]);
        kernel.constants.push(("ELEMENTS", elements as f64));
        self.bind_result(&mut kernel, root);
        kernel.bindings.bind("values", from, Access::Read, "f32");
        let value = "fn value(i: u32) -> f32 {\n    return values[i];\n}\n";
        kernel.sections.push(("value", value.to_owned()));
        let workgroups = self.spread(root, (elements as u64).div_ceil(64))?;
        self.push(root, kernel, workgroups, 0)
    }

    /// The node that is best computed apart: the largest part of the expression that is not all of
    /// it.
    fn too_many(&self, root: usize, buffers: usize) -> Refused {
        let inside = (0..self.live.nodes.len()).filter(|&id| {
            id != root
                && self.fused.kernel[id] == Some(root)
                && self.live.node(id).inputs.len() > 1
                && !is_view(&self.live.node(id).op)
        });
        let loads = |id: usize| {
            let mut loads = std::collections::BTreeSet::new();
            let mut pending = vec![id];
            while let Some(id) = pending.pop() {
                for input in self.live.inputs(id) {
                    let here = self.fused.kernel[input].is_none_or(|kernel| kernel == root);
                    if self.live.is_leaf(input) || !here {
                        loads.insert(input);
                    } else {
                        pending.push(input);
                    }
                }
            }
            loads.len()
        };
        let fits = |&id: &usize| loads(id) < self.target.storage_buffers;
        match inside.filter(fits).max_by_key(|&id| loads(id)) {
            Some(cut) => Refused::TooManyBindings { cut },
            None => Refused::Hopeless { root, buffers },
        }
    }

    fn bytes(&self, place: Place) -> u64 {
        match place {
            Place::Value(id) | Place::Feed(id) | Place::Constant(id) => {
                self.live.elements(id) as u64 * self.live.node(id).dtype.size() as u64
            }
            Place::Variable(id) => self.def.variable(id).bytes(),
            Place::Packed => self.lowered.packed.values().map(|(_, bytes)| bytes).sum(),
            Place::Scratch(number) => self.lowered.scratch[number],
            Place::Table(number) => self.lowered.tables[number].len() as u64 * 4,
        }
    }

    /// The operations in a kernel, in order.
    fn label(&self, root: usize) -> String {
        let names: Vec<&str> = (0..=root)
            .filter(|&id| self.fused.kernel[id] == Some(root))
            .map(|id| self.live.node(id).op.name())
            .collect();
        match names.len() {
            0..=4 => names.join("+"),
            more => format!("{}+{}+..+{} ({more})", names[0], names[1], names[more - 1]),
        }
    }

    fn map(&mut self, root: usize) -> Result<(), Refused> {
        let elements = self.live.elements(root);
        let mut kernel = Kernel::new("elementwise", &[shaders::FUNCTIONS, shaders::ELEMENTWISE]);
        kernel.constants.push(("ELEMENTS", elements as f64));
        self.bind_result(&mut kernel, root);
        let node = self.live.node(root);
        let signature = format!("fn value(i: u32) -> {}", scalar_type(node.dtype));
        let index = Index::flat(&node.shape, "i");
        self.function(&mut kernel, root, "value", &signature, root, &index);
        let workgroups = self.spread(root, (elements as u64).div_ceil(64))?;
        self.push(root, kernel, workgroups, elements as u64)
    }

    /// Copies a value to another place.
    fn copy(&mut self, root: usize, from: usize, to: Place) -> Result<(), Refused> {
        let elements = self.live.elements(from);
        if elements == 0 {
            return Ok(());
        }
        let node = self.live.node(from);
        let mut kernel = Kernel::new("elementwise", &[shaders::FUNCTIONS, shaders::ELEMENTWISE]);
        kernel.constants.push(("ELEMENTS", elements as f64));
        kernel.bindings.bind("result", to, Access::Write, stored_type(node.dtype));
        let signature = format!("fn value(i: u32) -> {}", scalar_type(node.dtype));
        let index = Index::flat(&node.shape, "i");
        self.function(&mut kernel, root, "value", &signature, from, &index);
        let workgroups = self.spread(root, (elements as u64).div_ceil(64))?;
        self.push(root, kernel, workgroups, 0)
    }

    fn product(
        &mut self,
        root: usize,
        id: usize,
        transpose_a: bool,
        transpose_b: bool,
    ) -> Result<(), Refused> {
        let shape = &self.live.node(id).shape;
        let rank = shape.rank();
        let batch = Shape::from(&shape[..rank - 2]).elements();
        let read = |input: usize, transpose: bool| {
            let (base, layout, transposed) = operand(self.live, self.live.node(id).inputs[input].0);
            let (&columns, rest) = layout.split_last().unwrap_or((&1, &[]));
            let (&rows, own) = rest.split_last().unwrap_or((&1, &[]));
            let repeated = Shape::from(own).elements() == 1 && batch != 1;
            let step = if repeated { 0 } else { rows * columns };
            let (row, column) = if transposed != transpose { (1, columns) } else { (columns, 1) };
            let inner = if transposed != transpose { rows } else { columns };
            (base, Operand { row, column, batch: step }, inner)
        };
        let (a_base, a, k) = read(0, transpose_a);
        let (b_base, b, _) = read(1, transpose_b);
        let mut product = Product { batch, m: shape[rank - 2], n: shape[rank - 1], k, a, b };
        // A batch of matrices against one is one tall matrix.
        if batch > 1 && b.batch == 0 && a.column == 1 && a.batch == product.m * a.row {
            product.m *= batch;
            product.batch = 1;
        }
        let choice = matmul::choose(&product, self.target);
        let limit = self.target.workgroups;
        if choice.workgroups.iter().any(|&groups| groups > limit) {
            return Err(Refused::TooManyWorkgroups { root });
        }
        let mut kernel = Kernel::new(choice.kernel, &[shaders::FUNCTIONS, choice.source]);
        kernel.constants = choice.constants;
        kernel.bindings.bind("a", Place::of(self.live, a_base), Access::Read, "f32");
        kernel.bindings.bind("b", Place::of(self.live, b_base), Access::Read, "f32");
        self.bind_result(&mut kernel, root);
        self.epilogue(&mut kernel, root, id);
        let Product { batch, m, n, k, .. } = product;
        let operations = 2 * batch as u64 * m as u64 * n as u64 * k as u64;
        self.push(root, kernel, choice.workgroups, operations)
    }

    /// Lanes and rows of a workgroup for rows of a width, and how many workgroups that takes.
    fn lanes(
        &self,
        kernel: &mut Kernel,
        root: usize,
        rows: usize,
        width: usize,
    ) -> Result<[u32; 3], Refused> {
        // A lane for every eight elements, unless there are rows enough to keep a device busy.
        let wanted = (width / 8).max(1).next_power_of_two().min(256);
        let lanes = if rows >= 16_384 { wanted.min(8) } else { wanted };
        let together = (64 / lanes).max(1);
        kernel.constants.push(("LANES", lanes as f64));
        kernel.constants.push(("ROWS", together as f64));
        self.spread(root, (rows as u64).div_ceil(together as u64))
    }

    fn reduce(
        &mut self,
        root: usize,
        id: usize,
        reduction: Reduction,
        axes: &[usize],
    ) -> Result<(), Refused> {
        let input = self.live.node(id).inputs[0].0;
        let shape = self.live.node(input).shape.clone();
        let results = self.live.elements(id);
        let count: usize = axes.iter().map(|&axis| shape[axis]).product();
        let parts = [shaders::FUNCTIONS, shaders::LANES, shaders::REDUCE];
        let mut kernel = Kernel::new("reduce", &parts);
        kernel.constants.extend([
            ("RESULTS", results as f64),
            ("COUNT", count as f64),
            ("MAXIMUM", f64::from(u8::from(reduction == Reduction::Max))),
        ]);
        self.bind_result(&mut kernel, root);
        let kept: Vec<usize> = (0..shape.rank()).filter(|axis| !axes.contains(axis)).collect();
        let trailing = kept.iter().enumerate().all(|(at, &axis)| at == axis);
        let leading = axes.iter().enumerate().all(|(at, &axis)| at == axis);
        let index = if trailing {
            Index::flat(&shape, &format!("(i * {count}u + k)"))
        } else if leading {
            Index::flat(&shape, &format!("(k * {results}u + i)"))
        } else {
            let mut coordinates = vec![String::new(); shape.rank()];
            for (axes, offset) in [(&kept[..], "i"), (axes, "k")] {
                let own = Shape::from(axes.iter().map(|&axis| shape[axis]).collect::<Vec<_>>());
                for ((&axis, stride), &extent) in axes.iter().zip(own.strides()).zip(own.iter()) {
                    coordinates[axis] = format!("({offset} / {stride}u % {extent}u)");
                }
            }
            Index::at(&shape, coordinates)
        };
        let signature = "fn value(i: u32, k: u32) -> f32";
        self.function(&mut kernel, root, "value", signature, input, &index);
        self.epilogue(&mut kernel, root, id);
        let workgroups = self.lanes(&mut kernel, root, results, count)?;
        self.push(root, kernel, workgroups, shape.elements() as u64)
    }

    /// Rows and width of a tensor seen as rows of its last axis.
    fn rows(&self, id: usize) -> (usize, usize) {
        let shape = &self.live.node(id).shape;
        match shape.split_last() {
            Some((&width, rest)) => (Shape::from(rest).elements(), width),
            None => (1, 1),
        }
    }

    fn argmax(&mut self, root: usize, id: usize) -> Result<(), Refused> {
        let input = self.live.node(id).inputs[0].0;
        let (rows, width) = self.rows(input);
        let mut kernel = Kernel::new("argmax", &[shaders::FUNCTIONS, shaders::ARGMAX]);
        kernel.constants.extend([("TOTAL_ROWS", rows as f64), ("WIDTH", width as f64)]);
        self.bind_result(&mut kernel, root);
        let index = Index::flat(&self.live.node(input).shape, "i");
        self.function(&mut kernel, root, "value", "fn value(i: u32) -> f32", input, &index);
        let workgroups = self.spread(root, (rows as u64).div_ceil(64))?;
        self.push(root, kernel, workgroups, (rows * width) as u64)
    }

    fn softmax(&mut self, root: usize, id: usize, logarithm: bool) -> Result<(), Refused> {
        let input = self.live.node(id).inputs[0].0;
        let (rows, width) = self.rows(input);
        let parts = [shaders::FUNCTIONS, shaders::LANES, shaders::SOFTMAX];
        let mut kernel = Kernel::new("softmax", &parts);
        kernel.constants.extend([
            ("TOTAL_ROWS", rows as f64),
            ("WIDTH", width as f64),
            ("LOGARITHM", f64::from(u8::from(logarithm))),
        ]);
        self.bind_result(&mut kernel, root);
        let index = Index::flat(&self.live.node(input).shape, "i");
        self.function(&mut kernel, root, "value", "fn value(i: u32) -> f32", input, &index);
        self.epilogue(&mut kernel, root, id);
        let workgroups = self.lanes(&mut kernel, root, rows, width)?;
        self.push(root, kernel, workgroups, 4 * (rows * width) as u64)
    }

    fn cross_entropy(
        &mut self,
        root: usize,
        id: usize,
        smoothing: f32,
        gradient: bool,
    ) -> Result<(), Refused> {
        let inputs = self.live.node(id).inputs.clone();
        let (rows, width) = self.rows(inputs[0].0);
        let parts = [shaders::FUNCTIONS, shaders::LANES, shaders::CROSS_ENTROPY];
        let mut kernel = Kernel::new("cross_entropy", &parts);
        kernel.constants.extend([
            ("TOTAL_ROWS", rows as f64),
            ("WIDTH", width as f64),
            ("SMOOTHING", smoothing.into()),
            ("GRADIENT", f64::from(u8::from(gradient))),
        ]);
        self.bind_result(&mut kernel, root);
        let signatures = [
            ("logits", "fn logits(i: u32) -> f32"),
            ("labels", "fn labels(i: u32) -> i32"),
            ("upstream", "fn upstream(i: u32) -> f32"),
        ];
        for (input, (section, signature)) in inputs.iter().zip(signatures) {
            let index = Index::flat(&self.live.node(input.0).shape, "i");
            self.function(&mut kernel, root, section, signature, input.0, &index);
        }
        self.epilogue(&mut kernel, root, id);
        let workgroups = self.lanes(&mut kernel, root, rows, width)?;
        self.push(root, kernel, workgroups, 4 * (rows * width) as u64)
    }

    fn scatter(&mut self, root: usize, id: usize) -> Result<(), Refused> {
        let inputs = self.live.node(id).inputs.clone();
        let elements = self.live.elements(id);
        let rows = self.live.node(id).shape[0];
        let width = elements / rows.max(1);
        let count = self.live.elements(inputs[0].0);
        let mut kernel = Kernel::new("scatter", &[shaders::FUNCTIONS, shaders::SCATTER]);
        kernel.constants.extend([
            ("ELEMENTS", elements as f64),
            ("WIDTH", width as f64),
            ("COUNT", count as f64),
        ]);
        self.bind_result(&mut kernel, root);
        let indices = inputs[0].0;
        let index = Index::flat(&self.live.node(indices).shape, "i");
        // A negative index becomes a large one, which is no row.
        let from = scalar_type(self.live.node(indices).dtype);
        let signature = format!("fn index_of(i: u32) -> {from}");
        let function = Function::new(self.live, self.fused, &mut kernel.bindings, root, None);
        let mut text = function.write(&signature, indices, &index);
        text.push_str("fn indices(i: u32) -> u32 {\n    return u32(index_of(i));\n}\n");
        kernel.sections.push(("indices", text));
        let values = inputs[1].0;
        let index = Index::flat(&self.live.node(values).shape, "i");
        self.function(&mut kernel, root, "value", "fn value(i: u32) -> f32", values, &index);
        self.epilogue(&mut kernel, root, id);
        let workgroups = self.spread(root, (elements as u64).div_ceil(64))?;
        self.push(root, kernel, workgroups, elements as u64 * count as u64)
    }

    fn scratch(&mut self, bytes: u64) -> Place {
        self.lowered.scratch.push(bytes);
        Place::Scratch(self.lowered.scratch.len() - 1)
    }

    fn global_norm(&mut self, root: usize, id: usize) -> Result<(), Refused> {
        let mut blocks: Vec<u32> = Vec::new();
        for input in self.live.inputs(id) {
            let (offset, bytes) = self.lowered.packed[&input];
            let (start, length) = (offset / 4, bytes / 4);
            for block in 0..length.div_ceil(BLOCK) {
                let done = block * BLOCK;
                blocks.extend([(start + done) as u32, (length - done).min(BLOCK) as u32]);
            }
        }
        let count = blocks.len() / 2;
        // Even of nothing there is a norm, and no table can be empty.
        let sums = self.scratch(count.max(1) as u64 * 4);
        if count > 0 {
            self.lowered.tables.push(blocks);
            let table = Place::Table(self.lowered.tables.len() - 1);
            let parts = [shaders::FUNCTIONS, shaders::LANES, shaders::SQUARES];
            let mut kernel = Kernel::new("squares", &parts);
            kernel.constants.extend([("BLOCKS", count as f64), ("LANES", 64.0), ("ROWS", 1.0)]);
            kernel.bindings.bind("blocks", table, Access::Read, "vec2<u32>");
            kernel.bindings.bind("values", Place::Packed, Access::Read, "f32");
            kernel.bindings.bind("sums", sums, Access::Write, "f32");
            let workgroups = self.spread(root, count as u64)?;
            let elements: usize = self.live.inputs(id).map(|input| self.live.elements(input)).sum();
            self.push(root, kernel, workgroups, 2 * elements as u64)?;
        }
        let parts = [shaders::FUNCTIONS, shaders::LANES, shaders::REDUCE];
        let mut kernel = Kernel::new("reduce", &parts);
        kernel.constants.extend([("RESULTS", 1.0), ("COUNT", count as f64), ("MAXIMUM", 0.0)]);
        self.bind_result(&mut kernel, root);
        kernel.bindings.bind("sums", sums, Access::Read, "f32");
        let value = "fn value(i: u32, k: u32) -> f32 {\n    return sums[k];\n}\n";
        kernel.sections.push(("value", value.to_owned()));
        self.epilogue(&mut kernel, root, id);
        // The anchor is the root of the sum.
        for (section, text) in &mut kernel.sections {
            if *section == "epilogue" {
                *text = text.replace("(anchor: f32, i", "(squares: f32, i").replacen(
                    "{\n",
                    "{\n    let anchor = sqrt(squares);\n",
                    1,
                );
            }
        }
        let workgroups = self.lanes(&mut kernel, root, 1, count)?;
        self.push(root, kernel, workgroups, count as u64)
    }

    fn optimizer(
        &mut self,
        root: usize,
        id: usize,
        update: &OptimizerUpdate,
    ) -> Result<(), Refused> {
        let inputs = self.live.node(id).inputs.clone();
        let parts = [shaders::FUNCTIONS, shaders::OPTIMIZER_SCALARS];
        let mut kernel = Kernel::new("optimizer_scalars", &parts);
        if let Rule::Adam { beta1, beta2, .. } = update.rule {
            kernel.constants.extend([("LOG_BETA1", beta1.ln()), ("LOG_BETA2", beta2.ln())]);
        }
        let scalars = self.scratch(16);
        let (step, global_step) =
            (Place::Variable(update.step), Place::Variable(update.global_step));
        kernel.bindings.bind("result", scalars, Access::Write, "f32");
        kernel.bindings.bind("step", step, Access::Write, "u32");
        // A schedule reads the global step through this binding, too.
        kernel.bindings.bind("global_step", global_step, Access::Write, "u32");
        for (at, section) in ["learning_rate", "gradient_factor"].into_iter().enumerate() {
            let index = Index::flat(&Shape::scalar(), "0u");
            let signature = format!("fn {section}(i: u32) -> f32");
            self.function(&mut kernel, root, section, &signature, inputs[at].0, &index);
        }
        self.push(root, kernel, [1, 1, 1], 0)?;
        let gradients =
            inputs[2..].iter().map(|input| self.lowered.packed[&input.0].0 / 4).collect();
        let update = update.clone();
        self.lowered.steps.push(Step::Optimizer { update, scalars, gradients });
        Ok(())
    }
}
