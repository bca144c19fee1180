//! Which tensors of other programs' checkpoints are optimizers' slots. Such checkpoints say it by
//! names only, each program in its own way.

use crate::restore::rules::{SEPARATORS, without_output as bare};
use std::collections::{HashMap, HashSet};
use warmstart_graph::{Role, Shape};

/// Parts of names under which programs keep what belongs to an optimizer.
const OPTIMIZERS: [&str; 18] = [
    "adadelta",
    "adafactor",
    "adagrad",
    "adam",
    "adamax",
    "adamw",
    "amsgrad",
    "ftrl",
    "lamb",
    "lion",
    "nadam",
    "opt_state",
    "optim",
    "optimizer",
    "optimizer_state_dict",
    "optimizer_states",
    "rmsprop",
    "sgd",
];

/// The optimizer of slots that do not say of which they are.
pub(crate) const UNNAMED: &str = "optimizer";

/// Scopes of such.
const UNNAMED_SCOPES: [&str; 5] =
    ["opt_state", "optim", "optimizer", "optimizer_state_dict", "optimizer_states"];

/// TensorFlow 1's slots, each a part behind its variable's name: with the optimizer, and what is in
/// it (`get_slot_names` of `tf.compat.v1.train`'s optimizers; the last two are BERT's).
const TENSORFLOW_1: [(&str, &str, &str); 13] = [
    ("Adadelta", "Adadelta", "accum"),
    ("Adadelta_1", "Adadelta", "accum_update"),
    ("Adagrad", "Adagrad", "accumulator"),
    ("Adam", "Adam", "m"),
    ("Adam_1", "Adam", "v"),
    ("Adam_2", "Adam", "vhat"),
    ("Ftrl", "Ftrl", "accum"),
    ("Ftrl_1", "Ftrl", "linear"),
    ("Momentum", "Momentum", "momentum"),
    ("RMSProp", "RMSProp", "rms"),
    ("RMSProp_1", "RMSProp", "momentum"),
    ("adam_m", "Adam", "m"),
    ("adam_v", "Adam", "v"),
];

/// What slots are called by whom, and whether nothing else is called so.
const SLOTS: [(&str, Whose, Besides); 40] = [
    ("acc_delta", Whose::PyTorch, Besides::Others),
    ("accum_grad", Whose::Scoped, Besides::Nothing),
    ("accum_var", Whose::Scoped, Besides::Nothing),
    ("accumulated_delta_var", Whose::Scoped, Besides::Others),
    ("accumulated_grad", Whose::Scoped, Besides::Others),
    ("accumulator", Whose::Scoped, Besides::Nothing),
    ("average_gradient", Whose::Scoped, Besides::Others),
    ("ax", Whose::PyTorch, Besides::Others),
    ("c", Whose::Scoped, Besides::Others),
    ("col_var", Whose::PyTorch, Besides::Others),
    ("eta", Whose::PyTorch, Besides::Others),
    ("exp_avg", Whose::PyTorch, Besides::Nothing),
    ("exp_avg_sq", Whose::PyTorch, Besides::Nothing),
    ("exp_inf", Whose::PyTorch, Besides::Nothing),
    ("grad_avg", Whose::PyTorch, Besides::Others),
    ("linear", Whose::Scoped, Besides::Others),
    ("m", Whose::Scoped, Besides::Others),
    ("max_exp_avg_sq", Whose::PyTorch, Besides::Nothing),
    ("momentum", Whose::Scoped, Besides::Nothing),
    ("momentum_buffer", Whose::PyTorch, Besides::Nothing),
    ("mu", Whose::Scoped, Besides::Others),
    ("mu", Whose::PyTorch, Besides::Others),
    ("mu_product", Whose::PyTorch, Besides::Others),
    ("norm", Whose::Scoped, Besides::Others),
    ("nu", Whose::Scoped, Besides::Others),
    ("prev", Whose::PyTorch, Besides::Others),
    ("r", Whose::Scoped, Besides::Others),
    ("rms", Whose::Scoped, Besides::Others),
    ("row_var", Whose::PyTorch, Besides::Others),
    ("square_avg", Whose::PyTorch, Besides::Nothing),
    ("step", Whose::PyTorch, Besides::Others),
    ("step_size", Whose::PyTorch, Besides::Others),
    ("sum", Whose::PyTorch, Besides::Others),
    ("trace", Whose::Scoped, Besides::Others),
    ("u", Whose::Scoped, Besides::Others),
    ("v", Whose::Scoped, Besides::Others),
    ("variance", Whose::PyTorch, Besides::Others),
    ("velocity", Whose::Scoped, Besides::Nothing),
    ("velocity_hat", Whose::Scoped, Besides::Nothing),
    ("vhat", Whose::Scoped, Besides::Nothing),
];

