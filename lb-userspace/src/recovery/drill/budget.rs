//! Scenario B: the mass deletion goes through the API for real, with the guard off. The ledger's engine stops it.

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader};
use std::time::Instant;

use serde_json::Value;

use super::product::{Product, Token};
use super::scenarios::{Drill, GENERATION, between, milliseconds};
use super::traffic::Traffic;
use super::{Doing as _, DrillError};
use crate::faults::{Faults, Layer};
use crate::ledger::BUDGET;

/// Paths of load balancers.
pub(super) const LBS: &str = "/lb/v1/zones/fr-par-1/lbs";

/// What became of the deletions.
struct Avalanche {
    first_refusal: Option<Instant>,
    freeze: Option<String>,
}

impl Drill<'_> {
    /// Every load balancer is deleted, one call after the other, by a token that may do that and whom no guard judges.
    pub(super) fn mass_deletion(&mut self, traffic: &Traffic) -> Result<(), DrillError> {
        let count = self.fleet.lbs.len();
        self.product.start_inside(count, Faults::of_drill(&[Layer::Guard], self.jail))?;
        self.traffic_flows(traffic)?;
        let before = traffic.mark();
        let first = self.product.metric(GENERATION).unwrap_or(0) + 1;
        let alarm = alarm(&self.product)?;
        let began = Instant::now();
        let avalanche = self.delete_one_by_one()?;
        let raised = alarm.join().map_err(|_| DrillError::new("waiting for the alarm", "the stream broke off"))??;
        self.figures.b_detect_ms = between(began, raised);
        self.figures.b_read_only_ms = avalanche.first_refusal.map(|at| between(began, at));
        self.figures.b_budget = BUDGET.per_actor;
        self.figures.b_tombstoned = count.saturating_sub(self.live()?);
        self.figures.b_others_refused = self.others_refused()?;
        let what = format!(
            "the budget is used up after {} of {count} deletions: alarm and read-only mode by itself",
            self.figures.b_tombstoned
        );
        self.note('B', what, "16:45 alarms reach a channel; 16:53 a person makes the API read-only");
        self.traffic_flows(traffic)?;

        let report = format!("/snowshed/v1/incident?since={first}");
        self.figures.b_report_dependents = self.product.dependents(&report, "/impact/dependents")?;
        self.bring_back(avalanche.freeze)?;
        self.figures.b_undeleted_ms = milliseconds(began);
        self.figures.b_missing = count.abs_diff(self.live()?);
        self.traffic_flows(traffic)?;
        self.figures.b_packets_lost = self.lost_since(traffic, before);
        let what =
            format!("what was deleted is back, {} packets lost: it forwarded throughout", self.figures.b_packets_lost);
        self.note('B', what, "20:10 1400 healed");
        self.product.stop_agent()
    }

    fn delete_one_by_one(&self) -> Result<Avalanche, DrillError> {
        let mut avalanche = Avalanche { first_refusal: None, freeze: None };
        for service in &self.fleet.lbs {
            let path = format!("{LBS}/{}?with_traffic=true", service.lb);
            let (status, answer) = self.product.ask_as(Token::Console, "DELETE", &path, "")?;
            match status {
                204 => {}
                423 => {
                    avalanche.first_refusal.get_or_insert_with(Instant::now);
                }
                _ => return Err(DrillError::new("the mass deletion", format!("DELETE {path}: {status} {answer}"))),
            }
        }
        let freezes = self.product.json(Token::Operator, "/snowshed/v1/freezes")?;
        avalanche.freeze = freezes["freezes"][0]["id"].as_str().map(str::to_owned);
        Ok(avalanche)
    }

    /// Load balancers that are not deleted.
    fn live(&self) -> Result<usize, DrillError> {
        let list = self.product.json(Token::Operator, &format!("{LBS}?page_size=1"))?;
        let count = list["total_count"].as_u64().and_then(|count| usize::try_from(count).ok());
        count.ok_or_else(|| DrillError::new("counting the load balancers", list))
    }

    /// Writes of others, and other verbs, that read-only mode refused: a tenant renames what is its own.
    fn others_refused(&self) -> Result<usize, DrillError> {
        let own = self.fleet.lbs.iter().filter(|service| service.owner == self.product.owner);
        let mut refused = 0;
        for service in own {
            let path = format!("{LBS}/{}", service.lb);
            let (status, _) = self.product.ask("PATCH", &path, "{\"name\": \"still mine\"}")?;
            // What was deleted meanwhile is none of this.
            refused += usize::from(status == 423);
        }
        Ok(refused)
    }

    /// An operator ends read-only mode, and undeletes what was deleted.
    fn bring_back(&self, freeze: Option<String>) -> Result<(), DrillError> {
        let doing = "bringing back what was deleted";
        let freeze = freeze.ok_or_else(|| DrillError::new(doing, "there is no read-only mode"))?;
        let expect = |method: &str, path: &str, wanted: u16| {
            let (status, answer) = self.product.ask_as(Token::Operator, method, path, "")?;
            let wrong = || DrillError::new(doing, format!("{method} {path}: {status} {answer}"));
            (status == wanted).then_some(()).ok_or_else(wrong)
        };
        expect("DELETE", &format!("/snowshed/v1/freezes/{freeze}"), 204)?;
        let deleted = self.fleet.lbs.iter().take(self.figures.b_tombstoned);
        deleted.map(|service| format!("{LBS}/{}/undelete", service.lb)).try_for_each(|path| expect("POST", &path, 200))
    }
}

/// Subscribes to alarms; the moment at which the one of read-only mode arrived.
fn alarm(product: &Product) -> Result<std::thread::JoinHandle<Result<Instant, DrillError>>, DrillError> {
    let doing = "waiting for the alarm";
    let stream = product.request(Token::Operator, "GET", "/snowshed/v1/events?kind=alarm", "text/event-stream", "")?;
    let mut lines = BufReader::new(stream).lines();
    let head = lines.next().transpose().doing(doing)?.unwrap_or_default();
    if !head.contains(" 200 ") {
        return Err(DrillError::new(doing, format!("the agent answered `{head}`")));
    }
    Ok(std::thread::spawn(move || {
        for line in lines {
            let line = line.doing(doing)?;
            if line.contains("alarm.raised") && line.contains("read_only") {
                return Ok(Instant::now());
            }
        }
        Err(DrillError::new(doing, "the stream of events ended without it"))
    }))
}

impl Product {
    /// Dependents by kind, as an answer counts them.
    pub(super) fn dependents(&self, path: &str, pointer: &str) -> Result<BTreeMap<String, u64>, DrillError> {
        let answer = self.json(Token::Operator, path)?;
        let counts = answer.pointer(pointer).and_then(Value::as_object);
        let counts = counts.ok_or_else(|| DrillError::new(format!("GET {path}"), &answer))?;
        Ok(counts.iter().filter_map(|(kind, count)| Some((kind.clone(), count.as_u64()?))).collect())
    }

    /// What a path answers.
    pub(super) fn json(&self, token: Token, path: &str) -> Result<Value, DrillError> {
        let (_, body) = self.ask_as(token, "GET", path, "")?;
        serde_json::from_str(&body).map_err(|error| DrillError::new(format!("GET {path}"), format!("{error}: {body}")))
    }
}
