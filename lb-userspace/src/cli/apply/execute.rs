//! Carries out the steps of a plan, one request after another, with the ids that earlier ones brought.

use std::collections::BTreeMap;

use reqwest::Method;
use serde_json::{Map, Value, json};
use uuid::Uuid;

use super::dependents;
use super::plan::{Call, Observed, Step};
use crate::cli::failure::Failure;
use crate::cli::lb::object;
use crate::cli::output::text;
use crate::cli::session::{Session, id_of};

/// Path of the register.
pub(super) const DEPENDENTS: &str = "/snowshed/v1/dependents";

/// What is known of a load balancer while its plan is carried out.
#[derive(Debug)]
pub(super) struct Executor {
    /// Its id, once it is known.
    pub(super) lb: Option<Uuid>,
    backends: BTreeMap<String, Uuid>,
    frontends: BTreeMap<String, Uuid>,
    reserved: Vec<Uuid>,
    /// The version at which each object was compared, by its path: at another, somebody else has changed it since.
    versions: BTreeMap<String, String>,
    /// Project of what is made, if one was named.
    project: Option<Uuid>,
}

fn versions(observed: &Observed) -> BTreeMap<String, String> {
    let lb = observed.lb.iter().map(|lb| (format!("lbs/{}", lb.id), &lb.etag));
    let backends = observed.backends.iter().map(|backend| (format!("backends/{}", backend.id), &backend.etag));
    let frontends = observed.frontends.iter().map(|frontend| (format!("frontends/{}", frontend.id), &frontend.etag));
    lb.chain(backends).chain(frontends).map(|(path, etag)| (path, etag.clone())).collect()
}

impl Executor {
    /// Starts from what there is.
    pub(super) fn new(observed: &Observed, project: Option<Uuid>) -> Self {
        Self {
            lb: observed.lb.as_ref().map(|lb| lb.id.as_uuid()),
            backends: observed.backends.iter().map(|backend| (backend.name.clone(), backend.id.as_uuid())).collect(),
            frontends: observed.frontends.iter().map(|it| (it.name.clone(), it.id.as_uuid())).collect(),
            reserved: Vec::new(),
            versions: versions(observed),
            project,
        }
    }

    /// Carries out one step.
    ///
    /// # Errors
    /// When the agent cannot be asked or refuses; requests of the step before that one were carried out.
    pub(super) async fn step(&mut self, step: &Step, session: &Session<'_>) -> Result<(), Failure> {
        for call in &step.calls {
            self.call(call, session).await?;
        }
        Ok(())
    }

