//! The command line: one file per noun or verb, output formats in one place, the client of the API in one place.

use std::ffi::OsString;
use std::process::ExitCode;
use std::sync::{Arc, LazyLock};

use clap::{ArgMatches, CommandFactory, FromArgMatches, Parser, Subcommand};

pub mod acl;
pub mod agent;
pub mod api_token;
pub mod apply;
pub mod backend;
pub mod backend_attach;
pub mod backup;
pub mod capture;
pub mod client;
pub mod completion;
pub mod contain;
pub mod context;
pub mod delete;
pub mod delivery;
pub mod dependent;
pub mod detach;
pub mod doctor;
pub mod drill;
pub mod events;
pub mod explain;
pub mod export;
pub mod failure;
pub mod frontend;
pub mod gate;
pub mod global;
pub mod heal;
pub mod health_check;
pub mod hold;
pub mod incident;
pub mod init;
pub mod ip;
pub mod lb;
pub mod man;
pub mod ops;
pub mod output;
pub mod progress;
pub mod purge;
mod reading;
pub mod recovery;
pub mod server;
pub mod session;
pub mod status;
pub mod subscriber;
pub mod tenant;
pub mod terminal;
mod tls;
pub mod token;
pub mod top;
pub mod trace;
pub mod value;
pub mod wait;

use client::Client;
use failure::{Exit, Failure};
use global::Global;
use progress::Progress;
use session::Session;
use terminal::Terminal;

/// Snowshed, a Layer-4 load balancer whose traffic keeps flowing while its control plane is being buried
#[derive(Parser, Debug)]
#[command(
    name = "snowshed",
    version,
    long_version = long_version(),
    subcommand_required = true,
    arg_required_else_help = true,
    max_term_width = 110,
    after_help = EXAMPLES,
    after_long_help = format!("{EXAMPLES}\n\n{}", Exit::HELP)
)]
pub struct Cli {
    #[command(flatten)]
    global: Global,
    #[command(subcommand)]
    command: Command,
}

const EXAMPLES: &str = "Examples:
  snowshed apply -f web.yaml                        make the load balancer that a file describes
  snowshed status                                   what the edge does now, alarms first
  snowshed server update --lb web --backend web 10.0.0.8 --drain
  snowshed explain 198.51.100.7:40000 192.0.2.10:80  which server gets that client, and why";

const APPLY_HELP: &str = "A file describes whole load balancers, everything by name:

  name: web
  ips: [ipv4, ipv6]               any of the agent's pools; or addresses of your own
  frontends:
    - { name: http, inbound_port: 80, backend: web }
  backends:
    - name: web
      forward_port: 80
      servers:
        - { address: 10.0.0.5, weight: 3 }
        - { address: 10.0.0.6, drain: true }
      health_check:
        http: { uri: /healthz, code: 200 }
        interval: 1s

All keys, with [defaults]:
  name; description []; tags []; type [LB-S]; answers_echo [true]; on_closed_port [reject] or drop;
  ips [one IPv4 when made, then left alone]; frontends []; backends [];
  subscriber [left alone], the name of who is told of it (snowshed subscriber create); dependents [left alone]
  frontend  name; inbound_port, a number, a range such as 8000-8999, or any; backend; timeout_client, connection_rate_limit, service_connection_rate_limit,
            packet_rate_limit, acls [each left alone]
  acls      in the order in which they are asked: name; action allow or deny; subnets; invert [false]
  backend   name; protocol [tcp]; forward_port; algorithm [roundrobin], first or leastconn; sticky_sessions [none] or
            table; sticky_prefix_v6 [128]; quic_server_id_length [0]; quic_config_id [0]; slow_start [0]; forwarding [nat], ipip, gue or l2; on_empty [reject] or drop;
            timeout_server, timeout_connect, timeout_tunnel, max_retries [each left alone, and without effect];
            servers []; health_check
  server    address; weight [1]; backup [false]; drain [false]; drain_timeout [without end]
  health_check  port [forward_port]; interval [5s]; timeout [5s, or the interval if shorter]; fall [3]; rise [2];
                transient_interval [interval]; send_proxy [false]; and one of
                http {uri [/]; method [GET]; code [200 to 399]; host_header}, https {the same; sni},
                mysql {user}, pgsql {user}, ldap {}, redis {}, without it a TCP connection
  dependents    what is lost or misled when it is gone: kind; name; webhook; finalizer [false]

