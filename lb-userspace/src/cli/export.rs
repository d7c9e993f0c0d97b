//! `snowshed export`: a load balancer as a file that `apply` reads, and `snowshed edit`: the same in an editor.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;

use clap::Args;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, to_value};
use similar::{ChangeTag, TextDiff};

use super::apply::Apply;
use super::failure::{Exit, Failure};
use super::output::text;
use super::session::{Noun, Session, id_of};
use super::value::{self, Reference};
use crate::api::wire;
use crate::model::{ClosedPort, PrefixV6, Probe, ports_text};

/// Arguments of `export`.
#[derive(Args, Debug)]
pub struct Export {
    /// Names or ids
    #[arg(required = true, value_name = "LB")]
    lbs: Vec<Reference>,
}

/// Arguments of `edit`.
#[derive(Args, Debug)]
pub struct Edit {
    /// Name or id
    lb: Reference,
    /// The editor; vi when neither this nor EDITOR is set
    #[arg(long, value_name = "PROGRAM", env = "EDITOR", default_value = "vi", value_parser = value::name)]
    editor: String,
}

impl Export {
    /// Writes the files' text, `---` between two.
    ///
    /// # Errors
    /// When there is no such load balancer, or the agent cannot be asked.
    pub async fn run(self, session: &mut Session<'_>) -> Result<(), Failure> {
        let lbs = session.find_all(Noun::Lb, &self.lbs, None).await?;
        for (position, lb) in lbs.iter().enumerate() {
            if position > 0 {
                session.terminal.line("---")?;
            }
            let text = export(session, lb).await?;
            session.terminal.line(text.trim_end())?;
        }
        Ok(())
    }
}

impl Edit {
    /// Lets somebody edit the file, and makes the load balancer what it says then.
    ///
    /// # Errors
    /// When the editor fails, or what was written is refused; the text is kept then, and said where.
    pub async fn run(self, session: &mut Session<'_>) -> Result<(), Failure> {
        let lb = session.find(Noun::Lb, &self.lb, None).await?;
        let before = export(session, &lb).await?;
        let path = std::env::temp_dir().join(format!("snowshed-{}-{}.yaml", text(&lb, "/id"), std::process::id()));
        write_new(&path, &before)?;
        let edited = session.terminal.progress.aside(|| self.edited(&path));
        let done = match edited {
            Ok(after) if after == before => session.terminal.note("nothing was changed"),
            Ok(_) => match unchanged(&before, &lb, session).await {
                Ok(()) => apply(&path, session).await,
                Err(failure) => Err(failure),
            },
            Err(failure) => Err(failure),
        };
        match done {
            Ok(()) => std::fs::remove_file(&path)
                .map_err(|error| Failure::error(format!("{} cannot be removed: {error}", path.display()))),
            Err(mut failure) => {
                let kept = format!("your text is kept: snowshed apply --prune -f {}", path.display());
                failure.help = format!("{kept}\n{}", failure.help).trim_end().to_owned();
                Err(failure)
            }
        }
    }

    /// What the editor left.
    fn edited(&self, path: &Path) -> Result<String, Failure> {
        // `EDITOR` may have arguments: `code --wait`.
        let mut words = self.editor.split_whitespace();
        let program = words.next().unwrap_or("vi");
        let status = Command::new(program).args(words).arg(path).status().map_err(|error| {
            Failure::usage(format!("the editor `{program}` cannot be started: {error}"))
                .help("name another one with --editor")
        })?;
        if !status.success() {
            return Err(Failure::error(format!("the editor `{program}` ended with {status}: nothing was changed")));
        }
        std::fs::read_to_string(path)
            .map_err(|error| Failure::error(format!("{} cannot be read: {error}", path.display())))
    }
}

/// A file that only its owner may read, and that nobody had put there before.
fn write_new(path: &Path, text: &str) -> Result<(), Failure> {
    use std::io::Write as _;
    use std::os::unix::fs::OpenOptionsExt as _;
    let opened = std::fs::File::options().write(true).create_new(true).mode(0o600).open(path);
    opened
        .and_then(|mut file| file.write_all(text.as_bytes()))
        .map_err(|error| Failure::error(format!("{} cannot be written: {error}", path.display())))
}

/// Refuses to send what was edited over what somebody else has changed since it was read.
async fn unchanged(before: &str, lb: &Value, session: &Session<'_>) -> Result<(), Failure> {
    let now = session.client.get(&format!("lbs/{}", id_of(lb)?)).await?;
    let now = export(session, &now).await?;
    if now == before {
        return Ok(());
    }
    let lines = TextDiff::from_lines(before, &now);
    let changes = lines.iter_all_changes().filter(|change| change.tag() != ChangeTag::Equal);
    let changes: String = changes.map(|change| format!("\n  {} {}", change.tag(), change.value().trim_end())).collect();
    let what = format!(
        "load balancer {} was changed by somebody else meanwhile: nothing of your text was sent{changes}",
        text(lb, "/name")
    );
    Err(Failure::new(Exit::Refused, what).help(
        "write these lines into it first, or it takes them back; `snowshed diff --prune -f` shows what it would do",
    ))
}

