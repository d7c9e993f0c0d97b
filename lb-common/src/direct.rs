//! Packets that go to a server as they are, in another link header: the server has the VIP, and answers by itself.

use crate::abi::{BackendEntry, Reason, backend::state};
use crate::headers::Headers;

/// Whether a packet can be sent to the backend. TTL and hop limit stay: nothing is routed, as through a switch.
///
/// # Errors
/// [`Reason::NextHopUnresolved`] or [`Reason::TooBig`].
#[inline(always)]
pub const fn admit(headers: &Headers, backend: &BackendEntry) -> Result<(), Reason> {
    if backend.state & state::RESOLVED == 0 {
        return Err(Reason::NextHopUnresolved);
    }
    if headers.ip_len > backend.mtu as u32 {
        return Err(Reason::TooBig);
    }
    Ok(())
}
