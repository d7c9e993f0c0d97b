//! `cargo xtask vm`: the kernel tiers inside virtual machines, on a matrix of the kernels that edges run.
//!
//! For each kernel: an initramfs with our init, the tests and what they need is written, QEMU boots it, the init runs
//! the tests and says one verdict. Nothing of the host is altered, and no root is needed.

mod cpio;
mod guest;
mod kernels;
mod machine;
mod modules;
mod report;

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, bail};
use tests::tally::Tally;
use tests::vm::Task;

use crate::run;
use crate::setup::{self, Need};
use guest::Order;
use kernels::{Kernel, MATRIX};
use machine::{Accelerator, Machine};
use report::Report;

/// Arguments of `cargo xtask vm`.
#[derive(clap::Args)]
pub struct Args {
    /// A series of the matrix (6.1, 6.12, 7), a version of it, or the directory of a kernel: bzImage and modules/
    /// with modules.dep. May be given several times; without it, the whole matrix.
    #[arg(long = "kernel", value_name = "KERNEL")]
    kernels: Vec<String>,
    /// Ask Debian for newer kernels than the cached ones.
    #[arg(long)]
    update: bool,
    /// What emulates the processor, instead of KVM where a probe shows that it boots and TCG elsewhere.
    #[arg(long, value_enum)]
    accelerator: Option<Accelerator>,
    /// Build the tests' network in the guest and give the terminal to a shell in it.
    #[arg(long, conflicts_with = "filter")]
    shell: bool,
    /// Only these test targets (may be given several times).
    #[arg(long = "target", value_name = "TARGET", value_parser = crate::test::kernel_targets())]
    targets: Vec<String>,
    /// Only tests whose name contains this.
    #[arg(last = true)]
    filter: Option<String>,
}

/// Wall-clock limit of one kernel's run: a busy host is four times slower than an idle one.
const LIMIT: Duration = Duration::from_secs(25 * 60);

/// Runs `cargo xtask vm`.
///
/// # Errors
/// When a kernel cannot be had or booted, or a test failed.
pub fn run(args: &Args) -> Result<()> {
    let Args { kernels, update, accelerator, shell, targets, filter } = args;
    let all = || MATRIX.iter().map(|series| series.name.to_owned()).collect();
    let names = if kernels.is_empty() { all() } else { kernels.clone() };
    let mut wanted = crate::test::kernel_targets();
    wanted.retain(|name| targets.is_empty() || targets.iter().any(|target| target == name));
    let suite = Suite {
        kernels: &names,
        update: *update,
        accelerator: *accelerator,
        targets: &wanted,
        filter: filter.as_deref(),
        until: None,
    };
    if *shell {
        return suite.shell();
    }
    let tally = suite.run()?.tally;
    println!("{} passed, {} failed", tally.passed, tally.failed);
    if tally.failed > 0 {
        bail!("{} failed", tally.failed);
    }
    if tally.passed == 0 {
        bail!("no test has this name: {}", filter.as_deref().unwrap_or_default());
    }
    Ok(())
}

/// What a machine gets of its time for all but the tests: the writing of the initramfs, the boot, the modules, the end.
const OVERHEAD: Duration = Duration::from_secs(60);

/// Names of the oldest and the newest kernel of the matrix.
pub fn oldest_and_newest() -> Vec<String> {
    let ends = [MATRIX.first(), MATRIX.last()];
    ends.into_iter().flatten().map(|series| series.name.to_owned()).collect()
}

/// Tests on kernels.
#[derive(Debug)]
pub struct Suite<'a> {
    pub kernels: &'a [String],
    pub update: bool,
    /// What emulates the processor; `None` lets a probe choose.
    pub accelerator: Option<Accelerator>,
    /// Test targets, in the order in which they run.
    pub targets: &'a [&'a str],
    /// Only tests whose name contains this.
    pub filter: Option<&'a str>,
    /// When all must be over, if there is such a time: the kernels share what is left until then, and the tests that
    /// it does not suffice for stand in the summary. Without one of [`LEAST`] whole, that is a failure.
    pub until: Option<Instant>,
}

/// Target that every kernel must have run whole, however short the time was: the boot, and each program past the verifier.
const LEAST: &str = "verifier";

/// What came of a suite.
#[derive(Debug)]
pub struct Summary {
    pub tally: Tally,
    /// What the time did not suffice for, a line for each kernel and target.
    pub unrun: Vec<String>,
}

