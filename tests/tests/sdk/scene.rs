//! A network with servers that answer for every address a tenant may be given, an agent with two tenants, and a client
//! program that is run beside it.

use std::fmt::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Mutex, MutexGuard, PoisonError};

use tests::clients;
use tests::edge::Edge;
use tests::network::{Layout, Network};

/// One network at a time: two would share the cores.
static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());

/// A tenant's backend translates unless it says otherwise; this is of the section that the configuration ends with.
const NAT_SOURCES: &str = "nat_v4 = [\"10.77.0.200\"]\nnat_v6 = [\"fd77::200\"]\n";

/// Receivers of webhooks stand beside the agent; letters that were not taken are sent again at once.
const DELIVERY: &str = "[delivery]\nallow_targets = [\"127.0.0.0/8\"]\nfirst_retry = \"20ms\"\n";

/// Name of an operator of the whole edge, and of the file that holds its secret.
const OPERATOR: &str = "fleet-operator";

const ORGANIZATION: &str = "aaaaaaaa-0000-4000-8000-000000000001";

/// A tenant: names its secret's and its project's environment variable. Secrets are UUIDs, as the SDKs want them.
struct Tenant {
    prefix: &'static str,
    secret: &'static str,
    project: &'static str,
}

const TENANTS: [Tenant; 2] = [
    Tenant {
        prefix: "",
        secret: "5ec4e700-0000-4000-8000-000000000001",
        project: "bbbbbbbb-0000-4000-8000-00000000000a",
    },
    Tenant {
        prefix: "STRANGER_",
        secret: "5ec4e700-0000-4000-8000-000000000002",
        project: "bbbbbbbb-0000-4000-8000-00000000000b",
    },
];

/// Fields are in the order in which they are taken down.
pub struct Scene {
    edge: Edge,
    network: Network,
    _turn: MutexGuard<'static, ()>,
}

impl Scene {
    /// Two servers and a running agent, without a load balancer.
    pub fn new() -> Self {
        let turn = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
        tests::require_root("sudo -E env \"PATH=$PATH\" cargo xtask test --tier e2e").unwrap();
        let mut network = Network::create("sdk", Layout::OneSegment, 2).unwrap();
        for server in &mut network.servers {
            server.start_nginx().unwrap();
        }
        let mut edge =
            Edge::configure(&network, &snowshed(), &format!("{NAT_SOURCES}{DELIVERY}{}", tokens(network.directory())))
                .unwrap();
        // One token asks as often as it can here.
        let config = std::fs::read_to_string(edge.config()).unwrap();
        let config = config.replacen("[api]\n", "[api]\nrequests_per_token = 1000000\n", 1);
        std::fs::write(edge.config(), config).unwrap();
        edge.start(&network).unwrap();
        Self { edge, network, _turn: turn }
    }

    /// Runs a file of tests/clients with pytest beside the agent; it must pass.
    pub fn pytest(&self, file: &str) {
        // No cache and no byte code: nothing is written beside the sources.
        self.run("pytest", &["-q", "-p", "no:cacheprovider", "--maxfail=3", file], &clients::sources());
    }

    /// Runs a file of tests/clients with node's own test runner beside the agent; it must pass.
    pub fn node(&self, file: &str) {
        // Modules are looked for beside the file that asks for them.
        let copy = clients::installed().join(file);
        std::fs::copy(clients::sources().join(file), copy).unwrap();
        self.run("node", &["--test", file], &clients::installed());
    }

    /// Holds every operation of the served OpenAPI document against what it answers, as a tenant with one of everything.
    ///
    /// One check is left out: that whatever fits the schemas is accepted. Schemas do not say that an address is free, a
    /// quota is not reached, or a backend is the load balancer's own.
    ///
    /// One worker: with two, hypothesis moves Python 3.11's recursion limit under the other's compiler ("AST constructor recursion
    /// depth mismatch"), and an operation is not checked at all.
    pub fn schemathesis(&self) {
        let config = self.network.directory().join("schemathesis.toml");
        std::fs::write(&config, self.objects()).unwrap();
        let (config, token) = (config.to_string_lossy(), format!("X-Auth-Token: {}", TENANTS[0].secret));
        self.run(
            "st",
            &[
                &["--config-file", &config, "run", "http://127.0.0.1:7480/openapi.json", "--header", &token][..],
                &["--checks", "all", "--exclude-checks", "positive_data_acceptance", "--no-color", "--workers", "1"],
                &["--phases", "examples,coverage,fuzzing", "--max-examples", "8", "--generation-deterministic"],
                &["--continue-on-failure", "--max-failures", "20"],
            ]
            .concat(),
            self.network.directory(),
        );
    }

