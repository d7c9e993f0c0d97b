//! Dependents of a load balancer, as a file writes them: known by kind and name, all of them or none spoken of.

use serde_json::{Map, Value, json};
use uuid::Uuid;

use super::file::DependentDocument;
use super::plan::{Action, Call, Observed, Step, change, set};
use super::spec::{LbSpec, Problems};
use crate::api::wire;
use crate::cli::lb::object;
use crate::cli::value;
use crate::model::{DependentKind, LbId, Webhook};

/// A dependent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DependentSpec {
    /// What it is, in a word.
    pub kind: String,
    /// Its name.
    pub name: String,
    /// Where it is told of what happens to the load balancer; nowhere when empty.
    pub webhook: String,
    /// Deletions wait for it.
    pub finalizer: bool,
}

/// Checked dependents; what is wrong is added to `problems`.
pub(super) fn dependents(documents: &[DependentDocument], problems: &mut Problems) -> Vec<DependentSpec> {
    let mut specs: Vec<DependentSpec> = Vec::new();
    for document in documents {
        let kind = |text: &str| DependentKind::try_from(text.to_owned()).map(String::from).map_err(|wrong| wrong.help);
        let webhook = |text: &str| Webhook::try_from(text.to_owned()).map(String::from).map_err(|wrong| wrong.help);
        let spec = DependentSpec {
            kind: problems.parse(&document.kind, kind, String::new()),
            name: problems.parse(&document.name, value::name, String::new()),
            webhook: document
                .webhook
                .as_ref()
                .map_or_else(String::new, |text| problems.parse(text, webhook, String::new())),
            finalizer: document.finalizer,
        };
        if specs.iter().any(|other| (&other.kind, &other.name) == (&spec.kind, &spec.name)) {
            problems.add(&document.name, format!("dependent `{} {}` stands twice", spec.kind, spec.name));
        }
        specs.push(spec);
    }
    specs
}

/// The steps that make the register of a load balancer what the file says; none when it does not speak of it.
pub(super) fn steps(spec: &LbSpec, observed: &Observed, prune: bool) -> Result<Vec<Step>, String> {
    let Some(wanted) = &spec.dependents else { return Ok(Vec::new()) };
    let lb = observed.lb.as_ref().map(|lb| lb.id);
    let mut steps = Vec::new();
    for one in wanted {
        steps.push(match there(one, observed)? {
            None => create(one),
            Some(current) => update(one, current, lb)?,
        });
    }
    let named = |current: &&wire::Dependent| lb.is_some_and(|lb| current.lb_ids.contains(&lb));
    let is_wanted = |current: &wire::Dependent| {
        wanted.iter().any(|one| (one.kind.as_str(), one.name.as_str()) == (&*current.kind, &*current.name))
    };
    for current in observed.dependents.iter().filter(named).filter(|current| !is_wanted(current)) {
        let (action, calls) = match (prune, lb) {
            (true, Some(lb)) => (Action::Remove, vec![without(current, lb)]),
            _ => (Action::Extra, Vec::new()),
        };
        steps.push(Step::new(action, "dependent", &current.name, vec![], calls));
    }
    Ok(steps)
}

/// The registered one of the same kind and name: of this load balancer, or else of its project.
fn there<'o>(wanted: &DependentSpec, observed: &'o Observed) -> Result<Option<&'o wire::Dependent>, String> {
    let lb = observed.lb.as_ref();
    let is_same = |one: &&wire::Dependent| {
        one.kind == wanted.kind && one.name == wanted.name && lb.is_none_or(|lb| lb.project_id == one.project_id)
    };
    let same: Vec<&wire::Dependent> = observed.dependents.iter().filter(is_same).collect();
    let own = same.iter().find(|one| lb.is_some_and(|lb| one.lb_ids.contains(&lb.id)));
    match (own, same.as_slice()) {
        (Some(own), _) => Ok(Some(own)),
        (None, []) => Ok(None),
        (None, [one]) => Ok(Some(one)),
        (None, _) => Err(format!(
            "there are several dependents `{} {}`: which one is meant? `snowshed dependent list` shows them",
            wanted.kind, wanted.name
        )),
    }
}

fn create(wanted: &DependentSpec) -> Step {
    let mut body = json!({"kind": wanted.kind, "name": wanted.name, "finalizer": wanted.finalizer});
    let mut changes = vec![set("kind", &wanted.kind)];
    if !wanted.webhook.is_empty() {
        body["webhook"] = json!(wanted.webhook);
        changes.push(set("webhook", &wanted.webhook));
    }
    changes.extend(wanted.finalizer.then(|| set("finalizer", "true")));
    let call = Call::PutDependent(None, object(body), Vec::new());
    Step::new(Action::Create, "dependent", &wanted.name, changes, vec![call])
}

fn update(wanted: &DependentSpec, current: &wire::Dependent, lb: Option<LbId>) -> Result<Step, String> {
    if current.finalizer && !wanted.finalizer {
        return Err(format!(
            "the dependent {} holds deletions, and the file says that it does not: letting go takes a reason, \
             `snowshed dependent release {} --reason …`",
            current.name, current.id
        ));
    }
    let mut changes = Vec::new();
    let mut body = Map::new();
    if let Some(webhook) = change("webhook", current.webhook.as_deref().unwrap_or_default(), &wanted.webhook) {
        changes.push(webhook);
        body.insert("webhook".to_owned(), json!(wanted.webhook));
    }
    if wanted.finalizer && !current.finalizer {
        changes.push(set("finalizer", "true"));
        body.insert("finalizer".to_owned(), json!(true));
    }
    if !lb.is_some_and(|lb| current.lb_ids.contains(&lb)) {
        changes.push(set("depends on this", "true"));
    }
    let lbs = current.lb_ids.iter().map(|lb| lb.as_uuid()).collect();
    let call = Call::PutDependent(Some(current.id.as_uuid()), body, lbs);
    Ok(Step::of_changes("dependent", &wanted.name, changes, vec![call]))
}

/// A dependent depends on this load balancer no longer; on nothing else, it leaves the register.
fn without(current: &wire::Dependent, lb: LbId) -> Call {
    let left: Vec<Uuid> = current.lb_ids.iter().filter(|other| **other != lb).map(|lb| lb.as_uuid()).collect();
    Call::LeaveDependent(current.id.as_uuid(), left)
}

/// The body of a request that makes a dependent depend on a load balancer too.
pub(super) fn with_lb(body: &Map<String, Value>, others: &[Uuid], lb: Uuid) -> Value {
    let mut lbs = others.to_vec();
    if !lbs.contains(&lb) {
        lbs.push(lb);
    }
    let mut body = body.clone();
    body.insert("lb_ids".to_owned(), json!(lbs));
    Value::Object(body)
}
