//! `cargo xtask build-ebpf`: builds the kernel programs, and keeps a digest of everything they are built from.
//!
//! The objects are committed (`lb-ebpf/objects/`), so that `cargo build` needs stable Rust only. Beside them stands
//! `digest`: SHA-256 over every input, and of each object. `--check` compares both, which needs no toolchain; an object
//! that a merge took from one side and a digest from the other do not pass. The compiler is the distribution's: its
//! version is noted, not compared, because CI rebuilds the objects with its own. The same
//! sources and tools give the same bytes: paths are remapped and debug sections stripped; BTF stays.

use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use sha2::{Digest, Sha256};

use crate::run;
use crate::setup::{self, Need};

/// Arguments of `cargo xtask build-ebpf`.
#[derive(clap::Args)]
pub struct Args {
    /// Only compare the digest of the sources with the one beside the committed objects.
    #[arg(long, conflicts_with = "out")]
    check: bool,
    /// Put the objects in this directory instead of beside the sources.
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
}

const TARGET: &str = "bpfel-unknown-none";
/// Binaries of `lb-ebpf`; each becomes `<name>.o`.
const PROGRAMS: [&str; 3] = ["snowshed", "decap", "bench"];
/// Processor v3 is what Linux 5.10 and later verify. Unaligned loads keep header fields from being read byte by byte;
/// every processor that has a BPF JIT allows them in packets and map values.
const CODEGEN: [&str; 4] =
    ["-Clinker=bpf-linker", "-Ctarget-cpu=v3", "-Ctarget-feature=+allows-misaligned-mem-access", "-Clink-arg=--btf"];
const STRIP: &str = "/usr/lib/llvm-22/bin/llvm-strip";

/// Runs `cargo xtask build-ebpf`.
///
/// # Errors
/// When the digest is stale (`--check`), a tool is missing, or the programs do not compile.
pub fn run(args: &Args) -> Result<()> {
    let Args { check, out } = args;
    let committed = run::root().join("lb-ebpf/objects");
    let digest = digest(&run::root())?;
    if *check {
        return verify(&committed, &digest);
    }
    setup::ensure(&[Need::Ebpf])?;
    let out = out.clone().unwrap_or(committed);
    fs::create_dir_all(&out).with_context(|| format!("cannot create {}", out.display()))?;
    let built = compile()?;
    for name in PROGRAMS {
        let object = out.join(format!("{name}.o"));
        fs::copy(built.join(name), &object).with_context(|| format!("cannot write {}", object.display()))?;
        run::checked(run::program(STRIP, &["--strip-debug"]).arg(&object))?;
    }
    let path = out.join("digest");
    let compiler = run::output("rustup", &["run", setup::TOOLCHAIN, "rustc", "--version"]).unwrap_or_default();
    let lines = format!("{digest}\n{}{}\n", objects(&out)?, compiler.trim());
    fs::write(&path, lines).with_context(|| format!("cannot write {}", path.display()))?;
    println!("{}: {}", out.display(), PROGRAMS.map(|name| format!("{name}.o")).join(", "));
    Ok(())
}

fn verify(committed: &Path, digest: &str) -> Result<()> {
    let path = committed.join("digest");
    let beside = fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
    if beside.lines().next() != Some(digest) {
        bail!("the objects in {} are older than their sources: run `cargo xtask build-ebpf`", committed.display());
    }
    for line in objects(committed)?.lines() {
        if !beside.lines().any(|noted| noted == line) {
            bail!("{line} is not what `digest` beside it names: run `cargo xtask build-ebpf`");
        }
    }
    println!("the committed objects are built from these sources");
    Ok(())
}

/// One line for each object: SHA-256 and name.
fn objects(folder: &Path) -> Result<String> {
    let mut lines = String::new();
    for name in PROGRAMS {
        let object = folder.join(format!("{name}.o"));
        let bytes = fs::read(&object)
            .with_context(|| format!("cannot read {}: run `cargo xtask build-ebpf`", object.display()))?;
        lines.push_str(&format!("{} {name}.o\n", hex(&Sha256::digest(bytes))));
    }
    Ok(lines)
}

/// Builds all programs; the directory they are in.
fn compile() -> Result<PathBuf> {
    let root = run::root();
    let target_dir = root.join("target/ebpf");
    let mut flags = vec![format!("--remap-path-prefix={}=/snowshed", root.display())];
    if let Some(registry) = setup::bpf_linker().ancestors().nth(2) {
        flags.push(format!("--remap-path-prefix={}=/cargo", registry.display()));
    }
    flags.extend(CODEGEN.map(String::from));
    let mut cargo = run::program("rustup", &["run", setup::TOOLCHAIN, "cargo", "build", "--release", "--locked"]);
    cargo
        .args(["--bins", "--target", TARGET, "--target-dir"])
        .arg(&target_dir)
        .current_dir(root.join("lb-ebpf"))
        // A nightly feature (inline assembly of the target) in aya-ebpf, on a stable compiler.
        .env("RUSTC_BOOTSTRAP", "1")
        .env("CARGO_ENCODED_RUSTFLAGS", flags.join("\u{1f}"))
        .env_remove("RUSTFLAGS")
        .env_remove("RUSTUP_TOOLCHAIN")
        .env("PATH", path_with_linker()?);
    run::checked(&mut cargo)?;
    Ok(target_dir.join(TARGET).join("release"))
}

