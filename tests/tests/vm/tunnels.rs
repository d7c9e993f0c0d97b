//! The kernel's own tunnel devices as servers, alone and behind its GUE: no decapsulator of ours, all four pairs of families.

use tests::network::Layout;

use crate::stage::{ENOUGH, Stage, VIP_V4, VIP_V6, addresses, ask, balance, received};

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

#[test]
fn the_kernels_gue_unwraps_all_four_pairs_of_ip_versions() {
    let stage = Stage::new(Layout::OneSegment, |network| {
        for server in &network.servers {
            for family in ["", "-6"] {
                server.netns.ip(format!("{family} fou add port 6080 gue").trim_start()).unwrap();
            }
        }
    });
    for outer_v4 in [true, false] {
        balance(&stage.edge, &addresses(&stage.network.servers, outer_v4), "gue");
        for vip in [VIP_V4, VIP_V6] {
            let answers = ask(&stage.network.client, vip.parse().unwrap(), ENOUGH);
            assert_eq!(answers.len(), 2, "{vip}, outer IPv4 {outer_v4}: {answers:?}");
        }
    }
}
