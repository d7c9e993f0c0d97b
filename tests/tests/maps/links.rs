//! The program on the interface: kept, healed, swapped, taken off; and what stands in the way.

use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};

use lb_common::abi::names;
use lb_userspace::config::XdpMode;
use lb_userspace::dataplane::decap::Decapsulator;
use lb_userspace::dataplane::detach::{attached, detach};
use lb_userspace::dataplane::object::LOAD_BALANCER;
use lb_userspace::dataplane::{Dataplane, DataplaneError, KernelConfig, KernelDataplane, Lineage, Lookup, Sizes};
use tests::netns::run;

use crate::fixture::{Fixture, SIZES, backend_entry, key, publish, slots};

/// The message of a refusal to set up, and its remedy.
fn refusal(outcome: Result<impl Sized, DataplaneError>) -> String {
    match outcome {
        Err(error @ DataplaneError::Setup { .. }) => error.to_string(),
        Err(error) => panic!("another error: {error}"),
        Ok(_) => panic!("no error"),
    }
}

fn expect(message: &str, words: &[&str]) {
    for word in words {
        assert!(message.contains(word), "`{word}` is not in: {message}");
    }
}

#[test]
fn a_second_agent_is_refused_until_the_first_is_gone() {
    let fixture = Fixture::new("lock");
    let first = fixture.open();
    expect(&refusal(fixture.try_open(fixture.config())), &["another agent holds", "stop it"]);
    let pin_dir = fixture.pin_dir.clone();
    expect(&refusal(detach(&pin_dir, None)), &["another agent holds"]);
    assert!(fixture.program_on_eth0().is_some());
    drop(first);
    fixture.open();
}

#[test]
fn maps_of_another_size_or_layout_are_refused_with_the_setting_and_left_alone() {
    let fixture = Fixture::new("sizes");
    let mut first = fixture.open();
    first.publish_service(&key(1), &publish(1, &slots(251, 1), &[])).unwrap();
    drop(first);
    for (sizes, setting) in [
        (Sizes { max_services: 100, ..SIZES }, "dataplane.max_services"),
        (Sizes { max_backends: 100, ..SIZES }, "dataplane.max_backends"),
        (Sizes { max_slots: 100, ..SIZES }, "dataplane.max_slots"),
        (Sizes { max_flows: 100, ..SIZES }, "dataplane.max_flows"),
        (Sizes { max_acl_prefixes: 100, ..SIZES }, "dataplane.max_acl_prefixes"),
        (Sizes { max_sources: 100, ..SIZES }, "dataplane.max_sources"),
    ] {
        let config = KernelConfig { sizes, ..fixture.config() };
        expect(&refusal(fixture.try_open(config)), &[setting, "snowshed detach", "100 are configured"]);
    }
    assert_eq!(fixture.open().observe().unwrap().services.len(), 1);

    let pin = fixture.pin_dir.join(names::CONFIG);
    std::fs::remove_file(&pin).unwrap();
    let make = format!("bpftool map create {} type array key 4 value 8 entries 1 name CONFIG", pin.display());
    run("sh", &["-c", &make]).unwrap();
    expect(&refusal(fixture.try_open(fixture.config())), &["another layout", "snowshed detach"]);
}

#[test]
fn what_stands_in_the_way_of_attaching_is_said_with_what_to_do() {
    let fixture = Fixture::new("errors");
    let with = |interface: &str, xdp_mode| KernelConfig {
        interfaces: vec![interface.to_owned()],
        xdp_mode,
        ..fixture.config()
    };
    expect(&refusal(fixture.try_open(with("nowhere", XdpMode::Auto))), &["no interface nowhere", "eth0"]);

    fixture.edge.ip("link add dum0 type ifb").unwrap();
    expect(&refusal(fixture.try_open(with("dum0", XdpMode::Native))), &["dum0", "generic mode"]);
    let attachments = fixture.inside(|| fixture.try_open(with("dum0", XdpMode::Auto)).unwrap().attachments());
    assert_eq!((attachments[0].interface.as_str(), attachments[0].mode.as_str()), ("dum0", "generic"));

    tests::pass::attach(&fixture.edge, "eth0", &fixture.pin_dir.with_file_name("foreign")).unwrap();
    for mode in [XdpMode::Auto, XdpMode::Native, XdpMode::Generic] {
        let message = refusal(fixture.try_open(with("eth0", mode)));
        expect(&message, &["another XDP program is attached (native mode)", "ip link set dev eth0 xdp"]);
    }
    expect(
        &refusal(fixture.try_open(KernelConfig { pin_dir: "/tmp/snowshed/v1".into(), ..fixture.config() })),
        &["not on a bpf file system", "mount -t bpf bpf /sys/fs/bpf"],
    );
    let dotted = KernelConfig { pin_dir: "/sys/fs/bpf/snow.shed".into(), ..fixture.config() };
    expect(&refusal(fixture.try_open(dotted)), &["dot"]);
}