/// `PATH`, with the directory of bpf-linker in front.
fn path_with_linker() -> Result<std::ffi::OsString> {
    let directory = setup::bpf_linker().parent().map(Path::to_path_buf).unwrap_or_default();
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::join_paths(std::iter::once(directory).chain(std::env::split_paths(&path))).context("PATH has a bad entry")
}

/// SHA-256 over every input: names and bytes of the sources, and how they are compiled.
fn digest(root: &Path) -> Result<String> {
    let mut inputs = Vec::new();
    for file in ["lb-ebpf/Cargo.toml", "lb-ebpf/Cargo.lock", "lb-common/Cargo.toml"] {
        inputs.push(root.join(file));
    }
    for folder in ["lb-ebpf/src", "lb-common/src"] {
        sources(&root.join(folder), &mut inputs)?;
    }
    inputs.sort();
    let mut hash = Sha256::new();
    for path in inputs {
        let bytes = fs::read(&path).with_context(|| format!("cannot read {}", path.display()))?;
        let name = path.strip_prefix(root).unwrap_or(&path).to_string_lossy().into_owned();
        absorb(&mut hash, name.as_bytes());
        absorb(&mut hash, &bytes);
    }
    absorb(&mut hash, inherited(root)?.as_bytes());
    for word in CODEGEN.into_iter().chain([setup::TOOLCHAIN, setup::BPF_LINKER, STRIP]) {
        absorb(&mut hash, word.as_bytes());
    }
    Ok(hex(&hash.finalize()))
}

/// What lb-common takes over from the workspace's manifest; the rest of it changes no object.
fn inherited(root: &Path) -> Result<String> {
    let path = root.join("Cargo.toml");
    let manifest = fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
    let section = manifest.split("[workspace.package]").nth(1).and_then(|rest| rest.split("\n[").next());
    section.map(str::to_owned).with_context(|| format!("{} has no [workspace.package]", path.display()))
}

/// Length first, so that no two lists of inputs give the same stream.
fn absorb(hash: &mut Sha256, bytes: &[u8]) {
    hash.update((bytes.len() as u64).to_le_bytes());
    hash.update(bytes);
}

fn sources(folder: &Path, into: &mut Vec<PathBuf>) -> Result<()> {
    for entry in fs::read_dir(folder).with_context(|| format!("cannot list {}", folder.display()))? {
        let path = entry?.path();
        if path.is_dir() {
            sources(&path, into)?;
        } else if path.extension() == Some(OsStr::new("rs")) {
            into.push(path);
        }
    }
    Ok(())
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A copy of everything that the digest covers.
    fn copy(to: &Path) -> Result<()> {
        let root = run::root();
        let mut files = vec![root.join("Cargo.toml"), root.join("lb-ebpf/Cargo.toml"), root.join("lb-ebpf/Cargo.lock")];
        files.push(root.join("lb-common/Cargo.toml"));
        sources(&root.join("lb-ebpf/src"), &mut files)?;
        sources(&root.join("lb-common/src"), &mut files)?;
        for name in PROGRAMS.map(|name| format!("{name}.o")).iter().map(String::as_str).chain(["digest"]) {
            files.push(root.join("lb-ebpf/objects").join(name));
        }
        for file in files {
            let copy = to.join(file.strip_prefix(&root)?);
            fs::create_dir_all(copy.parent().context("a file has a directory")?)?;
            fs::copy(&file, &copy)?;
        }
        Ok(())
    }

    #[test]
    fn a_stale_object_is_noticed_whatever_made_it_stale() -> Result<()> {
        let tree = std::env::temp_dir().join(format!("snowshed-digest-{}", std::process::id()));
        copy(&tree)?;
        let check = || verify(&tree.join("lb-ebpf/objects"), &digest(&tree)?);
        check()?;
        let edits = [
            ("Cargo.toml", "edition = \"2024\"", "edition = \"2021\""),
            ("lb-ebpf/Cargo.lock", "version = 4", "version = 3"),
            ("lb-ebpf/Cargo.toml", "opt-level = 3", "opt-level = 2"),
            ("lb-common/src/lib.rs", "pub mod abi;", "pub mod abi; "),
            ("lb-ebpf/objects/digest", " decap.o", " other.o"),
        ];
        for (file, from, to) in edits {
            let path = tree.join(file);
            let before = fs::read_to_string(&path)?;
            assert!(before.contains(from), "{file} has no {from}");
            fs::write(&path, before.replace(from, to))?;
            assert!(check().is_err(), "{file} was changed");
            fs::write(&path, before)?;
        }
        let object = tree.join("lb-ebpf/objects/snowshed.o");
        let mut bytes = fs::read(&object)?;
        if let Some(byte) = bytes.last_mut() {
            *byte ^= 1;
        }
        fs::write(&object, bytes)?;
        assert!(check().is_err(), "an object was changed");
        fs::remove_dir_all(&tree)?;
        Ok(())
    }
}
