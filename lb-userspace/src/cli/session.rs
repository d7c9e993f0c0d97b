//! One run of a command that talks to the agent: client, terminal, format, and what every noun does with them.

use reqwest::Method;
use serde_json::{Map, Value};
use uuid::Uuid;

use super::client::Client;
use super::failure::{Exit, Failure};
use super::global::Global;
use super::output::{self, Column, Format, text};
use super::terminal::Terminal;
use super::value::{IpReference, Reference};

/// How often a change is made anew because somebody else changed the object.
const MAX_TRIES: usize = 16;

/// A run of a command against the agent.
#[derive(Debug)]
pub struct Session<'a> {
    /// The agent.
    pub client: Client,
    /// The streams.
    pub terminal: &'a mut Terminal,
    /// How results are shown.
    pub format: Format,
}

/// A kind of object: its words in the API's paths and on the command line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Noun {
    /// A load balancer.
    Lb,
    /// A flexible IP.
    Ip,
    /// A frontend.
    Frontend,
    /// A backend pool.
    Backend,
    /// A rule of a frontend's access list.
    Acl,
    /// A subscriber.
    Subscriber,
}

impl Noun {
    /// The collection in the API's paths, and the name of its list.
    #[must_use]
    pub const fn plural(self) -> &'static str {
        match self {
            Self::Lb => "lbs",
            Self::Ip => "ips",
            Self::Frontend => "frontends",
            Self::Backend => "backends",
            Self::Acl => "acls",
            Self::Subscriber => "subscribers",
        }
    }

    /// Where an object is deleted: Scaleway's paths are not all alike.
    #[must_use]
    pub const fn deletion(self) -> &'static str {
        match self {
            Self::Subscriber => "lb/subscription",
            other => other.plural(),
        }
    }

    /// The word on the command line.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Lb => "lb",
            Self::Ip => "ip",
            Self::Frontend => "frontend",
            Self::Backend => "backend",
            Self::Acl => "acl",
            Self::Subscriber => "subscriber",
        }
    }

    /// The load balancer that an object is or belongs to.
    #[must_use]
    pub fn lb_of(self, object: &Value) -> Option<Uuid> {
        let pointer = match self {
            Self::Lb => "/id",
            Self::Frontend | Self::Backend => "/lb/id",
            Self::Acl => "/frontend/lb/id",
            Self::Ip | Self::Subscriber => return None,
        };
        text(object, pointer).parse().ok()
    }

    /// What an object is called in a sentence.
    #[must_use]
    pub fn label(self, object: &Value) -> String {
        let key = if self == Self::Ip { "/ip_address" } else { "/name" };
        format!("{} {} ({})", self.word(), text(object, key), text(object, "/id"))
    }
}

impl<'a> Session<'a> {
    /// A session with the agent that the flags name, in the zone they name or the agent's own.
    ///
    /// # Errors
    /// When the agent cannot be asked for its zone, or the token cannot be read.
    pub async fn open(global: &Global, terminal: &'a mut Terminal) -> Result<Self, Failure> {
        let mut client = Client::new(global)?;
        client.know_zone().await?;
        Ok(Self { client, terminal, format: global.output })
    }

    /// The object that a reference names. Frontends and backends are named within a load balancer.
    ///
    /// # Errors
    /// [`Exit::NotFound`] when there is none; a usage error that lists the candidates when there are several.
    pub async fn find(&self, noun: Noun, reference: &Reference, lb: Option<&Reference>) -> Result<Value, Failure> {
        let name = match reference {
            Reference::Id(id) => return self.client.get(&format!("{}/{id}", noun.plural())).await,
            Reference::Name(name) => name,
        };
        let found = self.named(noun, name, lb).await?;
        match found.as_slice() {
            [one] => Ok(one.clone()),
            [] => Err(self.no_such(noun, name, lb)),
            several => Err(ambiguous(noun, name, several)),
        }
    }