#[test]
fn an_agent_that_could_not_start_leaves_what_was_there_and_nothing_of_its_own() {
    let fixture = Fixture::new("undone");
    fixture.edge.ip("link add eth1 type veth peer name far").unwrap();
    let config = |interfaces: &[&str]| KernelConfig {
        interfaces: interfaces.iter().map(|&name| name.to_owned()).collect(),
        ..fixture.config()
    };
    // The first interface is attached to before the second turns out not to be there.
    refusal(fixture.try_open(config(&["eth0", "nowhere"])));
    assert_eq!(fixture.program_on_eth0(), None);
    assert!(!fixture.pin_dir.exists(), "nothing was there before");

    let mut first = fixture.open();
    first.publish_service(&key(1), &publish(1, &slots(251, 1), &[])).unwrap();
    drop(first);
    let program = fixture.program_on_eth0();
    refusal(fixture.try_open(config(&["eth0", "eth1", "nowhere"])));
    assert_eq!(fixture.program_on_eth0(), program);
    assert!(!fixture.pin_dir.join("links/eth1").exists(), "attached by the start that failed");
    assert_eq!(fixture.open().observe().unwrap().services.len(), 1);
}

#[test]
fn our_own_program_in_the_way_is_called_by_its_name_and_how_it_comes_off() {
    let fixture = Fixture::new("own");
    let _first = fixture.open();
    let other = fixture.pin_dir.with_file_name(format!("{}-x", fixture.pin_dir.file_name().unwrap().to_string_lossy()));
    let message = refusal(fixture.try_open(KernelConfig { pin_dir: other.clone(), ..fixture.config() }));
    expect(&message, &["this load balancer's own program", "snowshed detach --pin-dir PATH --iface eth0"]);
    assert!(!message.contains("xdp off") && !other.exists(), "{message}");
    let root = fixture.pin_dir.with_file_name(format!("{}-b", fixture.pin_dir.file_name().unwrap().to_string_lossy()));
    let taken = fixture.inside(|| Decapsulator::attach(&root, "eth0", XdpMode::Native));
    expect(&refusal(taken), &["this load balancer's own program", "snowshed detach"]);
    fixture.edge.ip("link add eth1 type veth peer name far").unwrap();
    let decapsulator = fixture.inside(|| Decapsulator::attach(&root, "eth1", XdpMode::Native)).unwrap();
    let config = KernelConfig { pin_dir: other.clone(), interfaces: vec!["eth1".to_owned()], ..fixture.config() };
    expect(&refusal(fixture.try_open(config)), &["decapsulator", "snowshed backend detach --iface eth1"]);
    fixture.inside(|| decapsulator.detach()).unwrap();
    std::fs::remove_dir(root).unwrap();
}

#[test]
fn which_operation_the_maps_hold_is_noted_beside_them() {
    let fixture = Fixture::new("lineage");
    assert_eq!(KernelDataplane::lineage(&fixture.pin_dir).unwrap(), None);
    let mut dataplane = fixture.open();
    assert_eq!(KernelDataplane::lineage(&fixture.pin_dir).unwrap(), None);
    for generation in [7, 8] {
        let lineage = Lineage { generation, head: "ab".repeat(32) };
        dataplane.set_lineage(&lineage).unwrap();
        assert_eq!(KernelDataplane::lineage(&fixture.pin_dir).unwrap(), Some(lineage));
    }
    drop(dataplane);
    fixture.open();
    assert_eq!(KernelDataplane::lineage(&fixture.pin_dir).unwrap().unwrap().generation, 8);
}

