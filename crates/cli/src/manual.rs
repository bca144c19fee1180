//! Shell completions and the manual page, made from the same description as the help.

use crate::Answer;
use crate::arguments::Arguments;
use crate::error::Failure;
use clap::{Command, CommandFactory};
use clap_complete::Shell;
use std::io::Write;
use warmstart_graph::words::nearest;

/// Print completions for a shell
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  warmstart completions bash > ~/.local/share/bash-completion/completions/warmstart
  warmstart completions fish > ~/.config/fish/completions/warmstart.fish")]
pub struct CompletionsArguments {
    /// The shell
    shell: Shell,
}

pub fn completions(
    arguments: &CompletionsArguments,
    out: &mut dyn Write,
) -> Result<Answer, Failure> {
    // Through memory, because clap's own writing panics where the reader has gone.
    let mut script = Vec::new();
    clap_complete::generate(arguments.shell, &mut Arguments::command(), "warmstart", &mut script);
    out.write_all(&script)?;
    Ok(Answer::Yes)
}

/// Print a manual page, for `man -l -`
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  warmstart man | man -l -
  warmstart man bench restore > warmstart-bench-restore.1")]
pub struct ManArguments {
    /// The page of a subcommand alone; without it one page that has all of them
    subcommand: Vec<String>,
}

pub fn man(arguments: &ManArguments, out: &mut dyn Write) -> Result<Answer, Failure> {
    let mut whole = Arguments::command();
    whole.build();
    let mut command = &whole;
    for name in &arguments.subcommand {
        let known = || shown(command).map(Command::get_name);
        command = shown(command).find(|one| one.get_name() == name).ok_or_else(|| {
            let of = command.get_display_name().unwrap_or("warmstart").replace('-', " ");
            let help = match nearest(name, known()) {
                Some(near) => format!("did you mean `{near}`?"),
                None => format!("there are {}", known().collect::<Vec<_>>().join(", ")),
            };
            Failure::new(format!("`{of}` has no subcommand `{name}`")).help(help)
        })?;
    }
    let mut page = Vec::new();
    clap_mangen::Man::new(command.clone()).render(&mut page)?;
    if arguments.subcommand.is_empty() {
        sections(command, "", &mut page)?;
    }
    see_also(&whole, &arguments.subcommand, &mut page)?;
    out.write_all(&page)?;
    Ok(Answer::Yes)
}

/// Subcommands that people are told of.
fn shown(command: &Command) -> impl Iterator<Item = &Command> {
    let told = |one: &&Command| !one.is_hide_set() && one.get_name() != "help";
    command.get_subcommands().filter(told)
}

/// The other pages, and how to get them.
fn see_also(whole: &Command, of: &[String], page: &mut Vec<u8>) -> Result<(), Failure> {
    let own = ["warmstart"].into_iter().chain(of.iter().map(String::as_str));
    let own = own.collect::<Vec<_>>().join("-");
    let mut names = vec!["warmstart".to_owned()];
    for one in shown(whole) {
        let name = format!("warmstart-{}", one.get_name());
        let within = shown(one).map(|two| format!("{name}-{}", two.get_name()));
        let within: Vec<String> = within.collect();
        names.extend([name].into_iter().chain(within));
    }
    names.retain(|name| *name != own);
    let pages: Vec<String> =
        names.iter().map(|name| format!("\\fB{}\\fR(1)", name.replace('-', "\\-"))).collect();
    writeln!(page, ".SH \"SEE ALSO\"\n{}", pages.join(",\n"))?;
    writeln!(page, ".PP\n\\fBwarmstart man\\fR \\fISUBCOMMAND\\fR prints each of them.")?;
    Ok(())
}

/// A section for each subcommand, and after it for those that it has itself.
fn sections(command: &Command, within: &str, page: &mut Vec<u8>) -> Result<(), Failure> {
    for subcommand in shown(command) {
        let name = format!("{within}{}", subcommand.get_name());
        let man = clap_mangen::Man::new(subcommand.clone());
        writeln!(page, ".SH {}", name.to_uppercase())?;
        man.render_synopsis_section(page)?;
        man.render_description_section(page)?;
        man.render_options_section(page)?;
        man.render_extra_section(page)?;
        sections(subcommand, &format!("{name} "), page)?;
    }
    Ok(())
}
