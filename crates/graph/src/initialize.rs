//! stub
use crate::*;
impl Initializer {
    /// stub
    pub fn check(&self, _shape: &Shape, _dtype: DType) -> Result<(), String> {
        Ok(())
    }
}
