//! Places in layers: in which order, and how far to the right. After Sugiyama, Tagawa and Toda,
//! "Methods for visual understanding of hierarchical system structures" (1981).

/// Room between neighbours.
const GAP: f64 = 16.0;
/// How often layers are put in order by their neighbours, and moved to them.
const SWEEPS: usize = 12;

/// Cells in layers, top to bottom.
#[derive(Default)]
pub struct Layers {
    pub layers: Vec<Vec<usize>>,
    /// The width of each cell, and how much it wants to be where its neighbours are.
    pub cells: Vec<(f64, f64)>,
    /// Lines between cells of neighbouring layers: the upper and the lower one, and where they leave
    /// each, from its middle.
    pub links: Vec<[(usize, f64); 2]>,
}

impl Layers {
    /// Adds a cell to a layer; returns its number.
    pub fn add(&mut self, layer: usize, width: f64, weight: f64) -> usize {
        self.cells.push((width, weight));
        self.layers[layer].push(self.cells.len() - 1);
        self.cells.len() - 1
    }

    /// Finds the middle of each cell, and the width of all.
    pub fn place(&mut self) -> (Vec<f64>, f64) {
        let mut neighbours = vec![[Vec::new(), Vec::new()]; self.cells.len()];
        for &[(above, leaves), (below, enters)] in &self.links {
            neighbours[below][0].push((above, leaves - enters));
            neighbours[above][1].push((below, enters - leaves));
        }
        let count = self.layers.len();
        for sweep in 0..SWEEPS {
            let down = sweep % 2 == 0;
            for at in 1..count {
                let layer = if down { at } else { count - 1 - at };
                self.sort(layer, &neighbours, usize::from(!down));
            }
        }
        let mut middles = vec![0.0; self.cells.len()];
        for layer in &self.layers {
            let mut right = 0.0;
            for &cell in layer {
                middles[cell] = right + self.cells[cell].0 / 2.0;
                right += self.cells[cell].0 + GAP;
            }
        }
        for sweep in 0..SWEEPS {
            let sides: &[usize] = match sweep {
                last if last + 2 >= SWEEPS => &[0, 1],
                even if even % 2 == 0 => &[0],
                _ => &[1],
            };
            for at in 0..count {
                let layer = if sweep % 2 == 0 { at } else { count - 1 - at };
                self.shift(layer, &neighbours, sides, &mut middles);
            }
        }
        let left = |(cell, middle): (usize, &f64)| middle - self.cells[cell].0 / 2.0;
        let right = |(cell, middle): (usize, &f64)| middle + self.cells[cell].0 / 2.0;
        let begin = middles.iter().enumerate().map(left).fold(f64::INFINITY, f64::min);
        let end = middles.iter().enumerate().map(right).fold(f64::NEG_INFINITY, f64::max);
        middles.iter_mut().for_each(|middle| *middle -= begin);
        (middles, (end - begin).max(0.0))
    }

    /// Puts a layer in the order of the mean places of its neighbours above (0) or below (1).
    fn sort(&mut self, layer: usize, neighbours: &[[Vec<(usize, f64)>; 2]], side: usize) {
        let mut places = vec![0.0; self.cells.len()];
        for cells in &self.layers {
            for (place, &cell) in cells.iter().enumerate() {
                places[cell] = (place as f64 + 0.5) / cells.len() as f64;
            }
        }
        let wanted = |cell: usize| {
            let [above, below] = &neighbours[cell];
            let of = &neighbours[cell][side];
            let sum: f64 = of.iter().map(|(other, _)| places[*other]).sum();
            match of.len() {
                // What has no neighbours at all is out of the way on the right.
                0 if above.is_empty() && below.is_empty() => f64::INFINITY,
                0 => places[cell],
                count => sum / count as f64,
            }
        };
        let mut order: Vec<(f64, usize)> =
            self.layers[layer].iter().map(|&cell| (wanted(cell), cell)).collect();
        order.sort_by(|a, b| a.0.total_cmp(&b.0));
        self.layers[layer] = order.into_iter().map(|(_, cell)| cell).collect();
    }

    /// Moves the cells of a layer as near to their neighbours as their order allows, by least
    /// squares: cells that would overlap are pooled and moved together.
    fn shift(
        &self,
        layer: usize,
        neighbours: &[[Vec<(usize, f64)>; 2]],
        sides: &[usize],
        middles: &mut [f64],
    ) {
        // Mean and weight of each pool, and how many cells it has.
        let mut pools: Vec<(f64, f64, usize)> = Vec::new();
        let mut offsets = Vec::with_capacity(self.layers[layer].len());
        let mut offset = 0.0;
        for &cell in &self.layers[layer] {
            let (width, mut weight) = self.cells[cell];
            offset += width / 2.0;
            offsets.push(offset);
            let of = || sides.iter().flat_map(|&side| &neighbours[cell][side]);
            let sum: f64 = of().map(|&(other, by)| middles[other] + by).sum();
            let alone = neighbours[cell].iter().all(Vec::is_empty);
            let wanted = match of().count() {
                // Right beside the one before, and without moving that.
                0 if alone => {
                    weight = 1e-9;
                    pools.last().map_or(0.0, |before: &(f64, f64, usize)| before.0) + offset
                }
                0 => middles[cell],
                count => sum / count as f64,
            };
            let mut pool = (wanted - offset, weight, 1);
            while let Some(before) = pools.pop_if(|before| before.0 > pool.0) {
                let weight = before.1 + pool.1;
                let mean = (before.0 * before.1 + pool.0 * pool.1) / weight;
                pool = (mean, weight, before.2 + pool.2);
            }
            pools.push(pool);
            offset += width / 2.0 + GAP;
        }
        let means = pools.iter().flat_map(|&(mean, _, cells)| std::iter::repeat_n(mean, cells));
        for ((&cell, offset), mean) in self.layers[layer].iter().zip(offsets).zip(means) {
            middles[cell] = mean + offset;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cells_keep_their_distance_and_lie_under_their_neighbours() {
        let mut layers = Layers { layers: vec![Vec::new(); 2], ..Layers::default() };
        let above: Vec<usize> = (0..3).map(|_| layers.add(0, 40.0, 1.0)).collect();
        let below: Vec<usize> = (0..3).map(|_| layers.add(1, 100.0, 1.0)).collect();
        // Crossed, as they were added.
        for (above, below) in above.iter().zip(below.iter().rev()) {
            layers.links.push([(*above, 0.0), (*below, 0.0)]);
        }
        let (middles, width) = layers.place();
        for layer in &layers.layers {
            for pair in layer.windows(2) {
                let room = (layers.cells[pair[0]].0 + layers.cells[pair[1]].0) / 2.0 + GAP;
                assert!(middles[pair[1]] - middles[pair[0]] >= room - 1e-6, "{middles:?}");
            }
        }
        for [(above, _), (below, _)] in &layers.links {
            assert!((middles[*above] - middles[*below]).abs() < 1.0, "{middles:?}");
        }
        assert!((width - 3.0 * 100.0 - 2.0 * GAP).abs() < 1.0, "{width}");
    }
}