Examples:
  snowshed apply -f web.yaml --dry-run      show what would change; ends with 3 if anything would
  snowshed apply -f web.yaml --wait         return when the kernel has it
  snowshed apply -f web.yaml --prune        also remove what the file does not name any more
  generate | snowshed apply -f -            several load balancers in one stream, --- between them";

#[derive(Subcommand, Debug)]
enum Command {
    #[command(after_help = "Examples:
  snowshed agent --print-default-config > agent.toml
  snowshed agent --config agent.toml --check
  snowshed agent --config agent.toml")]
    Agent(agent::Args),
    #[command(after_help = "Examples:
  snowshed init --interface eth0 --v4 203.0.113.0/24 --v6 2001:db8::/64
  snowshed init --token-only        another operator's token, when every other is lost; stop the agent first")]
    Init(init::Init),
    #[command(flatten)]
    Object(Object),
    /// Make load balancers what YAML files say; what is so already is not touched
    #[command(after_help = APPLY_HELP)]
    Apply(apply::Apply),
    /// Show what differs between YAML files and what there is; ends with 3 when anything does
    #[command(after_help = "Examples:
  snowshed diff -f web.yaml
  generate | snowshed diff -f - --prune -o json")]
    Diff(apply::Diff),
    /// Edit a load balancer with all that belongs to it in an editor
    #[command(after_help = "What is taken out of the text is removed. Nothing is sent while anything in it is wrong.

Examples:
  snowshed edit web
  snowshed edit web --wait --editor nano")]
    Edit(export::Edit),
    /// Write load balancers as YAML that apply reads
    #[command(after_help = "Examples:
  snowshed export web > web.yaml
  snowshed export web mail --socket /run/edge1.sock | snowshed apply -f - --socket /run/edge2.sock")]
    Export(export::Export),
    /// Show what the edge does now: alarms first, then every service with its servers
    #[command(after_help = "Examples:
  snowshed status
  snowshed status --watch
  snowshed status -o json")]
    Status(status::Status),
    /// Show what passes per second: services and servers, new connections, drops by reason
    #[command(after_help = "Examples:
  snowshed top
  snowshed top --interval 5s
  snowshed top --once -o json")]
    Top(top::Top),
    /// Look at this machine, the agent and the servers, each the way traffic goes, and say what to do about what is wrong
    #[command(
        after_help = "Run it as root on the edge. It changes nothing, and ends with 1 when something does not work.

Examples:
  snowshed doctor
  snowshed doctor --config agent.toml -o json"
    )]
    Doctor(doctor::Doctor),
    /// Show which server a client's packets go to, and why, from the live maps
    #[command(after_help = "Examples:
  snowshed explain 198.51.100.7:40000 192.0.2.10:80
  snowshed explain [2001:db8::7]:5000 [2001:db8::10]:5353/udp -o json")]
    Explain(explain::Explain),
    /// Capture packets with the verdicts on them into a file that Wireshark and tshark open
    #[command(
        after_help = "Each packet stands there as it came in, and behind it what left in its place; the comments say why it left, of which
service it is, and which server got it. A packet that no filter wants costs little, and traffic loses none of its own.
It ends by itself: after --for, after --count, with this command. For operators of the fleet.

