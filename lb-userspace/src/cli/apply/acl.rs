//! Access rules of a frontend, as a file writes them: all of them or none.

use ipnet::IpNet;
use serde_json::{Value, json};

use super::file::RuleDocument;
use super::plan::{Action, Call, Step, change, set};
use super::spec::{FrontendSpec, Problems, one_of};
use crate::api::wire;
use crate::cli::lb::object;
use crate::cli::value;
use crate::model::{Acl, AclAction};

/// A rule; its place is its position in the file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RuleSpec {
    /// Its name, unique in its frontend.
    pub name: String,
    /// What becomes of clients that match.
    pub action: AclAction,
    /// Networks of clients.
    pub subnets: Vec<IpNet>,
    /// Clients match that are in none of them.
    pub invert: bool,
}

/// Checked rules; what is wrong is added to `problems`.
pub(super) fn rules(documents: &[RuleDocument], problems: &mut Problems) -> Vec<RuleSpec> {
    problems.unique("rule", documents.iter().map(|rule| &rule.name));
    documents
        .iter()
        .map(|rule| {
            if rule.subnets.is_empty() {
                problems.add(&rule.name, "`subnets` is empty: a rule names at least one network or address");
            }
            let subnet = |text: &str| Acl::parse_subnet(text).map_err(|invalid| invalid.to_string());
            let nothing = IpNet::from(std::net::IpAddr::from([0, 0, 0, 0]));
            let actions = [("allow", AclAction::Allow), ("deny", AclAction::Deny)];
            RuleSpec {
                name: problems.parse(&rule.name, value::name, String::new()),
                action: problems.parse(&rule.action, |text| one_of(text, &actions), AclAction::Deny),
                subnets: rule.subnets.iter().map(|text| problems.parse(text, subnet, nothing)).collect(),
                invert: rule.invert,
            }
        })
        .collect()
}

/// The step that makes the rules of a frontend that stays those of the file; `None` when the file does not speak of
/// them.
pub(super) fn step(wanted: &FrontendSpec, there: &[&wire::Acl]) -> Option<Step> {
    let rules = wanted.acls.as_ref()?;
    if rules.is_empty() && there.is_empty() {
        return None;
    }
    let there = sorted(there);
    let is_placed = there.iter().zip(0..).all(|(acl, position)| acl.index == position);
    let from: Vec<RuleSpec> = there.into_iter().map(RuleSpec::from).collect();
    let mut changes: Vec<_> = change("rules", &shown(&from), &shown(rules)).into_iter().collect();
    if changes.is_empty() && !is_placed {
        changes.push(set("index", "as in the file"));
    }
    Some(Step::of_changes("acl", &wanted.name, changes, vec![call(wanted, rules)]))
}

/// The step that gives a frontend that is made the rules of the file or, if it does not speak of them, those that the
/// frontend in its place had.
pub(super) fn anew(wanted: &FrontendSpec, before: &[&wire::Acl]) -> Option<Step> {
    let kept = || sorted(before).into_iter().map(RuleSpec::from).collect();
    let rules: Vec<RuleSpec> = wanted.acls.clone().unwrap_or_else(kept);
    if rules.is_empty() {
        return None;
    }
    let changes = vec![set("rules", &shown(&rules))];
    Some(Step::new(Action::Create, "acl", &wanted.name, changes, vec![call(wanted, &rules)]))
}

fn sorted<'a>(rules: &[&'a wire::Acl]) -> Vec<&'a wire::Acl> {
    let mut rules = rules.to_vec();
    rules.sort_by_key(|acl| (acl.index, acl.created_at, acl.id));
    rules
}

fn call(wanted: &FrontendSpec, rules: &[RuleSpec]) -> Call {
    let body: Vec<Value> = rules.iter().zip(0..).map(|(rule, index)| body(rule, index)).collect();
    Call::SetAcls(wanted.name.clone(), object(json!({ "acls": body })))
}

fn body(rule: &RuleSpec, index: u32) -> Value {
    json!({
        "name": rule.name,
        "index": index,
        "action": {"type": rule.action.as_str()},
        "match": {"ip_subnet": rule.subnets, "invert": rule.invert},
    })
}

fn shown(rules: &[RuleSpec]) -> String {
    let line = |rule: &RuleSpec| {
        let not = if rule.invert { "not " } else { "" };
        let subnets: Vec<String> = rule.subnets.iter().map(ToString::to_string).collect();
        format!("{}: {} {not}{}", rule.name, rule.action.as_str(), subnets.join(" "))
    };
    rules.iter().map(line).collect::<Vec<_>>().join("; ")
}

impl From<&wire::Acl> for RuleSpec {
    fn from(acl: &wire::Acl) -> Self {
        let matches = acl.matches.as_ref();
        Self {
            name: acl.name.clone(),
            action: acl.action.as_ref().map_or(AclAction::Allow, |action| action.kind),
            subnets: matches.map(|matches| matches.ip_subnet.clone()).unwrap_or_default(),
            invert: matches.is_some_and(|matches| matches.invert),
        }
    }
}
