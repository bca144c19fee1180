use super::*;
use proptest::prelude::*;

fn matched<'a>(glob: &str, names: &[&'a str]) -> Vec<&'a str> {
    let glob = Glob::new(glob).unwrap();
    names.iter().copied().filter(|name| glob.is_match(name)).collect()
}

#[test]
fn one_star_stays_within_a_part_whatever_separates_parts() {
    let names = ["weight", "fc.weight", "a.fc.weight", "a/fc/weight", "a/fc.weight", "fc/bias"];
    assert_eq!(matched("*", &names), ["weight"]);
    assert_eq!(matched("*.weight", &names), ["fc.weight"]);
    assert_eq!(matched("*/*", &names), ["fc/bias"]);
    assert_eq!(matched("**.weight", &names), ["weight", "fc.weight", "a.fc.weight", "a/fc.weight"]);
    assert_eq!(matched("**/weight", &names), ["weight", "a/fc/weight"]);
    assert_eq!(matched("a.**", &names), ["a.fc.weight"]);
    assert_eq!(matched("a/**/weight", &names), ["a/fc/weight"]);
    assert_eq!(matched("**", &names), names);
    assert_eq!(matched("{a/**,**/bias}", &names), ["a/fc/weight", "a/fc.weight", "fc/bias"]);
    assert_eq!(matched("fc?weight", &names), [""; 0]);
    assert_eq!(matched("a/**/w", &["a/w", "ab/w", "a/b/c/w"]), ["a/w", "a/b/c/w"]);
}

#[test]
fn classes_braces_and_backslashes() {
    let names = ["l0", "l1", "l9", "l-", "l]", "l.", "l*", "l\n"];
    assert_eq!(matched("l[0-8]", &names), ["l0", "l1"]);
    assert_eq!(matched("l[!0-8]", &names), ["l9", "l-", "l]", "l*", "l\n"]);
    assert_eq!(matched("l[]-]", &names), ["l-", "l]"]);
    assert_eq!(matched("l{0,[1-8],\\*}", &names), ["l0", "l1", "l*"]);
    assert_eq!(matched("{l{0,1},m}", &names), ["l0", "l1"]);
    assert_eq!(matched("a,b", &["a,b", "a"]), ["a,b"]);
    assert_eq!(matched("l[*-.]", &names), ["l-", "l*"]);
    assert_eq!(matched("l[*.]", &names), ["l.", "l*"]);
    assert_eq!(matched("[+--]", &["+", ",", "-", "a"]), ["+", ",", "-"]);
    assert_eq!(matched(r"[\d]", &["1", "d", "\\"]), ["d", "\\"]);
    assert_eq!(matched("{a,b/{c,**}}", &["a", "b/c", "b/d/e", "c"]), ["a", "b/c", "b/d/e"]);
}

#[test]
fn what_makes_no_sense_is_told() {
    for (glob, told) in [
        ("**kernel", "`**/kernel`"),
        ("a**", "whole parts"),
        ("a/***", "whole parts"),
        ("a{**,b}", "whole parts"),
        ("**,b", "whole parts"),
        ("{x,**}kernel", "whole parts"),
        ("{**,x}kernel", "whole parts"),
        ("{encoder,**}/kernel", "whole parts"),
        ("{a/{b,**}c,d}", "whole parts"),
        ("{a,**},b", "whole parts"),
        ("[a--]", "range"),
        ("[a", "not closed"),
        ("{a", "not closed"),
        ("a}", "closes nothing"),
        ("a\\", "ends with"),
        ("[z-a]", "range"),
    ] {
        let problem = Glob::new(glob).unwrap_err();
        assert!(problem.contains(told), "{glob}: {problem}");
    }
}

/// A piece of a glob, as a plain matcher knows it.
#[derive(Clone, Debug)]
enum Piece {
    Char(char),
    Any,
    One,
    /// What stands between brackets.
    Class(String),
    Either(Vec<Vec<Piece>>),
    /// `**` and the separator after it, if it is not at the end.
    Parts(Option<char>),
}

fn written(pieces: &[Piece]) -> String {
    let piece = |piece: &Piece| match piece {
        Piece::Char(c) => c.to_string(),
        Piece::Any => "*".to_owned(),
        Piece::One => "?".to_owned(),
        Piece::Class(of) => format!("[{of}]"),
        Piece::Either(of) => {
            format!("{{{}}}", of.iter().map(|one| written(one)).collect::<Vec<_>>().join(","))
        }
        Piece::Parts(separator) => format!("**{}", separator.map_or(String::new(), String::from)),
    };
    pieces.iter().map(piece).collect()
}

/// Whether a class holds a character; nothing if a range of it runs backwards.
fn holds(class: &str, c: char) -> Option<bool> {
    let all: Vec<char> = class.chars().collect();
    let not = matches!(all[0], '!' | '^');
    let (mut rest, mut found) = (&all[usize::from(not)..], false);
    while let Some(&first) = rest.first() {
        if rest.len() > 2 && rest[1] == '-' {
            if first > rest[2] {
                return None;
            }
            found |= (first..=rest[2]).contains(&c) && !SEPARATORS.contains(&c);
            rest = &rest[3..];
        } else {
            found |= first == c;
            rest = &rest[1..];
        }
    }
    Some(if not { !found && !SEPARATORS.contains(&c) } else { found })
}

