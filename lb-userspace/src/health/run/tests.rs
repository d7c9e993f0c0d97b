//! Tests of the running checker, with paused time and servers that answer from memory.

use std::collections::BTreeSet;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::super::fixture::{health_check, server, snapshot};
use super::*;

/// Servers that are down, and how many probes were under way at once.
#[derive(Clone, Default)]
struct Fake {
    down: Arc<Mutex<BTreeSet<ServerRef>>>,
    /// This machine has no descriptors.
    broken: Arc<Mutex<bool>>,
    running: Arc<AtomicUsize>,
    most: Arc<AtomicUsize>,
    took: Duration,
}

impl Fake {
    fn set(&self, number: u16, down: bool) {
        let mut set = self.down.lock().unwrap();
        if down {
            set.insert(server(number))
        } else {
            set.remove(&server(number))
        };
    }
}

impl Prober for Fake {
    async fn probe(&self, job: &Job) -> io::Result<ProbeOutcome> {
        self.most.fetch_max(self.running.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
        tokio::time::sleep(self.took).await;
        self.running.fetch_sub(1, Ordering::SeqCst);
        if *self.broken.lock().unwrap() {
            return Err(io::Error::from_raw_os_error(libc::EMFILE));
        }
        let down = self.down.lock().unwrap().contains(&job.server);
        Ok(if down { ProbeOutcome::Refused } else { ProbeOutcome::Passed })
    }
}

const INTERVAL: Duration = Duration::from_secs(1);

fn settings() -> Settings {
    Settings {
        mass_failure_share: 0.5,
        mass_failure_window: Duration::from_secs(10),
        delete_grace: Duration::from_secs(900),
        seed: 1,
    }
}

struct Rig {
    fake: Fake,
    health: Health,
    snapshots: watch::Sender<Arc<Snapshot>>,
}

fn rig(servers: u16, took: Duration, max_concurrent: usize) -> Rig {
    let fake = Fake { took, ..Fake::default() };
    let (sender, receiver) = watch::channel(snapshot(1, servers, health_check(INTERVAL)));
    let health = start(settings(), max_concurrent, fake.clone(), receiver, BTreeMap::new());
    Rig { fake, health, snapshots: sender }
}

impl Rig {
    async fn until(&mut self, condition: impl Fn(&HealthView) -> bool) -> Arc<HealthView> {
        let waited = tokio::time::timeout(Duration::from_secs(600), self.health.view.wait_for(|view| condition(view)));
        Arc::clone(&*waited.await.expect("the view gets there").unwrap())
    }
}

#[tokio::test(start_paused = true)]
async fn a_verdict_is_published_within_five_milliseconds_of_the_deciding_probe() {
    let mut rig = rig(20, Duration::from_millis(1), 100);
    rig.until(|view| view.servers.len() == 20).await;
    rig.fake.set(7, true);
    let view = rig.until(|view| !view.is_usable(server(7))).await;
    let took = Instant::now().into_std() - view.servers[&server(7)].decided_at;
    assert!(took <= VERDICT_GAP, "{took:?}");
    assert_eq!(view.servers[&server(7)].last, Some(ProbeOutcome::Refused));
    assert_eq!(view.servers.values().filter(|health| !health.usable).count(), 1);

    rig.fake.set(7, false);
    rig.until(|view| view.is_usable(server(7))).await;
}

#[tokio::test(start_paused = true)]
async fn no_more_probes_run_at_once_than_allowed_and_all_servers_are_still_probed() {
    let mut rig = rig(200, Duration::from_millis(20), 10);
    rig.until(|view| view.servers.len() == 200).await;
    assert_eq!(rig.fake.most.load(Ordering::SeqCst), 10);
}

#[tokio::test(start_paused = true)]
async fn a_fault_of_this_machine_takes_no_server_out() {
    let mut rig = rig(3, Duration::from_millis(1), 10);
    rig.until(|view| view.servers.len() == 3).await;
    *rig.fake.broken.lock().unwrap() = true;
    rig.health.probes.wait_for(|counts| counts.not_made >= 30).await.unwrap();
    assert!(rig.health.view.borrow().servers.values().all(|health| health.usable));
}

#[tokio::test(start_paused = true)]
async fn servers_are_followed_as_the_snapshot_changes() {
    let mut rig = rig(2, Duration::from_millis(1), 10);
    rig.until(|view| view.servers.len() == 2).await;
    rig.snapshots.send_replace(snapshot(2, 4, health_check(INTERVAL)));
    rig.until(|view| view.servers.len() == 4).await;
    rig.snapshots.send_replace(snapshot(3, 1, health_check(INTERVAL)));
    rig.until(|view| view.servers.len() == 1).await;
    assert_eq!(rig.health.probes.borrow().checked, 1);
}

#[tokio::test(start_paused = true)]
async fn everything_down_at_once_keeps_forwarding_and_raises_it() {
    let mut rig = rig(10, Duration::from_millis(1), 100);
    rig.until(|view| view.servers.len() == 10).await;
    (1..=10).for_each(|number| rig.fake.set(number, true));
    // It begins with the first failed probes, before anybody looks down.
    let view = rig.until(|view| view.mass_failure.as_ref().is_some_and(|mass| mass.down == 10)).await;
    assert!(view.servers.values().all(|health| health.usable));
    let view = rig.until(|view| view.servers.values().all(|health| !health.up)).await;
    assert!(view.mass_failure.is_some() && view.servers.values().all(|health| health.usable));
    (1..=10).for_each(|number| rig.fake.set(number, false));
    let view = rig.until(|view| view.mass_failure.is_none()).await;
    assert!(view.servers.values().filter(|health| health.up).count() >= 5);
}

#[tokio::test(start_paused = true)]
async fn details_are_published_too_but_not_more_often_than_once_a_second() {
    let mut rig = rig(50, Duration::from_millis(1), 100);
    rig.until(|view| view.servers.len() == 50).await;
    // One failed probe each, below the threshold: details, no verdict.
    (1..=50).for_each(|number| rig.fake.set(number, true));
    let began = Instant::now();
    rig.until(|view| view.servers.values().any(|health| health.up && health.last == Some(ProbeOutcome::Refused))).await;
    assert!(began.elapsed() <= DETAIL_GAP + INTERVAL);
}

#[tokio::test(start_paused = true)]
async fn the_checker_ends_with_the_snapshots() {
    let rig = rig(2, Duration::from_millis(1), 10);
    drop(rig.snapshots);
    rig.health.task.await.unwrap();
}
