//! Drivers are looked for, and devices opened and closed, by one thread at a time. Vulkan's loader, from
//! 1.3.260 or before to 1.4.344, goes through its lists of drivers and devices unprotected when a device
//! is opened, or an object of one is given a name: if another thread closes a device meanwhile, or looks
//! for drivers, of which the loader lets go of those that have no device, the process may crash. Ubuntu
//! 24.04 and Debian 13 have such a loader. So drivers are told no names either, unless `WGPU_DEBUG=1`
//! asks for it.

use crate::device::locked;
use std::mem::ManuallyDrop;
use std::ops::Deref;
use std::sync::{Mutex, MutexGuard};

static OPENING: Mutex<()> = Mutex::new(());

/// To be held while drivers are looked for, and while a device is opened.
pub(crate) fn opening() -> MutexGuard<'static, ()> {
    locked(&OPENING)
}

/// What keeps a device open, dropped while nobody holds [`opening`]. Whatever else keeps it open, as
/// its buffers do, must be dropped first: a type that has both has the [`Gpu`](crate::Gpu) as its last
/// field.
pub(crate) struct Closing<T>(ManuallyDrop<T>);

impl<T> Closing<T> {
    pub fn new(open: T) -> Closing<T> {
        Closing(ManuallyDrop::new(open))
    }
}

impl<T> Drop for Closing<T> {
    #[allow(unsafe_code)]
    fn drop(&mut self) {
        let _alone = opening();
        // SAFETY: it is dropped nowhere else, and nobody reads it after this.
        unsafe { ManuallyDrop::drop(&mut self.0) }
    }
}

impl<T> Deref for Closing<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.0
    }
}

#[cfg(test)]
impl<T> std::ops::DerefMut for Closing<T> {
    fn deref_mut(&mut self) -> &mut T {
        &mut self.0
    }
}

#[cfg(test)]
mod tests {
    use crate::{Gpu, Session};
    use std::thread;
    use warmstart_graph::{DType, Initializer, Role, Variable};

    /// With those loaders, and without the lock and with names, one run in four crashed.
    #[test]
    fn devices_are_opened_and_closed_by_many_threads() {
        let work = || {
            for _ in 0..8 {
                let mut session = Session::new(&Gpu::new().unwrap());
                let variable =
                    Variable::new("v", [100], DType::F32, Initializer::Ones, Role::State);
                session.declare(&[variable]).unwrap();
                session.initialize_missing(1).unwrap();
                assert_eq!(session.read("v").unwrap().as_f32().unwrap()[99], 1.0);
            }
        };
        thread::scope(|scope| (0..4).for_each(|_| drop(scope.spawn(work))));
    }
}