/// What else is called so.
#[derive(Clone, Copy, PartialEq)]
enum Besides {
    /// Nothing: the word alone says that it is a slot.
    Nothing,
    /// Weights, too.
    Others,
}

/// Who calls a slot so.
#[derive(Clone, Copy, PartialEq)]
enum Whose {
    /// Keras, TensorFlow 2 and optax, in an optimizer's scope.
    Scoped,
    /// PyTorch, by its variable's name or number.
    PyTorch,
}

/// Whether a slot is called so.
fn calls(whose: Whose, word: &str) -> bool {
    SLOTS.iter().any(|(slot, of, _)| *slot == word && *of == whose)
}

/// What PyTorch's optimizers keep that others do not, from the most telling on (`torch.optim`, the keys of
/// `state` in each one's `state_dict()`).
const KEPT_BY: [(&[&str], &str); 11] = [
    (&["mu_product"], "NAdam"),
    (&["exp_inf"], "Adamax"),
    (&["acc_delta"], "Adadelta"),
    (&["square_avg"], "RMSprop"),
    (&["row_var"], "Adafactor"),
    (&["variance"], "Adafactor"),
    (&["prev", "step_size"], "Rprop"),
    (&["ax", "eta"], "ASGD"),
    (&["sum"], "Adagrad"),
    (&["exp_avg", "exp_avg_sq"], "Adam, AdamW or RAdam"),
    (&["momentum_buffer"], "SGD with momentum, or Muon"),
];

/// Which of PyTorch's optimizers keep these slots.
pub(crate) fn pytorch_optimizer<'a>(
    slots: impl Iterator<Item = &'a str> + Clone,
) -> Option<&'static str> {
    let has = |word: &&str| slots.clone().any(|slot| slot == *word);
    KEPT_BY.iter().find(|(words, _)| words.iter().all(has)).map(|(_, kept_by)| *kept_by)
}

/// The state that a slot is in, if it is one of PyTorch's and its owner only a number there:
/// `optimizer.state` for `optimizer.state.0`.
pub(crate) fn numbered_in<'a>(owner: &'a str, slot: &str) -> Option<&'a str> {
    state_of(owner).filter(|_| calls(Whose::PyTorch, slot))
}

/// `optimizer.state` of `optimizer.state.0`, in which PyTorch numbers parameters in the order in which its
/// optimizer got them.
fn state_of(owner: &str) -> Option<&str> {
    let (state, number) = owner.rsplit_once(SEPARATORS)?;
    let is_number = !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit());
    (is_number && state.rsplit(SEPARATORS).next() == Some("state")).then_some(state)
}

/// Where a training program in PyTorch keeps its model beside its optimizer.
const MODELS: [&str; 5] = ["", "model.", "module.", "state_dict.", "model_state_dict."];

/// A tensor of a checkpoint: its name and its shape.
type Named<'a> = (&'a str, &'a Shape);

/// The role of each tensor as far as names tell: that of a slot where the variable that it belongs to
/// is in the same checkpoint too, or where PyTorch's way of numbering shows; state for an optimizer's
/// own numbers. Everything else is nothing.
pub(crate) fn roles_by_name<'a>(
    tensors: impl Iterator<Item = Named<'a>> + Clone,
) -> Vec<Option<Role>> {
    let names = Names::of(tensors.clone());
    let slots: Vec<Option<Role>> = tensors.clone().map(|(name, _)| names.slot(name)).collect();
    let adam = slots
        .iter()
        .flatten()
        .any(|role| matches!(role, Role::Slot { optimizer, .. } if optimizer == "Adam"));
    let own = |(role, (name, shape)): (Option<Role>, Named<'_>)| match bare(name) {
        _ if role.is_some() || shape.rank() > 0 => role,
        power @ ("beta1_power" | "beta2_power") if adam => Some(Role::Slot {
            variable: None,
            optimizer: "Adam".to_owned(),
            slot: power.to_owned(),
        }),
        name => {
            let scope = name.split(SEPARATORS).next().unwrap_or_default();
            (is_optimizer(scope) && scope != name).then_some(Role::State)
        }
    };
    slots.into_iter().zip(tensors).map(own).collect()
}

