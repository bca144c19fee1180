//! Whether a graph fits together: what the builder refuses, and what a stored graph must be.

use crate::ops::Op;
use crate::{DType, GraphDef, GraphError, GraphErrors, Location, Node, NodeId, Problem, Variable};
use std::collections::BTreeMap;

impl GraphDef {
    /// Checks a graph that came from outside: that inputs come before their uses, that every
    /// shape and dtype is what the shape rules say, and that names can be told apart.
    ///
    /// # Errors
    /// The first thing that does not fit.
    pub fn validate(&self) -> Result<(), GraphErrors> {
        self.validate_variables()?;
        let mut placeholders = BTreeMap::new();
        for (at, node) in self.nodes.iter().enumerate() {
            let fail = |problem| {
                Err(GraphErrors(vec![GraphError {
                    operation: node.op.name().to_owned(),
                    scope: node.scope.clone(),
                    location: node.location.clone(),
                    problem,
                }]))
            };
            if node.op == Op::Invalid || node.inputs.iter().any(|input| input.0 >= at) {
                let why = format!("node {at} is invalid or uses a later node");
                return fail(Problem::Damaged { why });
            }
            if node.inputs.iter().any(|&input| self.node(input).op.is_update()) {
                let why = format!("node {at} uses an update, which has no value");
                return fail(Problem::Damaged { why });
            }
            if let Op::Placeholder { name, .. } = &node.op {
                if !usable_name(name) {
                    return fail(Problem::Name { name: name.clone() });
                }
                if let Some(first) = placeholders.insert(name, &node.location) {
                    let (name, kind) = (name.clone(), "placeholder".to_owned());
                    return fail(Problem::DuplicateName { name, kind, first: first.clone() });
                }
            }
            let inputs: Vec<&Node> = node.inputs.iter().map(|&id| self.node(id)).collect();
            match node.op.infer(&inputs, &self.variables) {
                Ok((shape, dtype)) if shape == node.shape && dtype == node.dtype => {}
                Ok((shape, dtype)) => {
                    let why = format!(
                        "node {at} is stored as {} {}, and its inputs give {dtype} {shape}",
                        node.dtype, node.shape
                    );
                    return fail(Problem::Damaged { why });
                }
                Err(problem) => return fail(problem),
            }
        }
        let names = self.names.iter().find(|(_, id)| id.0 >= self.nodes.len());
        let names = names.map(|(name, id)| {
            format!("the name `{name}` points at node {}, which is not there", id.0)
        });
        match names.or_else(|| self.misplaced_part()).or_else(|| self.misplaced_f16()) {
            None => Ok(()),
            Some(why) => Err(GraphErrors(vec![GraphError {
                operation: "graph".to_owned(),
                scope: String::new(),
                location: Location { file: "stored graph".into(), line: 0 },
                problem: Problem::Damaged { why },
            }])),
        }
    }

    /// A part to compute again that is not of this graph, or not after the one before.
    fn misplaced_part(&self) -> Option<String> {
        let mut start = 0;
        for &(first, last) in &self.recomputed {
            if first.0 < start || last < first || last.0 >= self.nodes.len() {
                return Some(format!(
                    "the part to compute again from node {} to {} is out of place",
                    first.0, last.0
                ));
            }
            start = last.0 + 1;
        }
        None
    }

    /// A value that is kept as something that is not its `f16`.
    fn misplaced_f16(&self) -> Option<String> {
        let rounds = |value: NodeId, rounded: NodeId| {
            let node = self.nodes.get(rounded.0);
            node.is_some_and(|node| node.op == Op::Cast(DType::F16) && node.inputs == [value])
        };
        let ascends = self.kept_f16.windows(2).all(|pair| pair[0].0 < pair[1].0);
        let wrong = self.kept_f16.iter().find(|(value, rounded)| !rounds(*value, *rounded));
        let wrong = wrong.or_else(|| self.kept_f16.first().filter(|_| !ascends));
        wrong.map(|(value, rounded)| {
            format!("node {} is not kept as f16 by node {}", value.0, rounded.0)
        })
    }

    fn validate_variables(&self) -> Result<(), GraphErrors> {
        let mut places = BTreeMap::new();
        for variable in &self.variables {
            let first = places.insert(&variable.name, &variable.location);
            let problem = match first {
                Some(first) => Some(Problem::DuplicateVariable {
                    name: variable.name.clone(),
                    first: first.clone(),
                }),
                None => unsuitable(variable),
            };
            if let Some(problem) = problem {
                return Err(GraphErrors(vec![GraphError {
                    operation: "variable".to_owned(),
                    scope: String::new(),
                    location: variable.location.clone(),
                    problem,
                }]));
            }
        }
        Ok(())
    }
}

/// What is wrong with the declaration of a variable by itself.
pub(crate) fn unsuitable(variable: &Variable) -> Option<Problem> {
    let (name, shape) = (variable.name.clone(), variable.shape.clone());
    if !usable_name(&name) {
        return Some(Problem::Name { name });
    }
    if !shape.fits_index() {
        return Some(Problem::TooLarge { shape });
    }
    if !DType::OF_VARIABLES.contains(&variable.dtype) {
        return Some(Problem::VariableDType { name, dtype: variable.dtype });
    }
    let why = variable.initializer.check(&shape, variable.dtype).err()?.to_string();
    let initializer = variable.initializer.to_string();
    Some(Problem::Initializer { name, shape, dtype: variable.dtype, initializer, why })
}

/// Names are kept to what every checkpoint format can hold and give back.
pub(crate) fn usable_name(name: &str) -> bool {
    !name.split('/').any(str::is_empty)
        && !name.chars().any(char::is_control)
        && !name.ends_with(":0")
        && name != "__metadata__"
}
