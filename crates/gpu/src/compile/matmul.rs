//! Which kernel computes a matrix product, and with which constants.
//!
//! All rungs of the ladder but cooperative matrices add up the products of a result from the first
//! place along K to the last, in one sum: where the driver rounds them alike, they give the same bits.
//!
//! A tile is loaded four elements at a time, of `f32`, `f16`, `bf16` or `u8`, where the operand's
//! extent along its contiguous axis and its other strides are multiples of four, so that no four
//! reach past an edge; what is contiguous along K is turned in registers, as workgroup memory has
//! it the other way. The same tile loaded one by one stays among the measured.
//!
//! llvmpipe, a software adapter, runs eight invocations as one vector, and each load from a buffer
//! or from workgroup memory is a loop over them that goes through memory once for each.
//! `matmul_subgroup` therefore loads little: lanes hand each other what they loaded
//! (`subgroupShuffle` with a constant index, which is one instruction; `subgroupBroadcast` is a
//! loop), read two elements as one `u64` where strides are even, and compute tiles of 64 x 64
//! results where a product is large enough to pay for what those take longer to compile. Loads
//! still are two thirds of its time, and wider ones do not help: what counts is how many elements
//! are loaded. Without subgroups of eight it is `matmul_register`.
//!
//! Small products have `matmul_small`, of 32 x 32: there compiling counts. It reads the shape from
//! a buffer, and its epilogue goes by row and column, so that the layers of a model share it. (Not
//! from a uniform buffer: lavapipe compiles a kernel anew for each value of one that ends a loop.)
//! For the same reason loops over short rows end at what no compiler knows (`rolled` in
//! `lanes.wgsl`), or they would be unrolled.

use super::Target;
use super::classes::shipped;
use warmstart_graph::DType;
use warmstart_shaders::{self as shaders, Cooperative, Elements};

/// The kernel of small products on software adapters.
pub(super) const SMALL: &str = "matmul_small";

/// A product as its kernel sees it. Strides are in elements.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Product {
    pub batch: usize,
    pub m: usize,
    pub n: usize,
    pub k: usize,
    pub a: Operand,
    pub b: Operand,
    /// Of what the batches are slices, if they are.
    pub sliced: Option<Sliced>,
}

/// Products whose slices along K are products of a batch.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Sliced {
    /// How many places along K there are in all: the last slice may be shorter than the others.
    pub k: usize,
    /// Into how many slices each product is cut.
    pub slices: usize,
    /// How far two products are apart in each operand, which is a multiple of its strides: 0 where one
    /// matrix serves all, or there is one.
    pub apart: [usize; 2],
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Operand {
    pub row: usize,
    pub column: usize,
    /// 0 if one matrix serves all batches.
    pub batch: usize,
    /// What its elements are stored as.
    pub dtype: DType,
}

impl Operand {
    /// Whether its elements can be read two at a time: pairs along the axis that is contiguous
    /// begin at even places.
    pub fn has_pairs(&self) -> bool {
        self.row.max(self.column).is_multiple_of(2) && self.batch.is_multiple_of(2)
    }

    /// Whether its elements can be read four at a time: `row` and `column` are its extents along those
    /// strides. Fours then begin at multiples of four, and end before the edge.
    fn has_fours(&self, rows: usize, columns: usize) -> bool {
        let (extent, stride) = match (self.row, self.column) {
            (_, 1) => (columns, self.row),
            (1, _) => (rows, self.column),
            _ => return false,
        };
        let is_any = rows > 0 && columns > 0;
        is_any && [extent, stride, self.batch].iter().all(|count| count.is_multiple_of(4))
    }

    /// How a kernel reads it that takes elements one by one.
    pub fn elements(&self, target: Target) -> Elements {
        match self.dtype {
            DType::F16 if target.has_f16 => Elements::F16,
            DType::F16 => Elements::F16Words,
            DType::Bf16 => Elements::Bf16Words,
            DType::U8 => Elements::Bytes,
            _ => Elements::F32,
        }
    }

    /// How a kernel reads it that takes elements four at a time, which can be.
    fn fours(&self, target: Target) -> Elements {
        match self.dtype {
            DType::F16 if target.has_f16 => Elements::F16Fours,
            DType::F16 => Elements::F16WordFours,
            DType::Bf16 => Elements::Bf16Fours,
            DType::U8 => Elements::ByteFours,
            _ => Elements::F32Fours,
        }
    }

