//! What becomes of a node, by what is known of all and by what its readers want of it.

use super::demand::Demand;
use super::operations::{has_epilogue, is_free, is_map};
use super::survey::Survey;
use super::{DEEPEST, Fused, kept};

/// What becomes of a node that is no leaf. `is_kept` says whether the kernel that computes it also stores it,
/// for later ones.
pub(super) enum Fate {
    /// Nobody computes it: of the bytes that it scales only products ask, which do that as they load them.
    Nowhere,
    /// It is a norm that this update computes itself, or follows from that.
    WithUpdate(usize),
    /// All its readers compute it: it costs them nothing, or less than a dispatch that stores it.
    Everywhere,
    /// It is a part of what the kernel of one reader computes, which wants this of it.
    Inside { reader: Demand, is_kept: bool },
    /// It is a map with a kernel of its own.
    Own,
    /// It is the anchor of the kernel of this root: of its own, or of the reader whose expression is then
    /// its epilogue.
    Anchor { root: usize, is_kept: bool },
}

/// The kernel that could compute a node for its readers.
struct Reader {
    /// What it wants of the node in all.
    demand: Demand,
    /// Whether it also stores the node, for later kernels.
    is_kept: bool,
}

/// What becomes of the node `id`, of which its readers want `own`. All nodes behind it are decided.
pub(super) fn fate(survey: &Survey, fused: &Fused, id: usize, own: &[Demand]) -> Fate {
    let is_map = is_map(&survey.live.node(id).op);
    if let Some((&update, _)) = fused.own_norms.iter().find(|(_, norm)| norm.computes(id)) {
        return Fate::WithUpdate(update);
    }
    if is_map && own.is_empty() && !survey.in_memory[id] {
        return Fate::Nowhere;
    }
    if is_computed_anywhere(survey, id, own) {
        return Fate::Everywhere;
    }
    let reader = reader(survey, fused, id, own);
    if is_map { of_map(survey, id, own, reader) } else { of_anchor(survey, fused, id, reader) }
}

/// Whether all its readers compute it, be they one or several.
fn is_computed_anywhere(survey: &Survey, id: usize, own: &[Demand]) -> bool {
    let (live, target) = (survey.live, survey.target);
    if survey.in_memory[id] || own.iter().any(|demand| demand.depth >= DEEPEST) {
        return false;
    }
    // Several optimizers follow one count of steps: each computes what it needs of it.
    let is_shared = || {
        live.elements(id) == 1
            && is_map(&live.node(id).op)
            && own.iter().any(|demand| demand.root != own[0].root)
            && own.iter().all(|demand| live.node(demand.root).op.is_update())
    };
    if is_free(live, id) || is_shared() {
        return true;
    }
    // Rows are held by the kernel that reads them, whatever they are.
    let has_rows = own.iter().any(|demand| demand.rows.is_some());
    let is_drawn_again = || !target.is_cpu && kept::is_random(live, id, own);
    let is_small = || kept::is_small_number(live, id, own, survey.takes_anchor[id]);
    target.keeps && !has_rows && (is_drawn_again() || is_small())
}

/// The only kernel that reads it, if nobody else needs it in memory; else the first one, if that may store
/// it for the others.
fn reader(survey: &Survey, fused: &Fused, id: usize, own: &[Demand]) -> Option<Reader> {
    let first = own.first()?.root;
    let is_only = !survey.in_memory[id] && own.iter().all(|demand| demand.root == first);
    let root = if is_only { first } else { keeper(survey, fused, id, own)? };
    let demand = Demand::joined(own.iter().filter(|demand| demand.root == root))?;
    Some(Reader { demand, is_kept: !is_only })
}

/// The root of the first kernel that reads a node, if it may store that for others.
fn keeper(survey: &Survey, fused: &Fused, id: usize, own: &[Demand]) -> Option<usize> {
    let Survey { live, target, takes_anchor, .. } = survey;
    if !target.keeps || survey.alone[id] {
        return None;
    }
    let root = kept::first_reader(live, id, own)?;
    // What has an anchor, or is to get one, brings it along: the kernel must have none, nor be to get one.
    let is_promised =
        || fused.kept.get(&root).into_iter().flatten().any(|&kept| takes_anchor[kept]);
    let could_take = || {
        fused.anchor[root].is_none()
            && live.node(root).dtype == live.node(id).dtype
            && !takes_anchor[root]
            && !is_promised()
    };
    (!takes_anchor[id] || could_take()).then_some(root)
}

fn of_map(survey: &Survey, id: usize, own: &[Demand], reader: Option<Reader>) -> Fate {
    let live = survey.live;
    // Up to twice the work is cheaper than a dispatch and a trip through memory.
    let most = live.elements(id).saturating_mul(2);
    let is_worth_it = |demand: &Demand| demand.evaluations <= most && demand.depth < DEEPEST;
    match reader {
        Some(Reader { demand, is_kept }) if is_worth_it(&demand) => {
            Fate::Inside { reader: demand, is_kept }
        }
        None if survey.target.keeps
            && !survey.in_memory[id]
            && own.iter().all(is_worth_it)
            && kept::is_little_of_one(live, id, own.len()) =>
        {
            Fate::Everywhere
        }
        _ => Fate::Own,
    }
}

/// An anchor is inside its reader's kernel if that reads it in step and has none yet.
fn of_anchor(survey: &Survey, fused: &Fused, id: usize, reader: Option<Reader>) -> Fate {
    let live = survey.live;
    let node = live.node(id);
    let fits = |demand: &Demand| {
        let root = demand.root;
        demand.in_step
            && fused.anchor[root].is_none()
            && has_epilogue(&node.op)
            && (live.node(root).dtype == node.dtype || kept::rounds(live, id, root, survey.target))
    };
    match reader.filter(|reader| fits(&reader.demand)) {
        Some(Reader { demand, is_kept }) => Fate::Anchor { root: demand.root, is_kept },
        None => Fate::Anchor { root: id, is_kept: false },
    }
}
