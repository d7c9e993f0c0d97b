//! Taking everything off: the only way XDP comes off an interface.

use std::path::Path;

use super::attach::Link;
use super::pins::PinDir;
use super::{Attachment, DataplaneError};

/// What was taken off and removed.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct Detached {
    /// Where the program was attached.
    pub attachments: Vec<Attachment>,
    /// The pins that were removed.
    pub removed: Vec<String>,
}

/// What is attached and pinned under a directory, without touching it; `None` when there is no such directory.
///
/// # Errors
/// [`DataplaneError::Setup`] when the pins cannot be read.
pub fn attached(pin_dir: &Path) -> Result<Option<Vec<Attachment>>, DataplaneError> {
    let Some(directory) = PinDir::existing(pin_dir)? else { return Ok(None) };
    let mut attachments = Vec::new();
    for interface in directory.links()? {
        attachments.extend(Link::open(&interface, &directory.link(&interface))?.attachment());
    }
    Ok(Some(attachments))
}

/// Takes the program off and removes what is pinned: of one interface its link, without one everything. `None` when
/// nothing is pinned there.
///
/// # Errors
/// [`DataplaneError::Setup`] when an agent holds the directory (it would attach again at its next audit), and when the
/// kernel refuses; what was taken off until then stays off.
pub fn detach(pin_dir: &Path, interface: Option<&str>) -> Result<Option<Detached>, DataplaneError> {
    let Some(directory) = PinDir::existing(pin_dir)? else { return Ok(None) };
    let _lock = directory.lock()?;
    let mut done = Detached::default();
    for name in directory.links()? {
        if interface.is_some_and(|only| only != name) {
            continue;
        }
        let pin = directory.link(&name);
        let link = Link::open(&name, &pin)?;
        done.attachments.extend(link.attachment());
        link.detach()?;
        done.removed.push(pin.display().to_string());
    }
    if interface.is_none() {
        done.removed.extend(directory.remove()?);
    }
    Ok(Some(done))
}
