//! What the user says about a restore: rules, and how strict it is.

use crate::restore::rules::Rule;
use std::collections::BTreeSet;

/// How a checkpoint may differ from the variables. By default it may not: every variable needs a
/// tensor and every tensor a variable, of one name, shape and dtype.
///
/// Rules are applied in the order in which they are given, and the report says how many names each
/// touched; a rule that touches none is an error, since it does not do what it was written for. So is
/// one about values where none of those that it matches needs it, unless its glob is `**`.
/// In globs ([`Glob`](crate::Glob)) `*` stands for anything within one part of a name (what stands
/// between `/` or `.`), `**` for any number of whole parts, as in `**/weight` or `**.weight`, and
/// `{a,b}` for either.
///
/// ```
/// use warmstart_checkpoint::RestoreOptions;
///
/// let options = RestoreOptions::new()
///     .strip_prefix("module.")
///     .separator('.', '/')
///     .rename_component("kernel", "weight")
///     .ignore("head/**")
///     .transpose("**/weight");
/// let code: Vec<String> = options.rules().iter().map(|rule| rule.to_string()).collect();
/// assert_eq!(code[0], r#".strip_prefix("module.")"#);
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RestoreOptions {
    pub(crate) rules: Vec<Rule>,
    pub(crate) allow_missing: bool,
    pub(crate) allow_unexpected: bool,
    pub(crate) allow_mismatched_shape: bool,
    pub(crate) allow_slots_alone: bool,
    pub(crate) skip_checksums: bool,
    pub(crate) left_out: BTreeSet<String>,
}

/// How strict a restore is.
impl RestoreOptions {
    /// Strict both ways, and no rules.
    pub fn new() -> RestoreOptions {
        RestoreOptions::default()
    }

    /// Variables that the checkpoint does not hold keep what they have. Those that have nothing
    /// stay uninitialized, and remember which file did not hold them.
    pub fn allow_missing(mut self) -> RestoreOptions {
        self.allow_missing = true;
        self
    }

    /// Tensors that belong to no variable stay in the file.
    pub fn allow_unexpected(mut self) -> RestoreOptions {
        self.allow_unexpected = true;
        self
    }

    /// One tensor of the file may belong to no variable: it is not refused as unexpected, as
    /// [`allow_unexpected`](RestoreOptions::allow_unexpected) does for all of them.
    ///
    /// `tensor` is its exact name in the file, before any rule has renamed it, and no glob. A name
    /// that the file does not hold is accepted, so that one set of options fits files with and
    /// without it.
    ///
    /// ```
    /// use warmstart_checkpoint::RestoreOptions;
    ///
    /// // A counter that the model has no variable for.
    /// let options = RestoreOptions::new()
    ///     .strip_prefix("module.")
    ///     .leave_out("module.num_batches_tracked");
    /// assert_eq!(options.rules().len(), 1, "it is no rule");
    /// ```
    pub fn leave_out(mut self, tensor: impl Into<String>) -> RestoreOptions {
        self.left_out.insert(tensor.into());
        self
    }

    /// Variables of which the checkpoint has a value of another shape keep what they have, as if
    /// it were missing. Those that have nothing stay uninitialized.
    pub fn allow_mismatched_shape(mut self) -> RestoreOptions {
        self.allow_mismatched_shape = true;
        self
    }

    /// Optimizer slots (Adam's averages, say) are restored even where the variables that they belong to
    /// are not, since those have their weights from elsewhere: from another file, say, that was
    /// restored before. Otherwise that is an error: weights that begin anew would train on with the
    /// averages of others. So would weights that rules take from another tensor, or turn, without their
    /// slots: [those](crate::RestoreReport::slots_of_others) are restored as they are, too.
    ///
    /// So are gradients that an optimizer has
    /// [accumulated](warmstart_graph::Optimizer::gradient_accumulation_steps) for its next update, without
    /// those of other variables, or without the number of batches that they are of. Otherwise that is
    /// an error, too: sums would be divided by batches that are not in them.
    pub fn allow_slots_alone(mut self) -> RestoreOptions {
        self.allow_slots_alone = true;
        self
    }

    /// Weights are not held against the checksums they were saved with: for measuring what that
    /// costs, and for getting what can be got out of a damaged file.
    pub fn skip_checksums(mut self) -> RestoreOptions {
        self.skip_checksums = true;
        self
    }

    /// The same without rules, and strict both ways; whether checksums are skipped stays.
    pub fn strict(&self) -> RestoreOptions {
        RestoreOptions { skip_checksums: self.skip_checksums, ..RestoreOptions::default() }
    }

    /// The same without rules; what is allowed stays.
    pub fn without_rules(&self) -> RestoreOptions {
        RestoreOptions { rules: Vec::new(), ..self.clone() }
    }

    /// The rules, in the order in which they are applied.
    pub fn rules(&self) -> &[Rule] {
        &self.rules
    }

    /// Adds a rule that is at hand as a value, such as one that a plan suggests.
    pub fn rule(mut self, rule: Rule) -> RestoreOptions {
        self.rules.push(rule);
        self
    }
}

/// Rules about names. They rewrite the names of the checkpoint's tensors, until they are those of
/// the variables.
impl RestoreOptions {
    /// The tensor `from` is the value of variable `to`.
    pub fn rename(self, from: impl Into<String>, to: impl Into<String>) -> RestoreOptions {
        self.rule(Rule::Rename { from: from.into(), to: to.into() })
    }

