//! The search for the fewest rules about names: step by step, from a handful of the most promising
//! sets of rules to those with one rule more.

use super::names::{bare, edits, likeness};
use super::problem::{Problem, State, is_evident};
use crate::restore::rules::Rule;
use std::collections::{HashMap, HashSet};
use std::hash::{DefaultHasher, Hash, Hasher};

/// Sets of rules that are followed at once.
const WIDTH: usize = 8;
/// Rules tried after each of them.
const TRIED: usize = 16;
/// Rules one search adds at most.
const DEPTH: usize = 8;
/// Steps without a gain after which a search ends.
const PATIENCE: usize = 2;
/// Names that one search looks at, over all sets that are tried: one that would go further ends.
const NAMES: usize = 200_000;
/// Names that may be looked at for as much as comparing two takes.
const COMPARING: usize = 8;
/// Sets of rules that are worth a closer look.
const KEPT: usize = 8;

/// What a search found.
pub(super) struct Found {
    /// Sets of rules, the best first; all gain as much.
    pub sets: Vec<Vec<Rule>>,
    /// The evident rules that restore most, if any do: where all else that was found pairs names wrongly,
    /// they are what is left.
    pub evident: Option<Vec<Rule>>,
    /// It ended because it was long enough, and might go on.
    pub unfinished: bool,
}

/// The sets of rules that restore most of a problem's variables, and of those the smallest.
///
/// `left` are the names that this search and those after it may look at.
pub(super) fn search(problem: &Problem<'_>, left: &mut usize) -> Found {
    let none = Found { sets: Vec::new(), evident: None, unfinished: false };
    let Some(start) = problem.start() else { return none };
    let mut found: Vec<State> = Vec::new();
    let mut evident: Option<State> = None;
    let mut seen: HashSet<u64> = HashSet::from([fingerprint(&start)]);
    let mut best = start.gain();
    let mut promising = start.promise;
    let mut beam = vec![start];
    let mut idle = 0;
    let mut unfinished = problem.most > 0;
    let given = NAMES.min(*left);
    let mut names = given;
    for _ in 0..DEPTH {
        let mut next: Vec<State> = Vec::new();
        let mut known: HashMap<u64, usize> = HashMap::new();
        for state in &beam {
            for rule in candidates(problem, state, &mut names) {
                if names < problem.size() {
                    break;
                }
                names -= problem.size();
                let new = problem.extend(state, &rule);
                let Some(new) = new.filter(|new| problem.numbers_agree(new)) else { continue };
                let print = fingerprint(&new);
                match known.get(&print) {
                    // The same names by simpler rules.
                    Some(&at) if effort(&new.rules) < effort(&next[at].rules) => next[at] = new,
                    Some(_) => {}
                    None if seen.insert(print) => {
                        known.insert(print, next.len());
                        next.push(new);
                    }
                    None => {}
                }
            }
        }
        next.sort_by(|a, b| {
            b.promise.total_cmp(&a.promise).then(effort(&a.rules).cmp(&effort(&b.rules)))
        });
        let Some(reached) = next.iter().map(State::gain).max() else {
            unfinished = false;
            break;
        };
        let promise = next.iter().map(|state| state.promise).fold(f64::NEG_INFINITY, f64::max);
        idle = if reached > best || promise > promising { 0 } else { idle + 1 };
        best = best.max(reached);
        promising = promising.max(promise);
        for state in next.iter().filter(|s| s.gain() > 0 && s.rules.iter().all(is_evident)) {
            if evident.as_ref().is_none_or(|best| state.gain() > best.gain()) {
                evident = Some(state.clone());
            }
        }
        found.extend(next.iter().filter(|s| s.gain() > 0 && s.gain() >= best).cloned());
        if best >= problem.most as isize || idle >= PATIENCE {
            unfinished = false;
            break;
        }
        next.truncate(WIDTH);
        beam = next;
    }
    *left -= given - names;
    found.retain(|state| state.gain() == best);
    let mut sets: Vec<Vec<Rule>> = Vec::new();
    for state in found {
        let rules = needed(problem, state);
        if !rules.is_empty() && !sets.contains(&rules) {
            sets.push(rules);
        }
    }
    sets.sort_by_key(|rules| (rules.len(), effort(rules)));
    let fewest = sets.first().map_or(0, Vec::len);
    // One more name rule may save a rule about values.
    sets.retain(|rules| rules.len() <= fewest + 1);
    sets.truncate(KEPT);
    let evident = evident.map(|state| state.rules).filter(|rules| !sets.contains(rules));
    Found { sets, evident, unfinished }
}

