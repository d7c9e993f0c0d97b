//! `snowshed completion`: what the shell needs to complete commands, flags and their values.

use clap::{Args, CommandFactory};
use clap_complete::Shell;

use super::failure::Failure;
use super::terminal::Terminal;

/// Arguments of `completion`.
#[derive(Args, Debug)]
pub struct Completion {
    /// The shell
    #[arg(value_enum)]
    shell: Shell,
}

impl Completion {
    /// Prints the script.
    ///
    /// # Errors
    /// When the output cannot be written.
    pub fn run(&self, terminal: &mut Terminal) -> Result<(), Failure> {
        let mut script = Vec::new();
        clap_complete::generate(self.shell, &mut super::Cli::command(), "snowshed", &mut script);
        terminal.line(String::from_utf8_lossy(&script).trim_end())
    }
}
