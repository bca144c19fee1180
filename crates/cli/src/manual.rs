//! Shell completions and the manual page, made from the same description as the help.

use crate::Answer;
use crate::arguments::Arguments;
use crate::error::Failure;
use clap::CommandFactory;
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
    for subcommand in command.get_subcommands().filter(|subcommand| !subcommand.is_hide_set()) {
        let man = clap_mangen::Man::new(subcommand.clone());
        writeln!(page, ".SH {}", subcommand.get_name().to_uppercase())?;
        man.render_synopsis_section(&mut page)?;
        man.render_description_section(&mut page)?;
        man.render_options_section(&mut page)?;
        man.render_extra_section(&mut page)?;
    }
    out.write_all(&page)?;
    Ok(Answer::Yes)
}
