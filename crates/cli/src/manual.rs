//! Shell completions and the manual page, made from the same description as the help.

use crate::Answer;
use crate::arguments::Arguments;
use crate::error::Failure;
use clap::{Command, CommandFactory};
use clap_complete::Shell;
use std::io::Write;

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

/// One page, with the subcommands after each other.
pub fn man(out: &mut dyn Write) -> Result<Answer, Failure> {
    let mut command = Arguments::command();
    command.build();
    let mut page = Vec::new();
    clap_mangen::Man::new(command.clone()).render(&mut page)?;
    sections(&command, "", &mut page)?;
    out.write_all(&page)?;
    Ok(Answer::Yes)
}

/// A section for each subcommand, and after it for those that it has itself.
fn sections(command: &Command, within: &str, page: &mut Vec<u8>) -> Result<(), Failure> {
    let shown =
        |subcommand: &&Command| !subcommand.is_hide_set() && subcommand.get_name() != "help";
    for subcommand in command.get_subcommands().filter(shown) {
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
