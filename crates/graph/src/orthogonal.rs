//! Orthonormal vectors from random ones.

/// Makes the `count` vectors of the given length orthonormal in place, one after another
/// (modified Gram-Schmidt). Each is projected twice, which makes them orthogonal to working
/// precision (Giraud, Langou and Rozložník 2005: "twice is enough").
///
/// Only additions, multiplications, divisions and square roots in a fixed order: the bits are the
/// same on every machine. There must be no more vectors than their length.
pub(crate) fn orthonormalize(vectors: &mut [Vec<f64>]) {
    let length = vectors.first().map_or(0, Vec::len);
    for index in 0..vectors.len() {
        let (done, rest) = vectors.split_at_mut(index);
        let vector = &mut rest[0];
        let before = dot(vector, vector);
        project(vector, done);
        if dot(vector, vector) <= before * 1e-20 {
            // Chance made this vector depend on the others. Some axis is at least this far from
            // their span, since they are fewer than the axes.
            for axis in 0..length {
                vector.fill(0.0);
                vector[axis] = 1.0;
                project(vector, done);
                if dot(vector, vector) > 0.5 / length as f64 {
                    break;
                }
            }
        }
        normalize(vector);
        project(vector, done);
        normalize(vector);
    }
}

fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).fold(0.0, |sum, (a, b)| sum + a * b)
}

fn project(vector: &mut [f64], out_of: &[Vec<f64>]) {
    for other in out_of {
        let part = dot(vector, other);
        vector.iter_mut().zip(other).for_each(|(v, o)| *v -= part * o);
    }
}

fn normalize(vector: &mut [f64]) {
    let norm = dot(vector, vector).sqrt();
    vector.iter_mut().for_each(|v| *v /= norm);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn even_dependent_vectors_become_orthonormal() {
        let mut vectors = vec![
            vec![0.0; 4],
            vec![1.0, 2.0, 3.0, 4.0],
            vec![2.0, 4.0, 6.0, 8.0],
            vec![1.0, 2.0, 3.0, 4.0 + 1e-9],
        ];
        orthonormalize(&mut vectors);
        for (i, a) in vectors.iter().enumerate() {
            for (j, b) in vectors.iter().enumerate() {
                let wanted = if i == j { 1.0 } else { 0.0 };
                assert!((dot(a, b) - wanted).abs() < 1e-14, "{i} {j}: {vectors:?}");
            }
        }
    }
}