async fn apply(path: &Path, session: &mut Session<'_>) -> Result<(), Failure> {
    let apply = Apply::whole_file(path.to_path_buf());
    let specs = apply.read(session.terminal)?;
    apply.run(specs, session).await
}

/// A load balancer as `apply` reads it; the keys in the order in which a person writes them.
#[derive(Serialize)]
struct LbFile {
    name: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    description: String,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    tags: Vec<String>,
    #[serde(rename = "type")]
    kind: String,
    #[serde(skip_serializing_if = "Clone::clone")]
    answers_echo: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    on_closed_port: Option<String>,
    ips: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    subscriber: Option<String>,
    frontends: Vec<FrontendFile>,
    backends: Vec<BackendFile>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    dependents: Vec<DependentFile>,
}

#[derive(Serialize)]
struct DependentFile {
    kind: String,
    name: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    webhook: Option<String>,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    finalizer: bool,
}

#[derive(Serialize)]
struct FrontendFile {
    name: String,
    /// A number, or a range as text.
    inbound_port: Value,
    backend: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    timeout_client: Option<String>,
    #[serde(skip_serializing_if = "is_zero")]
    connection_rate_limit: u32,
    #[serde(skip_serializing_if = "is_zero")]
    service_connection_rate_limit: u32,
    #[serde(skip_serializing_if = "is_zero")]
    packet_rate_limit: u32,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    acls: Vec<RuleFile>,
}

#[derive(Serialize)]
struct RuleFile {
    name: String,
    action: String,
    subnets: Value,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    invert: bool,
}

#[derive(Serialize)]
struct BackendFile {
    name: String,
    protocol: Value,
    forward_port: u16,
    algorithm: Value,
    sticky_sessions: Value,
    #[serde(skip_serializing_if = "Option::is_none")]
    sticky_prefix_v6: Option<u8>,
    #[serde(skip_serializing_if = "Option::is_none")]
    quic_server_id_length: Option<u8>,
    #[serde(skip_serializing_if = "Option::is_none")]
    quic_config_id: Option<u8>,
    #[serde(skip_serializing_if = "Option::is_none")]
    slow_start: Option<String>,
    forwarding: Value,
    on_empty: Value,
    #[serde(skip_serializing_if = "Option::is_none")]
    timeout_server: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    timeout_connect: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    timeout_tunnel: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    max_retries: Option<u32>,
    servers: Vec<ServerFile>,
    health_check: CheckFile,
}

#[derive(Serialize)]
struct ServerFile {
    address: String,
    weight: u32,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    backup: bool,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    drain: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    drain_timeout: Option<String>,
}

#[derive(Serialize)]
struct CheckFile {
    port: u16,
    interval: String,
    timeout: String,
    fall: u8,
    rise: u8,
    #[serde(skip_serializing_if = "Option::is_none")]
    transient_interval: Option<String>,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    send_proxy: bool,
    /// What is asked, under its name.
    #[serde(flatten)]
    probe: serde_json::Map<String, Value>,
}

async fn export(session: &Session<'_>, lb: &Value) -> Result<String, Failure> {
    let id = id_of(lb)?;
    let lb: wire::Lb = typed(lb.clone())?;
    let mut frontends = Vec::new();
    for frontend in session.client.list(&format!("lbs/{id}/frontends"), "frontends", &[]).await? {
        let mut rules = session.client.list(&format!("frontends/{}/acls", id_of(&frontend)?), "acls", &[]).await?;
        rules.sort_by_key(|rule| rule.get("index").and_then(Value::as_u64));
        frontends.push(frontend_file(typed(frontend)?, &rules));
    }
    let backends = session.client.list(&format!("lbs/{id}/backends"), "backends", &[]).await?;
    let backends: Vec<BackendFile> =
        backends.into_iter().map(|backend| backend_file(&typed(backend)?)).collect::<Result<_, _>>()?;
    unambiguous("frontend", frontends.iter().map(|it| it.name.as_str()))?;
    unambiguous("backend", backends.iter().map(|it| it.name.as_str()))?;
    let filter = [("lb_id", id.to_string())];
    let dependents = session.client.own_list("/snowshed/v1/dependents", "dependents", &filter).await?;
    let dependents = dependents.into_iter().map(typed::<wire::Dependent>).collect::<Result<Vec<_>, _>>()?;
    let file = LbFile {
        name: lb.name,
        description: lb.description,
        tags: lb.tags,
        kind: lb.kind,
        answers_echo: lb.answers_echo,
        on_closed_port: Some(lb.on_closed_port).filter(|policy| policy != ClosedPort::default().as_str()),
        ips: lb.ip.iter().map(|ip| ip.ip_address.to_string()).collect(),
        subscriber: lb.subscriber.map(|subscriber| subscriber.name),
        frontends,
        backends,
        dependents: dependents.into_iter().map(dependent_file).collect(),
    };
    serde_saphyr::to_string(&file).map_err(|error| Failure::error(format!("no YAML can be made of it: {error}")))
}