    /// How a kernel reads it that takes elements in pairs where it can.
    fn pairs(&self, target: Target) -> Elements {
        match self.dtype {
            _ if !self.has_pairs() => self.elements(target),
            DType::F16 if target.has_f16 => Elements::F16Pairs,
            DType::F16 => Elements::F16Words,
            DType::Bf16 => Elements::Bf16Pairs,
            DType::U8 => Elements::BytePairs,
            _ if target.has_int64 => Elements::F32Pairs,
            _ => Elements::F32,
        }
    }
}

impl Product {
    /// Floating-point operations.
    pub fn operations(&self) -> u64 {
        let Product { batch, m, n, k, .. } = *self;
        2 * batch as u64 * m as u64 * n as u64 * k as u64
    }

    /// Whether it is a matrix with a vector, and better computed as a reduction. Software adapters
    /// are not: there a product of one row costs less than loading each element for itself.
    pub fn is_vector(&self, target: Target) -> bool {
        let Product { batch, m, n, k, .. } = *self;
        let results = batch * m * n;
        // Where neighbours of a sum do not lie side by side, results must be many to fill a GPU.
        !target.is_cpu && (m == 1 || n == 1) && k > 0 && (self.is_along_k() || results >= 1024)
    }

    /// Whether what lies side by side in the matrix (of a product with a vector) is along K.
    pub fn is_along_k(&self) -> bool {
        if self.n == 1 { self.a.column == 1 } else { self.b.row == 1 }
    }

    /// Which operands can be read four elements at a time.
    pub fn fours(&self) -> [bool; 2] {
        let Product { m, n, k, a, b, .. } = *self;
        [a.has_fours(m, k), b.has_fours(k, n)]
    }

    /// Of which size cooperative matrices compute it, if they do: both operands are `f16`, and the
    /// device has such matrices.
    fn cooperative(&self, target: Target) -> Option<u32> {
        let is_f16 = self.a.dtype == DType::F16 && self.b.dtype == DType::F16 && target.has_f16;
        target.cooperative.filter(|_| is_f16)
    }

    /// The slices along K, of which the last may be shorter, into which to cut products whose sums are
    /// longer than loops may be, or one whose results are too few to keep a device busy: a batch of
    /// products. That is an order of adding up, so nothing that was measured decides it.
    pub fn slices(&self, target: Target) -> Option<Product> {
        let (rows, columns) = Rung::by_rule(self, target).tile();
        let tiles = self.tiles(rows, columns);
        let enough = if target.is_cpu { 8 } else { 64 };
        if tiles == 0 {
            return None;
        }
        let needed = Rung::by_rule(self, target).rounds(self) / target.most_rounds() + 1;
        let most = match self.batch {
            1 => (enough / tiles).min(self.k / 256).max(needed),
            _ => needed,
        };
        if most < 2 {
            return None;
        }
        // Equally long ones, if those are half as many at least. They are even, so that pairs stay pairs, and
        // fours stay fours where the last is shorter.
        let alike = (most.div_ceil(2).max(2).max(needed)..=most)
            .rev()
            .find(|slices| self.k.is_multiple_of(2 * slices));
        let k = match alike {
            Some(slices) => self.k / slices,
            None => self.k.div_ceil(most).next_multiple_of(4),
        };
        let slice = |operand: Operand, step: usize| Operand { batch: k * step, ..operand };
        let (a, b) = (slice(self.a, self.a.column), slice(self.b, self.b.row));
        let slices = self.k.div_ceil(k);
        let apart = [self.a, self.b].map(|own| if self.batch > 1 { own.batch } else { 0 });
        let sliced = Some(Sliced { k: self.k, slices, apart });
        Some(Product { batch: self.batch * slices, k, a, b, sliced, ..*self })
    }

    /// How many tiles its results make.
    fn tiles(&self, rows: usize, columns: usize) -> usize {
        self.m.div_ceil(rows) * self.n.div_ceil(columns) * self.batch
    }
}

