//! What must hold of any bytes that arrive as a frame: one function for the fuzzer and for the replay of its finds.

use lb_common::decapsulation;
use lb_common::headers::{Parsed, parse, parse_common};
use lb_common::nat::rewrite::{Delta, Tuple, translate};
use lb_common::reply::Reply;

/// Walks a frame through every parser and every rewrite of the data plane.
///
/// # Panics
/// When one of them claims what the bytes do not hold, or writes outside the packet.
pub fn frame(bytes: &[u8]) {
    unwrap(bytes);
    let parsed = parse(bytes);
    if let Some(common) = parse_common(bytes) {
        assert_eq!(parsed, Ok(Parsed::Flow(common)), "the quick parse and the whole one differ");
    }
    let Ok(Parsed::Flow(headers)) = parsed else { return };
    let end = headers.link_len + headers.ip_len as usize;
    let least = if headers.protocol == 6 { 20 } else { 8 };
    assert!(end <= bytes.len(), "the packet ends at {end}, the frame at {}", bytes.len());
    assert!(headers.transport >= headers.link_len + 20 && headers.transport + least <= end, "{headers:?}");

    // To anywhere and back: nothing outside the packet is touched, and of the packet only what a translation may.
    let from = Tuple::of(&headers);
    let to = Tuple { source: from.destination, destination: from.source, ports: from.ports.rotate_left(16) ^ 0x0101 };
    let there = Delta::between(&from, &to);
    let mut copy = bytes.to_vec();
    if translate(copy.as_mut_slice(), &headers, &to, there).is_some() {
        assert_eq!((&copy[..headers.link_len], &copy[end..]), (&bytes[..headers.link_len], &bytes[end..]));
        let back = translate(copy.as_mut_slice(), &headers, &from, there.reversed());
        assert!(back.is_some(), "what was translated once cannot be translated back");
        let changed = copy.iter().zip(bytes).filter(|(copy, bytes)| copy != bytes).count();
        // Two hops less in one byte; both zeros of the one's complement are the same sum.
        assert!(changed <= 5, "{changed} bytes are not what they were");
    }
    for flags in 0..4 {
        if let Some(reply) = Reply::to(bytes, &headers, flags) {
            assert!(reply.keeps(&headers) <= bytes.len());
        }
    }
}

/// The server's side.
fn unwrap(bytes: &[u8]) {
    let Ok(wrapped) = decapsulation::find(bytes) else { return };
    let inner = wrapped.link_len + wrapped.outer_len;
    assert!(inner + 20 <= bytes.len(), "{wrapped:?} in {} bytes", bytes.len());
    let mut copy = bytes.to_vec();
    assert!(decapsulation::prepare(copy.as_mut_slice(), &wrapped).is_some());
    assert_eq!(copy[inner..], bytes[inner..], "the packet inside was touched");
    assert_eq!(copy[wrapped.outer_len..wrapped.outer_len + 12], bytes[..12], "the addresses of the link were not kept");
}
