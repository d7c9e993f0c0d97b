//! What `explain` says a packet becomes against what the kernel program makes of it, over the same maps: random packets,
//! services and tables for every mode, byte by byte.

use std::collections::BTreeMap;

use lb_common::abi::Reason;
use lb_common::abi::service::flags;
use lb_userspace::explain::{Action, Made, made};
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use tests::vm::scaled;

use crate::edge::{DROP, INGRESS, Outcome, PASS, REDIRECT, TX, backend};
use crate::forwarding::Pair;
use crate::random;

/// Random frames of each mode; those that `explain` says nothing of (other protocols, pieces, broken headers) count too.
const FRAMES: usize = 6000;

/// The modes of services, with the flag of each and how many kinds of outer header it has.
const MODES: [(&str, u32, usize); 4] =
    [("ipip", 0, 4), ("nat", flags::NAT, 0), ("l2", flags::L2, 0), ("gue", flags::GUE, 0)];

#[test]
fn explain_and_the_program_make_the_same_of_random_packets() {
    for (seed, (mode, flag, families)) in (500..).zip(MODES) {
        let mut random = StdRng::seed_from_u64(seed);
        let mut pair = Pair::new(&backend(1));
        random::populate(&mut pair, &mut random);
        for (key, entry) in pair.model.services.clone() {
            // Limits depend on other packets, and `explain` says so.
            let kept = entry.flags & !(flags::ELSEWHERE | flags::LIMITED);
            let quarantined = if random.random_ratio(1, 10) { flags::QUARANTINED } else { 0 };
            let quic = if random.random_ratio(3, 4) { flags::QUIC } else { 0 };
            let flags = (kept & !flags::QUARANTINED) | quarantined | flag | quic;
            pair.set_service(key, lb_common::abi::ServiceEntry { flags, ..entry });
        }
        let (mut seen, mut outer) = (BTreeMap::<Reason, usize>::new(), BTreeMap::<[u8; 3], usize>::new());
        let mut counted = pair.edge.verdicts();
        for number in 0..scaled(FRAMES) {
            let name = format!("{mode}, seed {seed}, frame {number}");
            let is_reply = mode == "nat" && random.random_ratio(1, 3);
            let frame = if is_reply { random::reply(&mut random, &pair) } else { broken_or_whole(&mut random) };
            let said = made(&pair.edge, &[INGRESS], &frame).unwrap();
            let outcome = pair.run(&name, &frame);
            let before = std::mem::replace(&mut counted, pair.edge.verdicts());
            let Some(said) = said else { continue };
            let reason = reason_of(&counted, &before);
            assert_eq!(said.reason, reason, "{name}: {said:?}");
            agree(&name, &said, &outcome, &frame);
            *seen.entry(reason).or_default() += 1;
            if mode == "ipip" && said.action == Action::Forward {
                *outer.entry(families_of(&outcome.bytes)).or_default() += 1;
            }
        }
        let named = pair.edge.verdict(Reason::QuicRouted);
        assert!(named > scaled(30) as u64, "{mode}: the test says little: {named} packets went by their connection id");
        let forwarded: usize = [Reason::Transmitted, Reason::Redirected].iter().filter_map(|it| seen.get(it)).sum();
        assert!(forwarded > scaled(300) && seen.len() >= 8, "{mode}: the test says little: {seen:?}");
        assert_eq!(outer.len(), families, "{mode}: {outer:?}");
        assert!(outer.values().all(|count| *count > scaled(50)), "{mode}: the test says little: {outer:?}");
        println!("{mode}: {} packets compared, {forwarded} of them forwarded: {seen:?}", seen.values().sum::<usize>());
    }
}

/// Mostly packets of services and ranges, sometimes with something wrong.
fn broken_or_whole(random: &mut StdRng) -> Vec<u8> {
    let frame = random::frame(random);
    random::damaged(random, frame)
}

/// Reasons that are counted beside a packet's own.
const BESIDE: [Reason; 3] = [Reason::NatEvicted, Reason::QuicRouted, Reason::QuicStranger];

/// The one counter that went up beside those.
fn reason_of(after: &[(Reason, u64)], before: &[(Reason, u64)]) -> Reason {
    let before: BTreeMap<Reason, u64> = before.iter().copied().collect();
    let mut raised = after
        .iter()
        .filter(|(reason, count)| !BESIDE.contains(reason) && *count > before.get(reason).copied().unwrap_or_default());
    let (reason, _) = *raised.next().unwrap();
    assert_eq!(raised.next(), None, "a packet leaves once");
    reason
}

fn agree(name: &str, said: &Made, outcome: &Outcome, frame: &[u8]) {
    let action = match (said.action, said.reason) {
        (Action::Forward, Reason::Redirected) => REDIRECT,
        (Action::Forward | Action::Answer, _) => TX,
        (Action::Pass, _) => PASS,
        (Action::Drop, _) => DROP,
    };
    assert_eq!(outcome.action, action, "{name}: {said:?}");
    match &said.leaves {
        Some(leaves) => {
            let mut bytes = outcome.bytes.clone();
            for range in &leaves.open {
                bytes[range.clone()].fill(0);
            }
            assert_eq!(leaves.bytes, bytes, "{name}: {said:?}");
            let is_new_flow = !leaves.open.is_empty();
            assert!(!is_new_flow || said.chosen.as_ref().unwrap().rewritten.is_some(), "{name}: {said:?}");
        }
        None if action == PASS => assert_eq!(outcome.bytes, frame, "{name}"),
        None => assert_eq!(action, DROP, "{name}"),
    }
}

/// EtherType of an encapsulated frame, and the protocol of what is inside.
fn families_of(bytes: &[u8]) -> [u8; 3] {
    let mut at = 12;
    while matches!(bytes[at..at + 2], [0x81, 0x00] | [0x88, 0xa8]) {
        at += 4;
    }
    let ip = at + 2;
    [bytes[at], bytes[at + 1], bytes[ip + if bytes[at] == 0x08 { 9 } else { 6 }]]
}
