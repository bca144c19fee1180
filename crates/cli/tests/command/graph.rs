use crate::{floats, foreign, json, trained, warmstart};

#[test]
fn the_graph_of_a_checkpoint_is_printed() {
    let directory = tempfile::tempdir().unwrap();
    trained(directory.path(), 1, 7, 0.5);
    let graph = |arguments: &[&str]| warmstart(directory.path(), &[&["graph"], arguments].concat());
    let text = graph(&["."]).with(0);
    assert!(text.contains(" nodes, ") && text.contains("variable fc1/weight"), "{text}");
    assert_eq!(graph(&["--text", "."]).with(0), text);
    let dot = graph(&["--dot", "."]).with(0);
    assert!(dot.starts_with("digraph {") && dot.contains("fc1/weight"), "{dot}");
    let svg = graph(&["--svg", "."]).with(0);
    let picture = roxmltree::Document::parse(&svg).unwrap();
    let nodes = json(&graph(&["--json", "."]).with(0))["nodes"].as_array().unwrap().len();
    let drawn = picture.descendants().filter(|node| {
        node.attribute("id")
            .is_some_and(|id| id.strip_prefix('n').is_some_and(|n| n.parse::<usize>().is_ok()))
    });
    assert_eq!(drawn.count(), nodes);
    let saved = graph(&["--json", "."]).with(0);
    assert!(json(&saved)["nodes"].is_array());
    std::fs::write(directory.path().join("graph.json"), saved).unwrap();
    assert_eq!(graph(&["graph.json"]).with(0), text);
    foreign(&directory.path().join("a"), &[("a", "F32", &[1], floats(&[1.0]))]);
    assert!(graph(&["a"]).failed().contains("holds no graph"));
    assert_eq!(graph(&["--dot", "--text", "."]).code, 2);
}

#[test]
fn help_completions_and_the_manual_speak_of_every_subcommand() {
    let run = |arguments: &[&str]| warmstart(std::path::Path::new("."), arguments).with(0);
    let (help, manual, bash) = (run(&["--help"]), run(&["man"]), run(&["completions", "bash"]));
    assert!(help.contains("Exit codes:"), "{help}");
    for subcommand in ["inspect", "verify", "plan", "latest", "diff", "devices", "graph", "convert"]
    {
        assert!(help.contains(&format!("\n  {subcommand} ")), "{help}");
        assert!(bash.contains(subcommand));
        assert!(manual.contains(&format!(".SH {}\n", subcommand.to_uppercase())), "{manual}");
        let help = run(&[subcommand, "--help"]);
        assert!(help.contains("Examples:") && help.contains("--"), "{help}");
    }
}
