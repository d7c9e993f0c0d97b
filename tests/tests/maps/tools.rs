//! The local tools: `snowshed backend attach|detach|status` on a server, and `snowshed detach` on an edge.

use std::io::Write;
use std::path::Path;
use std::sync::{Arc, Mutex};

use lb_userspace::cli::failure::Exit;
use lb_userspace::cli::terminal::Terminal;
use lb_userspace::dataplane::{KernelConfig, Lookup};

use crate::fixture::Fixture;

#[derive(Clone, Default)]
struct Buffer(Arc<Mutex<Vec<u8>>>);

impl Write for Buffer {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// Runs a command line in the edge's namespace; how it ended, and both outputs.
fn snowshed(fixture: &Fixture, line: &str, typed: Option<&'static str>) -> (Exit, String) {
    let buffer = Buffer::default();
    let (out, err) = (buffer.clone(), buffer.clone());
    let exit = fixture.inside(|| {
        let mut terminal = Terminal::new(out, err, typed.unwrap_or("").as_bytes());
        terminal.interactive = typed.is_some();
        let arguments = std::iter::once("snowshed").chain(line.split_whitespace());
        lb_userspace::cli::run(arguments.map(Into::into), &mut terminal)
    });
    let text = String::from_utf8(buffer.0.lock().unwrap().clone()).unwrap();
    (exit, text)
}

fn expect(fixture: &Fixture, line: &str, exit: Exit, words: &[&str]) -> String {
    let (ended, text) = snowshed(fixture, line, None);
    assert_eq!(ended, exit, "{line}: {text}");
    for word in words {
        assert!(text.contains(word), "{line}: `{word}` is not in: {text}");
    }
    text
}

#[test]
fn a_server_is_told_what_it_unwraps_for_and_what_it_lacks() {
    let fixture = Fixture::new("server");
    let words = ["eth0: attached (native mode)", "203.0.113.5", "--add-address", "MTU of eth0 is 1500"];
    expect(&fixture, "backend attach --iface eth0 --vip 203.0.113.5", Exit::Ok, &words);
    let program = fixture.program_on_eth0();
    assert!(program.is_some());

    // Again, with another VIP: the first stays, the program too, and addresses are added once.
    let line = "backend attach --iface eth0 --vip 203.0.113.6,2001:db8::5 --add-address";
    expect(
        &fixture,
        line,
        Exit::Ok,
        &["203.0.113.5, 203.0.113.6, 2001:db8::5", "added 203.0.113.6", "added 2001:db8::5"],
    );
    assert!(!expect(&fixture, line, Exit::Ok, &["203.0.113.6"]).contains("added"));
    let addresses = fixture.edge.ip("-o address show dev lo").unwrap();
    assert!(addresses.contains("203.0.113.6/32") && addresses.contains("2001:db8::5/128"), "{addresses}");
    assert_eq!(fixture.program_on_eth0(), program);

    let json = expect(&fixture, "backend status -o json", Exit::Ok, &[]);
    let json: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!(json[0]["interface"], "eth0");
    assert_eq!(json[0]["mode"], "native");
    assert_eq!(json[0]["vips"], serde_json::json!(["203.0.113.5", "203.0.113.6", "2001:db8::5"]));
    assert!(json[0]["counters"]["unwrapped"].is_u64());

    let line = "backend detach --iface eth0 --vip 203.0.113.5,192.0.2.1";
    let text = expect(&fixture, line, Exit::Ok, &["192.0.2.1 was not unwrapped for", "VIPs: 203.0.113.6, 2001:db8::5"]);
    assert!(!text.contains("203.0.113.5"), "{text}");
    expect(&fixture, "backend detach --iface eth0", Exit::Ok, &["eth0: XDP is off"]);
    assert_eq!(fixture.program_on_eth0(), None);
    expect(&fixture, "backend detach --iface eth0", Exit::NotFound, &["no decapsulator"]);
    expect(&fixture, "backend status", Exit::Ok, &["no decapsulator is attached"]);
}

#[test]
fn what_a_server_cannot_do_is_refused_and_leaves_nothing() {
    let fixture = Fixture::new("wrong");
    let attach = |rest: &str| format!("backend attach --iface {rest}");
    expect(&fixture, &attach("nowhere --vip 203.0.113.5"), Exit::Error, &["no interface nowhere", "eth0"]);
    expect(&fixture, &attach("eth0 --vip 203.0.113"), Exit::Usage, &["203.0.113"]);
    expect(&fixture, &attach("eth0"), Exit::Usage, &["--vip"]);
    expect(&fixture, &attach("eth0 --vip 203.0.113.5 --mode fast"), Exit::Usage, &["native", "generic"]);
    fixture.edge.ip("link add ifb7 type ifb").unwrap();
    expect(&fixture, &attach("ifb7 --vip 203.0.113.5 --mode native"), Exit::Error, &["ifb7", "generic mode"]);
    expect(&fixture, "backend status", Exit::Ok, &["no decapsulator is attached"]);
}

#[test]
fn detach_asks_and_says_what_it_did() {
    let fixture = Fixture::new("off");
    let line = format!("detach --pin-dir {}", fixture.pin_dir.display());
    expect(&fixture, &line, Exit::NotFound, &["nothing is pinned", "--pin-dir"]);
    let pin_dir = KernelConfig::versioned(&fixture.pin_dir);
    let agent = fixture.try_open(KernelConfig { pin_dir: pin_dir.clone(), ..fixture.config() }).unwrap();
    let program = fixture.program_on_eth0();

    expect(&fixture, &line, Exit::Usage, &["eth0", "--yes"]);
    let (exit, text) = snowshed(&fixture, &line, Some("no\n"));
    assert_eq!(exit, Exit::Usage, "{text}");
    expect(&fixture, &format!("{line} --yes"), Exit::Error, &["another agent holds", "stop it"]);
    expect(&fixture, &format!("{line} --yes --iface eth9"), Exit::NotFound, &["eth9"]);
    assert_eq!(fixture.program_on_eth0(), program, "nothing was done until now");
    assert_eq!(fixture.inside(|| agent.attachments()).len(), 1);

    drop(agent);
    let (exit, text) = snowshed(&fixture, &line, Some("eth0\n"));
    assert_eq!(exit, Exit::Ok, "{text}");
    assert!(text.contains("eth0: XDP is off (native mode)"), "{text}");
    assert_eq!(fixture.program_on_eth0(), None);
    assert!(!Path::new(&pin_dir).exists());
    std::fs::remove_dir(&fixture.pin_dir).unwrap();
}
