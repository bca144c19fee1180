//! What the inputs of examples can be held as.
//!
//! Bytes stay bytes: each is multiplied when its batch is made, by host and device alike.

use warmstart_gpu::Column;

mod sealed {
    pub trait Sealed {}
    impl Sealed for f32 {}
    impl Sealed for u8 {}
}

/// What a [`Dataset`](crate::Dataset) holds inputs as: `f32`, or `u8`, which is multiplied when it is
/// used.
pub trait DatasetInput: Copy + sealed::Sealed {
    /// Multiplies all inputs, or what they will be multiplied by.
    #[doc(hidden)]
    fn scale(inputs: &mut [Self], scale: &mut f32, factor: f32);

    /// As a model takes it.
    #[doc(hidden)]
    fn number(self, scale: f32) -> f32;

    /// For the device.
    #[doc(hidden)]
    fn column(inputs: &[Self], scale: f32) -> Column<'_>;
}

impl DatasetInput for f32 {
    fn scale(inputs: &mut [f32], _: &mut f32, factor: f32) {
        inputs.iter_mut().for_each(|input| *input *= factor);
    }

    fn number(self, _: f32) -> f32 {
        self
    }

    fn column(inputs: &[f32], _: f32) -> Column<'_> {
        inputs.into()
    }
}

impl DatasetInput for u8 {
    fn scale(_: &mut [u8], scale: &mut f32, factor: f32) {
        *scale *= factor;
    }

    fn number(self, scale: f32) -> f32 {
        f32::from(self) * scale
    }

    fn column(bytes: &[u8], scale: f32) -> Column<'_> {
        Column::Bytes { bytes, scale }
    }
}
