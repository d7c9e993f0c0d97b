//! The client of the agent's API: one place that sends requests, pages through lists, waits, and explains failures.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use reqwest::Method;
use serde::Deserialize;
use serde_json::Value;
use uuid::Uuid;

use super::failure::{Exit, Failure};
use super::global::Global;
use super::progress::Progress;
use super::wait::{self, Awaited, Way};
use super::{tls, token};
use crate::api::wire::StatusReport;

/// Where an agent listens unless it is told otherwise.
const SOCKET: &str = "/run/snowshed/snowshed.sock";
/// A request that is not answered by then has failed.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(30);
/// A stream is opened anew after this: a connection that is dead without a sign is noticed.
const STREAM_TIMEOUT: Duration = Duration::from_secs(3600);
/// Objects on one page of a list; the API's largest page.
const PAGE_SIZE: usize = 100;
/// Pages read at most: one million objects.
const MAX_PAGES: usize = 10_000;
/// First and longest pause between two questions whether a change is applied; each is twice the one before.
const WAIT_PAUSES: (Duration, Duration) = (Duration::from_millis(2), Duration::from_millis(250));

/// A connection to the agent.
#[derive(Debug)]
pub struct Client {
    http: reqwest::Client,
    base: String,
    place: Place,
    token: Option<String>,
    zone: Option<String>,
    wait: Option<(Awaited, Duration)>,
    expect_deny: bool,
    rehearsal: Option<Uuid>,
    show_deleted: bool,
    progress: Arc<Progress>,
}

/// Where the agent was looked for; errors say it.
#[derive(Debug)]
pub(super) enum Place {
    Socket(PathBuf),
    Url(String),
}

impl Client {
    /// A client for what the global flags say. Nothing is sent yet.
    ///
    /// # Errors
    /// When a token was named that cannot be read.
    pub fn new(global: &Global) -> Result<Self, Failure> {
        let builder = reqwest::Client::builder().timeout(REQUEST_TIMEOUT).no_proxy();
        let builder = builder.tls_backend_preconfigured(tls::config(global)?);
        let (builder, base, place) = match &global.url {
            Some(url) => (builder, url.clone(), Place::Url(url.clone())),
            None => {
                let socket = global.socket.clone().unwrap_or_else(|| PathBuf::from(SOCKET));
                (builder.unix_socket(socket.clone()), "http://snowshed".to_owned(), Place::Socket(socket))
            }
        };
        Ok(Self {
            http: builder
                .build()
                .map_err(|error| Failure::error(format!("the HTTP client cannot be set up: {error}")))?,
            base,
            place,
            token: token::find(global)?,
            zone: global.zone.clone(),
            wait: global.wait.filter(|_| !global.dry_run).map(|awaited| (awaited, global.timeout)),
            expect_deny: global.expect_deny,
            rehearsal: global.dry_run.then(Uuid::new_v4),
            show_deleted: global.show_deleted,
            progress: Arc::clone(&global.progress),
        })
    }

    /// Asks the agent for its zone, unless the zone is known.
    ///
    /// # Errors
    /// When the agent cannot be asked.
    pub async fn know_zone(&mut self) -> Result<(), Failure> {
        if self.zone.is_none() {
            self.zone = Some(self.status().await?.zone);
        }
        Ok(())
    }

    /// What the agent and its data plane do.
    ///
    /// # Errors
    /// When the agent cannot be asked.
    pub async fn status(&self) -> Result<StatusReport, Failure> {
        let status = self.call(Method::GET, "/snowshed/v1/status", &[], None, None).await?;
        StatusReport::deserialize(status).map_err(|error| {
            Failure::error(format!("{} reports its status in a shape this version does not know: {error}", self.place))
                .help("`snowshed --version` should be the agent's version")
        })
    }

    /// Path of a resource of the load balancer API in the client's zone.
    fn zoned(&self, path: &str) -> String {
        format!("/lb/v1/zones/{}/{path}", self.zone.as_deref().unwrap_or_default())
    }