    /// The objects that references name, in their order.
    ///
    /// # Errors
    /// As [`Session::find`], for the first that is not found.
    pub async fn find_all(
        &self,
        noun: Noun,
        references: &[Reference],
        lb: Option<&Reference>,
    ) -> Result<Vec<Value>, Failure> {
        let mut found = Vec::with_capacity(references.len());
        for reference in references {
            found.push(self.find(noun, reference, lb).await?);
        }
        Ok(found)
    }

    /// Shows every object of a load balancer.
    ///
    /// # Errors
    /// When there is no such load balancer, or the agent cannot be asked.
    pub async fn list_of(&mut self, noun: Noun, lb: &Reference, columns: &[Column]) -> Result<(), Failure> {
        let path = format!("lbs/{}/{}", self.lb_id(lb).await?, noun.plural());
        let objects = self.client.list(&path, noun.plural(), &[]).await?;
        self.show_list(&objects, columns)
    }

    /// Every object with exactly this name.
    async fn named(&self, noun: Noun, name: &str, lb: Option<&Reference>) -> Result<Vec<Value>, Failure> {
        let path = match (noun, lb) {
            (Noun::Lb | Noun::Ip | Noun::Subscriber, _) => noun.plural().to_owned(),
            (_, Some(lb)) => format!("lbs/{}/{}", self.lb_id(lb).await?, noun.plural()),
            (_, None) => {
                return Err(Failure::usage(format!(
                    "`{name}` names a {} within a load balancer: which one?",
                    noun.word()
                ))
                .help(format!("add --lb NAME, or give the {}'s id", noun.word())));
            }
        };
        let mut found = self.client.list(&path, noun.plural(), &[("name", name.to_owned())]).await?;
        found.retain(|object| text(object, "/name") == name);
        Ok(found)
    }

    fn no_such(&self, noun: Noun, name: &str, lb: Option<&Reference>) -> Failure {
        let (scope, list) = match (noun, lb) {
            (Noun::Frontend | Noun::Backend, Some(lb)) => {
                (format!(" in load balancer {lb}"), format!("snowshed {} list --lb {lb}", noun.word()))
            }
            _ => (String::new(), format!("snowshed {} list", noun.word())),
        };
        Failure::new(Exit::NotFound, format!("there is no {} named `{name}`{scope}", noun.word()))
            .help(format!("`{list}` shows what there is"))
    }

    /// Id of the load balancer a reference names.
    ///
    /// # Errors
    /// As [`Session::find`].
    pub async fn lb_id(&self, lb: &Reference) -> Result<Uuid, Failure> {
        match lb {
            Reference::Id(id) => Ok(*id),
            Reference::Name(_) => Box::pin(self.find(Noun::Lb, lb, None)).await.and_then(|lb| id_of(&lb)),
        }
    }

    /// The IP that a reference names.
    ///
    /// # Errors
    /// [`Exit::NotFound`] when there is none.
    pub async fn find_ip(&self, reference: IpReference) -> Result<Value, Failure> {
        let address = match reference {
            IpReference::Id(id) => return self.client.get(&format!("ips/{id}")).await,
            IpReference::Address(address) => address,
        };
        let mut found = self.client.list("ips", "ips", &[("ip_address", address.to_string())]).await?;
        found.retain(|ip| text(ip, "/ip_address").parse() == Ok(address));
        // An address that was given back may be somebody's again.
        found.sort_by_key(|ip| !text(ip, "/deleted_at").is_empty());
        found.into_iter().next().ok_or_else(|| {
            Failure::new(Exit::NotFound, format!("there is no IP {address}"))
                .help("`snowshed ip list` shows what there is")
        })
    }

    /// Makes an object or a change that depends on nothing that was read; waits for it when asked to, and returns the
    /// object as it is then.
    ///
    /// # Errors
    /// When the agent refuses, or the wait runs out of time.
    pub async fn change(
        &self,
        noun: Noun,
        method: Method,
        path: &str,
        body: Map<String, Value>,
    ) -> Result<Value, Failure> {
        let answer = self.client.change(method, path, &Value::Object(body)).await?;
        self.settled(noun, answer).await
    }

