//! The eBPF objects that the tests load.

use std::path::PathBuf;

/// Directory of the objects: `SNOWSHED_EBPF_DIR`, that is how a fresh build is held to the same tests, or the committed ones.
#[must_use]
pub fn objects() -> PathBuf {
    std::env::var_os("SNOWSHED_EBPF_DIR")
        .map_or_else(|| PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../lb-ebpf/objects")), PathBuf::from)
}
