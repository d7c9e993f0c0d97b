//! Which offloads of an interface are on, by `SIOCETHTOOL` of `linux/ethtool.h`.
//!
//! Own code: the crate for it speaks the newer netlink interface, and brings a second netlink stack for this one question.

#![expect(unsafe_code, reason = "one ioctl")]

use std::collections::BTreeMap;
use std::io;
use std::os::fd::{AsRawFd as _, OwnedFd};

use nix::sys::socket::{AddressFamily, SockFlag, SockType, socket};

/// `struct ifreq`: a name, and here a pointer behind it.
const REQUEST_LEN: usize = 40;
const NAME_LEN: usize = 16;
/// `SIOCETHTOOL`.
const ETHTOOL: libc::c_ulong = 0x8946;
/// `ETHTOOL_GSSET_INFO`, `ETHTOOL_GSTRINGS`, `ETHTOOL_GFEATURES`.
const GET_SET_INFO: u32 = 0x37;
const GET_STRINGS: u32 = 0x1b;
const GET_FEATURES: u32 = 0x3a;
/// `ETH_SS_FEATURES`.
const FEATURES: u32 = 4;
/// `ETH_GSTRING_LEN`.
const STRING_LEN: usize = 32;
/// Words of `struct ethtool_get_features_block`: available, requested, active, never changed.
const BLOCK_WORDS: usize = 4;
/// More than any kernel has.
const MOST: usize = 4096;

/// Every offload by the kernel's name for it, such as `rx-lro`, and whether it is on.
///
/// # Errors
/// When there is no such interface, or the driver has no answer.
pub fn features(interface: &str) -> io::Result<BTreeMap<String, bool>> {
    let socket = socket(AddressFamily::Inet, SockType::Datagram, SockFlag::SOCK_CLOEXEC, None)?;
    // Command, reserved, a mask of sets in two words, a length for each set of the mask.
    let mut info = [GET_SET_INFO, 0, 1 << FEATURES, 0, 0];
    ask(&socket, interface, &mut info)?;
    let count = info[4] as usize;
    if info[2] != 1 << FEATURES || count > MOST {
        return Err(io::ErrorKind::InvalidData.into());
    }
    // Command, set, count, names of 32 bytes.
    let mut strings = vec![0_u32; 3 + count * STRING_LEN / 4];
    strings[..3].copy_from_slice(&[GET_STRINGS, FEATURES, info[4]]);
    ask(&socket, interface, &mut strings)?;
    // Command, number of blocks, blocks of 32 features.
    let blocks = count.div_ceil(32);
    let mut features = vec![0_u32; 2 + blocks * BLOCK_WORDS];
    features[..2].copy_from_slice(&[GET_FEATURES, u32::try_from(blocks).unwrap_or(0)]);
    ask(&socket, interface, &mut features)?;
    let is_on = |index: usize| features[2 + index / 32 * BLOCK_WORDS + 2] >> (index % 32) & 1 != 0;
    let names = strings[3..].chunks_exact(STRING_LEN / 4).map(name);
    Ok(names.enumerate().map(|(index, name)| (name, is_on(index))).filter(|(name, _)| !name.is_empty()).collect())
}

fn name(words: &[u32]) -> String {
    let bytes = words.iter().flat_map(|word| word.to_ne_bytes()).take_while(|byte| *byte != 0);
    bytes.map(char::from).collect()
}

/// Asks, and has the answer in the place of the question.
fn ask(socket: &OwnedFd, interface: &str, words: &mut [u32]) -> io::Result<()> {
    let mut request = [0_u8; REQUEST_LEN];
    let place = request.get_mut(..interface.len()).filter(|place| place.len() < NAME_LEN);
    place.ok_or(io::ErrorKind::InvalidInput)?.copy_from_slice(interface.as_bytes());
    request[NAME_LEN..NAME_LEN + 8].copy_from_slice(&(words.as_mut_ptr() as u64).to_ne_bytes());
    // SAFETY: the kernel reads and writes the request, and the words as far as the count in them says, which is theirs.
    let outcome = unsafe { libc::ioctl(socket.as_raw_fd(), ETHTOOL, request.as_mut_ptr()) };
    if outcome < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

    use super::*;

    #[test]
    fn the_loopback_interface_has_offloads_and_one_that_is_not_there_has_none() {
        let features = features("lo").unwrap();
        assert_eq!(features.get("rx-lro"), Some(&false), "{features:?}");
        assert!(features.contains_key("rx-gro") && features.contains_key("rx-vlan-hw-parse"), "{features:?}");
        assert_eq!(super::features("nosuch0").unwrap_err().raw_os_error(), Some(libc::ENODEV));
        assert!(super::features("a-name-that-is-too-long").is_err());
    }
}
