//! What the host and the init of a virtual machine (`cargo xtask vm`) say to each other.
//!
//! The host puts a [`Job`] into the initramfs; the init answers on the second serial port: [`STARTED`] once, then the
//! tests' output as it comes, then exactly one line [`VERDICT`] with a [`Verdict`] in JSON, and powers off.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::tally::Tally;

/// Path of the job in the initramfs.
pub const JOB: &str = "/job.json";
/// Port that the init answers on; the first one is the kernel's console.
pub const PORT: &str = "/dev/ttyS1";
/// First line of the init.
pub const STARTED: &str = "snowshed-vm: started";
/// Beginning of the init's last line.
pub const VERDICT: &str = "snowshed-vm: verdict ";
/// Beginning of a line in a test's output that tells what the verifier said of a program; a [`Program`] in JSON.
pub const PROGRAM: &str = "snowshed-vm: program ";
/// Beginning of a line in a test's output that tells a measure, in words.
pub const MEASURE: &str = "snowshed-vm: measure ";

/// Environment variable with the share of their size at which the long tests run, in 0 … 1.
pub const SCALE_VARIABLE: &str = "SNOWSHED_SCALE";

/// What the guest has to do.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Job {
    /// Kernel modules in the order in which they are loaded.
    pub modules: Vec<String>,
    /// Test programs, by the name of their target.
    pub targets: Vec<Target>,
    /// Only tests whose name contains this.
    pub filter: Option<String>,
    /// Seconds after the init's start at which what still runs is ended, and no other target is begun.
    pub seconds: Option<u64>,
    /// Environment of the tests.
    pub environment: BTreeMap<String, String>,
    /// What is done after the modules are loaded.
    pub task: Task,
}

/// What a machine is started for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Task {
    /// Run the tests.
    #[default]
    Test,
    /// Build the fabric and give a person a shell.
    Shell,
    /// Nothing: the machine has only to show that it boots.
    Probe,
}

/// A test program.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Target {
    /// Name of the test target.
    pub name: String,
    /// Path in the guest.
    pub program: String,
    /// Tests that run at the same time.
    pub threads: usize,
}

/// What became of a job.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Verdict {
    /// Release of the kernel, as `uname -r` tells it.
    pub kernel: String,
    /// Counts by target, in the order in which they ran.
    pub targets: Vec<(String, Tally)>,
    /// Tests that the job's seconds did not suffice for, by target; targets without any are absent.
    pub unrun: BTreeMap<String, u64>,
    /// What the verifier said of each program.
    pub programs: Vec<Program>,
    /// What was measured, in words.
    pub measures: Vec<String>,
    /// What kept the job from being done, if anything did.
    pub error: Option<String>,
}

impl Verdict {
    /// Sum over the targets.
    #[must_use]
    pub fn tally(&self) -> Tally {
        self.targets.iter().fold(Tally::default(), |mut sum, (_, tally)| {
            sum += *tally;
            sum
        })
    }
}

/// What a kernel's verifier said of a program that it accepted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Program {
    /// Object and program, `snowshed/snowshed`.
    pub name: String,
    /// Instructions the verifier walked through.
    pub instructions: u32,
    /// Stack in bytes, over all frames.
    pub stack: u32,
}

/// Whether this machine is an emulated one, several times slower than its clock says.
#[must_use]
pub fn is_slow() -> bool {
    std::env::var_os(SCALE_VARIABLE).is_some()
}

/// The size of a long test here: `whole`, or the share of it that [`SCALE_VARIABLE`] says, at least 1.
///
/// # Panics
/// When the variable is not a number in 0 … 1.
#[must_use]
pub fn scaled(whole: usize) -> usize {
    let Ok(text) = std::env::var(SCALE_VARIABLE) else { return whole };
    let share: f64 = match text.parse() {
        Ok(share) if (0.0..=1.0).contains(&share) => share,
        _ => panic!("{SCALE_VARIABLE} is `{text}`, not a number in 0 … 1"),
    };
    ((whole as f64 * share) as usize).max(1)
}
