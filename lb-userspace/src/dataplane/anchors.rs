//! The pins of the maps and the program: put back where somebody removed them, while the agent still holds what they named.
//!
//! Without them the next agent would begin with empty maps, and nothing would be forwarded until it had filled them.

use std::os::fd::{AsFd as _, OwnedFd};
use std::path::PathBuf;

use lb_common::abi::names;

use super::DataplaneError;
use super::object::{self, MapShape};
use super::pins::{PinDir, setup};
use super::sys;

/// What each pin names.
#[derive(Debug)]
pub(super) struct Anchors {
    held: Vec<(PathBuf, OwnedFd)>,
}

impl Anchors {
    /// Holds what is pinned now: every map of the shapes, and the program.
    ///
    /// # Errors
    /// [`DataplaneError::Setup`] when one of them cannot be opened.
    pub(super) fn hold(directory: &PinDir, shapes: &[MapShape]) -> Result<Self, DataplaneError> {
        let pins = shapes.iter().map(|shape| shape.name).chain([names::PROGRAM]).map(|name| directory.pin(name));
        let held = pins.map(|pin| {
            let fd = sys::open_pinned(&pin)
                .map_err(|error| object::refused_by_kernel(format!("opening {}", pin.display()), error))?;
            Ok((pin, fd))
        });
        Ok(Self { held: held.collect::<Result<_, DataplaneError>>()? })
    }

    /// Pins again what is not pinned any more; a sentence for each.
    ///
    /// # Errors
    /// [`DataplaneError`] when the kernel refuses; the rest is tried by the next call.
    pub(super) fn ensure(&self) -> Result<Vec<String>, DataplaneError> {
        let mut done = Vec::new();
        for (pin, fd) in self.held.iter().filter(|(pin, _)| !pin.exists()) {
            if let Some(directory) = pin.parent() {
                std::fs::create_dir_all(directory).map_err(|error| {
                    setup(format!("making {}", directory.display()), "run as root".to_owned(), error)
                })?;
            }
            sys::pin(fd.as_fd(), pin)
                .map_err(|error| object::refused_by_kernel(format!("pinning {}", pin.display()), error))?;
            done.push(format!("{}: the pin was gone; pinned again", pin.display()));
        }
        Ok(done)
    }
}
