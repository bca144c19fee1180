//! A graph while it is built: what adds nodes and variables to it, and notes mistakes.

use crate::ops::Op;
use crate::validate::{unsuitable, usable_name};
use crate::{
    DType, GraphDef, GraphError, GraphErrors, Initializer, Location, Node, NodeId, Problem, Role,
    Scope, Shape, Tensor, TensorData, Update, Variable, VariableId,
};
use std::cell::RefCell;
use std::collections::HashSet;
use std::sync::atomic::{AtomicU64, Ordering};

/// The name of the variable that counts training steps.
pub const GLOBAL_STEP: &str = "global_step";

#[derive(Default)]
struct Inner {
    def: GraphDef,
    errors: Vec<GraphError>,
    /// Where nodes built now are said to come from, instead of the caller, and in which scope if
    /// not in their own: set while gradients and optimizers are built, so that they point at the
    /// user's line too.
    origin: Option<(Location, Option<String>)>,
    /// Whether products that are built now round their operands to `f16`.
    computes_f16: bool,
}

/// A graph being built.
///
/// Building never panics and never stops: a mistake is recorded with the caller's file and line,
/// and [`Graph::finish`] (which compiling calls) returns all of them together.
///
/// ```
/// use warmstart_graph::{DType, Graph};
/// let graph = Graph::new();
/// let x = graph.placeholder("x", [64, 784], DType::F32);
/// let hidden = graph.scope("fc1").linear(x, 128).relu();
/// let logits = graph.scope("fc2").linear(hidden, 10);
/// assert_eq!(logits.shape().to_string(), "[64, 10]");
/// assert!(graph.finish().is_ok());
///
/// let wrong = x + hidden;
/// let errors = graph.finish().unwrap_err();
/// assert!(errors.to_string().contains("shapes [64, 784] and [64, 128] do not broadcast"));
/// ```
pub struct Graph {
    inner: RefCell<Inner>,
    identity: u64,
}

/// How many graphs this process has made.
static GRAPHS: AtomicU64 = AtomicU64::new(0);

impl Default for Graph {
    fn default() -> Graph {
        Graph::holding(GraphDef::default())
    }
}

impl Graph {
    /// An empty graph.
    pub fn new() -> Graph {
        Graph::default()
    }

    fn holding(def: GraphDef) -> Graph {
        let inner = RefCell::new(Inner { def, ..Inner::default() });
        Graph { inner, identity: GRAPHS.fetch_add(1, Ordering::Relaxed) }
    }

    /// A number that no other graph of this process has. Nodes are told apart by their index in
    /// their graph only, so whoever keeps an index keeps this beside it.
    pub fn identity(&self) -> u64 {
        self.identity
    }

    /// A graph from its stored form.
    ///
    /// # Errors
    /// What does not fit together, if it was damaged.
    pub fn from_def(def: GraphDef) -> Result<Graph, GraphErrors> {
        def.validate()?;
        Ok(Graph::holding(def))
    }

    /// The graph as plain data.
    ///
    /// # Errors
    /// Every mistake that was made while building it.
    pub fn finish(&self) -> Result<GraphDef, GraphErrors> {
        let inner = self.inner.borrow();
        if inner.errors.is_empty() {
            Ok(inner.def.clone())
        } else {
            Err(GraphErrors(inner.errors.clone()))
        }
    }

    /// Sets the seed of random operations that are built from here on (dropout).
    pub fn set_seed(&self, seed: u64) {
        self.inner.borrow_mut().def.seed = seed;
    }

    /// The seed of random operations.
    pub fn seed(&self) -> u64 {
        self.inner.borrow().def.seed
    }

