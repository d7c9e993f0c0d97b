//! Health checks against the servers they are for: each passes while its server takes clients, and fails when it is gone.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use serde_json::Value;
use tests::netns::Netns;
use tests::process::Process;
use tests::wait;

use crate::{Scene, ok, snowshed};

/// Each check: its name, the server's port, and its settings as `apply` reads them.
const CHECKS: [(&str, u16, &str); 7] = [
    ("redis", 6379, "redis: {}"),
    ("pgsql", 5432, "pgsql: { user: health }"),
    ("mysql", 3306, "mysql: { user: health }"),
    ("ldap", 389, "ldap: {}"),
    ("https", 8443, "https: { uri: /, sni: web.example, host_header: web.example, code: 204 }"),
    ("proxied", 8080, "http: { uri: /, code: 204 }, send_proxy: true"),
    ("tcp", 22_222, "transient_interval: 50ms"),
];

#[test]
fn every_kind_of_check_passes_a_real_server_and_fails_when_it_is_gone() {
    let mut scene = Scene::of(&snowshed());
    let server = scene.network.servers[0].v4();
    let directory = scene.network.directory().join("databases");
    std::fs::create_dir(&directory).unwrap();
    let mut processes = start_all(&scene.network.servers[0].netns, &directory);
    scene.edge.start(&scene.network).unwrap();
    scene.edge.apply(&manifest(&server.to_string())).unwrap();
    wait_for(&scene, "every server to be up", |state| state == "up");
    processes.clear();
    wait_for(&scene, "every server to be down", |state| state == "down");
    // Who is refused is told so; a check that never spoke the protocol could not tell the two apart.
    let status = scene.edge.status().unwrap();
    assert!(status.to_string().contains("connection refused"), "{status:#}");
}

#[test]
fn a_server_that_listens_and_speaks_otherwise_passes_tcp_only() {
    let mut scene = Scene::of(&snowshed());
    let server = scene.network.servers[0].v4();
    let directory = scene.network.directory().join("liars");
    std::fs::create_dir(&directory).unwrap();
    // An HTTP server in the place of each: it answers, and not what is wanted.
    let ports: String =
        CHECKS.iter().map(|(_, port, _)| format!("server {{ listen {port}; return 500; }}\n")).collect();
    let _liar = nginx(&scene.network.servers[0].netns, &directory, &ports);
    scene.edge.start(&scene.network).unwrap();
    scene.edge.apply(&manifest(&server.to_string())).unwrap();
    let states = wait_for_states(&scene, "every server to be judged", |states| {
        states.iter().all(|(_, state)| *state != "unknown")
    });
    for (port, state) in states {
        let wanted = if port == 22_222 { "up" } else { "down" };
        assert_eq!(state, wanted, "port {port}");
    }
}

fn manifest(server: &str) -> String {
    let mut text = "name: databases\nips: [ipv4]\nfrontends:\n".to_owned();
    for (name, port, _) in CHECKS {
        text.push_str(&format!("  - {{ name: {name}, inbound_port: {port}, backend: {name} }}\n"));
    }
    text.push_str("backends:\n");
    for (name, port, settings) in CHECKS {
        text.push_str(&format!(
            "  - name: {name}\n    forward_port: {port}\n    forwarding: nat\n    servers: [{{ address: {server} }}]\n    health_check: \
             {{ interval: 500ms, timeout: 500ms, fall: 2, rise: 1, {settings} }}\n"
        ));
    }
    text
}

