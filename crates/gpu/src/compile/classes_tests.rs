use super::*;
use crate::compile::matmul::Rung;
use crate::device::cache::CacheChoice;
use crate::device::gpu::{Gpu, GpuOptions};
use crate::session::Session;
use crate::tune::Tune;
use warmstart_graph::{DType, Graph};

/// A product of matrices that lie one after the other.
fn product(
    [batch, m, n, k]: [usize; 4],
    transposed: [bool; 2],
    [a_dtype, b_dtype]: [DType; 2],
) -> Product {
    let operand = |rows: usize, columns: usize, is_transposed, dtype| {
        let (row, column) = if is_transposed { (1, rows) } else { (columns, 1) };
        let batch = if batch == 1 { 0 } else { rows * columns };
        Operand { row, column, batch, dtype }
    };
    let a = operand(m, k, transposed[0], a_dtype);
    let b = operand(k, n, transposed[1], b_dtype);
    Product { batch, m, n, k, a, b, sliced: None }
}

fn class(shape: [usize; 4]) -> String {
    Class::of(&product(shape, [false; 2], [DType::F32; 2])).to_string()
}

#[test]
fn about_the_same_shape_is_one_class() {
    assert_eq!(class([1, 64, 128, 784]), "1 64 128 1024 f32n4 f32n4");
    for (one, other) in [
        ([1, 64, 128, 784], [1, 60, 128, 784]),
        ([1, 64, 128, 784], [1, 64, 100, 1024]),
        ([5, 64, 64, 64], [8, 33, 40, 36]),
        ([1, 700, 64, 64], [1, 768, 64, 64]),
        ([1, 5, 64, 64], [1, 8, 64, 64]),
    ] {
        assert_eq!(class(one), class(other), "{one:?} {other:?}");
    }
    for (one, other) in [
        // Another number of tiles, of runs of the loop, of products.
        ([1, 64, 128, 784], [1, 65, 128, 784]),
        ([1, 64, 128, 784], [1, 64, 132, 784]),
        ([1, 64, 128, 784], [1, 64, 128, 512]),
        ([4, 64, 64, 64], [5, 64, 64, 64]),
        ([1, 768, 64, 64], [1, 772, 64, 64]),
        ([1, 4, 64, 64], [1, 5, 64, 64]),
        // Operands that are read two and one at a time.
        ([1, 64, 128, 784], [1, 64, 128, 786]),
        ([1, 64, 128, 786], [1, 64, 128, 787]),
        ([1, 64, 128, 784], [1, 64, 126, 784]),
        ([1, 0, 64, 64], [1, 1, 64, 64]),
    ] {
        assert_ne!(class(one), class(other), "{one:?} {other:?}");
    }
    let shape = [1, 64, 64, 64];
    let layouts = [[false, false], [false, true], [true, false], [true, true]];
    let mut classes: Vec<String> = layouts
        .iter()
        .map(|&transposed| Class::of(&product(shape, transposed, [DType::F32; 2])).to_string())
        .collect();
    for dtypes in [[DType::F16, DType::F16], [DType::F32, DType::Bf16], [DType::Bf16, DType::F32]] {
        classes.push(Class::of(&product(shape, [false; 2], dtypes)).to_string());
    }
    let count = classes.len();
    classes.sort();
    classes.dedup();
    assert_eq!(classes.len(), count, "{classes:?}");
}

/// What is rounded up is in the class that it is rounded to, and no extent is too large.
#[test]
fn extents_are_rounded_once() {
    let extents = (0..5000).chain([1 << 31, usize::MAX / 2 + 2, usize::MAX]);
    let (mut before, mut tiled_before) = (0, 0);
    for extent in extents {
        let (power, rows) = (power_of_two(extent), tiled(extent));
        assert_eq!((power_of_two(power), tiled(rows)), (power, rows), "{extent}");
        assert!(power >= extent && rows >= extent, "{extent}: {power} {rows}");
        assert!(power >= before && rows >= tiled_before, "{extent}: {power} {rows}");
        if extent <= 256 {
            assert_eq!(rows.div_ceil(32), extent.div_ceil(32), "{extent}: {rows}");
        }
        (before, tiled_before) = (power, rows);
    }
}

const SOFTWARE: Target = Target { is_cpu: true, subgroup_size: Some(8), ..Target::GPU };

/// A device of a class.
fn device(adapter: &str) -> Target {
    let makers = ["nvidia", "amd", "intel", "apple", "arm", "qualcomm", "other"];
    match adapter {
        "software8" => SOFTWARE,
        "software" => Target { subgroup_size: Some(4), ..SOFTWARE },
        _ => {
            let maker = makers.into_iter().find(|maker| *maker == adapter);
            Target { maker: maker.expect(adapter), ..Target::GPU }
        }
    }
}

/// A product of the class of a line, or panics: then no product has such a class.
fn one_of(words: &[&str]) -> Product {
    let extents: Vec<usize> = words[..4].iter().map(|word| word.parse().unwrap()).collect();
    let dtypes = [DType::F32, DType::F16, DType::Bf16];
    let dtype = |word: &str| dtypes.into_iter().find(|own| word.starts_with(own.name())).unwrap();
    let transposed = [words[4], words[5]].map(|word| word[word.len() - 2..].starts_with('t'));
    // Those that are rounded to it and can be read four, two or one at a time.
    let less = [0, 2, 1];
    for at in 0..27 {
        let rounded = |axis: usize, at: usize| extents[axis].saturating_sub(less[at % 3]);
        let shape = [extents[0], rounded(1, at), rounded(2, at / 3), rounded(3, at / 9)];
        let product = product(shape, transposed, [dtype(words[4]), dtype(words[5])]);
        if Class::of(&product).to_string() == words[..6].join(" ") {
            return product;
        }
    }
    panic!("no product is of the class {words:?}")
}