/// A rung of the ladder.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Rung {
    /// One result an invocation.
    Naive,
    /// 8 x 8 results in registers.
    Register,
    /// For software adapters with subgroups of eight: 32 x 32 results, or twice as many rows or
    /// columns.
    Subgroup { tall: bool, wide: bool },
    /// Tiles in workgroup memory, of 32 x 32, 64 x 64 or 128 x 64 results, loaded four elements at a
    /// time where that can be.
    Tile { rows: u32, columns: u32, fours: bool },
    /// Cooperative matrices of `size` x `size`, in tiles in workgroup memory, of `f16` operands. Not
    /// one sum from the first place along K to the last, but the device's own order: never a matter of
    /// measuring.
    Cooperative { size: u32, blocks: u32 },
}

/// The rungs to choose from, with the rows and columns of their tiles.
const LADDER: [(&str, Rung); 11] = [
    ("lanes32x32", Rung::Subgroup { tall: false, wide: false }),
    ("lanes32x64", Rung::Subgroup { tall: false, wide: true }),
    ("lanes64x64", Rung::Subgroup { tall: true, wide: true }),
    ("tile32x32-fours", Rung::Tile { rows: 32, columns: 32, fours: true }),
    ("tile32x32", Rung::Tile { rows: 32, columns: 32, fours: false }),
    ("tile64x64-fours", Rung::Tile { rows: 64, columns: 64, fours: true }),
    ("tile64x64", Rung::Tile { rows: 64, columns: 64, fours: false }),
    ("tile128x64-fours", Rung::Tile { rows: 128, columns: 64, fours: true }),
    ("tile128x64", Rung::Tile { rows: 128, columns: 64, fours: false }),
    ("register", Rung::Register),
    ("naive", Rung::Naive),
];