/// Files know frontends and backends by their names alone; the API lets several have one.
fn unambiguous<'a>(noun: &str, names: impl Iterator<Item = &'a str>) -> Result<(), Failure> {
    let mut seen = BTreeSet::new();
    for name in names {
        if !seen.insert(name) {
            return Err(Failure::new(
                Exit::Refused,
                format!("two {noun}s are called `{name}`, and a file could not tell them apart"),
            )
            .help(format!("rename one: snowshed {noun} list; snowshed {noun} update ID --name NAME")));
        }
    }
    Ok(())
}

fn dependent_file(one: wire::Dependent) -> DependentFile {
    let wire::Dependent { kind, name, webhook, finalizer, .. } = one;
    DependentFile { kind, name, webhook, finalizer }
}

fn frontend_file(frontend: wire::Frontend, rules: &[Value]) -> FrontendFile {
    let rule = |rule: &Value| RuleFile {
        name: text(rule, "/name"),
        action: text(rule, "/action/type"),
        subnets: rule.pointer("/match/ip_subnet").cloned().unwrap_or_default(),
        invert: rule.pointer("/match/invert").and_then(Value::as_bool).unwrap_or(false),
    };
    FrontendFile {
        name: frontend.name,
        inbound_port: match frontend.inbound_port_end {
            None => frontend.inbound_port.into(),
            Some(last) => ports_text(frontend.inbound_port, Some(last)).into(),
        },
        backend: frontend.backend.map(|backend| backend.name).unwrap_or_default(),
        timeout_client: frontend.timeout_client.map(duration),
        connection_rate_limit: frontend.connection_rate_limit,
        service_connection_rate_limit: frontend.service_connection_rate_limit,
        packet_rate_limit: frontend.packet_rate_limit,
        acls: rules.iter().map(rule).collect(),
    }
}

fn backend_file(backend: &wire::Backend) -> Result<BackendFile, Failure> {
    let check = &backend.health_check;
    let server = |server: &wire::Server| ServerFile {
        address: server.address.to_string(),
        weight: server.weight,
        backup: server.backup,
        drain: server.drain,
        drain_timeout: server.drain_timeout.map(duration),
    };
    let transient = check.transient_check_delay.as_ref().map(|text| text.parse::<wire::Millis>());
    Ok(BackendFile {
        name: backend.name.clone(),
        protocol: word(backend.forward_protocol)?,
        forward_port: backend.forward_port,
        algorithm: word(backend.forward_port_algorithm)?,
        sticky_sessions: word(backend.sticky_sessions)?,
        sticky_prefix_v6: Some(backend.sticky_prefix_v6)
            .filter(|prefix| *prefix != PrefixV6::WHOLE)
            .map(PrefixV6::bits),
        quic_server_id_length: Some(backend.quic_server_id_length).filter(|bytes| *bytes != 0),
        quic_config_id: Some(backend.quic_config_id).filter(|number| *number != 0),
        slow_start: backend.slow_start.map(duration),
        forwarding: word(backend.forwarding)?,
        on_empty: word(backend.on_empty)?,
        timeout_server: backend.timeout_server.map(duration),
        timeout_connect: backend.timeout_connect.map(duration),
        timeout_tunnel: backend.timeout_tunnel.map(duration),
        max_retries: backend.max_retries,
        servers: backend.servers.iter().map(server).collect(),
        health_check: CheckFile {
            port: check.port,
            interval: duration(check.check_delay),
            timeout: duration(check.check_timeout),
            fall: check.check_max_retries,
            rise: check.rise,
            transient_interval: transient.transpose().map_err(Failure::error)?.map(duration),
            send_proxy: check.check_send_proxy,
            probe: probe(&check.probe())?,
        },
    })
}

/// What a probe asks, as the file names it; nothing for a TCP connection.
fn probe(probe: &Probe) -> Result<serde_json::Map<String, Value>, Failure> {
    let Value::Object(mut settings) = word(probe)? else { return Ok(serde_json::Map::new()) };
    let kind = settings.remove("kind").and_then(|kind| kind.as_str().map(str::to_owned)).unwrap_or_default();
    // What is empty is said by its absence.
    settings.retain(|_, value| !value.is_null() && value.as_str() != Some(""));
    let mut named = serde_json::Map::new();
    if kind != "tcp" {
        named.insert(kind, Value::Object(settings));
    }
    Ok(named)
}

fn word(value: impl Serialize) -> Result<Value, Failure> {
    to_value(value).map_err(|error| Failure::error(error.to_string()))
}

fn duration(time: wire::Millis) -> String {
    humantime_serde::re::humantime::format_duration(time.0).to_string()
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes references")]
const fn is_zero(number: &u32) -> bool {
    *number == 0
}

fn typed<T: DeserializeOwned>(value: Value) -> Result<T, Failure> {
    T::deserialize(value).map_err(|error| {
        Failure::error(format!("the agent answered in a shape this version does not know: {error}"))
            .help("`snowshed --version` should be the agent's version")
    })
}