#[test]
fn whatever_is_done_to_the_attachment_is_healed_and_told() {
    let fixture = Fixture::new("heal");
    fixture.edge.ip("link add eth0.7 type veth peer name far").unwrap();
    let interfaces = vec!["eth0".to_owned(), "eth0.7".to_owned()];
    let config = KernelConfig { interfaces, xdp_mode: XdpMode::Auto, ..fixture.config() };
    let mut dataplane = fixture.try_open(config).unwrap();
    let names = |attachments: &[lb_userspace::dataplane::Attachment]| -> Vec<String> {
        attachments.iter().map(|one| format!("{} {}", one.interface, one.mode)).collect()
    };
    let all = ["eth0 native", "eth0.7 native"];
    fixture.inside(|| {
        assert_eq!(names(&dataplane.attachments()), all);
        assert_eq!(dataplane.ensure_attached().unwrap(), Vec::<String>::new());
    });

    let pin = |name: &str| fixture.pin_dir.join("links").join(name);
    run("bpftool", &["link", "detach", "pinned", &pin("eth0").display().to_string()]).unwrap();
    assert_eq!(fixture.program_on_eth0(), None);
    fixture.inside(|| {
        assert_eq!(names(&dataplane.attachments()), all[1..]);
        expect(&dataplane.ensure_attached().unwrap().join("\n"), &["eth0", "taken off", "attached again"]);
        assert_eq!(names(&dataplane.attachments()), all);
    });

    std::fs::remove_file(pin("eth0%2e7")).unwrap();
    fixture.inside(|| {
        expect(&dataplane.ensure_attached().unwrap().join("\n"), &["eth0.7", "pinned again"]);
        assert!(pin("eth0%2e7").exists());
        assert_eq!(dataplane.ensure_attached().unwrap(), Vec::<String>::new());
    });

    // The interface itself goes and comes back, with another number.
    fixture.edge.ip("link del eth0.7").unwrap();
    fixture.inside(|| {
        assert_eq!(names(&dataplane.attachments()), all[..1]);
        expect(&refusal(dataplane.ensure_attached()), &["no interface eth0.7"]);
    });
    fixture.edge.ip("link add eth0.7 type veth peer name far").unwrap();
    fixture.inside(|| {
        assert_eq!(dataplane.ensure_attached().unwrap().len(), 1);
        assert_eq!(names(&dataplane.attachments()), all);
    });
    drop(dataplane);

    // An interface that is no longer configured stays attached; a new one is attached.
    let config = KernelConfig { interfaces: vec!["eth0".to_owned()], ..fixture.config() };
    let dataplane = fixture.try_open(config).unwrap();
    fixture.inside(|| assert_eq!(names(&dataplane.attachments()), all));
}

#[test]
fn pins_that_somebody_removes_come_back_with_what_they_named() {
    let fixture = Fixture::new("pins");
    let mut dataplane = fixture.open();
    dataplane.publish_service(&key(1), &publish(1, &slots(251, 1), &[])).unwrap();
    let pins = || {
        let entries = std::fs::read_dir(&fixture.pin_dir).unwrap().map(|entry| entry.unwrap());
        let files = entries.filter(|entry| entry.file_type().unwrap().is_file());
        files.map(|entry| entry.file_name()).collect::<std::collections::BTreeSet<_>>()
    };
    let before = pins();
    assert!(before.len() > 20, "{before:?}");
    for name in &before {
        std::fs::remove_file(fixture.pin_dir.join(name)).unwrap();
    }
    let told = fixture.inside(|| dataplane.ensure_attached()).unwrap();
    assert_eq!((told.len(), pins()), (before.len(), before), "{told:?}");
    expect(&told.join("\n"), &[names::SERVICES_V4, names::PROGRAM, "pinned again"]);
    assert!(fixture.inside(|| dataplane.ensure_attached()).unwrap().is_empty());
    drop(dataplane);
    let next = fixture.open();
    assert!(next.service(&key(1)).unwrap().is_some(), "the next agent began with empty maps");
}

#[test]
fn another_version_of_the_program_is_swapped_in_over_the_same_maps() {
    let fixture = Fixture::new("update");
    let mut first = fixture.open();
    first.publish_service(&key(1), &publish(1, &slots(251, 1), &[])).unwrap();
    drop(first);
    let old = fixture.program_on_eth0().unwrap();
    let link = || {
        let pin = fixture.pin_dir.join("links/eth0").display().to_string();
        let text = run("bpftool", &["-j", "link", "show", "pinned", &pin]).unwrap();
        text.split("\"id\":").nth(1).unwrap().split(',').next().unwrap().to_owned()
    };
    let link_before = link();
    drop(fixture.open());
    assert_eq!(fixture.program_on_eth0(), Some(old), "the same object is not loaded again");

    let digest = fixture.pin_dir.join("digest");
    assert_eq!(std::fs::read_link(&digest).unwrap().to_str(), Some(LOAD_BALANCER.digest()));
    std::fs::remove_file(&digest).unwrap();
    std::os::unix::fs::symlink("that-of-another-object", &digest).unwrap();
    let mut second = fixture.open();
    let new = fixture.program_on_eth0().unwrap();
    assert_ne!(new, old);
    assert_eq!(link(), link_before, "the link itself is the same: it never let go of the interface");
    assert_eq!(second.observe().unwrap().services[&key(1)].slots, slots(251, 1));
    assert_eq!(std::fs::read_link(&digest).unwrap().to_str(), Some(LOAD_BALANCER.digest()));
    drop(second);
    drop(fixture.open());
    assert_eq!(fixture.program_on_eth0(), Some(new));
}