    /// Reads one object.
    ///
    /// # Errors
    /// When the agent cannot be asked or refuses.
    pub async fn get(&self, path: &str) -> Result<Value, Failure> {
        self.own_get(&self.zoned(path)).await
    }

    /// The same of a path that lies in no zone.
    ///
    /// # Errors
    /// As [`Client::get`].
    pub async fn own_get(&self, path: &str) -> Result<Value, Failure> {
        let deleted = self.deleted();
        self.call(Method::GET, path, deleted.as_slice(), None, None).await
    }

    /// What asks for deleted things too.
    fn deleted(&self) -> Option<(&'static str, String)> {
        self.show_deleted.then(|| ("deleted", "true".to_owned()))
    }

    /// Makes a change; `path` is relative to the zone.
    ///
    /// # Errors
    /// When the agent cannot be asked or refuses.
    pub async fn change(&self, method: Method, path: &str, body: &Value) -> Result<Value, Failure> {
        self.call(method, &self.zoned(path), &[], Some(body), None).await
    }

    /// Makes a change to an object only while it is at the version that was read; `path` is relative to the zone.
    ///
    /// # Errors
    /// A failure that [is stale](Failure::is_stale) when it is at another; otherwise as [`Client::change`].
    pub async fn change_version(&self, method: Method, path: &str, body: &Value, etag: &str) -> Result<Value, Failure> {
        self.call(method, &self.zoned(path), &[], Some(body), Some(etag)).await
    }

    /// From now on nothing comes of what is asked for: the agent answers as it would.
    pub fn rehearse(&mut self) {
        self.rehearsal.get_or_insert_with(Uuid::new_v4);
        self.wait = None;
    }

    /// Whether `--wait` was given.
    #[must_use]
    pub const fn waits(&self) -> bool {
        self.wait.is_some()
    }

    /// How long `--wait` waits; `None` when it was not given.
    #[must_use]
    pub fn patience(&self) -> Option<Duration> {
        self.wait.map(|(_, limit)| limit)
    }

    /// Deletes one object.
    ///
    /// # Errors
    /// When the agent cannot be asked or refuses.
    pub async fn delete(&self, path: &str, query: &[(&str, String)]) -> Result<(), Failure> {
        self.call(Method::DELETE, &self.zoned(path), query, None, None).await.map(drop)
    }

    /// Every object of a list, whatever the number of pages. `key` is the list's name in the answer.
    ///
    /// # Errors
    /// When the agent cannot be asked or refuses, or the list does not end.
    pub async fn list(&self, path: &str, key: &str, filters: &[(&str, String)]) -> Result<Vec<Value>, Failure> {
        self.own_list(&self.zoned(path), key, filters).await
    }

    /// The same of a path that lies in no zone.
    ///
    /// # Errors
    /// As [`Client::list`].
    pub async fn own_list(&self, path: &str, key: &str, filters: &[(&str, String)]) -> Result<Vec<Value>, Failure> {
        let mut all = Vec::new();
        let mut cursor = None;
        for _ in 0..MAX_PAGES {
            let mut query = filters.to_vec();
            query.extend(self.deleted());
            query.push(("page_size", PAGE_SIZE.to_string()));
            query.extend(cursor.map(|cursor| ("cursor", cursor)));
            let mut answer = self.call(Method::GET, path, &query, None, None).await?;
            let Some(Value::Array(items)) = answer.get_mut(key).map(Value::take) else {
                return Err(Failure::error(format!("the agent's answer has no list `{key}`")));
            };
            all.extend(items);
            self.progress.say(|| format!("reading {key}: {} so far", all.len()));
            cursor = answer.get("next_cursor").and_then(Value::as_str).map(str::to_owned);
            if cursor.is_none() {
                return Ok(all);
            }
        }
        Err(Failure::error(format!("the list has more than {MAX_PAGES} pages: narrow it with a filter")))
    }

