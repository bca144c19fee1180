//! Expressions of single elements as WGSL.
//!
//! A generated function computes one element of a node from loads of what lies in memory. Changes
//! of shape never appear in it as operations: they change the index at which their input is read.

mod index;

use super::bindings::Bindings;
use super::fuse::Fused;
use super::simplify::Live;
use super::wgsl::{self, literal, scalar_type, stored_type};
use std::collections::{BTreeSet, HashMap};
use std::fmt::Write as _;
use warmstart_graph::random::Philox;
use warmstart_graph::{DType, Op, Shape};
use warmstart_shaders as shaders;

pub(crate) use index::Index;

/// Operations that are computed from their end, as they are read.
const SHORT: usize = 64;

/// What a function stores beside what it returns.
#[derive(Clone)]
pub(crate) struct Keep {
    /// The node that is computed.
    pub node: usize,
    /// The name of the buffer.
    pub name: String,
    /// Whether it is rounded to `f16`.
    pub rounds: bool,
}

/// The body of one generated function.
pub(crate) struct Function<'a> {
    live: &'a Live,
    fused: &'a Fused,
    bindings: &'a mut Bindings,
    root: usize,
    /// The anchor and the name of the parameter that holds its value, in an epilogue.
    anchor: Option<usize>,
    /// Nodes whose values the kernel has already, as expressions: of the element `i`, or of their only one.
    given: HashMap<usize, String>,
    /// Whether the element `i` is the one that the same invocation then writes.
    is_own: bool,
    /// What it also stores of the element `i`.
    keeps: Vec<Keep>,
    /// Whether what it returns is rounded to `f16`.
    rounds: bool,
    lines: Vec<String>,
    known: HashMap<(usize, String), String>,
    offsets: HashMap<String, String>,
    splits: HashMap<String, Vec<String>>,
    count: usize,
}

