//! The API bench: an edge with 10,000 load balancers and 30,000 probed servers, made and asked through its API.
//!
//! Measured on the running agent with XDP and a SQLite ledger: durable creations a second and reads a second with all of
//! that present, their 50th and 99th percentile, the agent's memory before and after 100,000 requests, and the
//! processor time it takes when nothing happens but the probes, each server's every 10 s. Run by `cargo xtask bench api`.
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a bench prints, and has no one to report errors to")]

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, TcpListener};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tests::edge::Edge;
use tests::network::{Layout, Network};

/// Clients that ask at once, a connection each.
const CLIENTS: usize = 8;
const SERVERS_EACH: usize = 3;
const PORT: u16 = 80;
const SECRET: &str = "playground-token";
const LBS: &str = "/lb/v1/zones/fr-par-1/lbs";
/// How long the probes alone are watched: three rounds of them.
const WATCHED: Duration = Duration::from_secs(30);

#[derive(serde::Serialize)]
struct Figures {
    load_balancers: usize,
    probed_servers: usize,
    load_average: f64,
    fill_creates_per_second: f64,
    creates_per_second: f64,
    create_ms_p50: f64,
    create_ms_p99: f64,
    reads_per_second: f64,
    read_ms_p50: f64,
    read_ms_p99: f64,
    requests: usize,
    resident_mib_before: f64,
    resident_mib_after: f64,
    probes_percent_of_a_core: f64,
    probes_in_that_time: f64,
}

fn main() {
    let mut arguments = std::env::args().skip(1).filter(|argument| argument != "--bench");
    let load_balancers: usize = arguments.next().unwrap().parse().unwrap();
    let requests: usize = arguments.next().unwrap().parse().unwrap();
    let (snowshed, out) = (PathBuf::from(arguments.next().unwrap()), PathBuf::from(arguments.next().unwrap()));
    tests::require_root("sudo -E env \"PATH=$PATH\" cargo xtask bench api").unwrap();

    let network = Network::create("benchapi", Layout::OneSegment, 0).unwrap();
    answer_for_every_server(&network);
    let mut edge = Edge::configure(&network, &snowshed, "").unwrap();
    edge.start(&network).unwrap();
    let (socket, pid) = (edge.socket(), edge.pid().unwrap());

    let (_, fill) = timed(|| run(&socket, load_balancers, fill_one));
    let fill_creates_per_second = (3 * load_balancers) as f64 / fill.as_secs_f64();
    println!("{load_balancers} load balancers made in {:.1} s", fill.as_secs_f64());
    edge.wait_for_status("everything to be applied", |status| {
        status["reconcile"]["applied_generation"] == status["ledger_generation"]
    })
    .unwrap();

    let (creates, took) = timed(|| {
        run(&socket, load_balancers.div_ceil(5), |client, number| {
            client.ask("POST", LBS, Some(&json!({"name": format!("more-{number}"), "assign_flexible_ip": false})));
        })
    });
    let creates_per_second = creates.len() as f64 / took.as_secs_f64();

    let ids = ids(&socket);
    let read = |client: &mut Client, number: usize| {
        let id = &ids[number * 7919 % ids.len()];
        // What clients ask most: one object. Every twentieth is a page of a list.
        let path = if number.is_multiple_of(20) { format!("{LBS}?page_size=20") } else { format!("{LBS}/{id}") };
        client.ask("GET", &path, None);
    };
    run(&socket, requests / 10, read);
    let resident_mib_before = resident_mib(pid);
    let (reads, took) = timed(|| run(&socket, requests, read));
    let resident_mib_after = resident_mib(pid);
    let reads_per_second = reads.len() as f64 / took.as_secs_f64();

    let probes = || probes(&mut Client::connect(&socket));
    let (cpu, made) = (cpu_time(pid), probes());
    std::thread::sleep(WATCHED);
    let (cpu, made) = (cpu_time(pid) - cpu, probes() - made);
    let figures = Figures {
        load_balancers,
        probed_servers: load_balancers * SERVERS_EACH,
        load_average: load_average(),
        fill_creates_per_second,
        creates_per_second,
        create_ms_p50: percentile(&creates, 50),
        create_ms_p99: percentile(&creates, 99),
        reads_per_second,
        read_ms_p50: percentile(&reads, 50),
        read_ms_p99: percentile(&reads, 99),
        requests,
        resident_mib_before,
        resident_mib_after,
        probes_percent_of_a_core: 100.0 * cpu.as_secs_f64() / WATCHED.as_secs_f64(),
        probes_in_that_time: made,
    };
    let json = serde_json::to_string_pretty(&figures).unwrap();
    println!("{json}");
    std::fs::create_dir_all(out.parent().unwrap()).unwrap();
    std::fs::write(&out, json).unwrap();
    println!("written to {}", out.display());
}

/// The client's machine answers for the addresses of all servers: one neighbour, whose kernel accepts connections.
fn answer_for_every_server(network: &Network) {
    let gateway = &network.client;
    network.edge.ip(&format!("route add 10.100.0.0/14 via {}", Network::CLIENT_V4)).unwrap();
    gateway.ip("route add local 10.100.0.0/14 dev lo").unwrap();
    let _answering = gateway.spawn("servers", || {
        TcpListener::bind((Ipv4Addr::UNSPECIFIED, PORT))?.incoming().for_each(drop);
        Ok(())
    });
}

