//! The plain CPU twin: every operation, in `f64`, as its definition reads. It is slow on purpose;
//! kernels and gradients are checked against it.

use crate::ops::Op;
use crate::{
    DType, GraphDef, GraphErrors, LossScale, NodeId, Shape, TensorData, Variable, VariableId,
};
use std::collections::HashMap;
use thiserror::Error;

crate::debug_as_display!(ReferenceError);

/// A value of the twin. Integers are held exactly, too.
#[derive(Clone, Debug, PartialEq)]
pub struct Value {
    /// The extents.
    pub shape: Shape,
    /// The elements, row-major.
    pub elements: Vec<f64>,
}

impl From<&TensorData> for Value {
    fn from(data: &TensorData) -> Value {
        Value { shape: data.shape().clone(), elements: data.to_f64() }
    }
}

impl Value {
    /// The element at an index of this value's own shape.
    pub(crate) fn at(&self, index: &[usize]) -> f64 {
        let offset: usize = self.shape.strides().iter().zip(index).map(|(s, i)| s * i).sum();
        self.elements[offset]
    }

    /// The offset that an index of a broadcast shape falls on.
    pub(crate) fn broadcast_offset(&self, index: &[usize]) -> usize {
        let own = &index[index.len() - self.shape.rank()..];
        let strides = self.shape.strides();
        own.iter()
            .zip(self.shape.iter().zip(strides))
            .map(|(&i, (&extent, stride))| if extent == 1 { 0 } else { i * stride })
            .sum()
    }

    /// The element that an index of a broadcast shape falls on.
    pub(crate) fn broadcast_at(&self, index: &[usize]) -> f64 {
        self.elements[self.broadcast_offset(index)]
    }
}

/// Every index of a shape, row-major.
pub(crate) fn indices(shape: &Shape) -> impl Iterator<Item = Vec<usize>> + '_ {
    let strides = shape.strides();
    (0..shape.elements()).map(move |at| {
        strides.iter().zip(shape.iter()).map(|(&stride, &extent)| at / stride % extent).collect()
    })
}

/// Why the twin could not evaluate a graph.
#[derive(Clone, PartialEq, Error)]
pub enum ReferenceError {
    /// A placeholder has no value.
    #[error("placeholder `{0}` was not fed; feed it first")]
    NotFed(String),
    /// A variable has no value.
    #[error("variable `{0}` has no value; assign it first")]
    NoValue(String),
    /// A feed or a variable's value does not have the declared shape.
    #[error("`{name}` has shape {expected}, and was given {elements} elements as {found}")]
    Shape {
        /// The placeholder or variable.
        name: String,
        /// Its shape.
        expected: Shape,
        /// The value's shape.
        found: Shape,
        /// The number of the value's elements.
        elements: usize,
    },
    /// A node of another graph.
    #[error("there is no node {} in this graph; fetch one of its own", .0.0)]
    NoNode(NodeId),
    /// The graph does not fit together.
    #[error(transparent)]
    Graph(GraphErrors),
}

fn fits<'v>(name: &str, shape: &Shape, value: &'v Value) -> Result<&'v Value, ReferenceError> {
    if value.shape == *shape && value.elements.len() == shape.elements() {
        return Ok(value);
    }
    Err(ReferenceError::Shape {
        name: name.to_owned(),
        expected: shape.clone(),
        found: value.shape.clone(),
        elements: value.elements.len(),
    })
}

/// Evaluates a graph on the CPU.
///
/// ```
/// use warmstart_graph::{DType, Graph, TensorData, reference::Reference};
/// let graph = Graph::new();
/// let x = graph.placeholder("x", [3], DType::F32);
/// let y = x.square().sum_all();
/// let def = graph.finish().unwrap();
/// let mut reference = Reference::new(&def);
/// reference.feed("x", &TensorData::new([3], [1.0f32, 2.0, 3.0]).unwrap());
/// assert_eq!(reference.run(&[y.id()]).unwrap()[0].elements, [14.0]);
/// ```
pub struct Reference<'a> {
    def: &'a GraphDef,
    valid: Result<(), GraphErrors>,
    feeds: HashMap<String, Value>,
    variables: HashMap<String, Value>,
}