/// How much there is to a set of rules; less is simpler.
pub(super) fn effort(rules: &[Rule]) -> usize {
    let parts = |text: &str| text.split(crate::restore::rules::SEPARATORS).count();
    let one = |rule: &Rule| match rule {
        Rule::Separator { .. } => 1,
        Rule::StripPrefix(prefix) | Rule::AddPrefix(prefix) => 1 + parts(prefix),
        Rule::RenameScope { from, to } => 2 * (parts(from) + parts(to)),
        Rule::RenameComponent { to, .. } => 4 + parts(to),
        Rule::RenameRegex { .. } => 20,
        Rule::Rename { .. } => 30,
        Rule::Cast(_) => 1,
        Rule::Transpose(glob) => 1 + glob.matches(',').count(),
        _ => 10,
    };
    rules.iter().map(one).sum()
}

fn fingerprint(state: &State) -> u64 {
    let mut hasher = DefaultHasher::new();
    state.names.iter().for_each(|name| name.text.hash(&mut hasher));
    hasher.finish()
}

/// Rules that bring names without a variable nearer to variables without a name, those that most
/// pairs ask for first.
fn candidates(problem: &Problem<'_>, state: &State, budget: &mut usize) -> Vec<Rule> {
    let mut rules = Vec::new();
    let (names, variables) = problem.free_texts(state);
    let (names, variables): (Vec<&str>, Vec<&str>) = (names.collect(), variables.collect());
    for (from, to) in [('.', '/'), ('/', '.')] {
        if names.iter().any(|name| name.contains(from))
            && variables.iter().any(|name| name.contains(to))
        {
            rules.push(Rule::Separator { from, to });
        }
    }
    let named: HashSet<&str> = state.names.iter().map(|name| bare(&name.text)).collect();
    let mut votes: HashMap<Rule, (f64, usize)> = HashMap::new();
    for (name, variable) in problem.likely_pairs(state) {
        *budget = budget.saturating_sub(COMPARING);
        let (cost, edits) = edits(name, variable);
        for rule in edits.into_iter().filter(|rule| !problem.moves_below_a_variable(rule, &named)) {
            let order = votes.len();
            votes.entry(rule).or_insert((0.0, order)).0 += 1.0 / (0.5 + cost);
        }
    }
    let mut votes: Vec<(Rule, (f64, usize))> = votes.into_iter().collect();
    votes.sort_by(|(_, (a, i)), (_, (b, j))| b.total_cmp(a).then(i.cmp(j)));
    rules.extend(votes.into_iter().take(TRIED).map(|(rule, _)| rule));
    rules
}

/// A state's rules without those that restore nothing, or too little for what they pair.
fn needed(problem: &Problem<'_>, mut state: State) -> Vec<Rule> {
    let mut at = 0;
    while at < state.rules.len() {
        let mut fewer = state.rules.clone();
        let rule = fewer.remove(at);
        match problem.with_some(&fewer) {
            Some(without) if without.gain() >= state.gain() => state = without,
            Some(without) if !credible(problem, &rule, &state, &without) => {
                state = without;
                at = 0;
            }
            _ => at += 1,
        }
    }
    state.rules
}

/// Whether what a rule restores speaks for it: several variables, or words that are alike, or a
/// shape that nothing else has.
fn credible(problem: &Problem<'_>, rule: &Rule, with: &State, without: &State) -> bool {
    match rule {
        Rule::RenameComponent { from, to } if likeness(from, to) < 0.5 => {}
        Rule::RenameRegex { .. } => {}
        _ => return true,
    }
    let mut more = with.pairs.iter().filter(|pair| !without.pairs.contains(pair));
    match (more.next(), more.next()) {
        (Some(&pair), None) => problem.credible(pair, &without.names[pair.0]),
        _ => true,
    }
}