/// A kernel with its workgroups.
pub(crate) struct Choice {
    pub kernel: &'static str,
    pub parts: [&'static str; 4],
    /// What of them is generated, beside bindings and epilogue.
    pub sections: Vec<(&'static str, String)>,
    /// None if it takes more than a dispatch can have.
    pub workgroups: Option<[u32; 3]>,
    pub constants: Vec<(&'static str, f64)>,
    /// What a kernel that is compiled for no one shape reads, as [`shaders::MATMUL_SHAPE`] has it.
    pub shape: Option<Vec<u32>>,
    /// How it reads its operands.
    pub operands: [Elements; 2],
}

impl Rung {
    /// The rung that is taken where nothing was measured on this device: the shipped table's, and of
    /// what that does not have, the rule's.
    pub fn usual(product: &Product, target: Target) -> Rung {
        let rule = Rung::by_rule(product, target);
        match rule {
            Rung::Cooperative { .. } => rule,
            _ => shipped(product, target).filter(|rung| rung.runs(product, target)).unwrap_or(rule),
        }
    }

    /// The rung for a product by its shape and the kind of device.
    fn by_rule(product: &Product, target: Target) -> Rung {
        let Product { m, n, .. } = *product;
        let fours = product.fours().contains(&true);
        // A GPU has tens of cores, each with room for several workgroups.
        let few = product.tiles(64, 64) < 64;
        if let Some(size) = product.cooperative(target) {
            return Rung::Cooperative { size, blocks: if few { 16 / size } else { 32 / size } };
        }
        match target {
            Target { is_cpu: true, subgroup_size: Some(8), .. } => {
                // Larger tiles are a fifth and a third faster, and take longer to compile: they
                // pay after a hundred runs or so. Few tiles would leave cores idle, and much of
                // them may lie past the edge.
                let large = |operations, rows, columns| {
                    let past = m.next_multiple_of(rows) * n.next_multiple_of(columns);
                    product.operations() >= operations
                        && product.tiles(rows, columns) >= 16
                        && past * 8 <= m * n * 9
                };
                let tall = large(1 << 27, 64, 64);
                Rung::Subgroup { tall, wide: tall || large(1 << 25, 32, 64) }
            }
            Target { is_cpu: true, .. } => Rung::Register,
            _ if few => Rung::Tile { rows: 32, columns: 32, fours },
            _ => Rung::Tile { rows: 64, columns: 64, fours },
        }
    }

    /// All rungs but the usual one that this device can run, and that add up in the same order.
    pub fn others(product: &Product, target: Target) -> Vec<Rung> {
        let usual = Rung::usual(product, target);
        if matches!(usual, Rung::Cooperative { .. }) {
            return Vec::new();
        }
        let can = product.fours().contains(&true);
        // A processor's time does not tell that cores are idle: larger tiles only where there are many.
        let tiles = |rung: Rung| {
            let (rows, columns) = rung.tile();
            product.tiles(rows, columns)
        };
        let enough = if target.is_cpu { tiles(usual).min(16) } else { 0 };
        let others = LADDER.into_iter().map(|(_, rung)| rung).filter(|&rung| match (rung, usual) {
            // One by one only what is usual, to compare with.
            (Rung::Tile { fours: false, rows, .. }, Rung::Tile { rows: own, .. }) => {
                !can || own == rows
            }
            (Rung::Tile { fours: false, .. }, _) => !can,
            _ => true,
        });
        others
            .filter(|&rung| rung != usual && rung.runs(product, target) && tiles(rung) >= enough)
            .collect()
    }

    /// Whether this device can run it, for this product.
    fn runs(self, product: &Product, target: Target) -> bool {
        let is_there = match self {
            Rung::Subgroup { .. } => target.is_cpu && target.subgroup_size == Some(8),
            Rung::Tile { fours, .. } => !fours || product.fours().contains(&true),
            Rung::Naive | Rung::Register | Rung::Cooperative { .. } => true,
        };
        is_there && self.is_quick(product) && self.workgroups(product, target).is_some()
    }

    /// Tiles along N, along M, and batches.
    fn tiles(self, product: &Product) -> [u64; 3] {
        let (rows, columns) = self.tile();
        let Product { batch, m, n, .. } = *product;
        [n.div_ceil(columns), m.div_ceil(rows), batch].map(|count| count as u64)
    }

    /// A workgroup for each tile, in three dimensions as the tiles are, or else numbered through; unless
    /// they are more than a dispatch can have.
    fn workgroups(self, product: &Product, target: Target) -> Option<[u32; 3]> {
        let tiles = self.tiles(product);
        let limit = u64::from(target.workgroups);
        if tiles.iter().all(|&count| count <= limit) {
            return Some(tiles.map(|count| count as u32));
        }
        let all = tiles[0].checked_mul(tiles[1])?.checked_mul(tiles[2])?;
        target.spread(u32::try_from(all).ok()?.into())
    }

    /// How many rounds of loops an invocation makes at most.
    pub fn rounds(self, product: &Product) -> usize {
        match self {
            // Those over what it stores are few.
            Rung::Subgroup { .. } => product.k / 2 + 256,
            // Sums over columns, if it makes them, are loops of their own.
            _ => product.k.saturating_mul(2),
        }
    }

    /// What it is called in tables. Cooperative matrices are in none.
    pub fn name(self) -> &'static str {
        let own = LADDER.iter().find(|(_, rung)| *rung == self);
        own.map_or("cooperative", |(name, _)| name)
    }

    /// The rung of this name.
    pub fn named(name: &str) -> Option<Rung> {
        LADDER.iter().find(|(own, _)| *own == name).map(|&(_, rung)| rung)
    }

    /// Whether a product with this rung is sure to end within the two seconds after which Windows
    /// takes a GPU for hung, on the slowest of them. Those without workgroup memory load each element
    /// from the cache as often as it is multiplied.
    fn is_quick(self, product: &Product) -> bool {
        match self {
            Rung::Naive | Rung::Register => product.operations() <= 1 << 32,
            Rung::Subgroup { .. } | Rung::Tile { .. } | Rung::Cooperative { .. } => true,
        }
    }

    /// Rows and columns of a workgroup.
    fn tile(self) -> (usize, usize) {
        match self {
            Rung::Naive => (8, 8),
            Rung::Register => (64, 8),
            Rung::Subgroup { tall, wide } => {
                (if tall { 64 } else { 32 }, if wide { 64 } else { 32 })
            }
            Rung::Tile { rows, columns, .. } => (rows as usize, columns as usize),
            Rung::Cooperative { size, blocks } => {
                let tile = Cooperative { size, blocks }.tile() as usize;
                (tile, tile)
            }
        }
    }

    /// Whether one kernel can serve products of all shapes.
    pub fn serves_all(self) -> bool {
        self == Rung::Subgroup { tall: false, wide: false }
    }

    /// The kernel for a product. One that is `common` is likely to be that of other products too.
    pub fn kernel(self, product: &Product, common: bool, target: Target) -> Choice {
        let Product { batch, m, n, k, a, b, sliced } = *product;
        let total = sliced.map_or(k, |sliced| sliced.k);
        let shape = [m, n, k, a.row, a.column, a.batch, b.row, b.column, b.batch, total];
        // A software adapter takes longer to compile a kernel than for thousands of small products,
        // and no less time for these if it is compiled for their shape. Kernels to measure bind
        // operands alone.
        let shared = self.serves_all() && !target.alternatives;
        let mut constants: Vec<(&'static str, f64)> = Vec::new();
        if !shared {
            constants.extend(shaders::MATMUL_SHAPE.into_iter().zip(shape.map(|x| x as f64)));
        }
        let can_four = product.fours();
        let mut sections = Vec::new();
        let (kernel, operands, source) = match self {
            Rung::Naive => ("matmul_naive", "", shaders::MATMUL_NAIVE),
            Rung::Register => ("matmul_register", "", shaders::MATMUL_REGISTER),
            Rung::Subgroup { tall, wide } => {
                constants.extend([
                    ("A_ALONG_K", (a.column == 1).into()),
                    ("B_ALONG_N", (b.column == 1).into()),
                    ("ODD", (total % 2 == 1).into()),
                ]);
                if wide {
                    constants.push(("TALL", tall.into()));
                    ("matmul_subgroup", shaders::MATMUL_LANES, shaders::MATMUL_SUBGROUP)
                } else {
                    // Half a tile too much is computed in less time than another kernel is compiled.
                    let many = common && product.operations() < 1 << 20;
                    constants.extend([
                        ("MANY_ROWS", (many || m > 16).into()),
                        ("MANY_COLUMNS", (many || n > 16).into()),
                    ]);
                    (SMALL, shaders::MATMUL_LANES, shaders::MATMUL_SMALL)
                }
            }
            Rung::Tile { rows, columns, fours } => {
                let [a_fours, b_fours] = can_four.map(|can| (fours && can).into());
                constants.extend([("A_FOURS", a_fours), ("B_FOURS", b_fours)]);
                let height = if rows == 128 { 8.0 } else { 4.0 };
                let tile = [("ROWS", rows.into()), ("COLUMNS", columns.into()), ("HEIGHT", height)];
                constants.extend(tile);
                ("matmul_tile", shaders::MATMUL_FILL, shaders::MATMUL_TILE)
            }
            Rung::Cooperative { size, blocks } => {
                constants
                    .extend([("A_FOURS", can_four[0].into()), ("B_FOURS", can_four[1].into())]);
                constants.push(("SUBGROUP", target.subgroup_size.unwrap_or(32).into()));
                sections = Cooperative { size, blocks }.sections();
                ("matmul_cooperative", shaders::MATMUL_FILL, shaders::MATMUL_COOPERATIVE)
            }
        };
        if let Some(Sliced { slices, apart, .. }) = sliced {
            if total != slices * k {
                sections.push(("places", shaders::last_slice_is_shorter(slices)));
            }
            if batch > slices {
                sections.push(("starts", shaders::slices_of_batches(slices, apart)));
            }
        }
        let workgroups = self.workgroups(product, target);
        let tiles = self.tiles(product);
        if tiles.iter().any(|&count| count > u64::from(target.workgroups)) && workgroups.is_some() {
            sections.push(("tile_of", shaders::numbered_tiles(tiles)));
        }
        let elements = [(a, can_four[0]), (b, can_four[1])].map(|(operand, can_four)| match self {
            Rung::Subgroup { .. } if k > 0 => operand.pairs(target),
            Rung::Tile { fours: true, .. } | Rung::Cooperative { .. } if can_four => {
                operand.fours(target)
            }
            _ => operand.elements(target),
        });
        // Each is smaller than its operand, which is one binding: fewer than 2^32 bytes.
        let shape = shared.then(|| shape.map(|x| x as u32).to_vec());
        let parts = [shaders::FUNCTIONS, shaders::MATMUL, operands, source];
        Choice { kernel, parts, sections, workgroups, constants, shape, operands: elements }
    }
}
