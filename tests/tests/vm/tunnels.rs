//! The kernel's own tunnel devices as servers: no decapsulator of ours, all four pairs of families.

use tests::network::Layout;

use crate::stage::{ENOUGH, Stage, VIP_V4, VIP_V6, addresses, ask, received};

#[test]
fn the_kernels_tunnel_devices_unwrap_all_four_encapsulations() {
    let stage = Stage::new(Layout::OneSegment, |_| ());
    let server = &stage.network.servers[0];
    let outers = [(true, [(VIP_V4, "ipip4"), (VIP_V6, "sit4")]), (false, [(VIP_V4, "tunnel6"), (VIP_V6, "tunnel6")])];
    for (outer_v4, devices) in outers {
        stage.balance(&addresses(&stage.network.servers, outer_v4));
        for (vip, device) in devices {
            let before = received(&server.netns, device);
            let answers = ask(&stage.network.client, vip.parse().unwrap(), ENOUGH);
            assert_eq!(answers.len(), 2, "{vip} through {device}: {answers:?}");
            let packets = received(&server.netns, device) - before;
            // SYN, ACK, request, FIN at least of each connection.
            let least = 3 * answers[server.name()] as u64;
            assert!(packets >= least, "{device} unwrapped {packets} packets, at least {least} were sent to {vip}");
        }
    }
}