impl<'a> Function<'a> {
    pub fn new(
        live: &'a Live,
        fused: &'a Fused,
        bindings: &'a mut Bindings,
        root: usize,
        anchor: Option<usize>,
    ) -> Function<'a> {
        Function {
            live,
            fused,
            bindings,
            root,
            anchor,
            given: HashMap::new(),
            is_own: false,
            keeps: Vec::new(),
            rounds: false,
            lines: Vec::new(),
            known: HashMap::new(),
            offsets: HashMap::new(),
            splits: HashMap::new(),
            count: 0,
        }
    }

    /// The same for a function of an `i` that is the element of the result which the invocation that
    /// calls it writes later, once, where `is_own` is set.
    pub fn of_own_element(self, is_own: bool) -> Function<'a> {
        Function { is_own, ..self }
    }

    /// The same where the values of these nodes are known as expressions: those of their element `i`, or of
    /// their only one.
    pub fn given(self, given: &HashMap<usize, String>) -> Function<'a> {
        Function { given: given.clone(), ..self }
    }

    /// The same for one that also stores the element `i` of these nodes, where they are bound.
    pub fn keeping(self, keeps: Vec<Keep>) -> Function<'a> {
        Function { keeps, ..self }
    }

    /// The same for one that returns `f16`, where `rounds` is set.
    pub fn rounding(self, rounds: bool) -> Function<'a> {
        Function { rounds, ..self }
    }

    /// The function that returns `node` at `index`, with the given signature.
    pub fn write(self, signature: &str, node: usize, index: &Index) -> String {
        self.write_with_rest(signature, node, index).0
    }

    /// The same, with what it was to keep and does not compute.
    pub fn write_with_rest(
        mut self,
        signature: &str,
        node: usize,
        index: &Index,
    ) -> (String, Vec<Keep>) {
        self.settle(node, index);
        let value = self.value(node, index);
        let value = if self.rounds { format!("{}({value})", shaders::ROUND) } else { value };
        let mut text = format!("{signature} {{\n");
        for line in &self.lines {
            let _ = writeln!(text, "    {line}");
        }
        let _ = writeln!(text, "    return {value};\n}}");
        (text, self.keeps)
    }

    /// Computes a long chain of elementwise operations from its start on. From its end, each would take
    /// room on the stack until its input is computed.
    fn settle(&mut self, node: usize, index: &Index) {
        let live = self.live;
        let (mut chain, mut pending) = (BTreeSet::new(), vec![node]);
        while let Some(id) = pending.pop() {
            let is_step = live.node(id).op.is_elementwise()
                && live.node(id).shape == index.shape
                && live.uniform(id).is_none()
                && !self.given.contains_key(&id)
                && self.is_computed_here(id);
            if is_step && chain.insert(id) {
                pending.extend(live.inputs(id));
            }
        }
        if chain.len() > SHORT {
            for id in chain {
                self.value(id, index);
            }
        }
    }

    /// Whether this function computes a node, rather than to load it.
    fn is_computed_here(&self, id: usize) -> bool {
        match self.fused.kernel[id] {
            Some(root) => root == self.root,
            None => !self.live.is_leaf(id),
        }
    }

    fn name(&mut self, expression: String) -> String {
        let name = format!("v{}", self.count);
        self.count += 1;
        self.lines.push(format!("let {name} = {expression};"));
        name
    }

    /// The coordinates of an index.
    fn coordinates(&mut self, index: &Index) -> Vec<String> {
        if let Some(coordinates) = &index.coordinates {
            return coordinates.clone();
        }
        let key = index.key();
        if let Some(split) = self.splits.get(&key) {
            return split.clone();
        }
        let flat = self.offset(index);
        let strides = index.shape.strides();
        let mut split = Vec::new();
        for (axis, (&extent, stride)) in index.shape.iter().zip(strides).enumerate() {
            let coordinate = match (extent, stride, axis) {
                (1, _, _) => "0u".to_owned(),
                (_, 1, 0) => flat.clone(),
                // Of nothing, nothing is read.
                (0, _, _) | (_, 0, _) => "0u".to_owned(),
                (_, 1, _) => self.name(format!("{flat} % {extent}u")),
                (_, _, 0) => self.name(format!("{flat} / {stride}u")),
                _ => self.name(format!("{flat} / {stride}u % {extent}u")),
            };
            split.push(coordinate);
        }
        self.splits.insert(key, split.clone());
        split
    }

    /// The row-major offset of an index.
    fn offset(&mut self, index: &Index) -> String {
        if let Some(flat) = &index.flat {
            return flat.clone();
        }
        let coordinates = self.coordinates(index);
        let terms: Vec<String> = coordinates
            .iter()
            .zip(index.shape.strides())
            .filter(|(coordinate, _)| *coordinate != "0u")
            .map(|(coordinate, stride)| match stride {
                1 => coordinate.clone(),
                _ => format!("{coordinate} * {stride}u"),
            })
            .collect();
        let sum = if terms.is_empty() { "0u".to_owned() } else { terms.join(" + ") };
        if let Some(name) = self.offsets.get(&sum) {
            return name.clone();
        }
        let name = self.name(sum.clone());
        self.offsets.insert(sum, name.clone());
        name
    }

    /// The expression for one element of a node.
    fn value(&mut self, id: usize, index: &Index) -> String {
        if self.anchor == Some(id) {
            self.keep(id, index, "anchor");
            return "anchor".to_owned();
        }
        let node = self.live.node(id);
        if let Some(value) = self.live.uniform(id) {
            return literal(node.dtype, value);
        }
        let key = (id, index.key());
        if let Some(name) = self.known.get(&key) {
            return name.clone();
        }
        let is_given = index.flat.as_deref() == Some("i") || self.live.elements(id) == 1;
        let expression = match self.given.get(&id).filter(|_| is_given) {
            Some(value) => value.clone(),
            None if self.is_computed_here(id) => self.computed(id, index),
            None => self.load(id, index),
        };
        let name = self.name(expression);
        self.known.insert(key, name.clone());
        self.keep(id, index, &name);
        name
    }

    /// Stores the element `i` of a node, once, if it is to be kept.
    fn keep(&mut self, id: usize, index: &Index, value: &str) {
        if index.flat.as_deref() != Some("i") {
            return;
        }
        for keep in self.keeps.extract_if(.., |keep| keep.node == id) {
            let Keep { name, rounds, .. } = keep;
            let value =
                if rounds { format!("{}({value})", shaders::ROUND) } else { value.to_owned() };
            self.lines.push(format!("{name}[i] = {value};"));
        }
    }

    fn load(&mut self, id: usize, index: &Index) -> String {
        let node = self.live.node(id);
        let place = self.fused.place(self.live, id);
        let at = self.offset(index);
        let elsewhere = !self.is_own || at != "i";
        let bytes = index.elements as u64 * node.dtype.size() as u64;
        let stored = stored_type(node.dtype);
        let (buffer, element) = self.bindings.read(place, stored, elsewhere, bytes);
        match node.dtype {
            DType::F16 => shaders::half(&buffer, element, &at),
            DType::Bf16 => shaders::bfloat(&buffer, element, &at),
            DType::U8 => shaders::byte(&buffer, &at),
            DType::F32 => shaders::float(&buffer, element, &at),
            DType::I32 | DType::U32 => format!("{buffer}[{at}]"),
        }
    }

    /// The index at which an operand with broadcasting is read.
    fn broadcast(&mut self, index: &Index, input: usize) -> Index {
        let shape = &self.live.node(input).shape;
        if *shape == index.shape {
            return index.clone();
        }
        if shape.elements() == 1 {
            return Index::at(shape, vec!["0u".to_owned(); shape.rank()]).of(index.elements);
        }
        let coordinates = self.coordinates(index);
        let own = &coordinates[coordinates.len() - shape.rank()..];
        let repeated = own.iter().zip(shape.iter()).map(|(coordinate, &extent)| {
            if extent == 1 { "0u".to_owned() } else { coordinate.clone() }
        });
        Index::at(shape, repeated.collect()).of(index.elements)
    }

    /// An operation computed inside this function.
    fn computed(&mut self, id: usize, index: &Index) -> String {
        let node = self.live.node(id);
        let input = |at: usize| node.inputs[at].0;
        let shape_of = |at: usize| &self.live.node(node.inputs[at].0).shape;
        if matches!(node.op, Op::Unary(_) | Op::Binary(_) | Op::Select | Op::RandomUniform { .. }) {
            self.bindings.operations += index.elements as u64;
        }
        match &node.op {
            Op::Unary(unary) => {
                let x = self.value(input(0), index);
                wgsl::unary(*unary, &x)
            }
            Op::Binary(binary) => {
                let (left, right) =
                    (self.broadcast(index, input(0)), self.broadcast(index, input(1)));
                let a = self.value(input(0), &left);
                let b = self.value(input(1), &right);
                wgsl::binary(*binary, node.dtype, &a, &b)
            }
            Op::Select => {
                let parts: Vec<String> = (0..3)
                    .map(|at| {
                        let own = self.broadcast(index, input(at));
                        self.value(input(at), &own)
                    })
                    .collect();
                format!("select({}, {}, {} != 0.0)", parts[2], parts[1], parts[0])
            }
            Op::Cast(to) => {
                let x = self.value(input(0), index);
                format!("{}({x})", scalar_type(*to))
            }
            Op::StopGradient => self.value(input(0), index),
            Op::RandomUniform { seed, stream, .. } => {
                let step = self.value(input(0), &Index::flat(&Shape::scalar(), "0u"));
                let element = self.offset(index);
                let [high, low] = [seed >> 32, seed & 0xffff_ffff];
                let [first, second] = Philox::new(*seed, stream).stream_words();
                format!(
                    "random_uniform(vec2<u32>({low}u, {high}u), vec2<u32>({first}u, {second}u), {step}, {element})"
                )
            }
            Op::Reshape(_) => {
                let flat = self.offset(index);
                self.value(input(0), &Index::flat(shape_of(0), &flat).of(index.elements))
            }
            Op::BroadcastTo(_) => {
                let own = self.broadcast(index, input(0));
                self.value(input(0), &own)
            }
            Op::Transpose(permutation) => {
                let coordinates = self.coordinates(index);
                let mut own = vec![String::new(); permutation.len()];
                for (to, &from) in permutation.iter().enumerate() {
                    own[from] = coordinates[to].clone();
                }
                self.value(input(0), &Index::at(shape_of(0), own).of(index.elements))
            }
            Op::Slice { starts, .. } => {
                let coordinates = self.coordinates(index);
                let moved =
                    coordinates.iter().zip(starts).map(|(coordinate, &start)| match start {
                        0 => coordinate.clone(),
                        _ => format!("({coordinate} + {start}u)"),
                    });
                let moved = Index::at(shape_of(0), moved.collect());
                self.value(input(0), &moved.of(index.elements))
            }
            Op::Pad { before, .. } => self.pad(input(0), before, index),
            Op::Concat { axis } => self.concat(id, *axis, index),
            Op::GatherRows => self.gather(id, index),
            // There before the run, an anchor, or not there at all: never an expression.
            Op::Placeholder { .. }
            | Op::Variable(_)
            | Op::Constant(_)
            | Op::MatMul { .. }
            | Op::Reduce { .. }
            | Op::ArgMax
            | Op::Softmax
            | Op::LogSoftmax
            | Op::SoftmaxCrossEntropy { .. }
            | Op::SoftmaxCrossEntropyGradient { .. }
            | Op::LayerNorm { .. }
            | Op::LayerNormStatistics { .. }
            | Op::LayerNormGradient
            | Op::ScatterAddRows { .. }
            | Op::GlobalNorm
            | Op::Assign(_)
            | Op::OptimizerUpdate(_)
            | Op::Invalid
            | Op::ControlDependency => self.load(id, index),
        }
    }

    /// Elements outside the input are 0. The index is kept inside by force, since both branches
    /// of a `select` are computed.
    fn pad(&mut self, input: usize, before: &[usize], index: &Index) -> String {
        let shape = &self.live.node(input).shape;
        if shape.elements() == 0 {
            return "0.0".to_owned();
        }
        let coordinates = self.coordinates(index);
        let (mut moved, mut inside) = (Vec::new(), Vec::new());
        for (axis, coordinate) in coordinates.iter().enumerate() {
            let (start, extent, whole) = (before[axis], shape[axis], index.shape[axis]);
            if extent == whole {
                moved.push(coordinate.clone());
                continue;
            }
            // Below `start` this wraps to a large number, which is outside, too.
            let own = self.name(format!("zero_bits + {coordinate} - {start}u"));
            inside.push(format!("{own} < {extent}u"));
            moved.push(self.name(format!("min({own}, {}u)", extent - 1)));
        }
        let value = self.value(input, &Index::at(shape, moved).of(index.elements));
        if inside.is_empty() {
            return value;
        }
        format!("select(0.0, {value}, {})", inside.join(" && "))
    }

    fn concat(&mut self, id: usize, axis: usize, index: &Index) -> String {
        let live = self.live;
        let node = live.node(id);
        let coordinates = self.coordinates(index);
        let mut result = String::new();
        let mut start = 0;
        let parts = node.inputs.iter().filter(|part| live.elements(part.0) > 0);
        for part in parts {
            let shape = &live.node(part.0).shape;
            let mut own = coordinates.clone();
            let at = self.name(format!("zero_bits + {} - {start}u", coordinates[axis]));
            own[axis] = self.name(format!("min({at}, {}u)", shape[axis] - 1));
            let value = self.value(part.0, &Index::at(shape, own).of(index.elements));
            result = if result.is_empty() {
                value
            } else {
                // Later parts take over from their start on.
                self.name(format!("select({result}, {value}, {} >= {start}u)", coordinates[axis]))
            };
            start += shape[axis];
        }
        // Without any element nothing is ever computed.
        if result.is_empty() { literal(node.dtype, 0.0) } else { result }
    }

    fn gather(&mut self, id: usize, index: &Index) -> String {
        let node = self.live.node(id);
        let (table, rows) = (node.inputs[0].0, node.inputs[1].0);
        let (table_shape, rows_shape) = (&self.live.node(table).shape, &self.live.node(rows).shape);
        let count = table_shape[0];
        if count == 0 {
            return "not_a_number()".to_owned();
        }
        let coordinates = self.coordinates(index);
        let (which, rest) = coordinates.split_at(rows_shape.rank());
        let row = self.value(rows, &Index::at(rows_shape, which.to_vec()).of(index.elements));
        // A negative index becomes a large one.
        let row = self.name(format!("u32({row})"));
        let inside = self.name(format!("min({row}, {}u)", count - 1));
        let own = [&[inside], rest].concat();
        let value = self.value(table, &Index::at(table_shape, own).of(index.elements));
        format!("select(not_a_number(), {value}, {row} < {count}u)")
    }
}
