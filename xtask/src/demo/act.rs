//! The acts: what is done to the load balancer while requests run, and what is measured.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use ::tests::load::{Load, Samples, share_error};
use ::tests::server::{HTTP_PORT, UDP_PORT};
use ::tests::{udp, wait};
use anyhow::{Context, Result};

use super::Interrupt;
use super::figures::Figures;
use super::stage::Stage;
use super::wrk::{Outcome, Wrk};

/// One act.
pub type Act = fn(&mut Stage, &mut Figures, &Interrupt) -> Result<()>;

/// Fewest requests over new IPv4 connections; the promise of the whole demo.
const NEW_CONNECTIONS: usize = 20_000;
/// Most runs of wrk until there are so many.
const MOST_RUNS: usize = 12;
/// Datagrams of the UDP act.
const DATAGRAMS: usize = 2_000;
/// Requests between two steps of an act under load.
const BETWEEN: usize = 1_500;
/// Failures later than this after a server's death are none of the failover's.
const FAILOVER_WINDOW: Duration = Duration::from_secs(1);
/// Which server dies and which is drained.
const VICTIM: usize = 1;
const DRAINED: usize = 2;

/// wrk over IPv4, a new connection per request: the share of each server against its weight.
pub fn new_connections(stage: &mut Stage, figures: &mut Figures, interrupt: &Interrupt) -> Result<()> {
    let url = format!("http://{}/", stage.v4()?);
    figures.weights.clone_from(&stage.weights);
    for _ in 0..MOST_RUNS {
        let wrk = Wrk { url: &url, connections: 32, seconds: 2, keep_alive: false };
        let outcome = wrk.run(&stage.network, interrupt)?;
        say(&outcome);
        figures.new_connections_per_second = figures.new_connections_per_second.max(outcome.rate);
        (figures.p50_us, figures.p99_us) = (outcome.p50.as_micros(), outcome.p99.as_micros());
        take(figures, &outcome);
        for (server, count) in outcome.answers {
            *figures.answers.entry(server).or_default() += count;
        }
        if figures.requests >= NEW_CONNECTIONS {
            break;
        }
    }
    figures.share_error_max = share_error(&figures.answers, &figures.weights);
    Ok(())
}

/// wrk with keep-alive over IPv4, then new connections over IPv6.
pub fn keep_alive_and_ipv6(stage: &mut Stage, figures: &mut Figures, interrupt: &Interrupt) -> Result<()> {
    let (v4, v6) = (format!("http://{}/", stage.v4()?), format!("http://[{}]/", stage.v6()?));
    let kept = Wrk { url: &v4, connections: 64, seconds: 2, keep_alive: true }.run(&stage.network, interrupt)?;
    say(&kept);
    figures.keep_alive_per_second = kept.rate;
    take(figures, &kept);
    let v6 = Wrk { url: &v6, connections: 32, seconds: 3, keep_alive: false }.run(&stage.network, interrupt)?;
    say(&v6);
    take(figures, &v6);
    figures.answers_ipv6 = v6.answers;
    figures.share_error_ipv6 = share_error(&figures.answers_ipv6, &figures.weights);
    Ok(())
}

/// Datagrams over both families, each from a port of its own.
pub fn udp(stage: &mut Stage, figures: &mut Figures, interrupt: &Interrupt) -> Result<()> {
    for vip in [stage.v4()?, stage.v6()?] {
        interrupt.check()?;
        let target = SocketAddr::from((vip, UDP_PORT));
        let answers = udp::ask(&stage.network.client, target, DATAGRAMS / 2, Duration::from_secs(1))?;
        println!("  {target}: {} sent, {} lost, {:?}", answers.sent, answers.lost, answers.by_server);
        figures.udp_sent += answers.sent;
        figures.udp_lost += answers.lost;
        for (server, count) in answers.by_server {
            *figures.answers_udp.entry(server).or_default() += count;
        }
    }
    figures.share_error_udp = share_error(&figures.answers_udp, &figures.weights);
    Ok(())
}

/// A server's nginx dies under load.
pub fn failover(stage: &mut Stage, figures: &mut Figures, interrupt: &Interrupt) -> Result<()> {
    let load = Load::short(http(stage)?).start(&stage.network.client)?;
    load.wait_for(BETWEEN)?;
    interrupt.check()?;
    stage.network.servers[VICTIM].kill_nginx()?;
    let killed = Instant::now();
    stage.edge.wait_for_server(&address(stage, VICTIM), false)?;
    load.wait_for(BETWEEN)?;
    wait::until("the failover's window to pass", FAILOVER_WINDOW * 2, || killed.elapsed() > FAILOVER_WINDOW)?;
    load.wait_for(BETWEEN)?;
    let samples = load.finish()?;

    figures.requests += samples.0.len();
    figures.failover_ms = samples.recovery_after(killed).as_secs_f64() * 1e3;
    let in_window = |ended: Instant| ended >= killed && ended <= killed + FAILOVER_WINDOW;
    figures.failover_failed = samples.failed().filter(|sample| in_window(sample.ended)).count();
    figures.failed_outside_failover += samples.failed().count() - figures.failover_failed;
    println!(
        "  {} requests; the last failure came {:.0} ms after the kill; {} failed until then: {:?}",
        samples.0.len(),
        figures.failover_ms,
        figures.failover_failed,
        samples.failures()
    );
    Ok(())
}

