//! Small graphs of every operation with random shapes and values: one table, for checking
//! gradients against differences and kernels against the CPU twin. It depends on
//! `warmstart-graph` and nothing else, so that tests of other crates can include it with `#[path]`.
//!
//! A case is a function of a seed. Shapes are drawn from extents that kernels stumble on: 1,
//! primes, neighbours of powers of two, and 0 where the operation allows it.
#![allow(dead_code)]

mod arithmetic;
mod layers;
mod structure;

use warmstart_graph::{
    DType, Elements, Graph, GraphDef, Initializer, NodeId, Shape, Tensor, TensorData, gradients,
};

/// A named builder of graphs.
#[derive(Clone, Copy)]
pub struct Case {
    /// Names the case in failures.
    pub name: &'static str,
    /// Whether the gradients are the derivatives of the loss, so that differences agree with
    /// them; not so where gradients are stopped or a function jumps.
    pub smooth: bool,
    make: for<'g> fn(&mut Maker<'g>) -> Vec<Tensor<'g>>,
}

/// A graph of a case, with everything that evaluating it needs.
pub struct Built {
    /// The graph.
    pub def: GraphDef,
    /// The results of the operation under test.
    pub fetches: Vec<NodeId>,
    /// The sum of all floating-point results, each element times a random constant; absent if
    /// nothing is differentiable.
    pub loss: Option<NodeId>,
    /// The names of the feeds and variables that the loss is differentiated by.
    pub inputs: Vec<String>,
    /// The loss's gradients: the name of an input and the node; none where it is 0 by definition.
    pub gradients: Vec<(String, NodeId)>,
    /// Values for placeholders.
    pub feeds: Vec<(String, TensorData)>,
    /// Values for variables.
    pub variables: Vec<(String, TensorData)>,
}

impl Built {
    /// The value fed to a placeholder or assigned to a variable.
    pub fn input(&self, name: &str) -> &TensorData {
        let mut all = self.feeds.iter().chain(&self.variables);
        &all.find(|(other, _)| other == name).expect("gradients name feeds and variables").1
    }
}

/// Every case.
pub fn all() -> Vec<Case> {
    [arithmetic::CASES, structure::CASES, layers::CASES].concat()
}