Examples:
  snowshed capture --service 203.0.113.10:443 -w web.pcapng
  snowshed capture --client 198.51.100.0/24 --reason acl_denied -c 100 --for 10m -w denied.pcapng
  snowshed capture --service :53 --protocol udp -w - | tshark -r - -V"
    )]
    Capture(capture::Capture),
    /// Show what is decided about packets as they come: a sample, one line each
    #[command(after_help = "Examples:
  snowshed trace
  snowshed trace --client 198.51.100.7 --rate 100
  snowshed trace --reason nat_ports_exhausted --for 1h -o json")]
    Trace(trace::Trace),
    /// Show what happens on the edge: changes, servers that go up or down, alarms
    #[command(after_help = "Examples:
  snowshed events                                what happened lately
  snowshed events --follow --kind server         servers as they go up and down
  snowshed events --follow --kind server.down --count 1 && page-me")]
    Events(events::Events),
    /// Backups of the ledger: make, list, verify and restore them, beside a running agent or without one
    #[command(
        subcommand,
        after_help = "Examples:
  snowshed backup create
  snowshed backup list
  snowshed backup verify --name 20260407T160000.000Z-g1717
  snowshed backup restore --name 20260407T160000.000Z-g1717    the agent is stopped, its ledger is gone"
    )]
    Backup(backup::BackupCommand),
    /// Run a command only when it is safe to act on what is seen through a load balancer
    #[command(
        after_help = "Not safe is: deleted, quarantined, being healed or restored, a mass failure, a lost ledger. Then the command is not
run and the exit code is 5. With --wait it waits, up to --timeout, until it is safe.

Examples:
  snowshed gate --lb web -- kubectl delete node worker-3
  snowshed gate --lb web --wait --timeout 10m -- ./replace-unreachable-nodes"
    )]
    Gate(gate::Gate),
    /// Follow the healing of this edge: every load balancer until the maps hold it, and what needs a person
    #[command(after_help = "Examples:
  snowshed heal                              progress, then what needs a person
  snowshed heal list                         the queue: reason and remedy of each
  snowshed heal retry lb:ID                  now, not when it is due
  snowshed heal resolve lb:ID --reason TEXT  dealt with")]
    Heal(heal::Heal),
    /// Show what would break if a load balancer, a project, an organization or the zone were gone
    #[command(after_help = "Examples:
  snowshed impact organization:ID
  snowshed impact zone -o json")]
    Impact(incident::ImpactArgs),
    #[command(subcommand)]
    Incident(incident::IncidentCommand),
    /// Rehearse a disaster on throw-away everything: own namespaces, ledger and maps, real traffic
    #[command(
        subcommand,
        after_help = "It cannot touch this machine's ledger, maps or interfaces, and may run beside an agent.

Examples:
  snowshed drill avalanche
  snowshed drill avalanche --scale 10 -o json"
    )]
    Drill(drill::DrillCommand),
    /// Take an operation back: shows the plan, asks, and makes it one operation
    #[command(after_help = "What somebody changed since is kept and reported. An undo can be undone.

Examples:
  snowshed undo 1718                       the plan, then a question
  snowshed undo 1718 --dry-run             the plan only; ends with 3 if anything would change
  snowshed undo 1718 --expect-count 1574   without a terminal: say how many documents change")]
    Undo(recovery::Undo),
    /// Make everything in a scope what it was at an earlier time or operation, as one operation
    #[command(after_help = "Examples:
  snowshed restore --at 2026-04-07T16:30:00Z --scope project:11111111-1111-4111-8111-111111111111
  snowshed restore --at 1717 --scope lb:22222222-2222-4222-8222-222222222222 --dry-run")]
    Restore(recovery::Restore),
    /// Read-only mode: refuse changes at a place; traffic flows on, reads keep working
    #[command(after_help = "Examples:
  snowshed freeze project:ID --reason 'a controller runs wild' --for 1h
  snowshed freeze zone --verb lb.delete --reason inquiry --for 30m")]
    Freeze(contain::Freeze),
    /// End a freeze early, also one that a budget put in force
    #[command(after_help = "Examples:
  snowshed thaw 11111111-1111-4111-8111-111111111111")]
    Thaw(contain::Thaw),
    /// Drop the traffic of a load balancer, a project or an organization; nothing else of it changes
    #[command(after_help = "Examples:
  snowshed quarantine lb:ID --reason phishing --wait")]
    Quarantine(contain::Contain),
    /// End a quarantine
    #[command(after_help = "Examples:
  snowshed release lb:ID --reason 'cleaned up' --wait")]
    Release(contain::Contain),
    /// Show the freezes and quarantines in force
    #[command(after_help = "Examples:
  snowshed measures
  snowshed measures -o json")]
    Measures(contain::Measures),
    #[command(subcommand)]
    Hold(hold::HoldCommand),
    #[command(subcommand)]
    Purge(purge::PurgeCommand),
    #[command(subcommand)]
    Ts(contain::TsCommand),
    /// Take the load balancer's program off this machine's interfaces and remove what it left in the kernel
    #[command(
        after_help = "Traffic stops at once. Stopping the agent does not need this: forwarding goes on without it.

