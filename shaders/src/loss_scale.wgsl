// The next scale of the loss: the rule of torch.amp.GradScaler, but that it never falls below the
// smallest normal number, since 1 divided by it must be finite.

override GROWTH_FACTOR: f32 = 2.0;
override BACKOFF_FACTOR: f32 = 0.5;
override GROWTH_INTERVAL: u32 = 2000u;

const SMALLEST_SCALE: f32 = 0x1p-126f;

struct LossScale {
    scale: f32,
    // Steps in a row that were applied since the scale changed.
    good_steps: u32,
}

fn next_loss_scale(scale: f32, good_steps: u32, applied: bool) -> LossScale {
    if (!applied) {
        return LossScale(max(scale * BACKOFF_FACTOR, SMALLEST_SCALE), 0u);
    }
    if (good_steps + 1u < GROWTH_INTERVAL) {
        return LossScale(scale, good_steps + 1u);
    }
    let grown = scale * GROWTH_FACTOR;
    return LossScale(select(scale, grown, is_finite(grown)), 0u);
}
