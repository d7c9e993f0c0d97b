//! A load balancer has at most one IPv4 and one IPv6 address.

use super::{Case, Refusal, Sink, lb_key};
use crate::model::{Family, Invalid};

pub(super) fn check(case: &Case<'_>, refuse: &mut Sink<'_>) {
    for lb in case.live_lbs() {
        for family in [Family::V4, Family::V6] {
            let addresses: Vec<String> = case
                .after
                .ips_of(lb.id)
                .filter(|ip| ip.times.is_live() && Family::of(ip.address) == family)
                .map(|ip| ip.address.to_string())
                .collect();
            if addresses.len() > 1 {
                let help = format!(
                    "the load balancer would have {} {} addresses ({}); one is allowed",
                    addresses.len(),
                    family.as_str(),
                    addresses.join(", ")
                );
                let refusal = Refusal::Argument { argument: "ip_ids", invalid: Invalid::constraint(help) };
                refuse(lb_key(lb.id), refusal);
            }
        }
    }
}