/// A line that says nothing true of any product would never be noticed.
#[test]
fn each_line_of_the_shipped_table_is_followed() {
    let mut count = 0;
    for line in SHIPPED.lines().filter(|line| !line.starts_with('#')) {
        let words: Vec<&str> = line.split_whitespace().collect();
        assert!(words.len() > 8, "{line}: it ends with how that was found out");
        let (target, product) = (device(words[0]), one_of(&words[1..]));
        let rung = Rung::named(words[7]).expect(line);
        assert_eq!(Rung::usual(&product, target), rung, "{line}");
        count += 1;
    }
    assert!(count > 0 && TABLE.len() == count, "two lines of one class: {count}");
}

#[test]
fn a_table_is_for_adapters_like_those_that_were_measured() {
    let line = SHIPPED.lines().find(|line| line.starts_with("software8")).unwrap();
    let words: Vec<&str> = line.split_whitespace().collect();
    let product = one_of(&words[1..]);
    assert_eq!(shipped(&product, SOFTWARE), Rung::named(words[7]));
    for target in [Target::GPU, device("nvidia"), device("software")] {
        assert_eq!(shipped(&product, target), None, "{target:?}");
    }
    // Of another class.
    let larger = Product { batch: product.batch * 64, ..product };
    assert_eq!(shipped(&larger, SOFTWARE), None);
}

#[test]
fn lines_that_make_no_sense_are_left_out() {
    let table = "# software8 1 2 3 4 f32n4 f32n4 naive measured\n\
                 software8 1 2 3 4 f32n4 f32n4 unheard-of measured\n\
                 software8 1 2 3 4\n\n\
                 amd  1 2 3 4 f32n4 f32n4   tile32x32-fours  measured\n";
    let tile = Rung::Tile { rows: 32, columns: 32, fours: true };
    let found: Vec<(String, Rung)> = lines(table).collect();
    assert_eq!(found, [("amd 1 2 3 4 f32n4 f32n4".to_owned(), tile)]);
}

/// The six words of one product's class, for any adapter, name a kernel that no rule gives it.
fn other_table(key: &str) -> Option<Rung> {
    let (_, class) = key.split_once(' ')?;
    (class == "1 64 64 64 f32n4 f32n4").then_some(Rung::Naive)
}

/// Without a cache, without measuring, and where the time for that is over: the table says it, and the
/// rule only for what the table has not.
#[test]
fn a_plan_follows_the_table() {
    for tune in [Tune::Off, Tune::On] {
        let open = || {
            let (tune, cache) = (Some(tune), Some(CacheChoice::Off));
            let gpu = Gpu::with(&GpuOptions { tune, cache, ..GpuOptions::default() }).unwrap();
            // As on a GPU, on which there are kernels to measure.
            gpu.taken_for(wgpu::DeviceType::DiscreteGpu)
        };
        let kernel = |gpu: &Gpu, rows: usize| {
            let graph = Graph::new();
            let x = graph.placeholder("x", [rows, 64], DType::F32);
            let y = graph.placeholder("y", [64, 64], DType::F32);
            let plan = Session::new(gpu).compile(&graph, &[x.matmul(y)], &[]).unwrap();
            plan.dispatches()[0].kernel
        };
        let own = open().with_table(other_table);
        own.tuner().use_up();
        assert_eq!(kernel(&own, 64), "matmul_naive", "{tune:?}");
        // Of the class too, and of no other.
        assert_eq!(kernel(&own, 60), "matmul_naive", "{tune:?}");
        assert_ne!(kernel(&own, 68), "matmul_naive", "{tune:?}");
        let usual = open();
        usual.tuner().use_up();
        assert_ne!(kernel(&usual, 64), "matmul_naive", "{tune:?}");
    }
}

/// It is also what the tuner measures the others against, first of all.
#[test]
fn the_tables_kernel_is_the_first_that_is_measured() {
    let target = Target { alternatives: true, shipped: other_table, ..Target::GPU };
    let square = product([1, 64, 64, 64], [false; 2], [DType::F32; 2]);
    assert_eq!(Rung::usual(&square, target), Rung::Naive);
    let rule = Rung::usual(&square, Target { shipped: |_| None, ..target });
    assert!(rule != Rung::Naive && Rung::others(&square, target).contains(&rule));
    assert!(!Rung::others(&square, target).contains(&Rung::Naive));
}

/// What a device is given is the table of the release.
#[test]
fn a_device_has_the_table_of_the_release() {
    let target = Target::of(&Gpu::new().unwrap());
    for line in SHIPPED.lines().filter(|line| !line.starts_with('#')) {
        let words: Vec<&str> = line.split_whitespace().collect();
        let rung = Rung::named(words[7]);
        assert!(rung.is_some() && (target.shipped)(&words[..7].join(" ")) == rung, "{line}");
    }
    assert_eq!((target.shipped)("software8"), None);
}
