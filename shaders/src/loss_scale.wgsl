// The next scale of the loss: the rule of torch.amp.GradScaler.

override GROWTH_FACTOR: f32 = 2.0;
override BACKOFF_FACTOR: f32 = 0.5;
override GROWTH_INTERVAL: u32 = 2000u;

struct LossScale {
    scale: f32,
    // Steps in a row that were applied since the scale changed.
    good_steps: u32,
}

fn next_loss_scale(scale: f32, good_steps: u32, applied: bool) -> LossScale {
    if (!applied) {
        return LossScale(scale * BACKOFF_FACTOR, 0u);
    }
    if (good_steps + 1u < GROWTH_INTERVAL) {
        return LossScale(scale, good_steps + 1u);
    }
    let grown = scale * GROWTH_FACTOR;
    return LossScale(select(scale, grown, is_finite(grown)), 0u);
}