    /// Sends a request and returns the answer's body, `null` when it has none.
    ///
    /// # Errors
    /// When the agent cannot be reached, or answers with an error.
    pub async fn call(
        &self,
        method: Method,
        path: &str,
        query: &[(&str, String)],
        body: Option<&Value>,
        etag: Option<&str>,
    ) -> Result<Value, Failure> {
        let is_change = method != Method::GET;
        let mut request = self.http.request(method, format!("{}{path}", self.base)).query(query);
        if self.expect_deny && is_change {
            request = request.header("Expect", "deny");
        }
        if let Some(rehearsal) = self.rehearsal {
            request = request.header("Expect", format!("rehearsal={rehearsal}"));
        }
        if let Some(token) = &self.token {
            request = request.header("X-Auth-Token", token);
        }
        if let Some(etag) = etag {
            request = request.header("If-Match", format!("\"{etag}\""));
        }
        if let Some(body) = body {
            request = request.json(body);
        }
        let response = request.send().await.map_err(|error| self.unreachable(&error))?;
        let status = response.status();
        let bytes = response.bytes().await.map_err(|error| self.unreachable(&error))?;
        let value = if bytes.is_empty() { Ok(Value::Null) } else { serde_json::from_slice(&bytes) };
        match value {
            Ok(value) if status.is_success() => Ok(value),
            Ok(value) => Err(Failure::from_answer(status, &value)),
            Err(_) if !status.is_success() => Err(Failure::from_answer(status, &Value::Null)),
            Err(error) => Err(Failure::error(format!("{} did not answer with JSON: {error}", self.place))
                .help("is it really a Snowshed agent that listens there?")),
        }
    }

    /// Opens a stream of events after the one with this id.
    ///
    /// # Errors
    /// When the agent cannot be reached, or answers with an error.
    pub async fn stream(
        &self,
        path: &str,
        query: &[(&str, String)],
        last_seen: Option<&str>,
    ) -> Result<reqwest::Response, Failure> {
        let mut request = self.http.get(format!("{}{path}", self.base)).query(query).timeout(STREAM_TIMEOUT);
        request = request.header("Accept", "text/event-stream");
        if let Some(last_seen) = last_seen {
            request = request.header("Last-Event-ID", last_seen);
        }
        self.open(request).await
    }

    /// Opens an answer that comes bit by bit, up to so long.
    ///
    /// # Errors
    /// When the agent cannot be reached, or answers with an error.
    pub async fn download(
        &self,
        path: &str,
        query: &[(&str, String)],
        lasts: Duration,
    ) -> Result<reqwest::Response, Failure> {
        let lasts = lasts + REQUEST_TIMEOUT;
        self.open(self.http.get(format!("{}{path}", self.base)).query(query).timeout(lasts)).await
    }

    async fn open(&self, mut request: reqwest::RequestBuilder) -> Result<reqwest::Response, Failure> {
        if let Some(token) = &self.token {
            request = request.header("X-Auth-Token", token);
        }
        let response = request.send().await.map_err(|error| self.unreachable(&error))?;
        let status = response.status();
        if status.is_success() {
            return Ok(response);
        }
        let bytes = response.bytes().await.map_err(|error| self.unreachable(&error))?;
        Err(Failure::from_answer(status, &serde_json::from_slice(&bytes).unwrap_or(Value::Null)))
    }

    /// With `--wait`: returns when the maps hold every change made so far.
    ///
    /// # Errors
    /// [`Exit::TimedOut`] when they do not within `--timeout`.
    pub async fn wait_applied(&self) -> Result<(), Failure> {
        self.wait_for(&[]).await
    }

