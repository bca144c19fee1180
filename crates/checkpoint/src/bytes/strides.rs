//! A value whose elements do not lie as a restore wants them, row-major and little-endian: a
//! transposed matrix of PyTorch, an array of Fortran's order, a file of a big-endian machine.
//!
//! It is read in blocks of bounded size. The elements of a block are fetched in the order in which
//! they lie in the file, by as few reads as that order allows, and put where they belong.

/// The most bytes of a value that are put together at once. Large, because of a transposed matrix
/// each block holds a few elements of every row in the file, and more of them with each read.
const BLOCK: usize = 8 << 20;
/// The most bytes that one read fetches where not all of them are wanted.
const WINDOW: u64 = 64 << 10;

/// How the elements of a value lie in a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Strides {
    /// Bytes of an element; never zero.
    size: u64,
    /// Bytes that are a number by themselves and come with the highest first; 1 if there are none.
    swapped: usize,
    /// Extents, and from one index to the next in bytes.
    axes: Vec<Axis>,
    /// From the first byte to the last.
    span: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Axis {
    extent: u64,
    stride: u64,
}

/// An axis of a block: where its elements lie, and where they belong.
struct Gathered {
    extent: u64,
    from: u64,
    to: usize,
}

impl Strides {
    /// Elements of `size` bytes of which those of each axis are `strides` elements apart; `None` if
    /// that cannot be counted.
    pub fn new(size: u64, swapped: usize, shape: &[usize], strides: &[u64]) -> Option<Strides> {
        let mut axes = Vec::with_capacity(shape.len());
        let mut span = size;
        for (&extent, &stride) in shape.iter().zip(strides) {
            let (extent, stride) = (u64::try_from(extent).ok()?, stride.checked_mul(size)?);
            span = span.checked_add(extent.saturating_sub(1).checked_mul(stride)?)?;
            axes.push(Axis { extent, stride });
        }
        if axes.iter().any(|axis| axis.extent == 0) {
            span = 0;
        }
        (axes.len() == shape.len() && size > 0).then_some(Strides { size, swapped, axes, span })
    }

    /// Bytes from the first element's begin to the last one's end.
    pub fn span(&self) -> u64 {
        self.span
    }

    /// Whether the bytes are those of the value as they are.
    pub fn is_plain(&self) -> bool {
        self.swapped == 1 && self.is_in_order()
    }

    /// Whether the elements follow each other as those of the value do.
    pub fn is_in_order(&self) -> bool {
        let mut expected = self.size;
        let in_order = self.axes.iter().rev().all(|axis| {
            let fits = axis.extent <= 1 || axis.stride == expected;
            expected = expected.saturating_mul(axis.extent);
            fits
        });
        in_order || self.span == 0
    }

    /// Fills `into` with the bytes of the value that begin at `at`. `read` reads from the file,
    /// counted from the first element. Writes each byte of `into` once and in order.
    pub fn read<E>(
        &self,
        mut at: u64,
        into: &mut [u8],
        mut read: impl FnMut(u64, &mut [u8]) -> Result<(), E>,
    ) -> Result<(), E> {
        let size = self.size as usize;
        let mut block = Vec::new();
        for piece in into.chunks_mut(BLOCK - size) {
            // Whoever asks for a part of an element gets it.
            let skipped = (at % self.size) as usize;
            let elements = (skipped + piece.len()).div_ceil(size);
            block.resize(elements * size, 0);
            self.gather(at / self.size, &mut block, &mut read)?;
            if self.swapped > 1 {
                block.chunks_exact_mut(self.swapped).for_each(<[u8]>::reverse);
            }
            piece.copy_from_slice(&block[skipped..skipped + piece.len()]);
            at += piece.len() as u64;
        }
        Ok(())
    }

    /// Fills `block` with whole elements from number `first` on.
    fn gather<E>(
        &self,
        mut first: u64,
        mut block: &mut [u8],
        read: &mut impl FnMut(u64, &mut [u8]) -> Result<(), E>,
    ) -> Result<(), E> {
        while !block.is_empty() {
            let (from, axes, elements) = self.leading_box(first, block.len() as u64 / self.size);
            let (now, rest) = block.split_at_mut((elements * self.size) as usize);
            self.gather_box(from, axes, now, read)?;
            (block, first) = (rest, first + elements);
        }
        Ok(())
    }

    /// The largest box with all of the last axes, and a part of one before them, that begins with
    /// element `first` and has at most `most`: where it begins, its axes, and its elements.
    fn leading_box(&self, first: u64, most: u64) -> (u64, Vec<Gathered>, u64) {
        let (mut from, mut rest) = (0, first);
        let mut axes = Vec::with_capacity(self.axes.len());
        // Elements that one index of the axis at hand has, and those of the box so far.
        let (mut inner, mut elements) = (1u64, 1u64);
        let mut open = true;
        for Axis { extent, stride } in self.axes.iter().rev().copied() {
            let index = rest % extent.max(1);
            (from, rest) = (from + index * stride, rest / extent.max(1));
            if open {
                let taken = (extent - index).min(most / inner).max(1);
                let to = (inner * self.size) as usize;
                axes.push(Gathered { extent: taken, from: stride, to });
                elements = inner * taken;
                open = taken == extent;
                inner = inner.saturating_mul(extent);
            }
        }
        (from, axes, elements)
    }

    /// Fills `block` with the elements of a box.
    fn gather_box<E>(
        &self,
        from: u64,
        mut axes: Vec<Gathered>,
        block: &mut [u8],
        read: &mut impl FnMut(u64, &mut [u8]) -> Result<(), E>,
    ) -> Result<(), E> {
        let size = self.size as usize;
        axes.retain(|axis| axis.extent > 1);
        // As they lie in the file; what is there once and wanted often goes outermost.
        axes.sort_by_key(|axis| (axis.from != 0, std::cmp::Reverse(axis.from)));
        // Axes that follow each other in the file as in the value are one.
        axes.dedup_by(|inner, outer| {
            let joins = outer.from == inner.from * inner.extent
                && outer.to as u64 == inner.to as u64 * inner.extent;
            if joins {
                *outer = Gathered { extent: outer.extent * inner.extent, ..*inner };
            }
            joins
        });
        let run = axes.pop().unwrap_or(Gathered { extent: 1, from: self.size, to: size });
        let mut window = Vec::new();
        let mut indices = vec![0u64; axes.len()];
        loop {
            let at = |of: fn(&Gathered) -> u64| -> u64 {
                axes.iter().zip(&indices).map(|(axis, index)| of(axis) * index).sum()
            };
            let begin = from + at(|axis| axis.from);
            let to = at(|axis| axis.to as u64) as usize;
            if run.from == self.size && run.to == size {
                read(begin, &mut block[to..to + run.extent as usize * size])?;
            } else {
                let at_once = (WINDOW / run.from.max(1)).max(1);
                for index in (0..run.extent).step_by(at_once as usize) {
                    let count = at_once.min(run.extent - index);
                    window.resize(((count - 1) * run.from) as usize + size, 0);
                    read(begin + index * run.from, &mut window)?;
                    for number in 0..count {
                        let element = (number * run.from) as usize;
                        let to = to + (index + number) as usize * run.to;
                        block[to..to + size].copy_from_slice(&window[element..element + size]);
                    }
                }
            }
            // The next indices, the last axis fastest.
            let Some(last) = (0..axes.len()).rfind(|&i| indices[i] + 1 < axes[i].extent) else {
                return Ok(());
            };
            indices[last] += 1;
            indices[last + 1..].fill(0);
        }
    }
}

#[cfg(test)]
#[path = "strides_tests.rs"]
mod tests;