/// Where in a name these pieces may end that begin at one of these places.
fn ends(pieces: &[Piece], name: &[char], from: Vec<usize>) -> Vec<usize> {
    let Some((piece, rest)) = pieces.split_first() else { return from };
    let mut to = Vec::new();
    for at in from {
        let one = |fits: &dyn Fn(char) -> bool| {
            name.get(at).filter(|c| fits(**c)).map(|_| at + 1).into_iter().collect()
        };
        let within = |c: char| !SEPARATORS.contains(&c);
        let found: Vec<usize> = match piece {
            Piece::Char(this) => one(&|c| c == *this),
            Piece::One => one(&within),
            Piece::Class(of) => one(&|c| holds(of, c) == Some(true)),
            Piece::Any => {
                let length = name[at..].iter().take_while(|c| within(**c)).count();
                (at..=at + length).collect()
            }
            Piece::Either(of) => of.iter().flat_map(|one| ends(one, name, vec![at])).collect(),
            Piece::Parts(None) => vec![name.len()],
            Piece::Parts(Some(separator)) => {
                let after = (at..name.len()).filter(|&i| name[i] == *separator).map(|i| i + 1);
                std::iter::once(at).chain(after).collect()
            }
        };
        to.extend(found);
    }
    to.sort_unstable();
    to.dedup();
    ends(rest, name, to)
}

fn valid(pieces: &[Piece]) -> bool {
    pieces.iter().all(|piece| match piece {
        Piece::Class(of) => holds(of, 'a').is_some(),
        Piece::Either(of) => of.iter().all(|one| valid(one)),
        _ => true,
    })
}

/// What may stand within a part.
fn within_a_part() -> impl Strategy<Value = Vec<Piece>> {
    let piece = prop_oneof![
        4 => prop::sample::select(vec!['a', 'b', '-', '&']).prop_map(Piece::Char),
        1 => Just(Piece::One),
        2 => "[!^]?[ab&~\\[\\\\./-][ab&~!\\[\\\\./-]{0,4}".prop_map(Piece::Class),
    ];
    let piece = piece.prop_recursive(2, 8, 3, |inner| {
        let one = prop::collection::vec(inner, 0..3);
        prop::collection::vec(one, 1..3).prop_map(Piece::Either)
    });
    // Two stars that meet would be one of the other kind.
    (prop::collection::vec(piece, 0..4), prop::option::of(0usize..4)).prop_map(|(mut all, star)| {
        if let Some(at) = star {
            all.insert(at.min(all.len()), Piece::Any);
        }
        all
    })
}

fn globs() -> impl Strategy<Value = Vec<Piece>> {
    let separator = || prop::sample::select(SEPARATORS.to_vec());
    let part = (prop::option::weighted(0.7, within_a_part()), separator()).prop_map(
        |(part, separator)| match part {
            Some(mut part) => {
                part.push(Piece::Char(separator));
                part
            }
            None => vec![Piece::Parts(Some(separator))],
        },
    );
    let last = prop_oneof![
        3 => within_a_part(),
        1 => Just(vec![Piece::Parts(None)]),
        1 => within_a_part()
            .prop_map(|one| vec![Piece::Either(vec![one, vec![Piece::Parts(None)]])]),
    ];
    (prop::collection::vec(part, 0..3), last)
        .prop_map(|(parts, last)| parts.into_iter().flatten().chain(last).collect())
}

/// How many random globs each test tries.
fn cases() -> u32 {
    if std::env::var_os("WARMSTART_TEST_LONG").is_some() { 20_000 } else { 512 }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: cases(), failure_persistence: None, ..Default::default() })]

    #[test]
    fn globs_match_what_a_plain_matcher_does(
        pieces in globs(),
        names in prop::collection::vec("[ab&~^!\\[\\\\./-]{0,6}", 1..12),
    ) {
        let text = written(&pieces);
        match Glob::new(&text) {
            Err(problem) => prop_assert!(!valid(&pieces), "{text}: {problem}"),
            Ok(glob) => {
                prop_assert!(valid(&pieces), "{text}");
                for name in names {
                    let name_of: Vec<char> = name.chars().collect();
                    let plain = ends(&pieces, &name_of, vec![0]).contains(&name_of.len());
                    prop_assert_eq!(glob.is_match(&name), plain, "{} {}", &text, &name);
                }
            }
        }
    }

    #[test]
    fn an_escaped_name_matches_itself_alone(
        name in "[a/.*?\\[\\]{},!^\\\\-]{0,8}",
        other in "[a/.*?\\[\\]{},!^\\\\-]{0,8}",
    ) {
        let glob = Glob::new(&Glob::escape(&name)).unwrap();
        prop_assert!(glob.is_match(&name));
        prop_assert_eq!(glob.is_match(&other), name == other);
        let either = format!("{{{},b}}", Glob::escape(&name));
        prop_assert!(Glob::new(&either).unwrap().is_match(&name));
    }

    #[test]
    fn no_glob_is_a_panic(glob in ".{0,20}", odd in "[a*/.{},\\[\\]\\\\!-]{0,12}") {
        for glob in [glob, odd] {
            let _ = Glob::new(&glob).map(|glob| glob.is_match("a/b.c"));
        }
    }
}