Examples:
  snowshed detach
  snowshed detach --iface eth1 --yes"
    )]
    Detach(detach::Detach),
    /// Contexts: agents by name, and the one that is used when none is named
    #[command(subcommand)]
    Context(context::ContextCommand),
    /// Write the manual pages into a directory
    #[command(after_help = "Example:
  snowshed man ~/.local/share/man/man1")]
    Man(man::Man),
    /// Print a script that completes commands, flags and names of what is there in a shell
    #[command(after_help = "Examples:
  snowshed completion bash > /etc/bash_completion.d/snowshed
  snowshed completion zsh > ~/.zfunc/_snowshed
  snowshed completion fish > ~/.config/fish/completions/snowshed.fish")]
    Completion(completion::Completion),
}

/// The nouns: each has verbs of its own.
#[derive(Subcommand, Debug)]
enum Object {
    #[command(subcommand)]
    Lb(lb::LbCommand),
    #[command(subcommand)]
    Ip(ip::IpCommand),
    #[command(subcommand)]
    Frontend(frontend::FrontendCommand),
    #[command(subcommand)]
    Acl(acl::AclCommand),
    #[command(subcommand)]
    Backend(backend::BackendCommand),
    #[command(subcommand)]
    Server(server::ServerCommand),
    #[command(subcommand)]
    Dependent(dependent::DependentCommand),
    #[command(subcommand)]
    Ops(ops::OpsCommand),
    #[command(subcommand)]
    Org(tenant::OrgCommand),
    #[command(subcommand)]
    Project(tenant::ProjectCommand),
    #[command(subcommand)]
    Token(api_token::TokenCommand),
    #[command(subcommand)]
    Subscriber(subscriber::SubscriberCommand),
    #[command(subcommand)]
    Delivery(delivery::DeliveryCommand),
}

/// What a bug report needs: the version, what it was built from and for, and the layout of the maps it works with.
fn long_version() -> &'static str {
    static TEXT: LazyLock<String> = LazyLock::new(|| {
        let build = if cfg!(debug_assertions) { "debug" } else { "release" };
        format!(
            "{}\ncommit {}\nbuilt for {}-{}, {build}\nmap layout (ABI) {}",
            env!("CARGO_PKG_VERSION"),
            option_env!("SNOWSHED_COMMIT").unwrap_or("not given to the build"),
            std::env::consts::ARCH,
            std::env::consts::OS,
            lb_common::abi::ABI_VERSION,
        )
    });
    &TEXT
}

/// Runs the command line of the process.
#[must_use]
pub fn main() -> ExitCode {
    if completion::answer() {
        return ExitCode::SUCCESS;
    }
    let exit = run(std::env::args_os(), &mut Terminal::of_process());
    ExitCode::from(exit as u8)
}

