//! The Debian package: made, installed into a throw-away root by dpkg, and started from there.

use std::path::Path;
use std::process::Command;

use crate::{Scene, ok, root, snowshed};

fn dpkg(root: &Path, arguments: &[&str]) {
    let mut command = Command::new("dpkg");
    command.arg(format!("--instdir={}", root.display())).arg(format!("--admindir={}/var/lib/dpkg", root.display()));
    command.args(["--force-depends", "--force-script-chrootless", "--force-not-root", "--log=/dev/null"]);
    let output = command.args(arguments).output().unwrap();
    let said = [output.stdout, output.stderr].concat();
    assert!(output.status.success(), "dpkg {arguments:?}: {}", String::from_utf8_lossy(&said));
}

#[test]
fn the_package_installs_starts_keeps_an_edited_configuration_and_goes() {
    let directory = tempfile::tempdir().unwrap();
    let out = directory.path().join("dist");
    let mut dist = Command::new(env!("CARGO"));
    dist.current_dir(root()).args(["run", "--quiet", "--package", "xtask", "--", "dist", "--binary"]);
    let made = dist.arg(snowshed().canonicalize().unwrap()).arg("--out").arg(&out).output().unwrap();
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&[made.stdout, made.stderr].concat()));
    let package = std::fs::read_dir(&out).unwrap().map(|entry| entry.unwrap().path());
    let package = package.filter(|path| path.extension().is_some_and(|extension| extension == "deb")).last().unwrap();
    let package = package.to_string_lossy().into_owned();
    let about = ok("dpkg-deb", &["--field", &package]);
    assert!(about.contains("Depends: libc6 (>= 2.") && about.contains("Package: snowshed"), "{about}");
    let content = ok("dpkg-deb", &["--contents", &package]);
    assert!(content.lines().all(|line| line.contains("root/root")), "files belong to root: {content}");

    let root = directory.path().join("root");
    std::fs::create_dir_all(root.join("var/lib/dpkg/updates")).unwrap();
    std::fs::create_dir_all(root.join("var/lib/dpkg/info")).unwrap();
    std::fs::write(root.join("var/lib/dpkg/status"), "").unwrap();
    dpkg(&root, &["--install", &package]);
    for file in [
        "usr/lib/systemd/system/snowshed.service",
        "usr/share/man/man1/snowshed-lb-create.1.gz",
        "usr/share/bash-completion/completions/snowshed",
        "usr/share/zsh/vendor-completions/_snowshed",
        "usr/share/fish/vendor_completions.d/snowshed.fish",
        "usr/share/snowshed/grafana/snowshed.json",
    ] {
        let size = std::fs::metadata(root.join(file)).unwrap_or_else(|error| panic!("{file}: {error}")).len();
        assert!(size > 100, "{file} has {size} bytes");
    }
    let page = ok("zcat", &[&root.join("usr/share/man/man1/snowshed-lb-create.1.gz").to_string_lossy()]);
    assert!(page.contains(".SH SYNOPSIS") && page.contains("snowshed lb create"), "{page}");

    let mut scene = Scene::of(&root.join("usr/bin/snowshed"));
    scene.edge.start(&scene.network).unwrap();
    assert_eq!(scene.edge.status().unwrap()["zone"], "fr-par-1");

    // An upgrade leaves what somebody wrote, and a removal too; purging takes it.
    let config = root.join("etc/snowshed/agent.toml");
    std::fs::write(&config, "# mine\n").unwrap();
    dpkg(&root, &["--install", &package]);
    assert_eq!(std::fs::read_to_string(&config).unwrap(), "# mine\n");
    dpkg(&root, &["--remove", "snowshed"]);
    assert!(!root.join("usr/bin/snowshed").exists() && config.exists());
    assert!(scene.edge.expect_running().is_ok(), "removing the package ended the agent that runs");
    dpkg(&root, &["--purge", "snowshed"]);
    assert!(!config.exists());
}
