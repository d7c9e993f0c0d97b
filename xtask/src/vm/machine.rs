//! QEMU: starts a machine, shows what it says, and ends it when it hangs.

use std::fs::{self, File};
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use tests::vm::{STARTED, VERDICT, Verdict};

/// Words on the console after which a kernel is not to be waited for.
const HANG_MARKERS: [&str; 8] = [
    "Kernel panic - not syncing",
    "rcu_sched self-detected stall",
    "detected stalls on CPUs/tasks",
    "self-detected stall on CPU",
    "soft lockup - CPU#",
    "hard LOCKUP",
    "blocked for more than",
    "Oops: ",
];
/// How long a machine may say nothing at all before its init has started.
const BOOT_LIMIT: Duration = Duration::from_secs(90);
/// How long KVM may take: it boots within two seconds, or hangs.
const PROBE_LIMIT: Duration = Duration::from_secs(10);
/// Lines that are shown of a machine that was ended.
const LAST_LINES: usize = 40;
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// Virtio NICs of a machine, all on one hub: a client, an edge and two servers.
const NICS: u8 = 4;

/// What emulates the processor.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Accelerator {
    /// The host's processor.
    Kvm,
    /// Translation: everywhere, and slower.
    Tcg,
}

/// A machine to be started.
#[derive(Debug)]
pub struct Machine<'a> {
    pub image: &'a Path,
    pub initramfs: &'a Path,
    /// Where `console.log` (the kernel) and `tests.log` (the init) go.
    pub logs: &'a Path,
    pub accelerator: Accelerator,
    /// Wall-clock limit of a run.
    pub limit: Duration,
    /// What the init says is shown as it comes.
    pub show: bool,
}

/// What a machine did.
#[derive(Debug)]
pub struct Outcome {
    pub verdict: Verdict,
    /// From QEMU's start to the init's first line.
    pub boot: Duration,
}

impl Machine<'_> {
    /// Runs the machine until it powers off. One that ends before its init has said a word is started once more, and that
    /// is said: an emulated processor now and then runs an instruction while another one patches it (Linux 7.3 under
    /// QEMU 7.2: `int3` in `sched_clock_cpu`, one boot of the first three), and none of our code has run by then.
    ///
    /// # Errors
    /// When it hangs, panics, exceeds its limit or gives no verdict; with its last lines.
    pub fn run(&self) -> Result<Outcome> {
        let first = self.attempt();
        let Err(error) = &first else { return first };
        if self.accelerator == Accelerator::Kvm || self.has_begun()? {
            return first;
        }
        println!("vm: THE MACHINE ENDED BEFORE ITS INIT BEGAN; it is started once more. {error:#}");
        self.attempt()
    }

    /// Whether the init of the last attempt came as far as its first line.
    fn has_begun(&self) -> Result<bool> {
        let path = self.log("tests.log");
        let said = fs::read(&path).with_context(|| format!("read {}", path.display()))?;
        Ok(String::from_utf8_lossy(&said).lines().any(|line| line.trim_end() == STARTED))
    }

    fn attempt(&self) -> Result<Outcome> {
        fs::create_dir_all(self.logs).with_context(|| format!("make {}", self.logs.display()))?;
        let (console, tests) = (self.log("console.log"), self.log("tests.log"));
        for path in [&console, &tests] {
            File::create(path).with_context(|| format!("create {}", path.display()))?;
        }
        let mut qemu = self.qemu();
        qemu.args(["-serial", &format!("file:{}", console.display())]);
        qemu.args(["-serial", &format!("file:{}", tests.display())]);
        qemu.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
        let child = qemu.spawn().context("cannot start QEMU: run `cargo xtask setup`")?;
        let mut watch = Watch {
            child,
            started: Instant::now(),
            boot: None,
            verdicts: Vec::new(),
            console: Tail::open(&console)?,
            tests: Tail::open(&tests)?,
        };
        self.follow(&mut watch).with_context(|| format!("the whole logs are in {}", self.logs.display()))
    }

    /// Gives the terminal to the machine until it powers off.
    ///
    /// # Errors
    /// When QEMU cannot be started or fails.
    pub fn run_on_terminal(&self) -> Result<()> {
        fs::create_dir_all(self.logs).with_context(|| format!("make {}", self.logs.display()))?;
        let mut qemu = self.qemu();
        qemu.args(["-serial", &format!("file:{}", self.log("console.log").display())]);
        qemu.args(["-chardev", "stdio,id=person,signal=off", "-serial", "chardev:person"]);
        let status = qemu.status().context("cannot start QEMU: run `cargo xtask setup`")?;
        if !status.success() {
            bail!("QEMU ended with {status}");
        }
        Ok(())
    }

    fn log(&self, name: &str) -> PathBuf {
        self.logs.join(name)
    }

    fn qemu(&self) -> Command {
        let mut command = Command::new("qemu-system-x86_64");
        command.args(["-nodefaults", "-no-user-config", "-no-reboot", "-display", "none", "-machine", "q35"]);
        match self.accelerator {
            Accelerator::Kvm => command.args(["-accel", "kvm", "-cpu", "host"]),
            // One thread per processor; without five-level page tables, which cost and which nobody here has.
            Accelerator::Tcg => command.args(["-accel", "tcg,thread=multi", "-cpu", "max,la57=off"]),
        };
        command.args(["-smp", "2", "-m", "2048", "-kernel"]).arg(self.image).arg("-initrd").arg(self.initramfs);
        for nic in 0..NICS {
            // Room for an outer header. What XDP cannot take is off: packets larger than a page, half a checksum.
            let offloads = "csum=off,guest_csum=off,gso=off,guest_tso4=off,guest_tso6=off,guest_ecn=off,guest_ufo=off";
            let mac = format!("52:54:00:5e:00:{:02x}", nic + 1);
            command.args(["-netdev", &format!("hubport,id=port{nic},hubid=0")]);
            command.args(["-device", &format!("virtio-net-pci,netdev=port{nic},mac={mac},host_mtu=1600,{offloads}")]);
        }
        // Mitigations only slow an emulated processor.
        command.args(["-append", "console=ttyS0 panic=-1 mitigations=off"]);
        command
    }

    fn follow(&self, watch: &mut Watch) -> Result<Outcome> {
        loop {
            let ended = watch.child.try_wait().context("look after QEMU")?;
            let hang = watch.look(self.show)?;
            if let Some(marker) = hang {
                return watch.fail(&format!("the console says `{marker}`"));
            }
            if let Some(status) = ended {
                return watch.outcome(status);
            }
            let running = watch.started.elapsed();
            if running > self.limit {
                return watch.fail(&format!("it did not end within {} s", self.limit.as_secs()));
            }
            if watch.boot.is_none() && running > self.limit.min(BOOT_LIMIT) {
                return watch.fail("its init did not start");
            }
            std::thread::sleep(LOOK_EVERY);
        }
    }
}