    /// One of everything of the first tenant, as schemathesis' configuration names what stands for `{id}`.
    fn objects(&self) -> String {
        let server = self.network.servers[0].v4().to_string();
        let pool = ["--lb", "web", "--name", "pool", "--protocol", "tcp", "--forward-port", "80", "--server", &server];
        let http = ["--lb", "web", "--name", "http", "--inbound-port", "80", "--backend", "pool"];
        let rule = ["--lb", "web", "--frontend", "http", "--name", "ours", "--index", "0", "--action", "allow"];
        let made: [(&str, Vec<&str>); 5] = [
            ("lb", vec!["--name", "web", "--protected"]),
            ("ip", vec![]),
            ("backend", pool.to_vec()),
            ("frontend", http.to_vec()),
            ("acl", [&rule[..], &["--subnet", "10.0.0.0/8"]].concat()),
        ];
        let mut text = "[parameters]\n\"path.zone\" = \"fr-par-1\"\n".to_owned();
        for (noun, arguments) in made {
            let id =
                self.edge.ok(&[&[noun, "create", "-o", "name", "--token", TENANTS[0].secret], &arguments[..]].concat());
            let id = id.unwrap();
            writeln!(text, "\n[[operations]]\ninclude-path-regex = \"/{noun}s/.id\"").unwrap();
            writeln!(text, "parameters = {{ \"path.zone\" = \"fr-par-1\", \"path.id\" = {:?} }}", id.trim()).unwrap();
        }
        text
    }

    fn run(&self, program: &str, arguments: &[&str], directory: &Path) {
        let path = clients::program(program);
        assert!(path.exists(), "{} is missing: cargo xtask setup installs it", path.display());
        let mut command = Command::new(path);
        command.args(arguments).current_dir(directory).env("PYTHONDONTWRITEBYTECODE", "1").env("NO_PROXY", "*");
        command.env("API_URL", "http://127.0.0.1:7480").env("ORGANIZATION", ORGANIZATION);
        for tenant in &TENANTS {
            command.env(format!("{}SECRET", tenant.prefix), tenant.secret);
            command.env(format!("{}PROJECT", tenant.prefix), tenant.project);
        }
        let servers: Vec<String> = self.network.servers.iter().map(|server| server.v4().to_string()).collect();
        command.env("SERVERS", servers.join(",")).env("CLIENT_NETNS", self.network.client.name());
        // Beside the tenants' client, an operator's commands.
        command.env("SNOWSHED", self.edge.snowshed()).env("SNOWSHED_SOCKET", self.edge.socket());
        command.env("SNOWSHED_TOKEN_FILE", self.network.directory().join(OPERATOR));
        let output = self.network.edge.run(|| command.output()).unwrap().unwrap();
        let said = [output.stdout, output.stderr].concat();
        assert!(output.status.success(), "{program}: {}\n{}", output.status, String::from_utf8_lossy(&said));
    }
}

fn tokens(directory: &Path) -> String {
    let mut text = String::new();
    let secret = |name: &str, secret: &str| {
        let file = directory.join(name);
        std::fs::write(&file, secret).unwrap();
        std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o600)).unwrap();
        file
    };
    for tenant in &TENANTS {
        let file = secret(&format!("{}secret", tenant.prefix), tenant.secret);
        writeln!(text, "\n[[api.tokens]]\nname = \"{}tenant\"\nsecret_file = {file:?}", tenant.prefix.to_lowercase())
            .unwrap();
        writeln!(text, "organization = \"{ORGANIZATION}\"\nproject = \"{}\"", tenant.project).unwrap();
    }
    let file = secret(OPERATOR, "5ec4e700-0000-4000-8000-00000000000f");
    writeln!(text, "\n[[api.tokens]]\nname = \"{OPERATOR}\"\nsecret_file = {file:?}\nrole = \"operator\"").unwrap();
    text
}

/// The binary under test: `SNOWSHED_BIN`, or the debug build.
fn snowshed() -> PathBuf {
    let built = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/debug/snowshed");
    let path = std::env::var_os("SNOWSHED_BIN").map_or(built, PathBuf::from);
    assert!(path.exists(), "{} is not built: cargo xtask test --tier e2e builds it", path.display());
    path
}
