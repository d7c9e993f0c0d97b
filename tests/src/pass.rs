//! An XDP program that lets every packet pass, for the far ends of the edge's cables.
//!
//! On veth, `XDP_TX` and redirect wake the peer only if it has an XDP program of its own (`veth_xdp_flush` in the
//! kernel's `drivers/net/veth.c`); with GRO alone, frames wait in its ring until another packet comes by. On a real
//! network the peer is a switch and this is not needed.

use std::ffi::CString;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

use anyhow::{Context, Result};

use crate::netns::Netns;

const BPF_PROG_LOAD: libc::c_long = 5;
const BPF_OBJ_PIN: libc::c_long = 6;
const BPF_PROG_TYPE_XDP: u32 = 6;

/// `r0 = XDP_PASS; exit`, as `struct bpf_insn` lays it out.
const PASS: [u64; 2] = [0x0000_0002_0000_00b7, 0x0000_0000_0000_0095];

/// First fields of `union bpf_attr` for `BPF_PROG_LOAD`.
#[repr(C)]
struct Load {
    prog_type: u32,
    insn_cnt: u32,
    insns: u64,
    license: u64,
}

/// First fields of `union bpf_attr` for `BPF_OBJ_PIN`.
#[repr(C)]
struct Pin {
    pathname: u64,
    bpf_fd: u32,
    file_flags: u32,
}

/// Attaches the program to an interface, in the driver. `scratch` is a free path on the BPF file system.
///
/// # Errors
/// When the kernel refuses the program, or `ip` its attachment.
pub fn attach(netns: &Netns, interface: &str, scratch: &Path) -> Result<()> {
    let license = c"GPL";
    let load = Load {
        prog_type: BPF_PROG_TYPE_XDP,
        insn_cnt: 2,
        insns: PASS.as_ptr() as u64,
        license: license.as_ptr() as u64,
    };
    let program = owned(bpf(BPF_PROG_LOAD, &load).context("load the passing XDP program")?)?;

    let path = CString::new(scratch.as_os_str().as_bytes()).context("a path with a zero byte")?;
    let bpf_fd = program.as_raw_fd().try_into().context("a negative file descriptor")?;
    let pin = Pin { pathname: path.as_ptr() as u64, bpf_fd, file_flags: 0 };
    bpf(BPF_OBJ_PIN, &pin).with_context(|| format!("pin the passing XDP program as {}", scratch.display()))?;
    // Not `ip -n`: it hides the BPF file system.
    let pinned = scratch.to_string_lossy();
    let attached = netns.exec("ip", &["link", "set", "dev", interface, "xdpdrv", "pinned", &pinned]);
    std::fs::remove_file(scratch).with_context(|| format!("remove {}", scratch.display()))?;
    attached.map(drop)
}

#[expect(unsafe_code, reason = "bpf(2) has no wrapper, and aya would make the playground heavy")]
fn bpf<T>(command: libc::c_long, attribute: &T) -> Result<libc::c_long> {
    let pointer: *const T = attribute;
    // SAFETY: the kernel reads `size_of::<T>()` bytes behind the pointer, which is a live reference; the pointers in
    // it are to values that the callers keep alive over the call.
    let answer = unsafe { libc::syscall(libc::SYS_bpf, command, pointer, size_of::<T>()) };
    if answer < 0 { Err(std::io::Error::last_os_error()).context("bpf(2)") } else { Ok(answer) }
}

#[expect(unsafe_code, reason = "a file descriptor from a system call has to be taken into ownership")]
fn owned(descriptor: libc::c_long) -> Result<OwnedFd> {
    let descriptor = descriptor.try_into().context("a file descriptor beyond int")?;
    // SAFETY: the descriptor was just returned by bpf(2) and nothing else knows it.
    Ok(unsafe { OwnedFd::from_raw_fd(descriptor) })
}
