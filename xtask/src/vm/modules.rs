//! Kernel modules: which ones the guest loads, and in which order.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

use crate::run;

/// What the tests need of a kernel. A module that a kernel does not have is built into it, or a test says what is
/// missing.
const WANTED: [&str; 20] = [
    "virtio_pci",
    "virtio_net",
    "veth",
    "bridge",
    "ifb",
    "dummy",
    "8021q",
    "bonding",
    "tun",
    "ipip",
    "tun",
    "sit",
    "ip6_tunnel",
    "fou",
    "fou6",
    "ip_vs",
    "ip_vs_mh",
    "ip_vs_wrr",
    "sch_ingress",
    "act_mirred",
];

/// Copies the wanted modules and what they depend on, uncompressed, and writes their `modules.dep`.
///
/// # Errors
/// When a module is missing or cannot be unpacked.
pub fn take(from: &Path, into: &Path) -> Result<()> {
    let mut dep = String::new();
    let dependencies = read(from)?;
    for path in load_order(&dependencies) {
        let source = from.join(&path);
        let target = into.join(plain(&path));
        fs::create_dir_all(target.parent().context("a module without a directory")?).context("make a directory")?;
        fs::write(&target, unpack(&source)?).with_context(|| format!("write {}", target.display()))?;
        let needs: Vec<&str> = dependencies[&path].iter().map(|need| plain(need)).collect();
        dep.push_str(&format!("{}: {}\n", plain(&path), needs.join(" ")));
    }
    fs::write(into.join("modules.dep"), dep).context("write modules.dep")
}

/// The wanted modules of a directory with `modules.dep` and what they depend on: each after its dependencies.
///
/// # Errors
/// When `modules.dep` cannot be read.
pub fn in_load_order(directory: &Path) -> Result<Vec<PathBuf>> {
    let paths = load_order(&read(directory)?);
    Ok(paths.into_iter().map(|path| directory.join(path)).collect())
}

/// Every file of a cached directory of modules, with the directory's name in front.
///
/// # Errors
/// When `modules.dep` cannot be read.
pub fn files(directory: &Path) -> Result<Vec<String>> {
    let name = directory.file_name().unwrap_or_default().to_string_lossy();
    let paths = load_order(&read(directory)?);
    Ok(paths.into_iter().chain(["modules.dep".to_owned()]).map(|path| format!("{name}/{path}")).collect())
}

/// A module's bytes, unpacked by what its name says it is packed with.
///
/// # Errors
/// When it cannot be read, or the tool that unpacks it fails.
pub fn unpack(path: &Path) -> Result<Vec<u8>> {
    let tool = match path.extension().and_then(|extension| extension.to_str()) {
        Some("ko") => return fs::read(path).with_context(|| format!("read {}", path.display())),
        Some("xz") => "xz",
        Some("zst") => "zstd",
        Some("gz") => "gzip",
        _ => bail!("{} is packed in a way that is not known here", path.display()),
    };
    let output = run::program(tool, &["-dc"]).arg(path).output().with_context(|| format!("start {tool}"))?;
    if !output.status.success() {
        bail!("{tool} cannot unpack {}: {}", path.display(), String::from_utf8_lossy(&output.stderr));
    }
    Ok(output.stdout)
}

/// `modules.dep`: what each module depends on, directly or not, by path.
fn read(directory: &Path) -> Result<BTreeMap<String, Vec<String>>> {
    let path = directory.join("modules.dep");
    let text = fs::read_to_string(&path).with_context(|| format!("read {}", path.display()))?;
    Ok(parse(&text))
}

fn parse(text: &str) -> BTreeMap<String, Vec<String>> {
    let lines = text.lines().filter_map(|line| line.split_once(':'));
    lines.map(|(module, needs)| (module.to_owned(), needs.split_whitespace().map(str::to_owned).collect())).collect()
}

/// The wanted modules, each after everything that it depends on.
fn load_order(dependencies: &BTreeMap<String, Vec<String>>) -> Vec<String> {
    let mut order = Vec::new();
    for name in WANTED {
        if let Some(path) = dependencies.keys().find(|path| module_name(path) == name) {
            visit(path, dependencies, &mut order);
        }
    }
    order
}

fn visit(path: &str, dependencies: &BTreeMap<String, Vec<String>>, order: &mut Vec<String>) {
    if order.iter().any(|known| known == path) {
        return;
    }
    for need in dependencies.get(path).into_iter().flatten() {
        visit(need, dependencies, order);
    }
    order.push(path.to_owned());
}

/// `kernel/net/ipv4/ip_vs.ko.xz` → `kernel/net/ipv4/ip_vs.ko`.
pub fn plain(path: &str) -> &str {
    path.find(".ko").map_or(path, |at| &path[..at + ".ko".len()])
}

/// `kernel/net/ipv4/ip_vs.ko.xz` → `ip_vs`.
fn module_name(path: &str) -> &str {
    let file = path.rsplit('/').next().unwrap_or(path);
    file.split('.').next().unwrap_or(file)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_module_comes_after_what_it_depends_on() {
        let text = "a/veth.ko:\nb/fou.ko.xz: c/udp_tunnel.ko.xz d/ip6_udp_tunnel.ko.xz\nc/udp_tunnel.ko.xz: \
                    d/ip6_udp_tunnel.ko.xz\nd/ip6_udp_tunnel.ko.xz:\ne/floppy.ko:\n";
        let order = load_order(&parse(text));
        assert_eq!(order, ["a/veth.ko", "d/ip6_udp_tunnel.ko.xz", "c/udp_tunnel.ko.xz", "b/fou.ko.xz"]);
    }
}
