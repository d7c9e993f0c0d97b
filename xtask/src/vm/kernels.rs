//! The kernels: Debian's cloud images, fetched by apt into a cache of our own, and kernels that somebody built.
//!
//! apt works in a state directory per suite, with Debian's keyring: the host's own apt is not touched, and every package
//! is checked against the signed index. What was unpacked is checked by its own digests whenever it is used.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::modules;
use crate::run;

/// A row of the matrix: where Debian keeps kernels of a series.
#[derive(Debug, PartialEq, Eq)]
pub struct Series {
    /// As the user names it.
    pub name: &'static str,
    suite: &'static str,
    /// Suites with its security updates.
    updates: &'static [&'static str],
}

/// Oldest first. The last one moves on with Debian's backports.
pub const MATRIX: [Series; 3] = [
    Series { name: "6.1", suite: "bookworm", updates: &["bookworm-security"] },
    Series { name: "6.12", suite: "trixie", updates: &["trixie-security"] },
    Series { name: "7", suite: "trixie-backports", updates: &[] },
];

const MIRROR: &str = "http://deb.debian.org";
const KEYRING: &str = "/usr/share/keyrings/debian-archive-keyring.gpg";
const META_PACKAGE: &str = "linux-image-cloud-amd64";
/// The packages that hold something; the others only depend on them.
const WITH_FILES: [&str; 3] = ["linux-image-", "linux-binary-", "linux-modules-"];
const DIGESTS: &str = "digests.json";

/// A kernel that can be booted.
#[derive(Debug)]
pub struct Kernel {
    /// What the user asked for: directory of its logs.
    pub name: String,
    /// Version of its package, or its path.
    pub version: String,
    /// The compressed image.
    pub image: PathBuf,
    /// Directory with `modules.dep`.
    pub modules: PathBuf,
}

/// Finds a kernel by what the user wrote: a series of the matrix, a version (`7.3`), or the directory of a kernel
/// (`bzImage` or `vmlinuz`, and `modules/` with `modules.dep`).
///
/// `update` asks Debian for a newer one; otherwise the network is used only when none is cached.
///
/// # Errors
/// When there is no such kernel, its suite is gone, or it is not what was downloaded.
pub fn find(wanted: &str, update: bool) -> Result<Kernel> {
    if wanted.contains('/') {
        return own(Path::new(wanted));
    }
    let of_series = |series: &&Series| {
        let rest = wanted.strip_prefix(series.name);
        rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
    };
    let Some(series) = MATRIX.iter().find(of_series) else {
        let names: Vec<&str> = MATRIX.iter().map(|series| series.name).collect();
        bail!("no kernel `{wanted}`: name one of {}, or the directory of one (with a `/` in it)", names.join(", "));
    };
    let directory = cache()?.join(series.suite);
    if update || !directory.join(DIGESTS).exists() {
        fetch(series, &directory)
            .with_context(|| format!("the suite {} has no kernel for us (network? `{META_PACKAGE}`?)", series.suite))?;
    }
    let kernel = cached(series, &directory)?;
    ensure!(
        kernel.version == wanted || kernel.version.starts_with(&format!("{wanted}.")),
        "{} holds Linux {} now, not {wanted}: ask for `{}`, or `--update`",
        series.suite,
        kernel.version,
        series.name
    );
    Ok(kernel)
}

/// `~/.cache/snowshed/vm`, or below `XDG_CACHE_HOME`.
pub fn cache() -> Result<PathBuf> {
    let home = || std::env::var_os("HOME").map(|home| PathBuf::from(home).join(".cache"));
    let base = std::env::var_os("XDG_CACHE_HOME").map(PathBuf::from).or_else(home);
    Ok(base.context("neither XDG_CACHE_HOME nor HOME is set")?.join("snowshed/vm"))
}

/// A kernel that somebody built.
fn own(directory: &Path) -> Result<Kernel> {
    let directory = directory.canonicalize().with_context(|| format!("there is no {}", directory.display()))?;
    let image = ["bzImage", "vmlinuz"].map(|name| directory.join(name)).into_iter().find(|path| path.is_file());
    let image = image.with_context(|| format!("{} holds neither bzImage nor vmlinuz", directory.display()))?;
    let modules = directory.join("modules");
    ensure!(modules.join("modules.dep").is_file(), "{} holds no modules/modules.dep", directory.display());
    let name = directory.file_name().unwrap_or_default().to_string_lossy().into_owned();
    Ok(Kernel { name, version: directory.display().to_string(), image, modules })
}