/// Not a test of its own: the process that [`a_killed_agent_leaves_everything_forwarding`] kills.
#[test]
fn holder() {
    let Some(pin_dir) = std::env::var_os("SNOWSHED_TEST_HOLD") else { return };
    let config = KernelConfig {
        pin_dir: pin_dir.into(),
        interfaces: vec!["eth0".to_owned()],
        xdp_mode: XdpMode::Native,
        sizes: SIZES,
    };
    let mut dataplane = lb_userspace::dataplane::KernelDataplane::open(config).unwrap();
    dataplane.write_backend(1, &backend_entry(77)).unwrap();
    dataplane.publish_service(&key(1), &publish(1, &slots(251, 1), &[])).unwrap();
    println!("holding");
    loop {
        std::thread::park();
    }
}

#[test]
fn a_killed_agent_leaves_everything_forwarding() {
    let fixture = Fixture::new("kill");
    let mut holder = fixture.inside(|| {
        Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "links::holder", "--nocapture"])
            .env("SNOWSHED_TEST_HOLD", &fixture.pin_dir)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap()
    });
    let lines = BufReader::new(holder.stdout.take().unwrap()).lines();
    assert!(lines.map(Result::unwrap).any(|line| line.contains("holding")));
    expect(&refusal(fixture.try_open(fixture.config())), &["another agent holds"]);
    let program = fixture.program_on_eth0();
    holder.kill().unwrap();
    holder.wait().unwrap();
    assert!(program.is_some());
    assert_eq!(fixture.program_on_eth0(), program);
    let observed = fixture.open().observe().unwrap();
    assert_eq!(observed.services[&key(1)].slots, slots(251, 1));
    assert_eq!(observed.backends[&1], backend_entry(77));
}

#[test]
fn detaching_takes_everything_off_and_says_what() {
    let fixture = Fixture::new("detach");
    let agent = fixture.open();
    let pin_dir = fixture.pin_dir.clone();
    let shown = fixture.inside(|| attached(&pin_dir)).unwrap().unwrap();
    assert_eq!(shown, fixture.inside(|| agent.attachments()));
    // A living agent would attach again: it has to go first.
    expect(&refusal(fixture.inside(|| detach(&pin_dir, None))), &["another agent holds", "stop it"]);
    expect(&refusal(fixture.inside(|| detach(&pin_dir, Some("eth0")))), &["another agent holds"]);
    assert!(fixture.program_on_eth0().is_some());
    drop(agent);
    let done = fixture.inside(|| detach(&pin_dir, None)).unwrap().unwrap();
    assert_eq!(done.attachments, shown);
    expect(&done.removed.join("\n"), &["links/eth0", names::SERVICES_V4, names::SLOTS, names::PROGRAM]);
    assert_eq!(fixture.program_on_eth0(), None);
    assert!(!pin_dir.exists());
    assert_eq!(detach(&pin_dir, None).unwrap(), None);
}

#[test]
fn another_versions_program_runs_until_the_new_ones_maps_are_filled() {
    let fixture = Fixture::new("versions");
    let pins = |version: u32| fixture.pin_dir.join(format!("v{version}"));
    let config = |version| KernelConfig { pin_dir: pins(version), ..fixture.config() };
    let mut first = fixture.try_open(config(1)).unwrap();
    first.publish_service(&key(1), &publish(1, &slots(251, 1), &[])).unwrap();
    expect(&refusal(fixture.try_open(config(2))), &["another agent holds", "v1"]);
    drop(first);

    // Up and down again: one way.
    for (from, to) in [(1, 2), (2, 1)] {
        let program = fixture.program_on_eth0();
        assert!(program.is_some());
        // Killed before it is done: the old one goes on.
        for _ in 0..2 {
            let mut next = fixture.try_open(config(to)).unwrap();
            assert_eq!(fixture.program_on_eth0(), program);
            let attachments = fixture.inside(|| {
                let next = &mut next;
                next.attachments()
            });
            assert_eq!(attachments.len(), 1, "the status tells who forwards");
            assert!(next.observe().unwrap().services.is_empty(), "the maps are new");
            assert!(pins(from).exists());
        }
        let mut next = fixture.try_open(config(to)).unwrap();
        next.publish_service(&key(2), &publish(1, &slots(251, 1), &[])).unwrap();
        assert_eq!(fixture.inside(|| next.take_over()).unwrap().len(), 1);
        assert_ne!(fixture.program_on_eth0(), program);
        assert!(fixture.program_on_eth0().is_some());
        assert!(!pins(from).exists());
        assert!(fixture.inside(|| next.take_over()).unwrap().is_empty());
        assert!(fixture.inside(|| next.ensure_attached()).unwrap().is_empty());
        drop(next);
        // And the next agent of this version finds all of it.
        let mut adopted = fixture.try_open(config(to)).unwrap();
        assert_eq!(adopted.observe().unwrap().services.len(), 1);
    }
    fixture.inside(|| detach(&pins(1), None)).unwrap();
    assert!(fixture.program_on_eth0().is_none());
}