/// Whether a part of a name says that what stands below it is an optimizer's.
pub(crate) fn is_optimizer(part: &str) -> bool {
    OPTIMIZERS.iter().any(|optimizer| optimizer.eq_ignore_ascii_case(word(part)))
}

/// Without a number: Keras calls a second one `adam_1`.
fn word(part: &str) -> &str {
    part.trim_end_matches(|c: char| c.is_ascii_digit()).trim_end_matches('_')
}

/// The names of a checkpoint, to look owners of slots up in.
struct Names<'a> {
    /// Each with whether it stands in an optimizer's scope.
    all: HashMap<&'a str, bool>,
    /// Keras 3 writes `sequential_fc1_kernel` for `sequential/fc1/kernel`. Nothing for two names that
    /// look the same in this way.
    flat: HashMap<String, Option<&'a str>>,
    /// Such as `opt.state`, where numbers have slots that nothing else is called as.
    states: HashSet<&'a str>,
}

impl<'a> Names<'a> {
    fn of(tensors: impl Iterator<Item = Named<'a>>) -> Names<'a> {
        let mut names = Names { all: HashMap::new(), flat: HashMap::new(), states: HashSet::new() };
        for (name, _) in tensors {
            let name = bare(name);
            let scoped = name.split(SEPARATORS).next().is_some_and(is_optimizer);
            names.all.insert(name, scoped);
            let (owner, last) = name.rsplit_once(SEPARATORS).unwrap_or_default();
            names.states.extend(numbered_in(owner, last).filter(|_| is_slot(last)));
            if !scoped {
                names
                    .flat
                    .entry(name.replace(SEPARATORS, "_"))
                    .and_modify(|one| *one = None)
                    .or_insert(Some(name));
            }
        }
        names
    }

    fn has(&self, name: &str) -> bool {
        self.all.get(name) == Some(&false)
    }

    fn slot(&self, name: &str) -> Option<Role> {
        let name = bare(name);
        self.behind_owner(name)
            .or_else(|| self.before_owner(name))
            .or_else(|| self.flattened(name))
            .or_else(|| self.numbered(name))
            .or_else(|| self.of_state(name))
            .or_else(|| self.suffixed(name))
    }

    /// `fc1/kernel/Adam_1` of TensorFlow 1; `fc1/kernel/optimizer/m` of TensorFlow 2; ours,
    /// `fc1/kernel/adam/m`.
    fn behind_owner(&self, name: &str) -> Option<Role> {
        let (above, last) = name.rsplit_once(SEPARATORS)?;
        if self.has(above) {
            let known = TENSORFLOW_1.iter().find(|(part, ..)| *part == last);
            return known.map(|(_, optimizer, slot)| role(above, optimizer, slot));
        }
        let (owner, optimizer) = above.rsplit_once(SEPARATORS)?;
        (self.has(owner) && is_optimizer(optimizer)).then(|| role(owner, optimizer, last))
    }

    /// `Adam/m/fc1/kernel` and `Adam/fc1/kernel/m` of Keras 2, `opt_state/0/mu/fc1/kernel` of optax.
    fn before_owner(&self, name: &str) -> Option<Role> {
        let (optimizer, mut rest) = name.split_once(SEPARATORS)?;
        if !is_optimizer(optimizer) {
            return None;
        }
        if let Some((owner, slot)) = rest.rsplit_once(SEPARATORS)
            && calls(Whose::Scoped, slot)
            && self.has(owner)
        {
            return Some(role(owner, optimizer, slot));
        }
        // A slot's name stands among the first parts; to look at all would take the square of a long
        // name's length.
        const PARTS: usize = 8;
        for _ in 0..PARTS {
            let (slot, owner) = rest.split_once(SEPARATORS)?;
            if calls(Whose::Scoped, slot) && self.has(owner) {
                return Some(role(owner, optimizer, slot));
            }
            rest = owner;
        }
        None
    }

    /// `optimizer.state.fc1.weight.exp_avg` of PyTorch's distributed checkpoints.
    fn of_state(&self, name: &str) -> Option<Role> {
        let (above, slot) = name.rsplit_once('.')?;
        let (optimizer, owner) = match above.split_once(".state.") {
            Some((optimizer, owner)) => (optimizer, owner),
            None => (UNNAMED, above.strip_prefix("state.")?),
        };
        let mut models = MODELS.iter().map(|model| format!("{model}{owner}"));
        let owner = models.find(|owner| self.has(owner) && calls(Whose::PyTorch, slot))?;
        Some(role(&owner, optimizer, slot))
    }

    /// `optimizer.state.0.exp_avg` of PyTorch, which numbers variables in the order of its optimizer.
    fn numbered(&self, name: &str) -> Option<Role> {
        let (owner, slot) = name.rsplit_once(SEPARATORS)?;
        let state = state_of(owner)?;
        let optimizer = match state.rsplit_once(SEPARATORS) {
            Some((scope, _)) if scope.split(SEPARATORS).next().is_some_and(is_optimizer) => scope,
            // What is in it says so.
            Some(_) if self.states.contains(state) && calls(Whose::PyTorch, slot) => UNNAMED,
            None if calls(Whose::PyTorch, slot) => UNNAMED,
            _ => return None,
        };
        Some(role(owner, optimizer, slot))
    }

    /// `w_slot_vc` of Mesh TensorFlow, which trained T5.
    fn suffixed(&self, name: &str) -> Option<Role> {
        let (owner, slot) = name.rsplit_once("_slot_")?;
        self.has(owner).then(|| role(owner, "Adafactor", slot))
    }

    /// `adam/sequential_fc1_kernel_momentum` of Keras 3.
    fn flattened(&self, name: &str) -> Option<Role> {
        let (optimizer, flat) = name.rsplit_once(SEPARATORS)?;
        if !is_optimizer(optimizer.rsplit(SEPARATORS).next()?) {
            return None;
        }
        let (owner, slot) = SLOTS.iter().find_map(|(slot, whose, _)| {
            let flat = flat.strip_suffix(slot).filter(|_| *whose == Whose::Scoped)?;
            let owner = flat.strip_suffix('_')?;
            Some(((*self.flat.get(owner)?)?, *slot))
        })?;
        Some(role(owner, optimizer, slot))
    }
}

fn role(variable: &str, optimizer: &str, slot: &str) -> Role {
    Role::Slot {
        variable: Some(variable.to_owned()),
        optimizer: optimizer.to_owned(),
        slot: slot.to_owned(),
    }
}

/// What an optimizer's slot is, whatever it is called: programs have their own words for Adam's two
/// averages.
pub(crate) fn canonical(optimizer: &str, slot: &str) -> (String, String) {
    let (word, slot) = (optimizer.to_ascii_lowercase(), slot.to_ascii_lowercase());
    let averages = matches!(word.as_str(), "adam" | "adamw" | "adamax" | "nadam" | "lamb");
    let slot = match slot.as_str() {
        "momentum" if averages => "m",
        "velocity" if averages => "v",
        "velocity_hat" if averages => "vhat",
        other => other,
    };
    // PyTorch Lightning numbers them: `optimizer_states.0`.
    let unnamed = word.split('.').next().is_some_and(|first| UNNAMED_SCOPES.contains(&first));
    (if unnamed { UNNAMED.to_owned() } else { word }, slot.to_owned())
}

/// Whether a last part of a name is that of a slot, wherever it stands.
pub(crate) fn is_slot(part: &str) -> bool {
    SLOTS.iter().any(|(slot, _, besides)| *besides == Besides::Nothing && *slot == part)
        || TENSORFLOW_1.iter().any(|(name, ..)| *name == part)
}

#[cfg(test)]
#[path = "slots_tests.rs"]
mod tests;
