//! The ledger's file under a running edge: its disk is full, or it is a copy that went its own way.

use std::path::{Path, PathBuf};
use std::time::Duration;

use nix::sys::signal::Signal;
use serde_json::Value;
use tests::netns::run;
use tests::network::Layout;
use tests::process::Process;

use crate::scene::{Scene, VIP_V4};

/// A small disk at a directory; gone when dropped.
struct Disk(PathBuf);

impl Disk {
    fn mount(at: PathBuf) -> Self {
        std::fs::create_dir_all(&at).unwrap();
        run("mount", &["-t", "tmpfs", "-o", "size=24m,mode=0700", "tmpfs", &at.display().to_string()]).unwrap();
        Self(at)
    }

    /// Writes until nothing more goes.
    fn fill(&self) {
        let filler = self.0.join("filler").display().to_string();
        let filled = run("dd", &["if=/dev/zero", &format!("of={filler}"), "bs=64k"]);
        assert!(filled.unwrap_err().to_string().contains("No space left"), "the disk is full");
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        run("umount", &["-l", &self.0.display().to_string()]).unwrap();
    }
}

/// Copies the ledger and what lies beside it.
fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        if path.is_file() && (name.starts_with("ledger.db") || name.contains("key")) {
            run("cp", &["-p", &path.display().to_string(), &to.join(name).display().to_string()]).unwrap();
        }
    }
}

/// Gives the agent, which does not run, another ledger.
fn use_ledger(scene: &Scene, ledger: &Path) {
    let text = std::fs::read_to_string(scene.edge.config()).unwrap();
    let lines = text.lines().map(|line| match line.contains("ledger.db") {
        true => format!("path = {:?}\n", ledger.display().to_string()),
        false => format!("{line}\n"),
    });
    std::fs::write(scene.edge.config(), lines.collect::<String>()).unwrap();
}

#[test]
fn a_full_disk_of_the_ledger_is_an_alarm_that_ends_when_there_is_room_again_and_packets_keep_flowing() {
    let mut scene = Scene::new(Layout::OneSegment, 1);
    scene.balance(&[1]);
    let home = scene.network.directory().to_owned();
    let disk = Disk::mount(home.join("disk"));
    scene.edge.stop().unwrap();
    copy(&home, &disk.0);
    use_ledger(&scene, &disk.0.join("ledger.db"));
    scene.edge.start(&scene.network).unwrap();
    let failing = || {
        let metrics = scene.metrics();
        let line = metrics.lines().find(|line| line.starts_with("snowshed_ledger_failing")).map(str::to_owned);
        line.unwrap_or_else(|| panic!("no such gauge in:\n{metrics}"))
    };
    let trouble = |status: &Value| status["ledger_error"].as_str().map(str::to_owned);
    let operator = |arguments: &[&str]| {
        let ran = scene.edge.start_as_operator(arguments).unwrap().wait_with_output().unwrap();
        String::from_utf8(ran.stdout).unwrap()
    };
    let events = || operator(&["events", "-o", "json"]);
    assert_eq!(trouble(&scene.edge.status().unwrap()), None);
    assert!(failing().ends_with(" 0"), "{}", failing());

    // Nothing was asked of it yet.
    disk.fill();
    let status = scene.edge.wait_for_status("the alarm", |status| trouble(status).is_some()).unwrap();
    assert!(trouble(&status).unwrap().contains("cannot be recorded"), "a tenant is told no path: {status:#}");
    let shown = operator(&["status"]);
    assert!(shown.contains("is full: ") && shown.contains("Make room there"), "{shown}");
    assert!(failing().ends_with(" 1"), "{}", failing());
    let raised = || events().contains("alarm.raised");
    tests::wait::until("the event of the alarm", Duration::from_secs(20), raised).unwrap();
    let generation = scene.edge.status().unwrap()["ledger_generation"].clone();
    let refused = scene.edge.run(&["lb", "create", "--name", "more"]).unwrap();
    assert_eq!(refused.status.code(), Some(1), "{refused:?}");
    assert_eq!(scene.edge.status().unwrap()["ledger_generation"], generation);
    scene.get(VIP_V4).unwrap();

    std::fs::remove_file(disk.0.join("filler")).unwrap();
    scene.edge.wait_for_status("the alarm to end", |status| trouble(status).is_none()).unwrap();
    assert!(failing().ends_with(" 0"), "{}", failing());
    tests::wait::until("the event of its end", Duration::from_secs(20), || events().contains("alarm.cleared")).unwrap();
    scene.edge.ok(&["lb", "create", "--name", "more", "--wait"]).unwrap();
}