    async fn call(&mut self, call: &Call, session: &Session<'_>) -> Result<(), Failure> {
        let client = &session.client;
        let send = |method: Method, path: String, body: Map<String, Value>| async move {
            client.change(method, &path, &Value::Object(body)).await
        };
        match call {
            Call::Reserve(body) => {
                let ip = send(Method::POST, "ips".into(), self.owned(body)).await?;
                self.reserved.push(id_of(&ip)?);
            }
            Call::CreateLb(body) => {
                let mut body = self.owned(body);
                if let Some(Value::Array(ids)) = body.get_mut("ip_ids") {
                    ids.extend(self.reserved.drain(..).map(|id| json!(id)));
                }
                let lb = send(Method::POST, "lbs".into(), body).await?;
                self.lb = Some(id_of(&lb)?);
            }
            Call::UpdateLb(body) => {
                let path = format!("lbs/{}", self.lb()?);
                self.change(session, Method::PATCH, &path, "", body.clone()).await?;
            }
            Call::AttachReserved => {
                for ip in std::mem::take(&mut self.reserved) {
                    self.attach(ip, json!(self.lb()?), session).await?;
                }
            }
            Call::Attach(ip) => self.attach(*ip, json!(self.lb()?), session).await?,
            Call::Detach(ip) => self.attach(*ip, Value::Null, session).await?,
            Call::Subscribe(subscriber) => {
                let body = object(json!({ "subscriber_id": subscriber }));
                send(Method::POST, format!("lb/{}/subscribe", self.lb()?), body).await?;
                self.versions.remove(&format!("lbs/{}", self.lb()?));
            }
            Call::Unsubscribe => {
                client.delete(&format!("lb/{}/unsubscribe", self.lb()?), &[]).await?;
                self.versions.remove(&format!("lbs/{}", self.lb()?));
            }
            Call::CreateBackend(body) => {
                let backend = send(Method::POST, format!("lbs/{}/backends", self.lb()?), body.clone()).await?;
                self.backends.insert(text(&backend, "/name"), id_of(&backend)?);
            }
            Call::UpdateBackend(id, suffix, body) => {
                // What the file does not say is left alone; servers and health checks are said as a whole.
                let method = if suffix.is_empty() { Method::PATCH } else { Method::PUT };
                self.change(session, method, &format!("backends/{id}"), suffix, body.clone()).await?;
            }
            Call::AddServers(id, body) => {
                self.change(session, Method::POST, &format!("backends/{id}"), "/servers", body.clone()).await?;
            }
            Call::CreateFrontend(body, backend) => {
                let body = self.with_backend(body, backend)?;
                let frontend = send(Method::POST, format!("lbs/{}/frontends", self.lb()?), body).await?;
                self.frontends.insert(text(&frontend, "/name"), id_of(&frontend)?);
            }
            Call::UpdateFrontend(id, body, backend) => {
                let body = self.with_backend(body, backend)?;
                let frontend = self.change(session, Method::PATCH, &format!("frontends/{id}"), "", body).await?;
                self.frontends.insert(text(&frontend, "/name"), *id);
            }
            Call::SetAcls(frontend, body) => {
                let id = self.frontends.get(frontend);
                let id = id.ok_or_else(|| Failure::error(format!("frontend {frontend} has no id yet")))?;
                send(Method::PUT, format!("frontends/{id}/acls"), body.clone()).await?;
            }
            Call::Delete(collection, id) => client.delete(&format!("{collection}/{id}"), &[]).await?,
            Call::PutDependent(id, body, others) => {
                let body = dependents::with_lb(body, others, self.lb()?);
                let (method, path) = match id {
                    None => (Method::POST, DEPENDENTS.to_owned()),
                    Some(id) => (Method::PATCH, format!("{DEPENDENTS}/{id}")),
                };
                client.call(method, &path, &[], Some(&body), None).await?;
            }
            Call::LeaveDependent(id, left) => {
                let path = format!("{DEPENDENTS}/{id}");
                let body = json!({ "lb_ids": left });
                let (method, body) =
                    if left.is_empty() { (Method::DELETE, None) } else { (Method::PATCH, Some(&body)) };
                client.call(method, &path, &[], body, None).await?;
            }
        }
        Ok(())
    }

    /// Changes an object at the version at which it was compared.
    async fn change(
        &mut self,
        session: &Session<'_>,
        method: Method,
        of: &str,
        below: &str,
        body: Map<String, Value>,
    ) -> Result<Value, Failure> {
        let body = Value::Object(body);
        let path = format!("{of}{below}");
        let answer = match self.versions.remove(of) {
            Some(version) => session.client.change_version(method, &path, &body, &version).await?,
            None => session.client.change(method, &path, &body).await?,
        };
        // A health check is answered without its backend.
        if let Some(etag) = answer["etag"].as_str() {
            self.versions.insert(of.to_owned(), etag.to_owned());
        }
        Ok(answer)
    }

    async fn attach(&self, ip: Uuid, lb: Value, session: &Session<'_>) -> Result<(), Failure> {
        session.client.change(Method::PATCH, &format!("ips/{ip}"), &json!({"lb_id": lb})).await.map(drop)
    }

    /// The body, with the project that was named.
    fn owned(&self, body: &Map<String, Value>) -> Map<String, Value> {
        let mut body = body.clone();
        body.extend(self.project.map(|project| ("project_id".to_owned(), json!(project))));
        body
    }

    fn lb(&self) -> Result<Uuid, Failure> {
        self.lb.ok_or_else(|| Failure::error("the load balancer has no id yet"))
    }

    fn with_backend(&self, body: &Map<String, Value>, backend: &str) -> Result<Map<String, Value>, Failure> {
        let id =
            self.backends.get(backend).ok_or_else(|| Failure::error(format!("backend {backend} has no id yet")))?;
        let mut body = body.clone();
        body.insert("backend_id".into(), json!(id));
        Ok(body)
    }
}