/// Whether KVM boots this kernel within [`PROBE_LIMIT`]: there are hosts where it hangs.
pub fn kvm_boots(image: &Path, initramfs: &Path, logs: &Path) -> Result<()> {
    if !Path::new("/dev/kvm").exists() {
        bail!("there is no /dev/kvm");
    }
    let machine = Machine { image, initramfs, logs, accelerator: Accelerator::Kvm, limit: PROBE_LIMIT, show: false };
    machine.run().map(drop)
}

/// A machine that runs.
struct Watch {
    child: Child,
    started: Instant,
    boot: Option<Duration>,
    verdicts: Vec<String>,
    console: Tail,
    tests: Tail,
}

impl Watch {
    /// Takes in what was said since the last look; the hang marker, if there was one.
    fn look(&mut self, show: bool) -> Result<Option<&'static str>> {
        for line in self.tests.new_lines()? {
            if line == STARTED {
                self.boot = Some(self.started.elapsed());
            } else if let Some(verdict) = line.strip_prefix(VERDICT) {
                self.verdicts.push(verdict.to_owned());
            } else if show {
                println!("{line}");
            }
        }
        let lines = self.console.new_lines()?;
        Ok(HANG_MARKERS.into_iter().find(|marker| lines.iter().any(|line| line.contains(marker))))
    }

    fn outcome(&mut self, status: std::process::ExitStatus) -> Result<Outcome> {
        let [verdict] = self.verdicts.as_slice() else {
            let count = self.verdicts.len();
            return self.fail(&format!("it ended ({status}) with {count} verdicts instead of one"));
        };
        let verdict: Verdict = serde_json::from_str(verdict).context("its verdict is not as the init writes it")?;
        let boot = self.boot.context("its init gave a verdict but never said that it started")?;
        Ok(Outcome { verdict, boot })
    }

    fn fail<T>(&mut self, why: &str) -> Result<T> {
        let mut qemu = String::new();
        // It may have ended by itself; what it has to say is read either way.
        let _ended = self.child.kill();
        self.child.wait().context("wait for QEMU")?;
        if let Some(mut stderr) = self.child.stderr.take() {
            stderr.read_to_string(&mut qemu).context("read what QEMU says")?;
        }
        let (console, tests) = (self.console.last_lines()?, self.tests.last_lines()?);
        bail!("the machine was ended: {why}\n-- QEMU:\n{qemu}-- console:\n{console}\n-- tests:\n{tests}")
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        // Has ended already, unless a look at it failed.
        let _ended = self.child.kill();
        let _waited = self.child.wait();
    }
}

/// A file that grows.
struct Tail {
    path: PathBuf,
    file: File,
    /// The line that is not complete yet.
    rest: Vec<u8>,
}

impl Tail {
    fn open(path: &Path) -> Result<Self> {
        let file = File::open(path).with_context(|| format!("open {}", path.display()))?;
        Ok(Self { path: path.to_owned(), file, rest: Vec::new() })
    }

    /// The lines that were completed since the last call, without their ends.
    fn new_lines(&mut self) -> Result<Vec<String>> {
        self.file.read_to_end(&mut self.rest).with_context(|| format!("read {}", self.path.display()))?;
        let Some(end) = self.rest.iter().rposition(|byte| *byte == b'\n') else { return Ok(Vec::new()) };
        let complete: Vec<u8> = self.rest.drain(..=end).collect();
        Ok(String::from_utf8_lossy(&complete).lines().map(|line| line.trim_end_matches('\r').to_owned()).collect())
    }

    fn last_lines(&self) -> Result<String> {
        let text = fs::read(&self.path).with_context(|| format!("read {}", self.path.display()))?;
        let text = String::from_utf8_lossy(&text);
        let lines: Vec<&str> = text.lines().map(str::trim_end).collect();
        Ok(lines[lines.len().saturating_sub(LAST_LINES)..].join("\n"))
    }
}
