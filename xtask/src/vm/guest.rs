//! What the machine carries: the init, the tests, the product, its objects, and the tools the tests use.
//!
//! Our own programs are those of the other tiers, without their debug information: nothing is compiled twice. They and
//! the distribution's tools come with the libraries that `ldd` names.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{BufRead as _, BufReader, BufWriter};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use tests::vm::{self, Job, Target, Task};

use super::cpio::Archive;
use super::kernels::Kernel;
use super::modules;
use crate::run;

/// Debian's programs that the tests start; everything else a shell needs is busybox.
const TOOLS: [&str; 8] = ["bash", "bpftool", "curl", "ethtool", "ip", "ipvsadm", "nginx", "tc"];
/// Directory of the eBPF objects in the guest.
const OBJECTS: &str = "/objects";
/// Share of their size at which long tests run: an emulated processor is 10 to 30 times slower.
const SCALE: &str = "0.25";

/// Our programs, compiled.
#[derive(Debug)]
pub struct Programs {
    init: PathBuf,
    snowshed: PathBuf,
    /// Path by name of the test target.
    tests: BTreeMap<String, PathBuf>,
}

/// Compiles the init, the product and the test targets with these names.
///
/// # Errors
/// When cargo fails.
pub fn build(targets: &[&str]) -> Result<Programs> {
    // The commands of the other tiers, so that there is nothing left to compile: other features are other programs.
    let mut product = cargo("build");
    product.args(["-p", "lb-userspace", "--bin", "snowshed"]);
    let mut of_tests = if targets.is_empty() { cargo("build") } else { cargo("test") };
    of_tests.args(["-p", "tests"]);
    if targets.is_empty() {
        of_tests.args(["--bin", "vm-init"]);
    } else {
        // Tests of a package come with its binaries.
        of_tests.args(["--no-run"]);
    }
    for name in targets {
        of_tests.args(["--test", name]);
    }
    let mut programs = executables(&mut product)?;
    programs.extend(executables(&mut of_tests)?);
    let mut take = |name: &str| programs.remove(name).with_context(|| format!("cargo built no {name}"));
    let (init, snowshed) = (take("vm-init")?, take("snowshed")?);
    let tests: BTreeMap<_, _> = programs.into_iter().filter(|(name, _)| targets.contains(&name.as_str())).collect();
    ensure!(tests.len() == targets.len(), "cargo built {:?}, not {targets:?}", tests.keys());
    Ok(Programs { init, snowshed, tests })
}

fn cargo(verb: &str) -> Command {
    let mut command = run::cargo();
    command.args([verb, "--quiet", "--message-format=json-render-diagnostics"]);
    command
}

/// Runs a cargo that speaks JSON; the programs it made, by the name of their target.
fn executables(command: &mut Command) -> Result<BTreeMap<String, PathBuf>> {
    println!("$ {}", run::shown(command));
    let mut child = command.stdout(Stdio::piped()).spawn().context("cannot start cargo")?;
    let stdout = child.stdout.take().context("cargo has no standard output")?;
    let mut programs = BTreeMap::new();
    for line in BufReader::new(stdout).lines() {
        let message: serde_json::Value = serde_json::from_str(&line.context("cannot read cargo's output")?)
            .context("cargo's output is not the JSON that was asked for")?;
        if let (Some(name), Some(path)) = (message["target"]["name"].as_str(), message["executable"].as_str()) {
            programs.insert(name.to_owned(), PathBuf::from(path));
        }
    }
    let status = child.wait().context("cannot wait for cargo")?;
    ensure!(status.success(), "`{}` ended with {status}", run::shown(command));
    Ok(programs)
}

/// What a run asks of the guest.
#[derive(Debug)]
pub struct Order<'a> {
    /// Test targets, in the order in which they run.
    pub targets: &'a [&'a str],
    /// Only tests whose name contains this.
    pub filter: Option<&'a str>,
    /// How long the targets may run, if not until they are through.
    pub time: Option<Duration>,
    pub task: Task,
}

/// Writes the initramfs of a run.
///
/// # Errors
/// When a program, library or module is missing.
pub fn initramfs(path: &Path, kernel: &Kernel, programs: &Programs, order: &Order<'_>) -> Result<()> {
    let file = File::create(path).with_context(|| format!("create {}", path.display()))?;
    let mut archive = Archive::new(BufWriter::new(file));
    let mut job = Job {
        filter: order.filter.map(str::to_owned),
        seconds: order.time.map(|time| time.as_secs()),
        task: order.task,
        ..Job::default()
    };
    carry(&mut archive, "/init", &stripped(&programs.init)?)?;
    archive.directory("/proc")?;
    if order.task != Task::Probe {
        tools(&mut archive)?;
        product(&mut archive, programs, &mut job)?;
        for module in modules::in_load_order(&kernel.modules)? {
            let name =
                format!("/modules/{}", modules::plain(&module.file_name().unwrap_or_default().to_string_lossy()));
            archive.file(&name, &modules::unpack(&module)?)?;
            job.modules.push(name);
        }
    }
    for name in order.targets {
        let program = format!("/tests/{name}");
        carry(&mut archive, &program, &stripped(&programs.tests[*name])?)?;
        // Each test of the dataplane target has maps of its own; the others share names, ports and the clock.
        let threads = if *name == "dataplane" { 2 } else { 1 };
        job.targets.push(Target { name: (*name).to_owned(), program, threads });
    }
    let text = serde_json::to_vec_pretty(&job).context("write the job")?;
    archive.file(vm::JOB, &text)?;
    archive.finish().map(drop).with_context(|| format!("write {}", path.display()))
}