/// What stands in the cache beside a kernel.
#[derive(Debug, Serialize, Deserialize)]
struct Cached {
    version: String,
    /// SHA-256 by path relative to the directory.
    digests: BTreeMap<String, String>,
}

fn cached(series: &Series, directory: &Path) -> Result<Kernel> {
    let path = directory.join(DIGESTS);
    let text = fs::read(&path).with_context(|| format!("read {}", path.display()))?;
    let Cached { version, digests } =
        serde_json::from_slice(&text).with_context(|| format!("{} is damaged: remove it", path.display()))?;
    for (name, digest) in &digests {
        let file = directory.join(name);
        let found = sha256(&file)?;
        ensure!(found == *digest, "{} is not what was downloaded: remove {}", file.display(), directory.display());
    }
    let (image, modules) = (directory.join("vmlinuz"), directory.join("modules"));
    Ok(Kernel { name: series.name.to_owned(), version, image, modules })
}

/// Downloads and unpacks a suite's newest kernel, and puts it in the place of the one before.
fn fetch(series: &Series, directory: &Path) -> Result<()> {
    let work = directory.with_extension("new");
    if work.exists() {
        fs::remove_dir_all(&work).with_context(|| format!("remove {}", work.display()))?;
    }
    let apt = Apt::new(series, &work.join("apt"))?;
    let packages = apt.kernel_packages()?;
    println!("vm: Linux {} from Debian {}: {}", series.name, series.suite, packages.join(" "));
    let unpacked = work.join("unpacked");
    let files = apt.download(&packages)?;
    for package in &files {
        run::checked(run::program("dpkg-deb", &["-x"]).arg(package).arg(&unpacked))?;
    }
    arrange(&unpacked, &work)?;
    let version = files.first().and_then(|file| package_version(file)).context("a package without a version")?;
    for directory in ["apt", "unpacked"] {
        fs::remove_dir_all(work.join(directory)).with_context(|| format!("remove {directory}"))?;
    }
    let mut digests = BTreeMap::new();
    println!("vm: cached Linux {version}");
    for name in std::iter::once("vmlinuz".to_owned()).chain(modules::files(&work.join("modules"))?) {
        digests.insert(name.clone(), sha256(&work.join(&name))?);
    }
    let text = serde_json::to_string_pretty(&Cached { version, digests }).context("write the digests")?;
    fs::write(work.join(DIGESTS), text).context("write the digests")?;
    if directory.exists() {
        fs::remove_dir_all(directory).with_context(|| format!("remove {}", directory.display()))?;
    }
    fs::rename(&work, directory).with_context(|| format!("make {}", directory.display()))
}

/// Takes the image, and the modules that the guest loads, out of Debian's packages into `work`.
fn arrange(unpacked: &Path, work: &Path) -> Result<()> {
    // Debian 12 has them below /lib, later ones below /usr/lib; depmod looks below /lib.
    let usr = unpacked.join("usr/lib/modules");
    if usr.is_dir() {
        fs::create_dir_all(unpacked.join("lib")).context("make lib")?;
        std::os::unix::fs::symlink("../usr/lib/modules", unpacked.join("lib/modules")).context("link lib/modules")?;
    }
    let modules = unpacked.join("lib/modules");
    let mut releases = fs::read_dir(&modules).with_context(|| format!("list {}", modules.display()))?;
    let release = releases.next().context("the packages hold no modules")??.file_name();
    let release = release.to_string_lossy().into_owned();
    run::checked(run::program("depmod", &["-b"]).arg(unpacked).arg(&release))?;

    let candidates = [unpacked.join("boot").join(format!("vmlinuz-{release}")), modules.join(&release).join("vmlinuz")];
    let image = candidates.iter().find(|path| path.is_file()).context("the packages hold no vmlinuz")?;
    fs::copy(image, work.join("vmlinuz")).context("copy vmlinuz")?;
    modules::take(&modules.join(&release), &work.join("modules"))
}

/// `linux-image-6.1.0-50-cloud-amd64_6.1.176-1_amd64.deb` → `6.1.176-1`.
fn package_version(file: &Path) -> Option<String> {
    file.file_name()?.to_str()?.split('_').nth(1).map(str::to_owned)
}

fn sha256(path: &Path) -> Result<String> {
    let bytes = fs::read(path).with_context(|| format!("read {}", path.display()))?;
    Ok(Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect())
}

/// apt in a state directory of its own.
struct Apt {
    directory: PathBuf,
}

