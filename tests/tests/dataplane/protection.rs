//! What stands between a service and its servers, byte by byte and counter by counter.

use lb_common::abi::Reason;
use lb_common::abi::service::flags;

use crate::edge::{DROP, TX, backend};
use crate::forwarding::{Pair, service};
use crate::packets::Frame;

const SYN: u8 = 2;
const ACK: u8 = 16;

#[test]
fn a_quarantined_service_forwards_nothing_and_counts_every_packet() {
    let mut pair = Pair::new(&backend(1));
    let frames = [Frame::tcp(4000, SYN), Frame::tcp(4000, ACK), Frame::udp(4001)];
    for flags in [flags::QUARANTINED, flags::QUARANTINED | flags::NAT] {
        pair.set_services(service(3, flags));
        for frame in frames.clone().into_iter().flat_map(|frame| [frame.clone(), frame.v6()]) {
            let outcome = pair.run("quarantined", &frame.bytes());
            assert_eq!((outcome.action, outcome.bytes), (DROP, frame.bytes()));
        }
    }
    assert_eq!(pair.edge.service_stats(9).refused[0], 12);
    assert_eq!(pair.edge.verdict(Reason::Quarantined), 12);
    pair.set_services(service(3, 0));
    assert_eq!(pair.run("lifted", &frames[0].bytes()).action, TX);
    pair.check_counters();
}