/// Runs a command line on the given streams. The first argument is the program's name.
pub fn run(args: impl IntoIterator<Item = OsString>, terminal: &mut Terminal) -> Exit {
    let parsed = command().try_get_matches_from(args);
    let parsed = parsed.and_then(|matches| Ok((Cli::from_arg_matches(&matches)?, matches)));
    let (cli, matches) = match parsed {
        Ok(parsed) => parsed,
        Err(error) => return not_parsed(&error, terminal),
    };
    let expects_denial = cli.global.expect_deny;
    match start(cli, &matches, terminal) {
        Ok(()) => Exit::Ok,
        Err(failure) if expects_denial && failure.is_denial() => {
            terminal.note(format!("refused, as expected: {}", failure.what)).map_or_else(|it| it.exit, |()| Exit::Ok)
        }
        Err(failure) => {
            terminal.report(&failure);
            failure.exit
        }
    }
}

/// The command line with all that its commands have in common.
fn command() -> clap::Command {
    reading::offer(Cli::command())
}

fn start(mut cli: Cli, matches: &ArgMatches, terminal: &mut Terminal) -> Result<(), Failure> {
    let (words, leaf) = reading::leaf(matches);
    if let Some(awaited) = cli.global.wait {
        awaited.check(&words)?;
    }
    cli.global.show_deleted = reading::shows_deleted(leaf);
    cli.global.dry_run = reading::is_dry_run(leaf);
    if cli.global.dry_run {
        if cli.global.expect_deny {
            return Err(Failure::usage("--dry-run asks what would be made, --expect-deny demands a refusal: give one"));
        }
        dispatch(cli, terminal)?;
        terminal.note("this would be made; nothing was")?;
        return Err(Failure::new(Exit::Differs, ""));
    }
    let Some(pause) = reading::watched(leaf) else {
        cli.global.progress = Arc::clone(&terminal.progress);
        return dispatch(cli, terminal);
    };
    reading::repeat(pause, terminal, |terminal| {
        let mut again = Cli::from_arg_matches(matches).map_err(|error| Failure::usage(error.to_string()))?;
        again.global.show_deleted = cli.global.show_deleted;
        dispatch(again, terminal)
    })
}

/// Help and version are results; anything else is a wrong command line.
fn not_parsed(error: &clap::Error, terminal: &mut Terminal) -> Exit {
    let text = if terminal.colour { error.render().ansi().to_string() } else { error.render().to_string() };
    let text = text.trim_end();
    let (written, exit) =
        if error.use_stderr() { (terminal.note(text), Exit::Usage) } else { (terminal.line(text), Exit::Ok) };
    written.map_or_else(|failure| failure.exit, |()| exit)
}