fn start_all(netns: &Netns, directory: &Path) -> Vec<Process> {
    let path = |name: &str| directory.join(name).to_string_lossy().into_owned();
    let start = |name: &str, program: &str, arguments: &[&str]| {
        let mut command = Command::new(program);
        command.args(arguments);
        Process::start(netns, name, command, &directory.join(format!("{name}.log"))).unwrap()
    };
    let redis = ["--bind", "0.0.0.0", "--protected-mode", "no", "--save", "", "--dir", &path("")];
    let mut processes = vec![start("redis", "redis-server", &redis)];

    // PostgreSQL refuses to run as root.
    let binaries = newest("/usr/lib/postgresql");
    let data = path("pgsql");
    std::fs::create_dir(&data).unwrap();
    ok("chown", &["-R", "postgres", &data]);
    ok("chmod", &["a+rx", &directory.parent().unwrap().to_string_lossy(), &path("")]);
    let as_postgres = ["--reuid=postgres", "--regid=postgres", "--clear-groups"];
    let initdb = format!("{binaries}/bin/initdb");
    let make = [&as_postgres[..], &[&initdb, "-D", &data, "-A", "trust", "--no-sync", "-U", "postgres"]].concat();
    ok("setpriv", &make);
    std::fs::write(format!("{data}/pg_hba.conf"), "host all all all trust\n").unwrap();
    let postgres = format!("{binaries}/bin/postgres");
    let run = [&as_postgres[..], &[&postgres, "-D", &data, "-h", "0.0.0.0", "-k", ""]].concat();
    processes.push(start("pgsql", "setpriv", &run));

    let data = format!("--datadir={}", path("mysql"));
    std::fs::create_dir(path("mysql")).unwrap();
    let make = ["--no-defaults", &data, "--auth-root-authentication-method=normal", "--user=root", "--skip-test-db"];
    ok("mariadb-install-db", &make);
    std::fs::write(path("users.sql"), "CREATE USER health@'%';\n").unwrap();
    let (users, socket) = (format!("--init-file={}", path("users.sql")), format!("--socket={}", path("mysql.sock")));
    let run = ["--no-defaults", &data, "--user=root", "--bind-address=0.0.0.0", "--skip-name-resolve", &users, &socket];
    processes.push(start("mysql", "mariadbd", &run));

    std::fs::write(path("slapd.conf"), format!("pidfile {}\n", path("slapd.pid"))).unwrap();
    let run = ["-f", &path("slapd.conf"), "-h", "ldap://0.0.0.0:389", "-d", "0"];
    processes.push(start("ldap", "slapd", &run));

    let request = ["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2"];
    let files = ["-subj", "/CN=web.example", "-keyout", &path("key.pem"), "-out", &path("certificate.pem")];
    ok("openssl", &[&request[..], &files[..]].concat());
    let servers = format!(
        "server {{ listen 8443 ssl; server_name web.example; ssl_certificate {}; ssl_certificate_key {}; return 204; }}\n\
         server {{ listen 8443 ssl default_server; ssl_reject_handshake on; }}\n\
         server {{ listen 8080 proxy_protocol; return 204; }}\nserver {{ listen 22222; }}\n",
        path("certificate.pem"),
        path("key.pem")
    );
    processes.push(nginx(netns, &directory.join("nginx"), &servers));
    processes
}

fn nginx(netns: &Netns, directory: &Path, servers: &str) -> Process {
    std::fs::create_dir_all(directory).unwrap();
    let config = directory.join("nginx.conf");
    let text = format!(
        "daemon off;\npid {0}/nginx.pid;\nerror_log stderr;\nevents {{}}\nhttp {{\naccess_log off;\n\
         client_body_temp_path {0}/b; proxy_temp_path {0}/p; fastcgi_temp_path {0}/f; uwsgi_temp_path {0}/u; \
         scgi_temp_path {0}/s;\n{servers}}}\n",
        directory.display()
    );
    std::fs::write(&config, text).unwrap();
    let mut command = Command::new("nginx");
    command.arg("-p").arg(directory).arg("-c").arg(&config);
    Process::start(netns, "nginx", command, &directory.join("nginx.log")).unwrap()
}

/// The newest version below a directory.
fn newest(directory: &str) -> String {
    let versions = std::fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path());
    let newest = versions.max_by_key(|path| path.file_name().unwrap().to_string_lossy().parse::<u32>().unwrap_or(0));
    newest.unwrap().to_string_lossy().into_owned()
}

fn wait_for(scene: &Scene, what: &str, wanted: fn(&str) -> bool) {
    wait_for_states(scene, what, |states| states.iter().all(|(_, state)| wanted(state)));
}

/// Port and state of every check's server, once they are as wanted.
fn wait_for_states(
    scene: &Scene,
    what: &str,
    wanted: impl Fn(&[(u64, &'static str)]) -> bool,
) -> Vec<(u64, &'static str)> {
    let mut last = Value::Null;
    let found = wait::until_some(what, Duration::from_secs(60), || {
        last = scene.edge.status()?;
        let services = last["services"].as_array().map_or(&[][..], Vec::as_slice);
        let states: Vec<_> =
            services.iter().map(|service| (service["port"].as_u64().unwrap(), state(service))).collect();
        Ok((states.len() == CHECKS.len() && wanted(&states)).then_some(states))
    });
    found.unwrap_or_else(|error| panic!("{error:#}\n{last:#}"))
}

/// `unknown` before the first probe ended.
fn state(service: &Value) -> &'static str {
    let server = &service["servers"][0];
    match (server["last_probe"].is_null(), server["up"] == true) {
        (true, _) => "unknown",
        (false, true) => "up",
        (false, false) => "down",
    }
}