    /// Changes an object that was read, with a body made from what was read: nobody else's change in between is lost.
    /// When there was one, the object is read again and the body made anew, a bounded number of times. `below` is
    /// what follows the object's path. Waits for it when asked to, and returns the object as it is then.
    ///
    /// # Errors
    /// When `body` fails, the agent refuses, others change the object again and again, or the wait runs out of time.
    pub async fn replace(
        &self,
        noun: Noun,
        object: &Value,
        method: Method,
        below: &str,
        body: impl Fn(&Value) -> Result<Map<String, Value>, Failure>,
    ) -> Result<Value, Failure> {
        let of = format!("{}/{}", noun.plural(), id_of(object)?);
        let path = format!("{of}{below}");
        let mut object = object.clone();
        for _ in 1..MAX_TRIES {
            let changed = self.replace_once(&object, &method, &path, &body).await;
            match changed {
                Err(failure) if failure.is_stale => object = self.client.get(&of).await?,
                changed => return self.settled(noun, changed?).await,
            }
        }
        let changed = self.replace_once(&object, &method, &path, &body).await?;
        self.settled(noun, changed).await
    }

    async fn replace_once(
        &self,
        object: &Value,
        method: &Method,
        path: &str,
        body: impl Fn(&Value) -> Result<Map<String, Value>, Failure>,
    ) -> Result<Value, Failure> {
        let body = Value::Object(body(object)?);
        self.client.change_version(method.clone(), path, &body, &text(object, "/etag")).await
    }

    /// With `--wait`: waits, and reads what is an object of its own again, for its status.
    ///
    /// # Errors
    /// When the wait runs out of time, or the agent cannot be asked.
    pub async fn settled(&self, noun: Noun, answer: Value) -> Result<Value, Failure> {
        self.client.wait_for(noun.lb_of(&answer).as_slice()).await?;
        match id_of(&answer) {
            Ok(id) if self.client.waits() => self.client.get(&format!("{}/{id}", noun.plural())).await,
            _ => Ok(answer),
        }
    }

    /// Shows a list.
    ///
    /// # Errors
    /// When the output cannot be written.
    pub fn show_list(&mut self, rows: &[Value], columns: &[Column]) -> Result<(), Failure> {
        output::list(self.terminal, self.format, rows, columns)
    }

    /// Shows one object.
    ///
    /// # Errors
    /// When the output cannot be written.
    pub fn show(&mut self, object: &Value, fields: &[(&str, String)]) -> Result<(), Failure> {
        output::object(self.terminal, self.format, object, fields)
    }
}

/// Id of an object of the API.
///
/// # Errors
/// When it has none.
pub fn id_of(object: &Value) -> Result<Uuid, Failure> {
    text(object, "/id").parse().map_err(|_| Failure::error("the agent answered with an object without an id"))
}

/// The given fields of an object, as a full replacement (`PUT`) needs them: what is not changed is sent as it is.
#[must_use]
pub fn keep(object: &Value, fields: &[&str]) -> Map<String, Value> {
    fields
        .iter()
        .filter_map(|&field| Some((field.to_owned(), object.get(field).filter(|value| !value.is_null())?.clone())))
        .collect()
}

fn ambiguous(noun: Noun, name: &str, candidates: &[Value]) -> Failure {
    let lines: Vec<String> = candidates
        .iter()
        .map(|object| {
            let deleted = match text(object, "/deleted_at") {
                at if at.is_empty() => String::new(),
                at => format!(", deleted {at}"),
            };
            format!("{}  made {}{deleted}", text(object, "/id"), text(object, "/created_at"))
        })
        .collect();
    Failure::usage(format!("{} {}s are named `{name}`: give the id of one", candidates.len(), noun.word()))
        .help(lines.join("\n"))
}