/// A load balancer with an address, a backend of three servers and a frontend: three operations of the ledger.
fn fill_one(client: &mut Client, number: usize) {
    let lb = json!({"name": format!("lb-{number}"), "assign_flexible_ip": false, "assign_flexible_ipv6": true});
    let lb = client.ask("POST", LBS, Some(&lb));
    let id = lb["id"].as_str().unwrap();
    let address =
        |position| u32::from(Ipv4Addr::new(10, 100, 0, 0)) + u32::try_from(number * SERVERS_EACH + position).unwrap();
    let servers: Vec<String> =
        (1..=SERVERS_EACH).map(|position| Ipv4Addr::from(address(position)).to_string()).collect();
    let check =
        json!({"port": PORT, "check_delay": "10s", "check_timeout": "5s", "check_max_retries": 3, "tcp_config": {}});
    let backend = json!({"name": "servers", "forward_protocol": "tcp", "forward_port": PORT, "forwarding": "ipip",
        "server_ip": servers, "health_check": check});
    let backend = client.ask("POST", &format!("{LBS}/{id}/backends"), Some(&backend));
    let frontend = json!({"name": "http", "inbound_port": PORT, "backend_id": backend["id"]});
    client.ask("POST", &format!("{LBS}/{id}/frontends"), Some(&frontend));
}

/// Every load balancer's id.
fn ids(socket: &Path) -> Vec<String> {
    let mut client = Client::connect(socket);
    let mut ids = Vec::new();
    loop {
        let page = client.ask("GET", &format!("{LBS}?page_size=100&page={}", ids.len() / 100 + 1), None);
        let page = page["lbs"].as_array().unwrap();
        ids.extend(page.iter().map(|lb| lb["id"].as_str().unwrap().to_owned()));
        if page.len() < 100 {
            return ids;
        }
    }
}

/// Does something so many times, on as many connections as there are clients; the time that each took.
fn run(socket: &Path, times: usize, work: impl Fn(&mut Client, usize) + Sync) -> Vec<Duration> {
    let next = AtomicUsize::new(0);
    let client = || {
        let mut client = Client::connect(socket);
        let mut took = Vec::new();
        loop {
            let number = next.fetch_add(1, Ordering::Relaxed);
            if number >= times {
                return took;
            }
            took.push(timed(|| work(&mut client, number)).1);
        }
    };
    std::thread::scope(|scope| {
        let clients: Vec<_> = (0..CLIENTS).map(|_| scope.spawn(client)).collect();
        clients.into_iter().flat_map(|client| client.join().unwrap()).collect()
    })
}

/// A connection that is kept: HTTP as plain as it can be, so that the client's own time does not count for much.
struct Client(BufReader<UnixStream>);

impl Client {
    fn connect(socket: &Path) -> Self {
        Self(BufReader::new(UnixStream::connect(socket).unwrap()))
    }

    /// Sends a request, which must succeed.
    fn ask(&mut self, method: &str, path: &str, body: Option<&Value>) -> Value {
        serde_json::from_slice(&self.bytes(method, path, body)).unwrap()
    }

    fn bytes(&mut self, method: &str, path: &str, body: Option<&Value>) -> Vec<u8> {
        let body = body.map(Value::to_string).unwrap_or_default();
        let head =
            format!("{method} {path} HTTP/1.1\r\nHost: x\r\nX-Auth-Token: {SECRET}\r\nContent-Length: {}", body.len());
        self.0.get_mut().write_all(format!("{head}\r\n\r\n{body}").as_bytes()).unwrap();
        let (mut status, mut length) = (String::new(), 0);
        self.0.read_line(&mut status).unwrap();
        loop {
            let mut line = String::new();
            self.0.read_line(&mut line).unwrap();
            match line.trim_end().split_once(": ") {
                Some((name, value)) if name.eq_ignore_ascii_case("content-length") => length = value.parse().unwrap(),
                Some(_) => {}
                None => break,
            }
        }
        let mut answer = vec![0; length];
        self.0.read_exact(&mut answer).unwrap();
        assert!(status.contains(" 200 "), "{method} {path}: {status}{}", String::from_utf8_lossy(&answer));
        answer
    }
}

/// Probes made so far.
fn probes(client: &mut Client) -> f64 {
    let text = String::from_utf8(client.bytes("GET", "/metrics", None)).unwrap();
    let lines = text.lines().filter(|line| line.starts_with("snowshed_probes_total{"));
    lines.map(|line| line.rsplit(' ').next().unwrap().parse::<f64>().unwrap()).sum()
}

fn resident_mib(pid: u32) -> f64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<f64>().unwrap() / 1024.0
}

/// Processor time of a process so far, of all its threads. A tick is 10 ms on every Linux that there is.
fn cpu_time(pid: u32) -> Duration {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    // The name in brackets may hold blanks; user and system time are the 12th and 13th field after it.
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap().split_whitespace().collect();
    let ticks: u64 = fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap();
    Duration::from_millis(10 * ticks)
}

fn load_average() -> f64 {
    std::fs::read_to_string("/proc/loadavg").unwrap().split(' ').next().unwrap().parse().unwrap()
}

fn timed<T>(work: impl FnOnce() -> T) -> (T, Duration) {
    let started = Instant::now();
    let result = work();
    (result, started.elapsed())
}

fn percentile(durations: &[Duration], percent: usize) -> f64 {
    let mut sorted = durations.to_vec();
    sorted.sort();
    let at = (sorted.len() * percent).div_ceil(100).clamp(1, sorted.len()) - 1;
    sorted[at].as_secs_f64() * 1e3
}
