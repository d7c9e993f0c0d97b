//! Clients that harm by being slow or many: the agent's memory stays bounded, and root's socket answers all the while.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use tests::network::Layout;

use crate::certificates::{Authority, Valid};
use crate::scene::Scene;

/// More than all that are let in at once.
const MANY: usize = 700;
/// As many as make much of what each of them sends or asks for.
const SOME: usize = 60;
/// What the agent's memory may grow by under each attack, MiB. 512 connections with a head of 16 KiB in each of two
/// buffers are 16.
const GROWTH_MIB: u64 = 64;
const LOOPBACK: &str = "127.0.0.1:7480";
const REMOTE: &str = "10.77.0.1:7443";

fn resident_mib(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() / 1024
}

/// Connects again and again, and says this on each connection; what is refused is refused.
fn attack(address: &str, connections: usize, say: &[u8]) -> Vec<TcpStream> {
    let address: SocketAddr = address.parse().unwrap();
    let open = |_| {
        let mut stream = TcpStream::connect_timeout(&address, Duration::from_secs(2)).ok()?;
        stream.set_write_timeout(Some(Duration::from_millis(200))).unwrap();
        stream.write_all(say).ok()?;
        Some(stream)
    };
    (0..connections).filter_map(open).collect()
}

/// While the streams are held, root is answered on the socket and the memory is within bounds.
fn is_borne(scene: &Scene, what: &str, before: u64, streams: &[TcpStream]) {
    scene.edge.ok(&["status"]).unwrap();
    scene.edge.ok(&["lb", "list"]).unwrap();
    let after = resident_mib(scene.edge.pid().unwrap());
    println!("{what}: {} connections held, {before} MiB before, {after} MiB under it", streams.len());
    assert!(after < before + GROWTH_MIB, "{what}: {before} MiB became {after} MiB");
}

#[test]
fn slow_clients_and_floods_of_connections_take_bounded_memory_and_never_roots_socket() {
    let mut scene = Scene::with_plain_servers(Layout::OneSegment, 1);
    scene.edge.stop().unwrap();
    let directory = tempfile::tempdir().unwrap();
    let (certificate, key) = Authority::new(directory.path()).sign("agent", &["10.77.0.1"], Valid::Now);
    let keys = format!(
        "listen = [\"{LOOPBACK}\", \"{REMOTE}\"]\ntls_certificate = {certificate:?}\ntls_key = {key:?}\n\
         requests_per_token = 50"
    );
    let config = std::fs::read_to_string(scene.edge.config()).unwrap();
    std::fs::write(scene.edge.config(), config.replacen("[api]\n", &format!("[api]\n{keys}\n"), 1)).unwrap();
    scene.edge.start(&scene.network).unwrap();
    scene.edge.ok(&["lb", "create", "--name", "web"]).unwrap();
    let secret = std::fs::read_to_string(scene.edge.token_file()).unwrap();
    let token = format!("Host: x\r\nX-Auth-Token: {}\r\n", secret.trim());
    let path = "/lb/v1/zones/fr-par-1/lbs";
    let head = [b'x'; 15_000];
    let body = vec![b' '; 4 << 20];
    let unfinished_body =
        [format!("POST {path} HTTP/1.1\r\n{token}Content-Length: 5000000\r\n\r\n").as_bytes(), &body].concat();
    let unread = format!("GET {path} HTTP/1.1\r\n{token}\r\n").repeat(400);
    let attacks: [(&str, usize, Vec<u8>); 4] = [
        ("nothing said", MANY, Vec::new()),
        ("a head that does not end", MANY, [b"GET /healthz HTTP/1.1\r\nX-Junk: ", &head[..]].concat()),
        ("bodies of 4 MiB that do not end", SOME, unfinished_body),
        ("answers that nobody reads", SOME, unread.into_bytes()),
    ];
    for (what, connections, say) in attacks {
        let before = resident_mib(scene.edge.pid().unwrap());
        let streams = scene.network.edge.run(|| attack(LOOPBACK, connections, &say)).unwrap();
        is_borne(&scene, what, before, &streams);
    }
    // From another machine: a source has 64, the rest is closed, also before TLS has begun.
    let before = resident_mib(scene.edge.pid().unwrap());
    let streams = scene.network.client.run(|| attack(REMOTE, MANY, b"")).unwrap();
    is_borne(&scene, "one remote source", before, &streams);
    let open = |mut stream: &TcpStream| {
        stream.set_nonblocking(true).unwrap();
        stream.read(&mut [0]).is_err_and(|error| error.kind() == std::io::ErrorKind::WouldBlock)
    };
    let open = streams.iter().filter(|stream| open(stream)).count();
    assert!((1..=64).contains(&open), "{open} connections of one source stay open");
    drop(streams);

    // The token that asked too often is told when to come again; on the socket it is not held up.
    let url = format!("http://{LOOPBACK}{path}");
    let token = format!("X-Auth-Token: {}", secret.trim());
    let many = vec![&*url; 300];
    let told = scene.network.edge.exec(
        "curl",
        &[&["-sS", "-D", "-", "-o", "/dev/null", "-H", &token, "--max-time", "20"][..], &with_output(&many)].concat(),
    );
    let told = told.unwrap();
    assert!(told.contains("HTTP/1.1 429") && told.to_lowercase().contains("retry-after: 1"), "{told}");
    for _ in 0..3 {
        scene.edge.ok(&["lb", "list"]).unwrap();
    }
}

/// Each URL after the first needs a place for its answer of its own.
fn with_output<'a>(urls: &[&'a str]) -> Vec<&'a str> {
    let (first, rest) = urls.split_first().unwrap();
    let mut all = vec![*first];
    all.extend(rest.iter().flat_map(|url| ["-o", "/dev/null", *url]));
    all
}