impl<'a> Reference<'a> {
    /// An evaluator without feeds and values.
    pub fn new(def: &'a GraphDef) -> Reference<'a> {
        Reference { def, valid: def.validate(), feeds: HashMap::new(), variables: HashMap::new() }
    }

    /// Sets what a placeholder holds in the next runs.
    pub fn feed(&mut self, name: &str, value: impl Into<Value>) {
        self.feeds.insert(name.to_owned(), value.into());
    }

    /// Sets a variable's value.
    pub fn assign(&mut self, name: &str, value: impl Into<Value>) {
        self.variables.insert(name.to_owned(), value.into());
    }

    /// A variable's value.
    pub fn variable(&self, name: &str) -> Option<&Value> {
        self.variables.get(name)
    }

    /// Evaluates nodes; variables change after everything has been read, as on the device.
    ///
    /// # Errors
    /// A placeholder or variable without a value or with one of another shape, a node that is not
    /// there, two updates that write one variable, or a graph that does not fit together. No
    /// variable has changed then.
    pub fn run(&mut self, fetches: &[NodeId]) -> Result<Vec<Value>, ReferenceError> {
        self.valid.clone().map_err(ReferenceError::Graph)?;
        if let Some(&id) = fetches.iter().find(|id| id.0 >= self.def.nodes.len()) {
            return Err(ReferenceError::NoNode(id));
        }
        self.def.check_updates(fetches).map_err(ReferenceError::Graph)?;
        let mut needed = vec![false; self.def.nodes.len()];
        let mut pending = fetches.to_vec();
        while let Some(id) = pending.pop() {
            if !std::mem::replace(&mut needed[id.0], true) {
                pending.extend(&self.def.node(id).inputs);
            }
        }
        let mut values: Vec<Option<Value>> = vec![None; self.def.nodes.len()];
        let none = Value { shape: Shape::from([0]), elements: Vec::new() };
        for at in (0..self.def.nodes.len()).filter(|&at| needed[at]) {
            let node = &self.def.nodes[at];
            let value = match &node.op {
                Op::Placeholder { name, shape, .. } => {
                    let missing = || ReferenceError::NotFed(name.clone());
                    let value = self.feeds.get(name).ok_or_else(missing)?;
                    fits(name, shape, value)?.clone()
                }
                Op::Variable(id) => self.value_of(*id)?.clone(),
                op => {
                    let inputs: Vec<&Value> =
                        node.inputs.iter().filter_map(|id| values[id.0].as_ref()).collect();
                    let dtypes: Vec<DType> =
                        node.inputs.iter().map(|&id| self.def.node(id).dtype).collect();
                    op.evaluate(&inputs, &dtypes, &node.shape).unwrap_or_else(|| none.clone())
                }
            };
            values[at] = Some(value);
        }
        let mut changed = HashMap::new();
        for &id in fetches.iter().filter(|id| self.def.node(**id).op.is_update()) {
            self.update(id, &values, &mut changed)?;
        }
        self.variables.extend(changed);
        Ok(fetches.iter().map(|id| values[id.0].clone().unwrap_or_else(|| none.clone())).collect())
    }

    fn value_of(&self, id: VariableId) -> Result<&Value, ReferenceError> {
        let Variable { name, shape, .. } = self.def.variable(id);
        let value =
            self.variables.get(name).ok_or_else(|| ReferenceError::NoValue(name.clone()))?;
        fits(name, shape, value)
    }

    /// What an update makes of the variables, which are those of before the run.
    fn update(
        &self,
        id: NodeId,
        values: &[Option<Value>],
        changed: &mut HashMap<String, Value>,
    ) -> Result<(), ReferenceError> {
        let node = self.def.node(id);
        let input = |at: usize| values[node.inputs[at].0].as_ref();
        match &node.op {
            Op::Assign(variable) => {
                if let Some(value) = input(0) {
                    changed.insert(self.def.variable(*variable).name.clone(), value.clone());
                }
            }
            Op::OptimizerUpdate(update) => {
                let step = self.value_of(update.step)?.elements[0] + 1.0;
                let scalar = |at: usize| input(at).map_or(f64::NAN, |value| value.elements[0]);
                let (learning_rate, factor) = (scalar(0), scalar(1));
                let is_finite = update.norm_input().is_none_or(|at| scalar(at).is_finite());
                let batches = update.batches_input().map_or(1.0, scalar);
                let ends = update.accumulation.as_ref().is_none_or(|all| all.updates(batches));
                let applied = ends && is_finite;
                let name = |id| self.def.variable(id).name.clone();
                for (at, parameter) in update.parameters.iter().enumerate() {
                    let Some(gradient) = input(at + update.scalars()) else { continue };
                    let (own_slots, accumulator) =
                        parameter.slots.split_at(update.rule.slots().len());
                    changed.extend(accumulator.iter().map(|&id| {
                        let mut kept = gradient.clone();
                        if ends {
                            kept.elements.fill(0.0);
                        }
                        (name(id), kept)
                    }));
                    if !applied {
                        continue;
                    }
                    let mut new = self.value_of(parameter.variable)?.clone();
                    let mut slots = Vec::new();
                    for &slot in own_slots {
                        slots.push(self.value_of(slot)?.clone());
                    }
                    for (element, gradient) in gradient.elements.iter().enumerate() {
                        let mut own: Vec<f64> = slots.iter().map(|s| s.elements[element]).collect();
                        update.rule.evaluate(
                            step,
                            learning_rate,
                            parameter.decays,
                            gradient * factor,
                            &mut new.elements[element],
                            &mut own,
                        );
                        slots.iter_mut().zip(own).for_each(|(s, x)| s.elements[element] = x);
                    }
                    changed.extend(own_slots.iter().map(|&id| name(id)).zip(slots));
                    changed.insert(name(parameter.variable), new);
                }
                let mut set = |id, to: &dyn Fn(f64) -> f64| {
                    let mut value = self.value_of(id)?.clone();
                    value.elements[0] = to(value.elements[0]);
                    changed.insert(name(id), value);
                    Ok(())
                };
                set(update.step, &|step| step + f64::from(u8::from(applied)))?;
                set(update.global_step, &|step| step + 1.0)?;
                if let Some(accumulation) = &update.accumulation {
                    set(accumulation.accumulated, &|_| if ends { 0.0 } else { batches })?;
                }
                if let Some(LossScale { scale, good_steps, scaling }) =
                    update.loss_scale.as_ref().filter(|_| ends)
                {
                    let good = self.value_of(*good_steps)?.elements[0] as u32;
                    let now = self.value_of(*scale)?.elements[0];
                    let (next, good) = scaling.evaluate(now, good, applied);
                    set(*scale, &|_| next)?;
                    set(*good_steps, &|_| f64::from(good))?;
                }
            }
            _ => {}
        }
        Ok(())
    }
}
