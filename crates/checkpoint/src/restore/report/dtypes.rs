//! What to do about values of another dtype.

use crate::printable::printable;
use crate::restore::matching::{Outcome, casts};
use crate::restore::report::{RestoreReport, VariableOutcome};
use crate::restore::rules::{EVERYTHING, Rule};
use crate::restore::wording::Wording;
use crate::tensor::FileDType;
use warmstart_graph::Variable;

impl RestoreReport {
    /// That no variable takes a quantization.
    pub(crate) fn help_with_quantized(&self) -> Option<String> {
        let quantized = |dtype: &FileDType| matches!(dtype, FileDType::Quantized(_));
        let dtype = self.other_dtypes().map(|(_, dtype)| dtype).find(quantized)?;
        Some(format!(
            "{dtype} is a quantization, which no variable takes: use a file in f32, f16 or bf16"
        ))
    }

    /// What a cast mends, and of what else there is none.
    pub(crate) fn helps_with_dtypes(&self, words: &dyn Wording) -> Vec<String> {
        let can_be_cast =
            |(variable, dtype): &(&Variable, FileDType)| casts(*dtype, variable.dtype);
        let rule = Rule::Cast(EVERYTHING.to_owned());
        let is_said = self.rules.iter().any(|used| used.rule == rule);
        let cast = self.other_dtypes().any(|one| can_be_cast(&one)) && !is_said;
        let cast = cast.then(|| words.rule(&rule)).flatten();
        let cast = cast.map(|rule| {
            format!("`{rule}` casts whole numbers and floats to what the variables are")
        });
        let is_float = |dtype: FileDType| dtype.source().is_some_and(|source| source.is_float());
        let refused = |one: &(&Variable, FileDType)| !can_be_cast(one) && is_float(one.1);
        let refused = self.other_dtypes().find(refused).map(|(variable, dtype)| {
            format!(
                "floats are not cast to whole numbers: declare `{}` as a float, or save it as {} \
                 (it is {dtype} in the file)",
                printable(&variable.name),
                variable.dtype
            )
        });
        cast.into_iter().chain(refused).collect()
    }

    /// The variables of another dtype in the file, with that one.
    fn other_dtypes(&self) -> impl Iterator<Item = (&Variable, FileDType)> {
        self.variables.iter().filter_map(|VariableOutcome { variable, outcome }| match outcome {
            Outcome::DTypeMismatch { dtype, .. } => Some((&**variable, *dtype)),
            _ => None,
        })
    }
}
