//! One pass over all rows, the arms in turn.

use crate::Outcome;
use crate::arms::{Arm, Run};
use crate::results::{Key, Results};
use peers_common::{ALL, Row};
use std::path::{Path, PathBuf};
use std::time::Duration;
use std::{env, fs};

/// How thorough a pass is.
pub struct Settings {
    /// How often each row is begun anew by each arm. In a full pass it is a multiple of the arms that there
    /// are, so that each is first, second and so on equally often.
    pub rounds: usize,
    /// Samples that a process takes at most.
    pub samples: usize,
    /// A process begins no new sample after this time.
    pub limit: Duration,
    /// How often caches are emptied for the first step.
    pub cold_rounds: usize,
    /// First steps with the caches of each cold one.
    pub warm_rounds: usize,
    /// Whether caches begin empty. Else those of the last such pass serve again, tuning included.
    pub fresh_caches: bool,
}

impl Settings {
    /// For figures that are kept.
    pub const FULL: Settings = Settings {
        rounds: 4,
        samples: 10,
        limit: Duration::from_secs(2),
        cold_rounds: 2,
        warm_rounds: 10,
        fresh_caches: true,
    };

    /// To see that all works, and roughly how fast.
    pub const QUICK: Settings = Settings {
        rounds: 2,
        samples: 5,
        limit: Duration::from_secs(1),
        cold_rounds: 1,
        warm_rounds: 2,
        fresh_caches: false,
    };

    /// With as many rounds more as it takes for each of so many arms to have each turn equally often.
    pub fn of_arms(self, arms: usize) -> Settings {
        Settings { rounds: self.rounds.next_multiple_of(arms.max(1)), ..self }
    }
}

/// The order of a round: each begins with the next of the arms.
fn in_turn(count: usize, round: usize) -> impl Iterator<Item = usize> {
    (0..count).map(move |turn| (turn + round) % count)
}

/// Runs the rows whose names contain one of the parts, or all; those for GPUs only if a part names them,
/// or `PEERS_LARGE=1` is set.
pub fn run(arms: &[Arm], settings: &Settings, parts: &[String]) -> Outcome<Results> {
    let fresh = settings.fresh_caches.then(tempfile::tempdir).transpose()?;
    let caches = fresh.as_ref().map_or_else(kept_caches, |folder| Ok(folder.path().to_owned()))?;
    let large = env::var_os("PEERS_LARGE").is_some_and(|value| value != "0");
    let picked = |row: &Row| match parts {
        [] => large || !row.is_large(),
        parts => parts.iter().any(|part| match row.is_large() && !large {
            true => row.name() == *part,
            false => row.name().contains(part),
        }),
    };
    let rows = || ALL.into_iter().filter(picked);
    let there = there(arms);
    let mut results = Results::default();
    for round in 0..settings.rounds {
        for row in rows().filter(|row| *row != Row::FirstStep) {
            for index in in_turn(there.len(), round).map(|turn| there[turn]) {
                if row.is_for(arms[index].name) {
                    one(&mut results, arms, index, Key::Steady(row), settings, &caches);
                }
            }
        }
    }
    if rows().any(|row| row == Row::FirstStep) {
        first_steps(&mut results, arms, settings)?;
    }
    results.compare(arms[0].name);
    Ok(results)
}

/// The arms that can be started.
pub fn there(arms: &[Arm]) -> Vec<usize> {
    (0..arms.len()).filter(|&index| arms[index].missing().is_none()).collect()
}

/// First steps with empty caches, and then again with what those left there. Rounds may be fewer than arms, but
/// each process begins anew, and nothing but its own caches is left of it.
fn first_steps(results: &mut Results, arms: &[Arm], settings: &Settings) -> Outcome<()> {
    let there = there(arms);
    for round in 0..settings.cold_rounds {
        let folders = arms.iter().map(|_| tempfile::tempdir()).collect::<Result<Vec<_>, _>>()?;
        for warm in 0..=settings.warm_rounds {
            let key = if warm == 0 { Key::Cold } else { Key::Warm };
            for turn in in_turn(there.len(), round) {
                let index = there[turn];
                one(results, arms, index, key, settings, folders[index].path());
            }
        }
    }
    Ok(())
}

/// One process. An arm that failed at a row is not asked for it again.
fn one(
    results: &mut Results,
    arms: &[Arm],
    index: usize,
    key: Key,
    settings: &Settings,
    caches: &Path,
) {
    let arm = &arms[index];
    if results.failed(key, index) {
        return;
    }
    match arm.run(&key.row(), settings.samples, settings.limit, caches) {
        Ok(Run { answer, elapsed }) => {
            let seconds = match key {
                Key::Steady(_) => answer.seconds.clone(),
                Key::Cold | Key::Warm => vec![elapsed.as_secs_f64()],
            };
            let shown: Vec<String> = seconds.iter().map(|s| format!("{:.3}", s * 1e3)).collect();
            println!(
                "{key} {}: {} ms, in {:.1} s",
                arm.name,
                shown.join(" "),
                elapsed.as_secs_f64()
            );
            results.add(key, index, seconds, &answer);
        }
        Err(error) => {
            println!("{key} {}: {error}", arm.name);
            results.fail(key, index, error.to_string());
        }
    }
}

/// The folder in which caches stay from one quick pass to the next, for all but the first steps. It
/// is not in the project: burn would keep its tuning in the project's `target`.
fn kept_caches() -> Outcome<PathBuf> {
    let user = env::var_os("XDG_CACHE_HOME").map(PathBuf::from);
    let home = || env::var_os("HOME").map(|home| PathBuf::from(home).join(".cache"));
    let folder = user.or_else(home).unwrap_or_else(env::temp_dir).join("warmstart-peers");
    fs::create_dir_all(&folder)?;
    Ok(folder)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_arm_has_each_turn_equally_often() {
        for arms in 1..=5 {
            let rounds = Settings::FULL.of_arms(arms).rounds;
            let mut turns = vec![vec![0; arms]; arms];
            for round in 0..rounds {
                in_turn(arms, round).enumerate().for_each(|(turn, arm)| turns[arm][turn] += 1);
            }
            assert_eq!(turns, vec![vec![rounds / arms; arms]; arms], "{arms} arms");
        }
    }
}