    /// Tensors under scope `from` (`from/...` or `from.…`) belong to variables under scope `to`.
    /// Either may have several parts, and either may be empty: then it is the top.
    pub fn rename_scope(self, from: impl Into<String>, to: impl Into<String>) -> RestoreOptions {
        self.rule(Rule::RenameScope { from: from.into(), to: to.into() })
    }

    /// Where a part of a path (what stands between `/` or `.`) is `from`, it becomes `to`: as a
    /// scope at any depth, and as the last part. `rename_component("kernel", "weight")` makes
    /// `fc1/weight/adam/m` of `fc1/kernel/adam/m`.
    pub fn rename_component(
        self,
        from: impl Into<String>,
        to: impl Into<String>,
    ) -> RestoreOptions {
        self.rule(Rule::RenameComponent { from: from.into(), to: to.into() })
    }

    /// All that matches a regular expression (of the `regex` crate) is replaced. The replacement
    /// names captures as `$1` or `${name}`; before a letter, a digit or `_`, as `${1}`.
    pub fn rename_regex(
        self,
        pattern: impl Into<String>,
        replacement: impl Into<String>,
    ) -> RestoreOptions {
        let (pattern, replacement) = (pattern.into(), replacement.into());
        self.rule(Rule::RenameRegex { pattern, replacement })
    }

    /// Names that begin with `prefix` lose it, letter by letter: `strip_prefix("module.")`.
    pub fn strip_prefix(self, prefix: impl Into<String>) -> RestoreOptions {
        self.rule(Rule::StripPrefix(prefix.into()))
    }

    /// All names get a prefix, letter by letter: `add_prefix("model/")`.
    pub fn add_prefix(self, prefix: impl Into<String>) -> RestoreOptions {
        self.rule(Rule::AddPrefix(prefix.into()))
    }

    /// What stands between the parts of a name becomes another character:
    /// `separator('.', '/')` for names of PyTorch.
    pub fn separator(self, from: char, to: char) -> RestoreOptions {
        self.rule(Rule::Separator { from, to })
    }

    /// Which part of the checkpoint goes where, as in TensorFlow's `init_from_checkpoint`:
    /// `("encoder/", "model/encoder/")` is a scope, `("/", "model/")` the top, and
    /// `("global_step", "step")` one name. All pairs are taken together, so that one tensor may be
    /// the value of several variables. Tensors and variables that no pair speaks of are left out.
    pub fn assignment_map<F: Into<String>, T: Into<String>>(
        self,
        pairs: impl IntoIterator<Item = (F, T)>,
    ) -> RestoreOptions {
        let pairs = pairs.into_iter().map(|(from, to)| (from.into(), to.into()));
        self.rule(Rule::AssignmentMap(pairs.collect()))
    }
}

/// Rules about which tensors and variables take part. What is left out keeps what it has: a
/// variable its value, a tensor its place in the file.
///
/// After all rules about names, their globs match variables and tensors alike. Before one, names
/// are not those of variables yet, and they match tensors alone.
impl RestoreOptions {
    /// All but the names that match are left out: `only("encoder/**")`.
    pub fn only(self, glob: impl Into<String>) -> RestoreOptions {
        self.rule(Rule::Only(glob.into()))
    }

    /// The names that match are left out: `ignore("head/**")`.
    pub fn ignore(self, glob: impl Into<String>) -> RestoreOptions {
        self.rule(Rule::Ignore(glob.into()))
    }
}

/// Rules about values. Their globs match names of variables. A rule that none of them needs is an
/// error, such as a cast of what has its dtype in the file already. The glob `**` alone says: wherever
/// it must be, so it may find nothing to do, in a program that restores files which differ.
impl RestoreOptions {
    /// Matrices are stored with rows and columns exchanged, as those of PyTorch's `Linear` are.
    /// Variables that match and are no matrices are not concerned.
    pub fn transpose(self, glob: impl Into<String>) -> RestoreOptions {
        self.rule(Rule::Transpose(glob.into()))
    }

    /// A value of another dtype is cast, rounding to the nearest; floats are not cast to whole
    /// numbers. `cast("**")` casts wherever it must. A number that the variable's dtype cannot hold
    /// fails the restore, which changes nothing then: 1e6 for an `f16`, which ends at 65504, would
    /// become an infinity.
    pub fn cast(self, glob: impl Into<String>) -> RestoreOptions {
        self.rule(Rule::Cast(glob.into()))
    }

    /// A value of another shape is taken if it has as many elements; they keep their order.
    pub fn reshape(self, glob: impl Into<String>) -> RestoreOptions {
        self.rule(Rule::Reshape(glob.into()))
    }

    /// A value with more or fewer rows (extents of the first dimension) is taken: the rows that
    /// both have are copied, and rows that the file lacks get what initialization with `seed`
    /// would give them. For a vocabulary that has grown. Rows that are left out are verified too: the
    /// checksum is of the whole value.
    pub fn resize_rows(self, glob: impl Into<String>, seed: u64) -> RestoreOptions {
        self.rule(Rule::ResizeRows { glob: glob.into(), seed })
    }
}
