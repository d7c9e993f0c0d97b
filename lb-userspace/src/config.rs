//! `agent.toml`: every key with its type, its default, what is allowed and what it is for.
//!
//! A section's struct, reader, defaults and printed documentation come from one declaration, so they cannot drift
//! apart. Unknown keys are refused with a hint, and every problem of a file is reported at once.

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use lb_common::abi::limits;
use lb_common::abi::nat::PORTS;

use crate::delivery::SmtpTls;
use crate::ledger::backup::Backups;
use crate::model::pools::successor;
use crate::model::{Family, OrganizationId, Owner, Pools, ProjectId, Reach, Role};

pub mod certificate;
mod check;
mod print;
mod read;
mod relations;
mod rule;
pub mod secret;

pub use certificate::{Certificate, CertificateError};
pub use print::default_file;
pub use read::{ConfigError, Problem};
pub use secret::{HashKey, SecretError};

pub(crate) use read::nearest;
use read::{Key, Reader, Section, Source};
use rule::Rule;

/// What to do about an address beyond this machine when there is no certificate.
pub const TLS_REMEDY: &str = "set `api.tls_certificate` and `api.tls_key` (PEM files), or listen on loopback and the \
                              socket only, for example 127.0.0.1:7480";

/// Where the configuration is looked for when no path is given.
pub const DEFAULT_PATH: &str = "/etc/snowshed/agent.toml";