fn dispatch(cli: Cli, terminal: &mut Terminal) -> Result<(), Failure> {
    let Cli { global, command } = cli;
    // Local commands talk to no agent; a context that is wrong is no matter of theirs.
    let global = if command.is_local() { global } else { context::resolve(global)? };
    let progress = Arc::clone(&terminal.progress);
    match command {
        Command::Agent(args) => match agent::run(&args) == ExitCode::SUCCESS {
            true => Ok(()),
            // The agent has said why.
            false => Err(Failure::error("")),
        },
        Command::Init(args) => args.run(terminal, global.output),
        Command::Completion(args) => args.run(terminal),
        Command::Context(args) => args.run(terminal, &global),
        Command::Man(args) => args.run(terminal),
        Command::Detach(args) => args.run(terminal, global.output),
        Command::Object(Object::Backend(backend::BackendCommand::OnServer(command))) => {
            command.run(terminal, global.output)
        }
        Command::Status(args) => block_on(async { args.run(&Client::new(&global)?, terminal, global.output).await }),
        Command::Top(args) => block_on(async { args.run(&Client::new(&global)?, terminal, global.output).await }),
        Command::Doctor(args) => patiently(&progress, args.run(&global, terminal)),
        Command::Explain(args) => {
            patiently(&progress, async { args.run(&Client::new(&global)?, terminal, global.output).await })
        }
        Command::Capture(args) => block_on(async { args.run(&Client::new(&global)?, terminal, global.output).await }),
        Command::Trace(args) => block_on(async { args.run(&Client::new(&global)?, terminal, global.output).await }),
        // Before anything starts a thread: all of the process moves into the jail.
        Command::Drill(command) => command.run(terminal, global.output),
        Command::Gate(args) => block_on(async { args.run(&mut Session::open(&global, terminal).await?).await }),
        Command::Heal(args) => block_on(async { args.run(&mut Session::open(&global, terminal).await?).await }),
        Command::Impact(args) => {
            patiently(&progress, async { args.run(&Client::new(&global)?, terminal, global.output).await })
        }
        Command::Incident(args) => {
            patiently(&progress, async { args.run(&Client::new(&global)?, terminal, global.output).await })
        }
        Command::Backup(command) => {
            progress.beside("working on the ledger's files", || command.run(terminal, global.output))
        }
        Command::Undo(args) => {
            patiently(&progress, async { args.run(&Client::new(&global)?, terminal, global.output).await })
        }
        Command::Freeze(args) => patiently(&progress, async {
            args.run(contain::Desk { client: &Client::new(&global)?, terminal, format: global.output }).await
        }),
        Command::Thaw(args) => patiently(&progress, async {
            args.run(contain::Desk { client: &Client::new(&global)?, terminal, format: global.output }).await
        }),
        Command::Quarantine(args) => patiently(&progress, async {
            args.run("quarantines", contain::Desk { client: &Client::new(&global)?, terminal, format: global.output })
                .await
        }),
        Command::Release(args) => patiently(&progress, async {
            args.run("releases", contain::Desk { client: &Client::new(&global)?, terminal, format: global.output })
                .await
        }),
        Command::Measures(args) => patiently(&progress, async {
            args.run(contain::Desk { client: &Client::new(&global)?, terminal, format: global.output }).await
        }),
        Command::Hold(command) => patiently(&progress, async {
            command.run(contain::Desk { client: &Client::new(&global)?, terminal, format: global.output }).await
        }),
        Command::Purge(command) => patiently(&progress, async {
            command.run(contain::Desk { client: &Client::new(&global)?, terminal, format: global.output }).await
        }),
        Command::Ts(command) => patiently(&progress, async {
            command.run(contain::Desk { client: &Client::new(&global)?, terminal, format: global.output }).await
        }),
        Command::Restore(args) => {
            patiently(&progress, async { args.run(&Client::new(&global)?, terminal, global.output).await })
        }
        Command::Diff(args) => {
            let args = apply::Apply::from(args);
            let specs = args.read(terminal)?;
            patiently(&progress, async { args.run(specs, &mut Session::open(&global, terminal).await?).await })
        }
        Command::Edit(args) => {
            patiently(&progress, async { args.run(&mut Session::open(&global, terminal).await?).await })
        }
        Command::Export(args) => {
            patiently(&progress, async { args.run(&mut Session::open(&global, terminal).await?).await })
        }
        Command::Apply(args) => {
            // The files are read and checked before the first request.
            let specs = args.read(terminal)?;
            patiently(&progress, async { args.run(specs, &mut Session::open(&global, terminal).await?).await })
        }
        Command::Events(args) => block_on(async { args.run(&mut Session::open(&global, terminal).await?).await }),
        Command::Object(object) => {
            patiently(&progress, async { object.run(&mut Session::open(&global, terminal).await?).await })
        }
    }
}

/// A command that has no commands of its own, for tests that must not forget one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Leaf {
    /// The words that name it, for example `lb create`.
    pub path: String,
    /// It talks to no agent.
    pub local: bool,
    /// Its own arguments and the global ones, without `--help` and `--version`.
    pub arguments: Vec<Argument>,
}

/// An argument of a command.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Argument {
    /// `--name`, or `<name>` of a positional one.
    pub name: String,
    /// It takes a value.
    pub takes_value: bool,
}

