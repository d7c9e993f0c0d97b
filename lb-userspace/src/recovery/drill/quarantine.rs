//! Quarantine: how long from the operator's call to the first packet that is dropped, and from the release to the first
//! that is answered, for a load balancer, its project and its organization.

use std::io::ErrorKind;
use std::net::UdpSocket;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use super::fleet::Service;
use super::machines::{Machine, Machines};
use super::product::{Token, until};
use super::report::Effects;
use super::scenarios::{Drill, GENERATION, between};
use super::traffic::{PATIENCE, Traffic};
use super::{Doing as _, DrillError};
use crate::model::Protocol;

/// Time between two probes: how exact the figures are.
const EVERY: Duration = Duration::from_millis(1);
/// Time between an effect and the next call: probes meet each.
const SETTLES: Duration = Duration::from_millis(500);
/// Longest wait for an answer that is still on its way when the probing ends.
const LATE: Duration = Duration::from_millis(200);

/// A datagram: when it was sent, and whether it was answered.
#[derive(Clone, Copy, Debug)]
struct Probe {
    sent: Instant,
    answered: bool,
}

impl Drill<'_> {
    pub(super) fn quarantines(&mut self, traffic: &Traffic) -> Result<(), DrillError> {
        let sample = self.fleet.sample();
        let service =
            sample.iter().find(|service| service.protocol == Protocol::Udp && service.owner == self.product.owner);
        let service = Service::clone(service.ok_or_else(|| DrillError::new("quarantines", "no service to try it on"))?);
        let places = [
            format!("lb:{}", service.lb),
            format!("project:{}", service.owner.project),
            format!("organization:{}", service.owner.organization),
        ];
        let mut figures = Vec::new();
        for place in places {
            let prober = Prober::start(&self.machines, &service)?;
            let quarantined = self.contain("quarantines", &place)?;
            let released = self.contain("releases", &place)?;
            let probes = prober.stop()?;
            let first = |since: Instant, answered| {
                let found = probes.iter().find(|probe| probe.sent >= since && probe.answered == answered);
                found.map(|probe| between(since, probe.sent))
            };
            figures.push((first(quarantined, false), first(released, true)));
        }
        if let [lb, project, organization] = figures[..] {
            self.figures.q_quarantine_ms = Effects { lb: lb.0, project: project.0, organization: organization.0 };
            self.figures.q_release_ms = Effects { lb: lb.1, project: project.1, organization: organization.1 };
        }
        // The clients of that service lost what was dropped; no other scenario is to count that.
        std::thread::sleep(PATIENCE + LATE);
        self.traffic_flows(traffic)?;
        let what =
            format!("a load balancer, its project, its organization quarantined in {}", self.figures.q_quarantine_ms);
        self.note('Q', what, "16:35 a malicious user's resources are to be taken off");
        Ok(())
    }

    /// Quarantines or releases; when that was asked for. Leaves time for its effect.
    fn contain(&self, collection: &str, place: &str) -> Result<Instant, DrillError> {
        let body = format!("{{\"place\": \"{place}\", \"reason\": \"avalanche drill\"}}");
        let path = format!("/snowshed/v1/{collection}");
        std::thread::sleep(SETTLES);
        let asked = Instant::now();
        let (status, answer) = self.product.ask_as(Token::Operator, "POST", &path, &body)?;
        if status != 200 {
            return Err(DrillError::new("quarantines", format!("POST {path} {body}: {status} {answer}")));
        }
        // However slow the machine is: the effect is in the maps, and probes have met it.
        until("the maps to hold it", || {
            let is = |name: &str| self.product.metric(name);
            is("snowshed_applied_generation").is_some() && is("snowshed_applied_generation") == is(GENERATION)
        })?;
        std::thread::sleep(SETTLES);
        Ok(asked)
    }
}

/// Sends datagrams to a service, one after the other, whether they are answered or not.
struct Prober {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<Result<std::io::Result<Vec<Probe>>, DrillError>>,
}

impl Prober {
    fn start(machines: &Machines, service: &Service) -> Result<Self, DrillError> {
        let stop: Arc<AtomicBool> = Arc::default();
        let (stopped, target) = (Arc::clone(&stop), (service.address, service.port()));
        let thread = machines.spawn(Machine::Client, move || {
            let socket = UdpSocket::bind("0.0.0.0:0")?;
            socket.connect(target)?;
            socket.set_nonblocking(true)?;
            let mut probes = Vec::new();
            while !stopped.load(Ordering::Relaxed) {
                socket.send(&(probes.len() as u64).to_be_bytes())?;
                probes.push(Probe { sent: Instant::now(), answered: false });
                note_answers(&socket, &mut probes)?;
                std::thread::sleep(EVERY);
            }
            std::thread::sleep(LATE);
            note_answers(&socket, &mut probes)?;
            Ok(probes)
        })?;
        Ok(Self { stop, thread })
    }

    fn stop(self) -> Result<Vec<Probe>, DrillError> {
        self.stop.store(true, Ordering::Relaxed);
        let ended = self.thread.join().map_err(|_| DrillError::new("probing a quarantine", "the thread broke off"))?;
        ended?.doing("probing a quarantine")
    }
}

fn note_answers(socket: &UdpSocket, probes: &mut [Probe]) -> std::io::Result<()> {
    let mut number = [0; 8];
    loop {
        match socket.recv(&mut number) {
            Ok(_) => {
                let number = usize::try_from(u64::from_be_bytes(number)).unwrap_or(usize::MAX);
                if let Some(probe) = probes.get_mut(number) {
                    probe.answered = true;
                }
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
            Err(error) => return Err(error),
        }
    }
}
