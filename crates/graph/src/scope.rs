//! Scopes: they give names, and declare what has a name.

use crate::{DType, Graph, Initializer, Location, Role, Shape, Tensor, Variable};

/// A prefix for names. `graph.scope("encoder").scope("layer_0")` names a variable `weight`
/// `encoder/layer_0/weight`.
#[derive(Clone)]
pub struct Scope<'g> {
    graph: &'g Graph,
    path: String,
    reuse: bool,
    frozen: bool,
}

impl<'g> Scope<'g> {
    pub(crate) fn root(graph: &'g Graph) -> Scope<'g> {
        Scope { graph, path: String::new(), reuse: false, frozen: false }
    }

    /// A scope within this one.
    #[must_use]
    pub fn scope(&self, name: &str) -> Scope<'g> {
        Scope { path: self.name(name), ..self.clone() }
    }

    /// The same scope, through which a variable that is already declared is found again rather
    /// than refused. Shape and dtype must agree.
    #[must_use]
    pub fn reuse(&self) -> Scope<'g> {
        Scope { reuse: true, ..self.clone() }
    }

    /// The same scope, through which variables are declared as not trained.
    #[must_use]
    pub fn frozen(&self) -> Scope<'g> {
        Scope { frozen: true, ..self.clone() }
    }

    /// The graph.
    pub fn graph(&self) -> &'g Graph {
        self.graph
    }

    /// The scope's own name, empty at the top.
    pub fn path(&self) -> &str {
        &self.path
    }

    /// The full name of something within this scope.
    pub fn name(&self, name: &str) -> String {
        if self.path.is_empty() { name.to_owned() } else { format!("{}/{name}", self.path) }
    }

    /// A trainable `f32` variable (not trained if the scope is [frozen](Scope::frozen)).
    #[track_caller]
    pub fn variable(
        &self,
        name: &str,
        shape: impl Into<Shape>,
        initializer: Initializer,
    ) -> Tensor<'g> {
        let role = if self.frozen { Role::State } else { Role::Trainable };
        self.declare(name, shape.into(), DType::F32, initializer, role)
    }

    /// A variable that is not trained, of any dtype.
    #[track_caller]
    pub fn state_of(
        &self,
        name: &str,
        shape: impl Into<Shape>,
        dtype: DType,
        initializer: Initializer,
    ) -> Tensor<'g> {
        self.declare(name, shape.into(), dtype, initializer, Role::State)
    }

    #[track_caller]
    pub(crate) fn declare(
        &self,
        name: &str,
        shape: Shape,
        dtype: DType,
        initializer: Initializer,
        role: Role,
    ) -> Tensor<'g> {
        let variable = Variable::new(self.name(name), shape, dtype, initializer, role);
        self.graph.declare(variable, self.reuse, &self.path)
    }

    /// A value fed at each run.
    #[track_caller]
    pub fn placeholder(&self, name: &str, shape: impl Into<Shape>, dtype: DType) -> Tensor<'g> {
        self.graph.add_placeholder(self.name(name), shape.into(), dtype, &self.path)
    }

    /// A linear layer: `x · weight + bias`, with variables `weight [inputs, units]`
    /// (Glorot uniform) and `bias [units]` (zeros) in this scope.
    /// [`Graph::get_variable`](crate::Graph::get_variable) gives them by name.
    #[track_caller]
    pub fn linear(&self, x: Tensor<'g>, units: usize) -> Tensor<'g> {
        self.linear_with(x, units, Initializer::GlorotUniform, Initializer::Zeros)
    }

    /// A linear layer with the given initializers.
    #[track_caller]
    pub fn linear_with(
        &self,
        x: Tensor<'g>,
        units: usize,
        weight: Initializer,
        bias: Initializer,
    ) -> Tensor<'g> {
        // An input of no dimensions is refused by the product below, at the caller's line.
        let inputs = x.shape().last().copied().unwrap_or(1);
        let weight = self.variable("weight", [inputs, units], weight);
        let bias = self.variable("bias", [units], bias);
        // A layer is in its own scope, wherever its input comes from.
        self.graph.in_scope(Location::caller(), &self.path, || x.matmul(weight) + bias)
    }

    /// An embedding: the rows of a variable `weight [rows, width]` (normal, standard deviation
    /// 0.02) at the given indices.
    #[track_caller]
    pub fn embedding(&self, indices: Tensor<'g>, rows: usize, width: usize) -> Tensor<'g> {
        let initializer = Initializer::Normal { mean: 0.0, stddev: 0.02 };
        self.variable("weight", [rows, width], initializer).gather_rows(indices)
    }

    /// Layer normalization over the last axis, with variables `weight [width]` (ones) and `bias [width]`
    /// (zeros) in this scope: TensorFlow's gamma and beta. `epsilon` is 10⁻⁵ where PyTorch trained the
    /// weights, and 10⁻³ where Keras did, if nothing else was said. See [`Tensor::layer_norm`].
    #[track_caller]
    pub fn layer_norm(&self, x: Tensor<'g>, epsilon: f32) -> Tensor<'g> {
        // An input of no dimensions is refused by the operation below, at the caller's line.
        let width = x.shape().last().copied().unwrap_or(1);
        let weight = self.variable("weight", [width], Initializer::Ones);
        let bias = self.variable("bias", [width], Initializer::Zeros);
        let build = || x.layer_norm(weight, bias, epsilon);
        self.graph.in_scope(Location::caller(), &self.path, build)
    }
}
