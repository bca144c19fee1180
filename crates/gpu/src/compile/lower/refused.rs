//! Why a graph could not be lowered as it was fused.

use crate::compile::Target;
use crate::compile::simplify::Live;
use crate::plan_error::CompileError;
use std::collections::BTreeSet;

/// Why a graph could not be lowered as it was fused.
pub(crate) enum Refused {
    /// Kernels would bind more buffers than the device allows; computing these nodes apart helps.
    TooManyBindings { cuts: BTreeSet<usize> },
    /// It would even with nothing fused.
    Hopeless { root: usize, buffers: usize },
    /// More workgroups than the device launches.
    TooManyWorkgroups { root: usize },
    /// Longer loops than the driver of a software adapter carries out.
    TooManyRounds { root: usize, rounds: usize },
}

impl Refused {
    pub fn into_error(self, live: &Live, target: Target) -> CompileError {
        match self {
            Refused::TooManyBindings { cuts } => {
                let root = cuts.first().copied().unwrap_or_default();
                Refused::Hopeless { root, buffers: 0 }.into_error(live, target)
            }
            Refused::Hopeless { root, buffers } => CompileError::TooManyBuffers {
                operation: live.node(root).op.name().to_owned(),
                location: live.node(root).location.clone(),
                buffers,
                limit: target.storage_buffers,
            },
            Refused::TooManyWorkgroups { root } => CompileError::TooManyWorkgroups {
                operation: live.node(root).op.name().to_owned(),
                location: live.node(root).location.clone(),
                shape: live.node(root).shape.clone(),
                limit: target.workgroups,
            },
            Refused::TooManyRounds { root, rounds } => CompileError::TooManyRounds {
                operation: live.node(root).op.name().to_owned(),
                location: live.node(root).location.clone(),
                shape: live.node(root).shape.clone(),
                rounds,
            },
        }
    }
}
