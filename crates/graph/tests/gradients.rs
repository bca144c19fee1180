//! Every gradient against central differences of the CPU twin, in `f64`.

mod cases;

use cases::{Built, Case, Random};
use warmstart_graph::reference::{Reference, Value};

const SEEDS: u64 = 12;

/// The step of the differences. For a loss L that is smooth at the scale of 1, cutting the series
/// off errs by h² L‴ / 6 ≈ 10⁻¹⁰ and rounding by 2⁻⁵² |L| / h ≈ 2·10⁻¹¹ |L|.
const STEP: f64 = 1e-5;

/// Relative to the larger of 1 and the derivative. It is not the differences but the gradients
/// that need it: their coefficients (0.044715, √(2/π), 1/n, ...) are rounded to `f32` in the graph,
/// each off by up to 2⁻²⁴ ≈ 6·10⁻⁸ of itself. A handful of them, and sums whose terms are larger
/// than their total, stay below this.
const TOLERANCE: f64 = 2e-6;

/// How many elements of an input are compared, drawn at random: the twin is slow.
const COMPARED: usize = 12;

fn reference<'a>(built: &'a Built) -> Reference<'a> {
    let mut reference = Reference::new(&built.def);
    built.feeds.iter().for_each(|(name, data)| reference.feed(name, data));
    built.variables.iter().for_each(|(name, data)| reference.assign(name, data));
    reference
}

fn compare(case: &Case, seed: u64) -> Result<usize, String> {
    let built = case.build(seed);
    let mut twin = reference(&built);
    let values = twin.run(&built.fetches).map_err(|e| format!("{}: {e}", case.name))?;
    for (value, id) in values.iter().zip(&built.fetches) {
        if value.shape != built.def.node(*id).shape || value.elements.iter().any(|x| x.is_nan()) {
            return Err(format!("{} seed {seed}: bad value {value:?}", case.name));
        }
    }
    let (Some(loss), true) = (built.loss, case.smooth) else { return Ok(0) };
    let mut random = Random(seed);
    let mut compared = 0;
    for name in &built.inputs {
        let mut twin = reference(&built);
        let original = Value::from(built.input(name));
        let found = match built.gradients.iter().find(|(other, _)| other == name) {
            Some((_, gradient)) => twin.run(&[*gradient]).map_err(|e| e.to_string())?.remove(0),
            None => Value { elements: vec![0.0; original.elements.len()], ..original.clone() },
        };
        if found.shape != original.shape {
            return Err(format!("{}: the gradient for {name} is {}", case.name, found.shape));
        }
        let fed = built.feeds.iter().any(|(other, _)| other == name);
        let mut at = |index: usize, by: f64| {
            let mut moved = original.clone();
            moved.elements[index] += by;
            if fed {
                twin.feed(name, moved)
            } else {
                twin.assign(name, moved)
            }
            twin.run(&[loss]).expect("it ran before")[0].elements[0]
        };
        let count = original.elements.len();
        let indices: Vec<usize> = if count <= COMPARED {
            (0..count).collect()
        } else {
            (0..COMPARED).map(|_| random.below(count)).collect()
        };
        for index in indices {
            let (above, below) = (at(index, STEP), at(index, -STEP));
            let expected = (above - below) / (2.0 * STEP);
            let (found, size) = (found.elements[index], above.abs().max(below.abs()));
            // Rounding of a loss that is a sum of many terms, each larger than the total.
            let rounding = 1e-10 * size;
            let off = (found - expected).abs();
            if off.is_nan() || off > TOLERANCE * expected.abs().max(1.0) + rounding {
                return Err(format!(
                    "case {} with seed {seed}: the gradient of the loss for `{name}` {} at element \
                     {index} is {found}, and differences give {expected}\n{}",
                    case.name, original.shape, built.def
                ));
            }
            compared += 1;
        }
    }
    Ok(compared)
}

#[test]
fn gradients_are_the_derivatives() {
    let mut failures = Vec::new();
    for case in cases::all() {
        let mut compared = 0;
        for seed in 0..SEEDS {
            match compare(&case, seed) {
                Ok(count) => compared += count,
                Err(failure) => {
                    failures.push(failure);
                    break;
                }
            }
        }
        assert!(
            compared > 0 || !case.smooth || !failures.is_empty(),
            "case {} compared nothing",
            case.name
        );
    }
    assert!(failures.is_empty(), "{} cases fail:\n{}", failures.len(), failures.join("\n"));
}
