//! The systemd unit: right by systemd's own tools, and its promises kept by the agent.

use std::os::unix::net::UnixDatagram;
use std::process::Command;
use std::time::Duration;

use nix::sys::signal::Signal;
use tests::process::Process;

use crate::{Scene, root, snowshed};

const UNIT: &str = "deploy/systemd/snowshed.service";

fn unit() -> String {
    std::fs::read_to_string(root().join(UNIT)).unwrap()
}

#[test]
fn systemd_finds_the_unit_right_and_hardened() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("snowshed.service");
    // The binary is looked for where the package puts it, which need not be installed here.
    let text = unit().replace("/usr/bin/snowshed", &snowshed().canonicalize().unwrap().to_string_lossy());
    // What the service is allowed is judged with the manual page left out, which need not be installed either.
    std::fs::write(&file, text.replace("Documentation=man:snowshed(1)\n", "")).unwrap();
    let file = file.to_string_lossy();
    let verified = Command::new("systemd-analyze").args(["verify", "--man=no", &file]).output().unwrap();
    let said = String::from_utf8_lossy(&verified.stderr);
    assert!(verified.status.success() && !said.contains("snowshed"), "{said}");
    let security = ["security", "--offline=true", "--threshold=45", &file];
    let judged = Command::new("systemd-analyze").args(security).output().unwrap();
    assert!(judged.status.success(), "{}", String::from_utf8_lossy(&judged.stdout));
}

#[test]
fn stopping_never_detaches() {
    let text = unit();
    let commands: Vec<&str> = text.lines().filter(|line| line.starts_with("Exec")).collect();
    assert!(commands.iter().all(|line| !line.contains("detach") && !line.starts_with("ExecStop")), "{commands:?}");
}

#[test]
fn the_agent_says_that_it_is_ready_lives_and_stops_and_forwards_on() {
    let scene = Scene::of(&snowshed());
    let directory = scene.network.directory();
    let path = directory.join("notify.sock");
    let socket = UnixDatagram::bind(&path).unwrap();
    socket.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
    let mut buffer = [0; 256];
    let mut told = || {
        let length = socket.recv(&mut buffer).expect("the agent says nothing to systemd");
        String::from_utf8_lossy(&buffer[..length]).into_owned()
    };
    let mut agent = Command::new(scene.edge.snowshed());
    agent.arg("agent").arg("--config").arg(scene.edge.config());
    agent.env("NOTIFY_SOCKET", &path).env("WATCHDOG_USEC", "8000000");
    let mut agent = Process::start(&scene.network.edge, "agent", agent, &scene.edge.log()).unwrap();
    assert!(agent.is_running().unwrap());
    let mut first = Vec::new();
    while !first.contains(&"READY=1".to_owned()) {
        first.push(told());
    }
    while told() != "WATCHDOG=1" {}
    agent.signal(Signal::SIGTERM).unwrap();
    while told() != "STOPPING=1" {}
    let attached = || scene.network.edge.exec("ip", &["link", "show"]).unwrap();
    assert!(attached().contains("xdp"), "stopping took the program off: {}", attached());
}
