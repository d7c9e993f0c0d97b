//! The committed eBPF objects are those of the sources beside them.

use std::path::Path;
use std::process::Command;

#[test]
fn the_committed_objects_are_built_from_the_sources_in_the_tree() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(1).expect("the workspace");
    let output = Command::new(env!("CARGO"))
        .args(["run", "--quiet", "--package", "xtask", "--", "build-ebpf", "--check"])
        .current_dir(root)
        .output()
        .expect("cargo starts");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}