    /// The scope at the top, in which names have no prefix.
    pub fn root(&self) -> Scope<'_> {
        Scope::root(self)
    }

    /// A scope: names built through it begin with `name/`.
    pub fn scope(&self, name: &str) -> Scope<'_> {
        self.root().scope(name)
    }

    /// A value fed at each run. What is made of bytes, such as images, is fed as bytes: `u8`, which is cast
    /// before anything is computed of it.
    ///
    /// ```
    /// use warmstart_graph::{DType, Graph};
    /// let graph = Graph::new();
    /// let images = graph.placeholder("images", [64, 28, 28], DType::U8);
    /// let pixels = images.reshape([64, 784]).cast(DType::F32) / 255.0;
    /// assert_eq!((pixels.dtype(), pixels.shape().to_string()), (DType::F32, "[64, 784]".into()));
    /// ```
    #[track_caller]
    pub fn placeholder(&self, name: &str, shape: impl Into<Shape>, dtype: DType) -> Tensor<'_> {
        self.root().placeholder(name, shape, dtype)
    }

    /// A trainable `f32` variable.
    #[track_caller]
    pub fn variable(
        &self,
        name: &str,
        shape: impl Into<Shape>,
        initializer: Initializer,
    ) -> Tensor<'_> {
        self.root().variable(name, shape, initializer)
    }

    /// A value written into the graph: a number, a list, or any [`TensorData`].
    ///
    /// ```
    /// use warmstart_graph::Graph;
    /// let graph = Graph::new();
    /// assert_eq!(graph.constant(vec![1.0f32, 2.0, 4.0]).shape().to_string(), "[3]");
    /// assert_eq!(graph.constant(vec![1u32; 6]).reshape([2, 3]).shape().to_string(), "[2, 3]");
    /// ```
    #[track_caller]
    pub fn constant(&self, data: impl Into<TensorData>) -> Tensor<'_> {
        self.add(Op::Constant(data.into()), &[], "")
    }

    /// The number of training steps done so far, a `u32` scalar: the variable [`GLOBAL_STEP`],
    /// declared at first use and incremented by optimizers.
    #[track_caller]
    pub fn global_step(&self) -> Tensor<'_> {
        self.step_count(GLOBAL_STEP)
    }

    /// A count of steps, declared at first use.
    #[track_caller]
    pub(crate) fn step_count(&self, name: &str) -> Tensor<'_> {
        self.root().reuse().state_of(name, [], DType::U32, Initializer::Zeros)
    }

    /// The variable of this name, scopes included: the weight of a layer that was built elsewhere, to
    /// use it once more or to say something about it. None if the graph declares none of this name.
    ///
    /// ```
    /// use warmstart_graph::{DType, Graph};
    /// let graph = Graph::new();
    /// let words = graph.placeholder("words", [6], DType::I32);
    /// let embedded = graph.scope("embedding").embedding(words, 100, 8);
    /// // The table is the last layer's matrix, too.
    /// let table = graph.get_variable("embedding/weight").expect("it was declared above");
    /// assert_eq!(embedded.matmul(table.transpose(&[1, 0])).shape().to_string(), "[6, 100]");
    /// assert!(graph.get_variable("weight").is_none());
    /// ```
    #[track_caller]
    pub fn get_variable(&self, name: &str) -> Option<Tensor<'_>> {
        let at = self.inner.borrow().def.variables.iter().position(|v| v.name == name)?;
        Some(self.add(Op::Variable(VariableId(at)), &[], ""))
    }

    /// The tensor that was given a name with [`Tensor::named`].
    pub fn named(&self, name: &str) -> Option<Tensor<'_>> {
        let id = self.inner.borrow().def.names.get(name).copied()?;
        Some(Tensor::new(self, id))
    }

    /// The tensor of a node, such as one noted before the graph was stored; none if the graph has no
    /// such node, or it is an [update](Graph::update), which has no value. Indices mean nothing in
    /// other graphs.
    pub fn tensor(&self, id: NodeId) -> Option<Tensor<'_>> {
        self.node(id).filter(|tensor| self.with(tensor.id(), |node| !node.op.is_update()))
    }

    fn node(&self, id: NodeId) -> Option<Tensor<'_>> {
        (id.0 < self.inner.borrow().def.nodes.len()).then(|| Tensor::new(self, id))
    }

    /// The update of a node, such as one noted before the graph was stored; none if the graph has
    /// no such node, or it is no update.
    pub fn update(&self, id: NodeId) -> Option<Update<'_>> {
        let tensor = self.node(id)?;
        self.with(id, |node| node.op.is_update()).then_some(Update { tensor })
    }

    /// Its updates, in the order in which they were built: a graph that comes from a checkpoint has the
    /// training that it was saved with, and goes on with it by these.
    pub fn updates(&self) -> Vec<Update<'_>> {
        let nodes = self.inner.borrow().def.nodes.len();
        (0..nodes).filter_map(|index| self.update(NodeId(index))).collect()
    }

    /// Adds a node; a node that does not fit, or has an input that did not, is invalid.
    #[track_caller]
    pub(crate) fn add(&self, op: Op, inputs: &[NodeId], scope: &str) -> Tensor<'_> {
        let (location, scope) = self.origin(scope);
        let inner = &mut *self.inner.borrow_mut();
        let nodes: Vec<&Node> = inputs.iter().map(|&id| inner.def.node(id)).collect();
        let inferred = if nodes.iter().any(|node| node.op == Op::Invalid) {
            None
        } else {
            match op.infer(&nodes, &inner.def.variables) {
                Ok(inferred) => Some(inferred),
                Err(problem) => {
                    let operation = op.name().to_owned();
                    let (scope, location) = (scope.clone(), location.clone());
                    inner.errors.push(GraphError { operation, scope, location, problem });
                    None
                }
            }
        };
        let node = match inferred {
            Some((shape, dtype)) => {
                Node { op, inputs: inputs.to_vec(), shape, dtype, scope, location }
            }
            None => Node {
                op: Op::Invalid,
                inputs: Vec::new(),
                shape: Shape::scalar(),
                dtype: DType::F32,
                scope,
                location,
            },
        };
        inner.def.nodes.push(node);
        Tensor::new(self, NodeId(inner.def.nodes.len() - 1))
    }

    /// Records a mistake and gives an invalid tensor to go on with.
    #[track_caller]
    pub(crate) fn refuse(&self, operation: &str, scope: &str, problem: Problem) -> Tensor<'_> {
        self.record(operation, scope, problem);
        self.add(Op::Invalid, &[], scope)
    }

    #[track_caller]
    pub(crate) fn record(&self, operation: &str, scope: &str, problem: Problem) {
        let (location, scope) = self.origin(scope);
        let operation = operation.to_owned();
        let error = GraphError { operation, scope, location, problem };
        self.inner.borrow_mut().errors.push(error);
    }

    #[track_caller]
    fn origin(&self, scope: &str) -> (Location, String) {
        match &self.inner.borrow().origin {
            Some((location, own)) => {
                (location.clone(), own.clone().unwrap_or_else(|| scope.to_owned()))
            }
            None => (Location::caller(), scope.to_owned()),
        }
    }

    /// Builds nodes that are said to come from the line and scope of another node.
    pub(crate) fn on_behalf_of<T>(&self, id: NodeId, build: impl FnOnce() -> T) -> T {
        let (location, scope) = {
            let inner = self.inner.borrow();
            let node = inner.def.node(id);
            (node.location.clone(), Some(node.scope.clone()))
        };
        self.with_origin((location, scope), build)
    }

    /// Builds what is said to come from a line, and of a scope if one is given; then what it was before
    /// holds again.
    fn with_origin<T>(&self, origin: (Location, Option<String>), build: impl FnOnce() -> T) -> T {
        let outer = self.inner.borrow_mut().origin.replace(origin);
        let result = build();
        self.inner.borrow_mut().origin = outer;
        result
    }

    /// Builds nodes and variables that are said to come from one line: `#[track_caller]` does not
    /// reach through closures, and whoever builds a graph from a description knows a better line
    /// than that of its own source. What is already built on behalf of another line stays so.
    ///
    /// ```
    /// use warmstart_graph::{DType, Graph, Location};
    /// let graph = Graph::new();
    /// let line = Location { file: "model.toml".into(), line: 3 };
    /// graph.at_line(line.clone(), || graph.placeholder("x", [2], DType::F32));
    /// assert_eq!(graph.finish()?.nodes[0].location, line);
    /// # Ok::<(), warmstart_graph::GraphErrors>(())
    /// ```
    pub fn at_line<T>(&self, location: Location, build: impl FnOnce() -> T) -> T {
        if self.inner.borrow().origin.is_some() {
            return build();
        }
        self.with_origin((location, None), build)
    }

    /// Builds nodes that are said to be of this scope, and of this line unless another is set.
    pub(crate) fn in_scope<T>(
        &self,
        location: Location,
        scope: &str,
        build: impl FnOnce() -> T,
    ) -> T {
        let line = self.inner.borrow().origin.as_ref().map(|(line, _)| line.clone());
        self.with_origin((line.unwrap_or(location), Some(scope.to_owned())), build)
    }

    /// Notes that the gradient computes the nodes again that were built since there were `first`.
    pub(crate) fn recompute_from(&self, first: usize) {
        let def = &mut self.inner.borrow_mut().def;
        if def.nodes.len() > first {
            // What is within a part is computed again with it.
            def.recomputed.retain(|(inner, _)| inner.0 < first);
            def.recomputed.push((NodeId(first), NodeId(def.nodes.len() - 1)));
        }
    }

    /// Notes that the gradient reads the first of these nodes as the second has rounded it.
    pub(crate) fn keep_as(&self, value: NodeId, rounded: NodeId) {
        let kept = &mut self.inner.borrow_mut().def.kept_f16;
        // What was built within a scope within this one is noted already.
        if let Err(place) = kept.binary_search_by_key(&value, |&(value, _)| value) {
            kept.insert(place, (value, rounded));
        }
    }

    /// Notes that the gradient reads these nodes as they are.
    pub(crate) fn keep_exact(&self, values: &HashSet<NodeId>) {
        self.inner.borrow_mut().def.kept_f16.retain(|(value, _)| !values.contains(value));
    }

    /// Sets whether products that are built from here on round their operands to `f16`, and tells
    /// whether they did.
    pub(crate) fn set_computes_f16(&self, computes: bool) -> bool {
        std::mem::replace(&mut self.inner.borrow_mut().computes_f16, computes)
    }

    pub(crate) fn computes_f16(&self) -> bool {
        self.inner.borrow().computes_f16
    }

    /// The number of mistakes recorded so far.
    pub(crate) fn mistakes(&self) -> usize {
        self.inner.borrow().errors.len()
    }

    /// Declares a variable, or finds it again if `reuse` allows.
    #[track_caller]
    pub(crate) fn declare(&self, mut variable: Variable, reuse: bool, scope: &str) -> Tensor<'_> {
        if let Some((location, _)) = &self.inner.borrow().origin {
            variable.location = location.clone();
        }
        let existing = {
            let inner = self.inner.borrow();
            let position = inner.def.variables.iter().position(|v| v.name == variable.name);
            position.map(|at| (at, inner.def.variables[at].clone()))
        };
        if let Some((at, first)) = existing {
            let problem = if !reuse {
                duplicate(variable, first.location)
            } else if first.shape != variable.shape || first.dtype != variable.dtype {
                Problem::Reuse {
                    name: variable.name,
                    first: first.location,
                    declared: first.shape,
                    declared_dtype: first.dtype,
                    shape: variable.shape,
                    dtype: variable.dtype,
                }
            } else {
                return self.add(Op::Variable(VariableId(at)), &[], scope);
            };
            return self.refuse("variable", scope, problem);
        }
        if let Some(problem) = unsuitable(&variable) {
            return self.refuse("variable", scope, problem);
        }
        let id = {
            let mut inner = self.inner.borrow_mut();
            inner.def.variables.push(variable);
            VariableId(inner.def.variables.len() - 1)
        };
        self.add(Op::Variable(id), &[], scope)
    }

    #[track_caller]
    pub(crate) fn add_placeholder(
        &self,
        name: String,
        shape: Shape,
        dtype: DType,
        scope: &str,
    ) -> Tensor<'_> {
        let taken = self.inner.borrow().def.nodes.iter().find_map(|node| match &node.op {
            Op::Placeholder { name: other, .. } if *other == name => Some(node.location.clone()),
            _ => None,
        });
        if let Some(first) = taken {
            let kind = "placeholder".to_owned();
            let problem = Problem::DuplicateName { name, kind, first };
            return self.refuse("placeholder", scope, problem);
        }
        if !usable_name(&name) {
            return self.refuse("placeholder", scope, Problem::Name { name });
        }
        self.add(Op::Placeholder { name, shape, dtype }, &[], scope)
    }

    #[track_caller]
    pub(crate) fn name(&self, name: &str, id: NodeId) {
        let taken = self.inner.borrow().def.names.get(name).copied();
        match taken {
            Some(first) if first != id => {
                let first = self.with(first, |node| node.location.clone());
                let (name, kind) = (name.to_owned(), "tensor".to_owned());
                let scope = self.with(id, |node| node.scope.clone());
                self.record("named", &scope, Problem::DuplicateName { name, kind, first });
            }
            _ => {
                self.inner.borrow_mut().def.names.insert(name.to_owned(), id);
            }
        }
    }

    pub(crate) fn with<T>(&self, id: NodeId, read: impl FnOnce(&Node) -> T) -> T {
        read(self.inner.borrow().def.node(id))
    }

    pub(crate) fn with_def<T>(&self, read: impl FnOnce(&GraphDef) -> T) -> T {
        read(&self.inner.borrow().def)
    }
}

/// A name that is taken: what to do about it depends on who asked for it.
fn duplicate(variable: Variable, first: Location) -> Problem {
    let name = variable.name;
    match variable.role {
        Role::Slot { optimizer, .. } => Problem::DuplicateSlot { optimizer, name, first },
        _ => Problem::DuplicateVariable { name, first },
    }
}