    /// With `--wait`: returns when the maps hold every change made so far, and these load balancers are what is waited for.
    ///
    /// # Errors
    /// [`Exit::TimedOut`] when that is not so within `--timeout`.
    pub async fn wait_for(&self, lbs: &[Uuid]) -> Result<(), Failure> {
        let Some((awaited, limit)) = self.wait else { return Ok(()) };
        let started = Instant::now();
        self.applied(limit, started).await?;
        for lb in lbs.iter().filter(|_| awaited != Awaited::Applied) {
            let mut pause = WAIT_PAUSES.0;
            while let Way::Stands(what) = wait::look(self, *lb, awaited).await? {
                if started.elapsed() >= limit {
                    let (limit, state) = (humantime(limit), awaited.as_str());
                    return Err(Failure::new(Exit::TimedOut, format!("{what}, and not {state} after {limit}"))
                        .help(format!("`snowshed lb get {lb} --wait={state} --timeout 20m` waits on")));
                }
                self.progress.say(|| format!("{what}; waiting until it is {}", awaited.as_str()));
                tokio::time::sleep(pause.min(limit.saturating_sub(started.elapsed()))).await;
                pause = (pause * 2).min(WAIT_PAUSES.1);
            }
        }
        Ok(())
    }

    async fn applied(&self, limit: Duration, started: Instant) -> Result<(), Failure> {
        let mut target = None;
        let mut pause = WAIT_PAUSES.0;
        loop {
            let status = self.status().await?;
            let target = *target.get_or_insert(status.ledger_generation);
            let applied = status.reconcile.applied_generation;
            if applied >= target {
                return Ok(());
            }
            if started.elapsed() >= limit {
                let limit = humantime(limit);
                return Err(Failure::new(
                    Exit::TimedOut,
                    format!("the change is recorded, but not in the maps after {limit}: generation {applied} of {target} is applied"),
                )
                .help("it will be applied without another command; `snowshed status` shows what holds it up"));
            }
            self.progress.say(|| format!("waiting for the maps: generation {applied} of {target}"));
            tokio::time::sleep(pause.min(limit.saturating_sub(started.elapsed()))).await;
            pause = (pause * 2).min(WAIT_PAUSES.1);
        }
    }

    fn unreachable(&self, error: &reqwest::Error) -> Failure {
        if let Some(fault) = causes(error).find_map(tls::fault) {
            return tls::failure(&self.place, fault);
        }
        if error.is_timeout() {
            return Failure::error(format!("{} did not answer within {} s", self.place, REQUEST_TIMEOUT.as_secs()))
                .help("`snowshed status` shows whether the agent is alive; its log says what it does");
        }
        match (io_kind(error), &self.place) {
            (Some(io::ErrorKind::NotFound), Place::Socket(path)) => {
                Failure::error(format!("there is no socket at {}: is the agent running?", path.display())).help(
                    "start it with: snowshed agent --config /etc/snowshed/agent.toml\nor name another socket with --socket (or SNOWSHED_SOCKET)",
                )
            }
            (Some(io::ErrorKind::PermissionDenied), Place::Socket(path)) => {
                Failure::new(Exit::NotAuthorized, format!("you may not open the socket {}", path.display()))
                    .help("run the command as root (sudo), or as a member of the group the socket belongs to")
            }
            (Some(io::ErrorKind::ConnectionRefused), place) => {
                Failure::error(format!("nobody listens at {place}: is the agent running?"))
                    .help("start it with: snowshed agent --config /etc/snowshed/agent.toml")
            }
            (_, place) => Failure::error(format!("{place} cannot be reached: {}", innermost(error)))
                .help("is the agent running? snowshed agent --config /etc/snowshed/agent.toml"),
        }
    }
}

fn humantime(time: Duration) -> impl std::fmt::Display {
    humantime_serde::re::humantime::format_duration(time)
}

impl std::fmt::Display for Place {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Socket(path) => write!(f, "the agent at {}", path.display()),
            Self::Url(url) => write!(f, "the agent at {url}"),
        }
    }
}

fn causes(error: &reqwest::Error) -> impl Iterator<Item = &(dyn std::error::Error + 'static)> {
    std::iter::successors(std::error::Error::source(error), |cause| cause.source())
}

fn io_kind(error: &reqwest::Error) -> Option<io::ErrorKind> {
    causes(error).find_map(|cause| cause.downcast_ref::<io::Error>()).map(io::Error::kind)
}

fn innermost(error: &reqwest::Error) -> String {
    causes(error).last().map_or_else(|| error.to_string(), ToString::to_string)
}
