//! `snowshed man`: the manual pages, one per command, made from the command line's own help.

use std::path::PathBuf;

use clap::Args;

use super::failure::Failure;
use super::terminal::Terminal;

/// Arguments of `man`.
#[derive(Args, Debug)]
pub struct Man {
    /// Directory that the pages are written to; it must be there
    #[arg(value_name = "DIR")]
    directory: PathBuf,
}

impl Man {
    /// Writes the pages.
    ///
    /// # Errors
    /// When there is no such directory, or a page cannot be written.
    pub fn run(&self, terminal: &mut Terminal) -> Result<(), Failure> {
        if !self.directory.is_dir() {
            return Err(Failure::usage(format!("{} is no directory", self.directory.display()))
                .help("make it first, for example: mkdir -p ~/.local/share/man/man1"));
        }
        clap_mangen::generate_to(super::command(), &self.directory).map_err(|error| {
            Failure::error(format!("the pages cannot be written to {}: {error}", self.directory.display()))
        })?;
        terminal.note(format!("the pages are in {}", self.directory.display()))
    }
}