/// The product and the eBPF objects, and where the tests find them.
fn product(archive: &mut Archive<impl std::io::Write>, programs: &Programs, job: &mut Job) -> Result<()> {
    carry(archive, "/usr/bin/snowshed", &stripped(&programs.snowshed)?)?;
    let objects = std::env::var_os(crate::test::EBPF_DIR_VARIABLE)
        .map_or_else(|| run::root().join("lb-ebpf/objects"), PathBuf::from);
    for entry in fs::read_dir(&objects).with_context(|| format!("list {}", objects.display()))? {
        let entry = entry?;
        archive.file(&format!("{OBJECTS}/{}", entry.file_name().to_string_lossy()), &read(&entry.path())?)?;
    }
    for (name, value) in [
        ("PATH", "/usr/bin:/bin"),
        ("SNOWSHED_BIN", "/usr/bin/snowshed"),
        (vm::SCALE_VARIABLE, SCALE),
        (crate::test::EBPF_DIR_VARIABLE, OBJECTS),
    ] {
        job.environment.insert(name.to_owned(), value.to_owned());
    }
    Ok(())
}

/// Debian's tools with their libraries, busybox, and the few files that they read.
fn tools(archive: &mut Archive<impl std::io::Write>) -> Result<()> {
    for name in TOOLS {
        carry(archive, &format!("/usr/bin/{name}"), &which(name)?)?;
    }
    let busybox = which("busybox")?;
    archive.file("/bin/busybox", &read(&busybox)?)?;
    let listed = run::output(&busybox.to_string_lossy(), &["--list"]).context("busybox does not list its applets")?;
    for applet in listed.lines().filter(|applet| !TOOLS.contains(applet)) {
        archive.symlink(&format!("/bin/{applet}"), "busybox")?;
    }
    archive.symlink("/var/run", "/run")?;
    for directory in ["/var/log/nginx", "/var/lib/nginx", "/etc"] {
        archive.directory(directory)?;
    }
    archive.file("/etc/passwd", b"root:x:0:0:root:/:/bin/sh\nnobody:x:65534:65534::/:/bin/false\n")?;
    archive.file("/etc/group", b"root:x:0:\nnogroup:x:65534:\n")?;
    archive.file("/etc/hosts", b"127.0.0.1 localhost\n::1 localhost\n")?;
    Ok(())
}

/// A program and the libraries that it needs.
fn carry(archive: &mut Archive<impl std::io::Write>, place: &str, program: &Path) -> Result<()> {
    for library in libraries(program)? {
        archive.file(&library, &read(Path::new(&library))?)?;
    }
    archive.file(place, &read(program)?)?;
    Ok(())
}

/// The program without debug information, which would fill the machine's memory.
fn stripped(program: &Path) -> Result<PathBuf> {
    let directory = run::root().join("target/vm/stripped");
    fs::create_dir_all(&directory).with_context(|| format!("make {}", directory.display()))?;
    let path = directory.join(program.file_name().unwrap_or_default());
    let modified = |path: &Path| fs::metadata(path).and_then(|data| data.modified()).ok();
    if modified(&path).is_none_or(|at| modified(program).is_none_or(|of| of >= at)) {
        let mut strip = run::program("strip", &["--strip-all", "-o"]);
        run::checked(strip.arg(&path).arg(program)).context("strip is of Debian's binutils")?;
    }
    Ok(path)
}

/// Where a program stands; /usr/sbin is looked into even when an ordinary user's `PATH` lacks it.
fn which(name: &str) -> Result<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let system = ["/usr/sbin", "/usr/bin", "/sbin", "/bin"].map(PathBuf::from);
    let found = std::env::split_paths(&path).chain(system).map(|directory| directory.join(name)).find(|p| p.is_file());
    found.with_context(|| format!("there is no program {name}: run `cargo xtask setup`"))
}

/// The loader and the libraries of a program, by the paths it looks for them at.
fn libraries(program: &Path) -> Result<Vec<String>> {
    let output = run::program("ldd", &[]).arg(program).output().context("start ldd")?;
    let text = String::from_utf8_lossy(&output.stdout);
    if text.contains("not found") {
        bail!("{} lacks a library:\n{text}", program.display());
    }
    let words = text.split_whitespace().filter(|word| word.starts_with('/') && Path::new(word).is_file());
    Ok(words.map(str::to_owned).collect())
}

fn read(path: &Path) -> Result<Vec<u8>> {
    fs::read(path).with_context(|| format!("read {}", path.display()))
}