#[test]
fn a_copy_of_the_ledger_that_went_its_own_way_is_refused_and_one_that_is_restored_on_purpose_is_taken() {
    let mut scene = Scene::new(Layout::OneSegment, 1);
    scene.balance(&[1]);
    let home = scene.network.directory().to_owned();
    let (copied, own) = (home.join("copied"), home.join("ledger.db"));
    scene.edge.stop().unwrap();
    copy(&home, &copied);
    scene.edge.start(&scene.network).unwrap();
    scene.edge.ok(&["lb", "create", "--name", "mine", "--wait"]).unwrap();
    scene.edge.stop().unwrap();

    // The copy is older than the maps, and longer than them once somebody has written to it elsewhere.
    let refusal = |scene: &mut Scene| {
        let error = scene.edge.start(&scene.network).unwrap_err();
        format!("{error:#}")
    };
    use_ledger(&scene, &copied.join("ledger.db"));
    let error = refusal(&mut scene);
    assert!(error.contains("this ledger ends before") && error.contains("backup restore"), "{error}");
    scene.get(VIP_V4).unwrap();
    grow(&scene, &copied);
    let error = refusal(&mut scene);
    assert!(error.contains("a copy that went its own way"), "{error}");
    scene.get(VIP_V4).unwrap();

    // The right one still is; and so is the other one for who says so.
    use_ledger(&scene, &own);
    scene.edge.start(&scene.network).unwrap();
    scene.edge.ok(&["lb", "get", "mine"]).unwrap();
    scene.edge.stop().unwrap();
    use_ledger(&scene, &copied.join("ledger.db"));
    let config = scene.edge.config().display().to_string();
    scene.edge.ok(&["backup", "create", "--config", &config]).unwrap();
    scene.edge.ok(&["backup", "restore", "--name", "latest", "--config", &config, "--replace"]).unwrap();
    scene.edge.start(&scene.network).unwrap();
    scene.edge.ok(&["lb", "get", "theirs-0"]).unwrap();
    let applied = |status: &Value| status["reconcile"]["applied_generation"] == status["ledger_generation"];
    scene.edge.wait_for_status("the restored ledger in the maps", applied).unwrap();
    scene.get(VIP_V4).unwrap();
    scene.edge.stop().unwrap();
    scene.edge.start(&scene.network).unwrap();
}

/// An agent of another edge, whose interface and maps are elsewhere, writes to the copy.
fn grow(scene: &Scene, copied: &Path) {
    run_in(scene, "ip", &["link", "add", "far0", "type", "veth", "peer", "name", "far1"]);
    let pins = scene.network.pin_dir().display().to_string();
    let (other, socket) = (format!("{pins}-other"), copied.join("other.sock").display().to_string());
    let text = std::fs::read_to_string(scene.edge.config()).unwrap();
    let text = text.replace(&pins, &other).replace(&scene.edge.socket().display().to_string(), &socket);
    let lines = text.lines().map(|line| match line.starts_with("interfaces") {
        true => "interfaces = [\"far0\"]\n".to_owned(),
        false => format!("{line}\n"),
    });
    let config = copied.join("other.toml");
    std::fs::write(&config, lines.collect::<String>()).unwrap();
    let mut command = std::process::Command::new(scene.edge.snowshed());
    command.arg("agent").arg("--config").arg(&config);
    let mut agent = Process::start(&scene.network.edge, "another agent", command, &copied.join("other.log")).unwrap();
    let token = scene.edge.token_file().display().to_string();
    let ask = |arguments: &[&str]| {
        let mut command = std::process::Command::new(scene.edge.snowshed());
        command.args(arguments).args(["--socket", &socket, "--token-file", &token]).output().unwrap()
    };
    tests::wait::until("the other agent", Duration::from_secs(20), || ask(&["status"]).status.success()).unwrap();
    for number in 0..3 {
        let made = ask(&["lb", "create", "--name", &format!("theirs-{number}"), "--no-ipv4"]);
        assert!(made.status.success(), "{made:?}");
    }
    agent.signal(Signal::SIGTERM).unwrap();
    agent.wait(Duration::from_secs(20)).unwrap();
    run_in(scene, &scene.edge.snowshed().display().to_string(), &["detach", "--yes", "--pin-dir", &other]);
}

fn run_in(scene: &Scene, program: &str, arguments: &[&str]) -> String {
    scene.network.edge.exec(program, arguments).unwrap()
}