impl Apt {
    fn new(series: &Series, directory: &Path) -> Result<Self> {
        for part in ["state/lists/partial", "cache/archives/partial", "packages"] {
            fs::create_dir_all(directory.join(part)).with_context(|| format!("make {part}"))?;
        }
        let mut sources = format!("deb [signed-by={KEYRING}] {MIRROR}/debian {} main\n", series.suite);
        for suite in series.updates {
            sources.push_str(&format!("deb [signed-by={KEYRING}] {MIRROR}/debian-security {suite} main\n"));
        }
        fs::write(directory.join("sources.list"), sources).context("write sources.list")?;
        fs::write(directory.join("status"), "").context("write an empty status")?;
        let place = directory.display();
        let config = format!(
            "Dir::State \"{place}/state\";\nDir::State::status \"{place}/status\";\nDir::Cache \"{place}/cache\";\n\
             Dir::Etc::sourcelist \"{place}/sources.list\";\nDir::Etc::sourceparts \"/dev/null\";\n\
             Dir::Etc::preferences \"/dev/null\";\nDir::Etc::preferencesparts \"/dev/null\";\n\
             APT::Architecture \"amd64\";\nAPT::Sandbox::User \"\";\nAPT::Update::Error-Mode \"any\";\n\
             Acquire::Languages \"none\";\nAcquire::Retries \"3\";\n"
        );
        fs::write(directory.join("apt.conf"), config).context("write apt.conf")?;
        let apt = Self { directory: directory.to_owned() };
        run::checked(apt.command("apt-get").args(["-q", "update"]))?;
        Ok(apt)
    }

    fn command(&self, name: &str) -> std::process::Command {
        let mut command = run::program(name, &[]);
        command.env("APT_CONFIG", self.directory.join("apt.conf"));
        command
    }

    /// Names of the packages that make up the newest kernel.
    fn kernel_packages(&self) -> Result<Vec<String>> {
        let (mut names, mut queue) = (Vec::new(), vec![META_PACKAGE.to_owned()]);
        while let Some(name) = queue.pop() {
            let output = self.command("apt-cache").args(["show", "--no-all-versions", &name]).output()?;
            ensure!(output.status.success(), "there is no package {name}");
            let text = String::from_utf8_lossy(&output.stdout);
            for dependency in kernel_dependencies(&text) {
                if !names.contains(&dependency) {
                    names.push(dependency.clone());
                    queue.push(dependency);
                }
            }
        }
        names.retain(|name| name.chars().any(|c| c.is_ascii_digit()));
        names.sort();
        ensure!(!names.is_empty(), "{META_PACKAGE} depends on no kernel");
        Ok(names)
    }

    /// Downloads packages, checked against the signed index.
    fn download(&self, packages: &[String]) -> Result<Vec<PathBuf>> {
        let directory = self.directory.join("packages");
        run::checked(self.command("apt-get").args(["-q", "download"]).args(packages).current_dir(&directory))?;
        let mut files = Vec::new();
        for entry in fs::read_dir(&directory).context("list the packages")? {
            files.push(entry?.path());
        }
        ensure!(files.len() == packages.len(), "apt-get downloaded {} of {} packages", files.len(), packages.len());
        Ok(files)
    }
}

/// Packages with kernels among what a package's description depends on.
fn kernel_dependencies(description: &str) -> Vec<String> {
    let dependencies = description.lines().find_map(|line| line.strip_prefix("Depends: ")).unwrap_or_default();
    let names = dependencies.split([',', '|']).filter_map(|one| one.split_whitespace().next());
    names.filter(|name| WITH_FILES.iter().any(|prefix| name.starts_with(prefix))).map(str::to_owned).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_packages_with_kernels_are_found_among_the_dependencies() {
        let text = "Package: x\nDepends: dracut | initramfs-tools (>= 0.1), linux-base-7.3-cloud-amd64 (= 1), \
                    linux-binary-7.3-cloud-amd64 (= 1), linux-modules-7.3-cloud-amd64 (= 1)\nSize: 1\n";
        assert_eq!(kernel_dependencies(text), ["linux-binary-7.3-cloud-amd64", "linux-modules-7.3-cloud-amd64"]);
    }

    #[test]
    fn an_unknown_series_and_a_directory_without_a_kernel_are_errors() {
        for (wanted, word) in
            [("5.4", "6.12"), ("6.123", "no kernel `6.123`"), ("./src", "neither bzImage nor vmlinuz")]
        {
            let error = find(wanted, false).expect_err("it must be refused");
            assert!(error.to_string().contains(word), "{wanted}: {error:#}");
        }
    }
}