macro_rules! section {
    ($($(#[doc = $about:literal])+ $section:ident {
        $($(#[doc = $doc:literal])+ $key:ident: $kind:ty = $default:expr, $rule:expr;)+
    })+) => {$(
        $(#[doc = $about])+
        #[derive(Clone, Debug, PartialEq)]
        pub struct $section {
            $($(#[doc = $doc])+ pub $key: $kind,)+
        }

        impl Default for $section {
            fn default() -> Self {
                Self { $($key: $default,)+ }
            }
        }

        impl Section for $section {
            const ABOUT: &'static [&'static str] = &[$($about),+];

            fn keys() -> Vec<Key> {
                let default = Self::default();
                vec![$({
                    let rule: Rule<$kind> = $rule;
                    let name = stringify!($key);
                    Key { name, doc: &[$($doc),+], default: (rule.show)(&default.$key), example: rule.example }
                }),+]
            }

            fn read(from: &mut Reader<'_, '_>) -> Self {
                Self { $($key: from.get(stringify!($key), &$rule, $default),)+ }
            }
        }
    )+};
}

section! {
    /// The control API: where it listens and who may use it. Changes need a restart of the agent; forwarding goes on.
    Api {
        /// Zone in the API's paths: /lb/v1/zones/{zone}/… Scaleway's SDKs want the form `xx-xxx-1`.
        zone: String = "fr-par-1".to_owned(), rule::text(check::zone);
        /// Unix socket of the API. Its directory is made when it is absent; only root may connect.
        socket: PathBuf = PathBuf::from("/run/snowshed/snowshed.sock"), rule::path();
        /// Addresses the API listens on beside the socket; [] for none. Loopback speaks HTTP, every other address TLS.
        listen: Vec<SocketAddr> = vec![SocketAddr::from(([127, 0, 0, 1], 7480))],
            rule::list(rule::listen(), 16);
        /// Certificate for TLS, PEM: the server's own before those that signed it. Read again on SIGHUP or a change.
        tls_certificate: Option<PathBuf> = None, rule::optional(rule::path()).example("\"/etc/snowshed/tls/cert.pem\"");
        /// Its private key, PEM; not readable by everybody.
        tls_key: Option<PathBuf> = None, rule::optional(rule::path()).example("\"/etc/snowshed/tls/key.pem\"");
        /// Requests a second that one token may make over TCP, and twice as many at once. The socket has no such limit.
        requests_per_token: u32 = 200, rule::integer(1..=1_000_000);
        /// The same of one source on another machine: an IPv4 address, or a /64 of IPv6.
        requests_per_source: u32 = 400, rule::integer(1..=1_000_000);
        /// Tokens the ledger gets when it does not know them yet; more are made with `snowshed token create`.
        tokens: Vec<Token> = Vec::new(), rule::list(rule::table(), 4096);
    }

    /// A first token. Its secret is given by file or by digest, never in this file. Revoked, it stays revoked.
    Token {
        /// Name in the ledger and the logs.
        name: String = String::new(), rule::text(check::token_name).example("\"ops\"");
        /// File that holds the secret; not readable by everybody.
        secret_file: Option<PathBuf> = None, rule::optional(rule::path()).example("\"/etc/snowshed/ops.token\"");
        /// Or the secret's SHA-256, 64 hexadecimal digits: printf %s "$SECRET" | sha256sum
        secret_sha256: Option<[u8; 32]> = None, rule::optional(rule::hex());
        /// `operator`, `trust-safety`, `org-admin`, `project-editor` or `viewer`.
        role: Role = Role::ProjectEditor, rule::one_of(ROLES).example("\"project-editor\"");
        /// The organization it is for; none for `operator` and `trust-safety`.
        organization: Option<OrganizationId> = None, rule::id();
        /// The project it is for; none for `org-admin`, `operator` and `trust-safety`.
        project: Option<ProjectId> = None, rule::id();
    }

    /// The ledger: the log of every change, and the only source of truth.
    Ledger {
        /// SQLite file. Its directory is made when it is absent.
        path: PathBuf = PathBuf::from("/var/lib/snowshed/ledger.db"), rule::path();
    }

    /// Backups of the ledger. Each is verified, by opening a copy of it, as soon as it is made.
    Backup {
        /// Where they are kept; another disk than the ledger's is better. Without it: `backups` beside the ledger.
        directory: Option<PathBuf> = None, rule::optional(rule::path()).example("\"/var/backups/snowshed\"");
        /// Time between two. None is made while nothing changes.
        interval: Duration = Duration::from_secs(3600),
            rule::duration(Duration::from_secs(1)..=Duration::from_secs(7 * 24 * 3600));
        /// How many are kept; the newest verified one always is.
        keep: u32 = 168, rule::integer(1..=100_000);
    }

    /// The XDP program and its maps. Sizes are taken when the maps are made: to change one, `snowshed detach` first.
    Dataplane {
        /// Interfaces that traffic arrives on, at least one.
        interfaces: Vec<String> = Vec::new(),
            rule::list(rule::text(check::interface_name), 64).example("[\"eth0\"]");
        /// `native` (in the driver), `generic` (in the stack, slower, any driver), or `auto`: native where it works.
        xdp_mode: XdpMode = XdpMode::Auto, rule::one_of(XdpMode::WORDS);
        /// Directory on a bpf file system for the pinned program, link and maps; `v<ABI version>` is put below it.
        pin_dir: PathBuf = PathBuf::from("/sys/fs/bpf/snowshed"), rule::path();
        /// Services (address, port and protocol) there is room for.
        max_services: u32 = limits::MAX_SERVICES, rule::integer(64..=1_048_576);
        /// Servers in pools there is room for.
        max_backends: u32 = limits::MAX_BACKENDS, rule::integer(64..=4_194_304);
        /// Slots of all tables there is room for; 4 bytes each. At least 2 × 1021 for a service of up to ten servers.
        max_slots: u32 = limits::MAX_SLOTS, rule::integer(65_536..=268_435_456);
        /// Flows each of the two flow tables has room for.
        max_flows: u32 = limits::MAX_FLOWS, rule::integer(1_024..=16_777_216);
        /// Prefixes that the access lists of all frontends have room for together; memory is taken as they are used.
        max_acl_prefixes: u32 = limits::MAX_ACL_PREFIXES, rule::integer(1_024..=16_777_216);
        /// Clients whose new connections are counted, where a frontend limits them; those unseen longest are forgotten.
        max_sources: u32 = limits::MAX_SOURCES, rule::integer(1_024..=16_777_216);
        /// Places of translated flows there is room for, 128 bytes each; every source address in `addresses.nat_v4` and
        /// `nat_v6` takes 64512 of them.
        max_nat_flows: u32 = limits::MAX_NAT_FLOWS, rule::integer(64_512..=16_777_216);
        /// Key of the flow hash, 32 hexadecimal digits. The same on every edge of a fleet.
        hash_key: Option<HashKey> = None,
            rule::optional(rule::hash_key()).example("\"000102030405060708090a0b0c0d0e0f\"");
        /// Or a file that holds it. Without either, a key is drawn once into `hash_key` beside the ledger.
        hash_key_file: Option<PathBuf> = None, rule::optional(rule::path()).example("\"/etc/snowshed/hash_key\"");
        /// Network the outer IPv4 source is taken from; its last 16 bits vary with the flow. Accept it on the servers.
        outer_source_v4: Ipv4Net = Ipv4Net::new_assert(std::net::Ipv4Addr::new(198, 18, 0, 0), 16),
            rule::network(16, |net| match net { IpNet::V4(v4) => Some(v4), IpNet::V6(_) => None }, "198.18.0.0/16");
        /// Network the outer IPv6 source is taken from; its last 64 bits vary with the flow.
        outer_source_v6: Ipv6Net = Ipv6Net::new_assert(std::net::Ipv6Addr::new(0x100, 0, 0, 0, 0, 0, 0, 0), 64),
            rule::network(64, |net| match net { IpNet::V6(v6) => Some(v6), IpNet::V4(_) => None }, "100::/64");
    }

    /// Addresses that may be given to load balancers: networks or single addresses that are routed to this edge.
    Addresses {
        /// IPv4.
        v4: Vec<Ipv4Net> = Vec::new(), rule::list(rule::pool_v4(), 4096).example("[\"203.0.113.0/24\", \"198.51.100.7\"]");
        /// IPv6.
        v6: Vec<Ipv6Net> = Vec::new(), rule::list(rule::pool_v6(), 4096).example("[\"2001:db8::/64\"]");
        /// Source addresses of translated IPv4 flows (forwarding `nat`): of this edge alone, in no pool above. The agent
        /// puts them on its interfaces, so that servers on the link find them; others need a route to this edge. Each
        /// is good for 64512 flows at once, and takes so many of `dataplane.max_nat_flows`.
        nat_v4: Vec<Ipv4Net> = Vec::new(), rule::list(rule::pool_v4(), 1024).example("[\"192.0.2.9\"]");
        /// The same of IPv6.
        nat_v6: Vec<Ipv6Net> = Vec::new(), rule::list(rule::pool_v6(), 1024).example("[\"2001:db8:1::9\"]");
    }

    /// Health checks. Interval, timeout, rise and fall are each backend's own, set through the API.
    Health {
        /// When more than this share of all checked servers (and at least 2) goes down within the window, the checker
        /// itself is suspected: servers keep their last good state, and an alarm is raised. 1 switches this off.
        mass_failure_share: f64 = 0.5, rule::share();
        /// Window of the above; for a server that is probed less often, its own interval and timeout.
        mass_failure_window: Duration = Duration::from_secs(10),
            rule::duration(Duration::from_secs(1)..=Duration::from_secs(3600));
        /// Probes under way at once; one that is due waits for another to end. Each needs a file descriptor.
        max_concurrent_probes: u32 = 1024, rule::integer(1..=65_536);
    }

    /// Webhooks and e-mails: to subscribers of load balancers, to what depends on them, and about the edge's own alarms.
    /// What waits is in `outbox.db` beside the ledger.
    Delivery {
        /// Networks that webhooks may be sent to though they are not of the public Internet, such as this host's own
        /// (127.0.0.0/8) or the operator's.
        allow_targets: Vec<IpNet> = Vec::new(), rule::list(rule::any_network(), 256).example("[\"10.20.0.0/16\"]");
        /// Certificates (PEM) of authorities that are trusted beside those of the system.
        ca_file: Option<PathBuf> = None, rule::optional(rule::path()).example("\"/etc/snowshed/delivery-ca.pem\"");
        /// Webhooks that are told of the edge's own alarms.
        alarm_webhooks: Vec<String> = Vec::new(),
            rule::list(rule::text(check::uri), 16).example("[\"https://alerts.example.org/snowshed\"]");
        /// Mailboxes that are told of them.
        alarm_emails: Vec<String> = Vec::new(),
            rule::list(rule::text(check::mailbox), 16).example("[\"ops@example.org\"]");
        /// Pause after the first attempt that failed; each is twice the one before.
        first_retry: Duration = Duration::from_secs(5),
            rule::duration(Duration::from_millis(10)..=Duration::from_secs(3600));
        /// Longest pause.
        longest_retry: Duration = Duration::from_secs(3600),
            rule::duration(Duration::from_millis(10)..=Duration::from_secs(24 * 3600));
        /// Attempts before a letter is given up. With the defaults that takes about a day.
        attempts: u32 = 32, rule::integer(1..=1000);
        /// SMTP server that takes e-mail; without one, subscribers with an e-mail address are refused.
        smtp_host: Option<String> = None, rule::optional(rule::text(check::host_name)).example("\"smtp.example.org\"");
        /// Its port.
        smtp_port: u16 = 587, rule::integer(1..=65_535);
        /// `starttls`, `tls` (from the first byte, port 465) or `none` (a server on this host).
        smtp_tls: SmtpTls = SmtpTls::StartTls, rule::one_of(SMTP_TLS);
        /// User the server wants.
        smtp_user: Option<String> = None, rule::optional(rule::text(check::line)).example("\"snowshed\"");
        /// File that holds the user's password; not readable by everybody.
        smtp_password_file: Option<PathBuf> = None,
            rule::optional(rule::path()).example("\"/etc/snowshed/smtp.password\"");
        /// Who the e-mails are from.
        mail_from: Option<String> = None,
            rule::optional(rule::text(check::mailbox)).example("\"snowshed@example.org\"");
    }

    /// Deleting load balancers.
    Deletion {
        /// How long a deleted load balancer keeps forwarding.
        grace: Duration = Duration::from_secs(15 * 60),
            rule::duration(Duration::ZERO..=Duration::from_secs(7 * 24 * 3600));
        /// How long what is deleted can be brought back. Then it is purged, and its addresses are free; the purge is said a
        /// day before. At least `grace`.
        retention: Duration = Duration::from_secs(7 * 24 * 3600),
            rule::duration(Duration::from_secs(24 * 3600)..=Duration::from_secs(3650 * 24 * 3600));
    }

    /// The reconciler: it makes the kernel's maps hold what the ledger says.
    Reconcile {
        /// How often the maps are read back whole, and what somebody else altered is repaired.
        audit_interval: Duration = Duration::from_secs(1),
            rule::duration(Duration::from_millis(100)..=Duration::from_secs(3600));
        /// How long flows of a slot that moves to another server are still told apart: longer than a quiet connection.
        move_window: Duration = Duration::from_secs(3600),
            rule::duration(Duration::from_secs(1)..=Duration::from_secs(7 * 24 * 3600));
    }

    /// Most that one project may have; what exists already stays when a quota is lowered.
    Quotas {
        /// Flexible IPs of a project.
        ips: u32 = 20_000, rule::integer(0..=1_000_000);
        /// Load balancers of a project.
        load_balancers: u32 = 20_000, rule::integer(0..=1_000_000);
        /// Frontends of a load balancer.
        frontends_per_lb: u32 = 100, rule::integer(0..=65_535);
        /// Backends of a load balancer.
        backends_per_lb: u32 = 100, rule::integer(0..=65_535);
        /// Servers of a backend.
        servers_per_backend: u32 = 1_000, rule::integer(0..=65_535);
        /// Subscribers of a project.
        subscribers: u32 = 100, rule::integer(0..=10_000);
        /// Access rules of a frontend.
        acls_per_frontend: u32 = 100, rule::integer(0..=1_000);
        /// Networks that the access rules of a frontend name together.
        acl_prefixes_per_frontend: u32 = 100_000, rule::integer(0..=1_000_000);
    }
}

/// How XDP is attached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum XdpMode {
    /// In the driver where it can, otherwise in the stack.
    Auto,
    /// In the driver.
    Native,
    /// In the stack.
    Generic,
}

impl XdpMode {
    const WORDS: &'static [(&'static str, Self)] =
        &[("auto", Self::Auto), ("native", Self::Native), ("generic", Self::Generic)];
}

macro_rules! config {
    ($($(#[$doc:meta])+ $name:ident: $section:ident;)+) => {
        /// The configuration of an agent. A value that was loaded is consistent in itself; whether it fits this host
        /// is [`Config::check_host`]'s question.
        #[derive(Clone, Debug, Default, PartialEq)]
        pub struct Config {
            $($(#[$doc])+ pub $name: $section,)+
        }

        /// Every section: name, what it is about, its keys.
        fn sections() -> Vec<(&'static str, &'static [&'static str], Vec<Key>)> {
            vec![$((stringify!($name), $section::ABOUT, $section::keys())),+]
        }

        fn read_sections(from: &mut Reader<'_, '_>) -> Config {
            Config { $($name: from.section(stringify!($name)),)+ }
        }
    };
}

config! {
    /// `[api]`
    api: Api;
    /// `[ledger]`
    ledger: Ledger;
    /// `[backup]`
    backup: Backup;
    /// `[dataplane]`
    dataplane: Dataplane;
    /// `[addresses]`
    addresses: Addresses;
    /// `[health]`
    health: Health;
    /// `[delivery]`
    delivery: Delivery;
    /// `[deletion]`
    deletion: Deletion;
    /// `[reconcile]`
    reconcile: Reconcile;
    /// `[quotas]`
    quotas: Quotas;
}

impl Config {
    /// Reads and checks a file.
    ///
    /// # Errors
    /// [`ConfigError`] with every problem: unreadable, not TOML, unknown keys, values outside what is allowed, keys
    /// that contradict each other.
    pub fn load(path: &Path) -> Result<Self, ConfigError> {
        let text = std::fs::read_to_string(path).map_err(|error| ConfigError {
            path: path.to_owned(),
            problems: vec![Problem::of(
                "",
                format!("cannot be read ({error}); `snowshed agent --print-default-config` writes one to begin with"),
            )],
        })?;
        Self::parse(path, &text)
    }

    /// Checks the text of a file; `path` is for the messages.
    ///
    /// # Errors
    /// As [`Config::load`].
    pub fn parse(path: &Path, text: &str) -> Result<Self, ConfigError> {
        let mut source = Source::new(text);
        let table = source.parse();
        let mut reader = Reader::new(&mut source, String::new(), table);
        let config = read_sections(&mut reader);
        reader.refuse_the_rest(section_with);
        source.add(relations::problems(&config));
        source.finish(path)?;
        Ok(config)
    }

    /// What does not fit this host: interfaces that do not exist, files that cannot be read, directories that cannot
    /// be written.
    #[must_use]
    pub fn check_host(&self) -> Vec<Problem> {
        check::host(self)
    }

    /// The certificate of the API's TLS, if one is set.
    ///
    /// # Errors
    /// [`CertificateError`] when it cannot be served.
    pub fn certificate(&self) -> Option<Result<Certificate, CertificateError>> {
        let (certificate, key) = self.api.tls_certificate.as_ref().zip(self.api.tls_key.as_ref())?;
        Some(Certificate::read(certificate, key))
    }

    /// Source addresses of translated flows, each once; at most one more than there are places for.
    #[must_use]
    pub fn nat_sources(&self) -> BTreeSet<IpAddr> {
        let nets = self.addresses.nat_v4.iter().copied().map(IpNet::V4);
        let pools = Pools::new(nets.chain(self.addresses.nat_v6.iter().copied().map(IpNet::V6)));
        let most = self.max_nat_sources() as usize + 1;
        let of = |family| {
            pools.ranges(family).flat_map(|(first, last)| {
                std::iter::successors(Some(first), move |address| successor(*address).filter(|next| *next <= last))
                    .take(most)
            })
        };
        of(Family::V4).chain(of(Family::V6)).take(most).collect()
    }

    /// How many source addresses `dataplane.max_nat_flows` has places for.
    #[must_use]
    pub fn max_nat_sources(&self) -> u32 {
        (self.dataplane.max_nat_flows / PORTS).min(limits::MAX_NAT_SOURCES_PER_FAMILY)
    }

    /// The hash key: the one that is given, or the one beside the ledger, drawn when there is none.
    ///
    /// # Errors
    /// [`SecretError`] when a file cannot be read or written.
    pub fn hash_key(&self) -> Result<HashKey, SecretError> {
        match (&self.dataplane.hash_key, &self.dataplane.hash_key_file) {
            (Some(key), _) => Ok(*key),
            (None, Some(path)) => secret::hash_key(path),
            (None, None) => secret::hash_key_or_new(&self.ledger.path.with_file_name("hash_key")),
        }
    }
}

impl Config {
    /// Where the backups are.
    #[must_use]
    pub fn backups(&self) -> Backups {
        let directory = self.backup.directory.clone();
        Backups::new(directory.unwrap_or_else(|| self.ledger.path.with_file_name("backups")))
    }
}

/// The words of `smtp_tls`.
const SMTP_TLS: &[(&str, SmtpTls)] = &[("starttls", SmtpTls::StartTls), ("tls", SmtpTls::Tls), ("none", SmtpTls::None)];

/// The words of `role`.
const ROLES: &[(&str, Role)] = &[
    (Role::Operator.as_str(), Role::Operator),
    (Role::TrustSafety.as_str(), Role::TrustSafety),
    (Role::OrgAdmin.as_str(), Role::OrgAdmin),
    (Role::ProjectEditor.as_str(), Role::ProjectEditor),
    (Role::Viewer.as_str(), Role::Viewer),
];

impl Token {
    /// How far it reaches: what it names.
    ///
    /// # Errors
    /// When a project stands without its organization, or the role needs another reach; with what is wrong.
    pub fn reach(&self) -> Result<Reach, String> {
        let reach = match (self.organization, self.project) {
            (Some(organization), Some(project)) => Reach::Project { owner: Owner { organization, project } },
            (Some(organization), None) => Reach::Organization { organization },
            (None, None) => Reach::Fleet,
            (None, Some(_)) => return Err("has a project without its organization".to_owned()),
        };
        if self.role.fits(&reach) {
            return Ok(reach);
        }
        let needs = match self.role {
            Role::Operator | Role::TrustSafety => "neither `organization` nor `project`",
            Role::OrgAdmin => "an `organization` and no `project`",
            Role::ProjectEditor | Role::Viewer => "`organization` and `project`",
        };
        Err(format!("needs {needs} for the role {}", self.role.as_str()))
    }

    /// SHA-256 of the secret.
    ///
    /// # Errors
    /// [`SecretError`] when its file cannot be read.
    pub fn digest(&self) -> Result<[u8; 32], SecretError> {
        match (&self.secret_sha256, &self.secret_file) {
            (Some(digest), _) => Ok(*digest),
            (None, Some(path)) => secret::token_digest(path),
            (None, None) => {
                Err(SecretError::Content { path: PathBuf::from(&self.name), expected: "secret_file or secret_sha256" })
            }
        }
    }
}

/// The section that has a key of this name.
fn section_with(key: &str) -> Option<String> {
    sections().into_iter().find(|(_, _, keys)| keys.iter().any(|known| known.name == key)).map(|(name, ..)| name.into())
}

#[cfg(test)]
mod tests;
