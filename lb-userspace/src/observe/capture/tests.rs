//! What a capture asks for, decides and writes.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use jiff::Timestamp;
use lb_common::abi::Reason;
use lb_common::abi::capture::{CaptureEnd, CaptureRecord};
use serde_json::Value;

use super::*;
use crate::dataplane::capture::Captured;

fn wanted() -> Wanted {
    Wanted { client: None, service: None, port: None, protocol: None, reasons: Vec::new(), rate: 1000, snap: 256 }
}

#[test]
fn what_is_not_named_is_any_and_numbers_are_bounded() {
    let filter = wanted().filter();
    assert_eq!((filter.client, filter.service, filter.protocol), (CaptureEnd::default(), CaptureEnd::default(), 0));
    assert!(Reason::ALL.iter().all(|reason| filter.wants(*reason as u32)));
    assert_eq!((filter.rate.interval_ns, filter.rate.burst, filter.snap), (1_000_000, 1_000, 256));
    let huge = Wanted { rate: u32::MAX, snap: u32::MAX, ..wanted() }.filter();
    assert_eq!((huge.rate.interval_ns, huge.rate.burst, huge.snap), (10_000, MAX_BURST, MAX_KEPT));
    assert_eq!(Wanted { rate: 20, ..wanted() }.filter().rate.burst, 20);
    let port = Wanted { port: Some(80), ..wanted() }.filter();
    assert_eq!(port.service, CaptureEnd::new([0; 16], 0, 80));
    let v4 = Wanted { client: Some("10.1.2.3/8".parse().unwrap()), ..wanted() }.filter();
    assert_eq!(v4.client, CaptureEnd::new(address_of("10.0.0.0".parse().unwrap()), 104, 0));
    let v6 = Wanted { client: Some("2001:db8::7/32".parse().unwrap()), ..wanted() }.filter();
    assert_eq!(v6.client, CaptureEnd::new(address_of("2001:db8::".parse().unwrap()), 32, 0));
    let one = Wanted { reasons: vec![Reason::AclDenied], ..wanted() }.filter();
    assert!(one.wants(Reason::AclDenied as u32) && !one.wants(Reason::Transmitted as u32));
}

/// A TCP packet to nobody we know.
fn captured(reason: Reason, action: u32, sent: &[u8]) -> Captured {
    let mut came = vec![0; 54];
    came[12] = 8;
    came[14] = 0x45;
    came[23] = 6;
    came[26..34].copy_from_slice(&[198, 51, 100, 7, 203, 0, 113, 10]);
    came[34..38].copy_from_slice(&[0x9c, 0x40, 0, 80]);
    let record = CaptureRecord {
        in_len: 1500,
        in_kept: 54,
        out_len: u32::try_from(sent.len()).unwrap(),
        reason: reason as u32,
        action,
        ifindex: 7,
        ..CaptureRecord::default()
    };
    Captured { record, since: std::time::Duration::ZERO, came, sent: sent.to_vec() }
}

fn decided(captured: &Captured) -> Decision {
    let names = Names { tables: Default::default(), snapshot: Default::default(), next_hops: Default::default() };
    Decision::of(captured, Timestamp::UNIX_EPOCH, &names)
}

#[test]
fn a_dropped_packet_is_told_with_its_reason_and_its_ends() {
    let captured = captured(Reason::AclDenied, 1, &[]);
    let decision = decided(&captured);
    assert_eq!((decision.reason.as_str(), decision.action, decision.sent.as_ref()), ("acl_denied", "drop", None));
    assert_eq!((decision.came.from.as_str(), decision.came.to.as_str()), ("198.51.100.7:40000", "203.0.113.10:80"));
    assert_eq!((decision.came.protocol.as_str(), decision.came.bytes), ("tcp", 1500));
    assert_eq!(decision.comment("in"), "in reason=acl_denied action=drop");
    let mut writer = Writer::new(Format::Lines, 256);
    let line: Value = serde_json::from_slice(&writer.packet(&captured, &decision, |_| String::new())).unwrap();
    assert_eq!((&line["reason"], &line["came"]["from"]), (&"acl_denied".into(), &"198.51.100.7:40000".into()));
    let end: Value = serde_json::from_slice(&writer.end("count", Timestamp::UNIX_EPOCH, 3)).unwrap();
    assert_eq!(end, serde_json::json!({"end": "count", "captured": 1, "lost": 3}));
}

#[test]
fn a_file_is_whole_blocks_and_names_each_interface_once() {
    let mut writer = Writer::new(Format::Pcapng, 256);
    let mut file = writer.begin();
    for _ in 0..2 {
        let captured = captured(Reason::Transmitted, 3, &[1; 61]);
        file.extend(writer.packet(&captured, &decided(&captured), |ifindex| format!("eth{ifindex}")));
    }
    file.extend(writer.end("count", Timestamp::UNIX_EPOCH, 0));
    let mut kinds = Vec::new();
    let mut rest = file.as_slice();
    while !rest.is_empty() {
        let word = |at: usize| u32::from_le_bytes(rest[at..at + 4].try_into().unwrap());
        let len = word(4) as usize;
        assert!(len.is_multiple_of(4) && word(len - 4) as usize == len, "the length stands at both ends");
        kinds.push(word(0));
        rest = &rest[len..];
    }
    assert_eq!(kinds, [0x0a0d_0d0a, 1, 6, 6, 6, 6, 5]);
    let text = String::from_utf8_lossy(&file);
    assert!(text.contains("eth7") && text.contains("out reason=transmitted action=tx"));
}