/// A case whose gradients are its derivatives.
const fn smooth(name: &'static str, make: for<'g> fn(&mut Maker<'g>) -> Vec<Tensor<'g>>) -> Case {
    Case { name, smooth: true, make }
}

/// A case whose gradients are not its derivatives.
const fn rough(name: &'static str, make: for<'g> fn(&mut Maker<'g>) -> Vec<Tensor<'g>>) -> Case {
    Case { name, smooth: false, make }
}

impl Case {
    /// Builds the case's graph for a seed: always the same graph and values for the same seed.
    ///
    /// # Panics
    /// If the case does not fit together, which is a mistake in the table or the graph crate.
    pub fn build(&self, seed: u64) -> Built {
        let graph = Graph::new();
        // The name is mixed in, so that cases of one seed do not share their shapes.
        let mixed = self
            .name
            .bytes()
            .fold(seed, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3));
        let mut maker = Maker {
            graph: &graph,
            random: Random(mixed),
            feeds: Vec::new(),
            variables: Vec::new(),
            inputs: Vec::new(),
        };
        let fetches = (self.make)(&mut maker);
        let mut loss: Option<Tensor<'_>> = None;
        if !maker.inputs.is_empty() {
            for fetch in fetches.iter().filter(|fetch| fetch.dtype() == DType::F32) {
                let shape = fetch.shape();
                let weights = maker.elements(shape.elements(), 0.5, 1.5, |_| true);
                let weights = TensorData::new(shape, weights).expect("as many as the shape says");
                let part = (*fetch * graph.constant(weights)).sum_all();
                loss = Some(loss.map_or(part, |sum| sum + part));
            }
        }
        let tensors: Vec<Tensor<'_>> = maker.inputs.iter().map(|(_, tensor)| *tensor).collect();
        let gradients: Vec<(String, NodeId)> = match loss {
            Some(loss) => {
                let found = gradients(loss, &tensors);
                let named = maker.inputs.iter().zip(found);
                named.filter_map(|((name, _), g)| Some((name.clone(), g?.id()))).collect()
            }
            None => Vec::new(),
        };
        let def = match graph.finish() {
            Ok(def) => def,
            Err(errors) => panic!("case {} with seed {seed}: {errors}", self.name),
        };
        Built {
            def,
            fetches: fetches.iter().map(|fetch| fetch.id()).collect(),
            loss: loss.map(|loss| loss.id()),
            inputs: maker.inputs.into_iter().map(|(name, _)| name).collect(),
            gradients,
            feeds: maker.feeds,
            variables: maker.variables,
        }
    }
}

/// SplitMix64 (Steele et al. 2014): small, and the same everywhere.
pub struct Random(pub u64);

impl Random {
    /// 64 random bits.
    pub fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number below `limit`.
    pub fn below(&mut self, limit: usize) -> usize {
        (self.bits() % limit.max(1) as u64) as usize
    }

    /// A number in `low..high`.
    pub fn number(&mut self, low: f32, high: f32) -> f32 {
        let unit = (self.bits() >> 40) as f32 / (1u64 << 24) as f32;
        low + (high - low) * unit
    }
}

/// What a case builds with: a graph, and random shapes and inputs.
pub struct Maker<'g> {
    /// The graph.
    pub graph: &'g Graph,
    /// The source of everything random.
    pub random: Random,
    feeds: Vec<(String, TensorData)>,
    variables: Vec<(String, TensorData)>,
    inputs: Vec<(String, Tensor<'g>)>,
}

/// No more elements than this in a drawn shape: the twin is slow.
const MOST_ELEMENTS: usize = 1200;

impl<'g> Maker<'g> {
    /// True in so many of a hundred cases.
    pub fn chance(&mut self, percent: usize) -> bool {
        self.random.below(100) < percent
    }

    /// An extent of at least 1.
    pub fn extent(&mut self) -> usize {
        const EXTENTS: [usize; 14] = [1, 1, 2, 3, 4, 5, 7, 8, 13, 15, 16, 17, 31, 33];
        EXTENTS[self.random.below(EXTENTS.len())]
    }

    /// Extents of at least 1.
    pub fn shape(&mut self, rank: usize) -> Vec<usize> {
        loop {
            let shape: Vec<usize> = (0..rank).map(|_| self.extent()).collect();
            if shape.iter().product::<usize>() <= MOST_ELEMENTS {
                return shape;
            }
        }
    }

    /// Extents for 0 to 3 dimensions, sometimes one of them 0.
    pub fn any_shape(&mut self) -> Vec<usize> {
        let rank = self.random.below(4);
        let mut shape = self.shape(rank);
        if rank > 0 && self.chance(5) {
            let at = self.random.below(rank);
            shape[at] = 0;
        }
        shape
    }

    /// Two shapes that broadcast: dimensions of either are dropped in front or replaced by 1.
    pub fn two_shapes(&mut self) -> (Vec<usize>, Vec<usize>) {
        let full = self.any_shape();
        let mut shrunk = || {
            let mut shape = full.clone();
            match self.random.below(4) {
                0 => {
                    shape.drain(..self.random.below(full.len() + 1));
                }
                1 => {
                    for extent in &mut shape {
                        if self.random.below(2) == 0 {
                            *extent = 1;
                        }
                    }
                }
                _ => {}
            }
            shape
        };
        (shrunk(), shrunk())
    }

    fn elements(
        &mut self,
        count: usize,
        low: f32,
        high: f32,
        allowed: impl Fn(f32) -> bool,
    ) -> Vec<f32> {
        let mut draw = || loop {
            let x = self.random.number(low, high);
            if allowed(x) {
                return x;
            }
        };
        (0..count).map(|_| draw()).collect()
    }

    fn feed(&mut self, shape: &[usize], elements: impl Into<Elements>) -> (String, Tensor<'g>) {
        let data = TensorData::new(shape, elements).expect("as many as the shape says");
        let name = format!("x{}", self.feeds.len());
        let tensor = self.graph.placeholder(&name, shape, data.dtype());
        self.feeds.push((name.clone(), data));
        (name, tensor)
    }

    /// A differentiable input with elements in `low..high`.
    pub fn floats(&mut self, shape: &[usize], low: f32, high: f32) -> Tensor<'g> {
        self.floats_where(shape, low, high, |_| true)
    }

    /// A differentiable input whose elements keep away from a place where a function bends.
    pub fn floats_away(&mut self, shape: &[usize], low: f32, high: f32, from: f32) -> Tensor<'g> {
        self.floats_where(shape, low, high, |x| (x - from).abs() > 0.01)
    }

    /// A differentiable input with elements that a test allows.
    pub fn floats_where(
        &mut self,
        shape: &[usize],
        low: f32,
        high: f32,
        allowed: impl Fn(f32) -> bool,
    ) -> Tensor<'g> {
        let elements = self.elements(shape.iter().product(), low, high, allowed);
        self.given(shape, elements)
    }

    /// A differentiable input with the given elements.
    pub fn given(&mut self, shape: &[usize], elements: Vec<f32>) -> Tensor<'g> {
        let (name, tensor) = self.feed(shape, elements);
        self.inputs.push((name, tensor));
        tensor
    }

    /// An input of whole numbers in `low..=high`, not differentiable, but `f32`.
    pub fn whole(&mut self, shape: &[usize], low: i32, high: i32) -> Tensor<'g> {
        let elements: Vec<f32> = self.draw(shape, low, high).iter().map(|&x| x as f32).collect();
        self.feed(shape, elements).1
    }

    /// An `i32` input in `low..=high`.
    pub fn integers(&mut self, shape: &[usize], low: i32, high: i32) -> Tensor<'g> {
        let elements = self.draw(shape, low, high);
        self.feed(shape, elements).1
    }

    /// A `u32` input in `0..=high`.
    pub fn unsigned(&mut self, shape: &[usize], high: u32) -> Tensor<'g> {
        let count = shape.iter().product();
        let elements: Vec<u32> =
            (0..count).map(|_| (self.random.bits() % (u64::from(high) + 1)) as u32).collect();
        self.feed(shape, elements).1
    }

    fn draw(&mut self, shape: &[usize], low: i32, high: i32) -> Vec<i32> {
        let span = (i64::from(high) - i64::from(low) + 1) as u64;
        let count = shape.iter().product();
        (0..count).map(|_| (i64::from(low) + (self.random.bits() % span) as i64) as i32).collect()
    }

    /// Gives a declared `f32` variable a random value and makes it a differentiable input.
    pub fn fill(&mut self, scope: &str, name: &str, shape: &[usize]) {
        let variable = self.graph.scope(scope).reuse().variable(name, shape, Initializer::Zeros);
        let elements = self.elements(shape.iter().product(), -1.0, 1.0, |_| true);
        let data = TensorData::new(shape, elements).expect("as many as the shape says");
        let name = format!("{scope}/{name}");
        self.variables.push((name.clone(), data));
        self.inputs.push((name, variable));
    }

    /// Sets the global step.
    pub fn at_step(&mut self, step: u32) {
        self.variables.push((warmstart_graph::GLOBAL_STEP.to_owned(), TensorData::from(step)));
    }

    /// Axes for a shape: each of them with an even chance, in random order.
    pub fn axes(&mut self, shape: &[usize]) -> Vec<usize> {
        let mut axes: Vec<usize> = (0..shape.len()).filter(|_| self.random.below(2) == 0).collect();
        for at in (1..axes.len()).rev() {
            axes.swap(at, self.random.below(at + 1));
        }
        axes
    }
}

/// The number of elements of extents.
pub fn count(shape: &[usize]) -> usize {
    Shape::from(shape).elements()
}