/// Every command that can be run, with every argument.
#[must_use]
pub fn leaves() -> Vec<Leaf> {
    let mut command = command();
    command.build();
    let mut leaves = Vec::new();
    collect_leaves(&command, "", &mut leaves);
    leaves
}

fn collect_leaves(command: &clap::Command, path: &str, leaves: &mut Vec<Leaf>) {
    let subcommands = command.get_subcommands().filter(|subcommand| subcommand.get_name() != "help");
    for subcommand in subcommands {
        let path = format!("{path} {}", subcommand.get_name()).trim_start().to_owned();
        if subcommand.has_subcommands() {
            collect_leaves(subcommand, &path, leaves);
            continue;
        }
        let arguments = subcommand
            .get_arguments()
            .filter(|argument| !["help", "version"].contains(&argument.get_id().as_str()))
            .map(|argument| Argument {
                name: match argument.get_long() {
                    Some(long) => format!("--{long}"),
                    None => format!("<{}>", argument.get_id()),
                },
                takes_value: argument.get_action().takes_values(),
            })
            .collect();
        let local = LOCAL.contains(&path.as_str());
        leaves.push(Leaf { path, local, arguments });
    }
}

/// Commands that talk to no agent, or say so when there is none.
const LOCAL: [&str; 18] = [
    "agent",
    "backend attach",
    "backend detach",
    "backend status",
    "backup create",
    "backup list",
    "backup restore",
    "backup verify",
    "completion",
    "context delete",
    "context list",
    "context set",
    "context use",
    "detach",
    "doctor",
    "drill avalanche",
    "init",
    "man",
];

impl Command {
    /// Whether it talks to no agent; [`LOCAL`] by name.
    const fn is_local(&self) -> bool {
        matches!(
            self,
            Self::Agent(_)
                | Self::Backup(_)
                | Self::Completion(_)
                | Self::Context(_)
                | Self::Detach(_)
                | Self::Drill(_)
                | Self::Init(_)
                | Self::Man(_)
                | Self::Object(Object::Backend(backend::BackendCommand::OnServer(_)))
        )
    }
}

/// Runs a client command that ends by itself: when it takes long, it says so.
fn patiently<T>(progress: &Progress, future: impl Future<Output = Result<T, Failure>>) -> Result<T, Failure> {
    block_on(progress.during(future))
}

/// Runs a client command; one thread is enough for one conversation.
fn block_on<T>(future: impl Future<Output = Result<T, Failure>>) -> Result<T, Failure> {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| Failure::error(format!("no event loop can be made: {error}")))?
        .block_on(future)
}

impl Object {
    async fn run(self, session: &mut Session<'_>) -> Result<(), Failure> {
        match self {
            Self::Lb(command) => command.run(session).await,
            Self::Ip(command) => command.run(session).await,
            Self::Frontend(command) => command.run(session).await,
            Self::Acl(command) => command.run(session).await,
            Self::Backend(command) => command.run(session).await,
            Self::Server(command) => command.run(session).await,
            Self::Dependent(command) => command.run(session).await,
            Self::Ops(command) => command.run(session).await,
            Self::Org(command) => command.run(session).await,
            Self::Project(command) => command.run(session).await,
            Self::Token(command) => command.run(session).await,
            Self::Subscriber(command) => command.run(session).await,
            Self::Delivery(command) => command.run(session).await,
        }
    }
}

#[cfg(test)]
mod examples;
#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_consistent_in_itself() {
        command().debug_assert();
    }

    #[test]
    fn every_command_and_argument_explains_itself() {
        fn check(command: &clap::Command, path: &str) {
            for argument in command.get_arguments() {
                assert!(argument.get_help().is_some(), "{path} {} has no help", argument.get_id());
            }
            for subcommand in command.get_subcommands() {
                let path = format!("{path} {}", subcommand.get_name());
                assert!(subcommand.get_about().is_some(), "{path} has no help");
                check(subcommand, &path);
            }
        }
        check(&command(), "snowshed");
    }
}