impl Suite<'_> {
    /// Runs the targets on every kernel and prints the table. A machine that gave no verdict counts as one failure, and
    /// so does each kernel for which the time did not even suffice for [`LEAST`].
    ///
    /// # Errors
    /// When a kernel cannot be had or the programs not be compiled.
    pub fn run(&self) -> Result<Summary> {
        setup::ensure(&[Need::Playground, Need::Vm])?;
        let kernels = self.find_kernels()?;
        let programs = guest::build(self.targets)?;
        let accelerator = self.accelerator(&kernels, &programs)?;
        let mut reports = Vec::new();
        for (done, kernel) in kernels.iter().enumerate() {
            let started = Instant::now();
            let share = self.until.map(|until| share(until.saturating_duration_since(started), kernels.len() - done));
            if share.is_some_and(|share| share < 2 * OVERHEAD) {
                let outcome = Err(anyhow!("there was no time left to boot it"));
                reports.push(Report { kernel: kernel.version.clone(), outcome, seconds: 0 });
                continue;
            }
            let time = share.map(|share| share.saturating_sub(OVERHEAD));
            let limit = share.unwrap_or(LIMIT);
            println!("\n== Linux {} ({accelerator:?}, at most {} s)", kernel.version, limit.as_secs());
            let logs = logs(kernel);
            let order = Order { targets: self.targets, filter: self.filter, time, task: Task::Test };
            let initramfs = initramfs(kernel, &programs, &order)?;
            let machine = Machine { accelerator, limit, show: true, ..machine(kernel, &initramfs, &logs) };
            let outcome = machine.run();
            if let Err(error) = &outcome {
                println!("{error:#}");
            }
            reports.push(Report { kernel: kernel.version.clone(), outcome, seconds: started.elapsed().as_secs() });
        }
        println!("\n{}", report::tables(&reports));
        Ok(Summary { tally: report::tally(&reports, LEAST), unrun: report::unrun(&reports) })
    }

    fn shell(&self) -> Result<()> {
        setup::ensure(&[Need::Playground, Need::Vm])?;
        let kernels = self.find_kernels()?;
        let kernel = kernels.last().context("no kernel was named")?;
        let programs = guest::build(&[])?;
        let accelerator = self.accelerator(&kernels, &programs)?;
        let order = Order { targets: &[], filter: None, time: None, task: Task::Shell };
        let initramfs = initramfs(kernel, &programs, &order)?;
        let logs = logs(kernel);
        println!("Linux {} boots ({accelerator:?}); its console is in {}", kernel.version, logs.display());
        Machine { accelerator, ..machine(kernel, &initramfs, &logs) }.run_on_terminal()
    }

    fn find_kernels(&self) -> Result<Vec<Kernel>> {
        self.kernels.iter().map(|name| kernels::find(name, self.update)).collect()
    }

    /// The accelerator that was asked for, or the one that a probe chooses.
    fn accelerator(&self, kernels: &[Kernel], programs: &guest::Programs) -> Result<Accelerator> {
        if let Some(accelerator) = self.accelerator {
            return Ok(accelerator);
        }
        let kernel = kernels.last().context("no kernel was named")?;
        let order = Order { targets: &[], filter: None, time: None, task: Task::Probe };
        let initramfs = initramfs(kernel, programs, &order)?;
        let logs = run::root().join("target/vm/probe");
        match machine::kvm_boots(&kernel.image, &initramfs, &logs) {
            Ok(()) => Ok(Accelerator::Kvm),
            Err(error) => {
                let why = format!("{error:#}");
                let first = why.lines().next().unwrap_or_default();
                println!("vm: KVM does not boot here, the processor is emulated ({first})");
                Ok(Accelerator::Tcg)
            }
        }
    }
}

/// A kernel's part of the time that is left for it and the ones behind it.
fn share(left: Duration, kernels: usize) -> Duration {
    left / u32::try_from(kernels).unwrap_or(u32::MAX).max(1)
}

fn logs(kernel: &Kernel) -> PathBuf {
    run::root().join("target/vm").join(&kernel.name)
}

fn initramfs(kernel: &Kernel, programs: &guest::Programs, order: &Order<'_>) -> Result<PathBuf> {
    let directory = logs(kernel);
    std::fs::create_dir_all(&directory).with_context(|| format!("make {}", directory.display()))?;
    let path = directory.join(format!("{:?}.cpio", order.task).to_lowercase());
    guest::initramfs(&path, kernel, programs, order)?;
    Ok(path)
}

fn machine<'a>(kernel: &'a Kernel, initramfs: &'a Path, logs: &'a Path) -> Machine<'a> {
    Machine { image: &kernel.image, initramfs, logs, accelerator: Accelerator::Tcg, limit: LIMIT, show: false }
}