/// The server returns under load.
pub fn recovery(stage: &mut Stage, figures: &mut Figures, interrupt: &Interrupt) -> Result<()> {
    let load = Load::short(http(stage)?).start(&stage.network.client)?;
    let kept = Load::long_lived(http(stage)?).start(&stage.network.client)?;
    load.wait_for(BETWEEN)?;
    interrupt.check()?;
    stage.network.servers[VICTIM].start_nginx()?;
    let back = Instant::now();
    stage.edge.wait_for_server(&address(stage, VICTIM), true)?;
    load.wait_for(BETWEEN)?;
    let (samples, kept) = (load.finish()?, kept.finish()?);

    let name = stage.network.servers[VICTIM].name();
    let first = samples.since(back).0.into_iter().find(|sample| sample.outcome.as_deref() == Ok(name));
    let first = first.with_context(|| format!("{name} came back and never answered"))?;
    figures.recovery_ms = (first.ended - back).as_secs_f64() * 1e3;
    figures.recovery_failed = failed(&[&samples, &kept]);
    count(figures, &[&samples, &kept]);
    println!(
        "  {name} answered again after {:.0} ms; failed: {}; connections that changed their server: {}",
        figures.recovery_ms,
        figures.recovery_failed,
        kept.wandering()
    );
    Ok(())
}

/// A server is drained under load: nobody new, nobody cut off.
pub fn drain(stage: &mut Stage, figures: &mut Figures, interrupt: &Interrupt) -> Result<()> {
    let load = Load::short(http(stage)?).start(&stage.network.client)?;
    let kept = Load::long_lived(http(stage)?).start(&stage.network.client)?;
    load.wait_for(BETWEEN)?;
    interrupt.check()?;
    let server = address(stage, DRAINED);
    let update = ["server", "update", "--lb", "web", "--backend", "http", &server, "--wait"];
    stage.edge.ok(&[&update[..], &["--drain"]].concat())?;
    let drained = Instant::now();
    load.wait_for(BETWEEN)?;
    kept.wait_for(BETWEEN)?;
    let until_undrained = Instant::now();
    stage.edge.ok(&[&update[..], &["--drain=false"]].concat())?;
    load.wait_for(BETWEEN)?;
    let (samples, kept) = (load.finish()?, kept.finish()?);

    let name = stage.network.servers[DRAINED].name();
    let by_drained = |samples: &Samples| {
        let during = samples.0.iter().filter(|sample| sample.started >= drained && sample.ended <= until_undrained);
        during.filter(|sample| sample.outcome.as_deref() == Ok(name)).count()
    };
    figures.drain_new_connections = by_drained(&samples.openings());
    figures.drain_kept_requests = by_drained(&kept);
    figures.drain_failed = failed(&[&samples, &kept]);
    count(figures, &[&samples, &kept]);
    println!(
        "  failed: {}; new connections on {name} after the drain: {}; its old connections went on: {} requests",
        figures.drain_failed, figures.drain_new_connections, figures.drain_kept_requests
    );
    Ok(())
}

/// The agent dies under load, and a new one takes over.
pub fn agent_kill(stage: &mut Stage, figures: &mut Figures, interrupt: &Interrupt) -> Result<()> {
    let load = Load::short(http(stage)?).start(&stage.network.client)?;
    let kept = Load::long_lived(http(stage)?).start(&stage.network.client)?;
    load.wait_for(BETWEEN)?;
    interrupt.check()?;
    stage.edge.kill()?;
    let before = load.requests() + kept.requests();
    load.wait_for(2 * BETWEEN)?;
    kept.wait_for(BETWEEN)?;
    figures.agent_kill_requests = load.requests() + kept.requests() - before;
    stage.edge.start(&stage.network)?;
    load.wait_for(BETWEEN)?;
    let (samples, kept) = (load.finish()?, kept.finish()?);

    figures.agent_kill_failed = failed(&[&samples, &kept]);
    count(figures, &[&samples, &kept]);
    println!(
        "  {} requests while no agent ran; failed: {}; the new agent took the running program over",
        figures.agent_kill_requests, figures.agent_kill_failed
    );
    Ok(())
}

fn http(stage: &Stage) -> Result<SocketAddr> {
    Ok(SocketAddr::from((stage.v4()?, HTTP_PORT)))
}

fn address(stage: &Stage, server: usize) -> String {
    stage.network.servers[server].v4().to_string()
}

fn failed(loads: &[&Samples]) -> usize {
    loads.iter().map(|samples| samples.failed().count()).sum()
}

/// Adds an act's load, in which nothing was to fail.
fn count(figures: &mut Figures, loads: &[&Samples]) {
    for samples in loads {
        figures.requests += samples.0.len();
        figures.failed_outside_failover += samples.failed().count();
        figures.wandering += samples.wandering();
        if samples.failed().count() > 0 {
            println!("  failures: {:?}", samples.failures());
        }
    }
}

fn take(figures: &mut Figures, outcome: &Outcome) {
    figures.requests += outcome.requests();
    figures.failed_outside_failover += outcome.failed;
}

fn say(outcome: &Outcome) {
    println!(
        "  {} requests, {} failed, {:.0}/s, p50 {:?}, p99 {:?}; by server: {:?}",
        outcome.requests(),
        outcome.failed,
        outcome.rate,
        outcome.p50,
        outcome.p99,
        outcome.answers
    );
}
