//! The API beyond this machine: TLS with curl and our own command line, and a certificate that is replaced meanwhile.

use std::path::Path;
use std::process::{Command, Output};
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tests::network::Layout;
use tests::process::Process;
use tests::wait;

use crate::certificates::{Authority, Valid};
use crate::scene::Scene;

const LIMIT: Duration = Duration::from_secs(20);
const PORT: u16 = 7443;

/// Gives the stopped agent's configuration more keys for `[api]`.
fn set_api(scene: &Scene, keys: &str) {
    let config = std::fs::read_to_string(scene.edge.config()).unwrap();
    let config = config.replacen("[api]\n", &format!("[api]\n{keys}\n"), 1);
    std::fs::write(scene.edge.config(), config).unwrap();
}

fn check(scene: &Scene) -> Output {
    let mut command = Command::new(scene.edge.snowshed());
    command.args(["agent", "--check", "--config"]).arg(scene.edge.config());
    scene.network.edge.run(|| command.output()).unwrap().unwrap()
}

fn text(path: &Path) -> String {
    path.display().to_string()
}

#[test]
fn the_api_is_asked_from_another_machine_over_tls_while_its_certificate_is_replaced() {
    let mut scene = Scene::with_plain_servers(Layout::OneSegment, 1);
    scene.edge.stop().unwrap();
    let edge = "10.77.0.1";
    set_api(&scene, &format!("listen = [\"127.0.0.1:7480\", \"{edge}:{PORT}\"]"));
    let refused = check(&scene);
    let said = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(!refused.status.success() && said.contains("is not loopback and there is no certificate: set"), "{said}");

    let directory = tempfile::tempdir().unwrap();
    let authority = Authority::new(directory.path());
    let host = edge.to_string();
    let (certificate, key) = authority.sign("agent", &[&host], Valid::Expired);
    set_api(&scene, &format!("tls_certificate = {certificate:?}\ntls_key = {key:?}"));
    let warned = check(&scene);
    let said = String::from_utf8_lossy(&warned.stderr).into_owned();
    assert!(warned.status.success() && said.contains("it expired at 2020-01-01T00:00:00Z"), "{warned:?}");
    // It starts, and what clients refuse is replaced without another start.
    scene.edge.start(&scene.network).unwrap();
    let (ca, secret) = (text(&authority.ca()), std::fs::read_to_string(scene.edge.token_file()).unwrap());
    let token = format!("X-Auth-Token: {}", secret.trim());
    let base = format!("https://{edge}:{PORT}");
    let lbs = format!("{base}/lb/v1/zones/fr-par-1/lbs");
    let curl = || scene.network.client.exec("curl", &["-sS", "--fail", "--cacert", &ca, "-H", &token, &lbs]);
    let expired = format!("{:#}", curl().unwrap_err());
    assert!(expired.contains("expired"), "{expired}");
    let ours = |arguments: &[&str]| {
        let mut command = Command::new(scene.edge.snowshed());
        command.args(arguments).args(["--url", &base, "--ca-file", &ca, "--token", secret.trim()]);
        scene.network.client.run(|| command.output()).unwrap().unwrap()
    };
    let said = String::from_utf8_lossy(&ours(&["lb", "list"]).stderr).into_owned();
    assert!(said.contains("its certificate has expired") && said.contains("put a new one in its place"), "{said}");

    authority.sign("agent", &[&host], Valid::Now);
    wait::until("the new certificate to be shown", LIMIT, || curl().is_ok()).unwrap();
    let made = ours(&["lb", "create", "--name", "far", "-o", "name"]);
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));

    // A stream of events lives through the next replacement, that SIGHUP asks for.
    let log = directory.path().join("events.log");
    let mut follow = Command::new(scene.edge.snowshed());
    follow.args(["events", "--follow", "--url", &base, "--ca-file", &ca, "--token", secret.trim()]);
    let mut follow = Process::start(&scene.network.client, "snowshed events", follow, &log).unwrap();
    let seen = || std::fs::read_to_string(&log).unwrap().matches("lb.create").count();
    let mut made = 0;
    let begun = wait::until("the stream to begin", LIMIT, || {
        made += 1;
        scene.edge.ok(&["lb", "create", "--name", &format!("before-{made}")]).unwrap();
        seen() > 0
    });
    begun.unwrap();
    authority.sign("agent", &[&host], Valid::Now);
    let read_again = "shows the certificate of";
    let times = || std::fs::read_to_string(scene.edge.log()).unwrap().matches(read_again).count();
    let before = times();
    let pid = i32::try_from(scene.edge.pid().unwrap()).unwrap();
    kill(Pid::from_raw(pid), Signal::SIGHUP).unwrap();
    wait::until("the certificate to be read again", LIMIT, || times() > before).unwrap();
    let before = seen();
    scene.edge.ok(&["lb", "create", "--name", "after-the-hangup"]).unwrap();
    wait::until("the stream to go on", LIMIT, || seen() > before).unwrap();
    follow.expect_running().unwrap();
    let followed = std::fs::read_to_string(&log).unwrap();
    assert!(!followed.contains("opened again") && !followed.contains("cannot be reached"), "{followed}");
    curl().unwrap();
}
