//! Offloads of an interface that change packets before XDP sees them.

use std::collections::BTreeMap;

use rtnetlink::packet_route::RouteNetlinkMessage;
use rtnetlink::packet_route::link::{InfoKind, LinkAttribute, LinkInfo, LinkMessage};

use super::Finding;
use crate::dataplane::ethtool;
use crate::netlink::Netlink;

/// What the offloads of an interface do to its traffic.
pub(super) fn of(interface: &str, ifindex: u32, is_generic: bool) -> Vec<Finding> {
    let features = match ethtool::features(interface) {
        Ok(features) => features,
        Err(error) => {
            let what = format!("{interface}: the driver does not tell its offloads: {error}");
            return vec![Finding::warning("interface", what, format!("look at `ethtool -k {interface}`"))];
        }
    };
    match vlans_on(ifindex) {
        Ok(vlans) => judge(interface, &features, &vlans, is_generic),
        Err(error) => {
            let what = format!("{interface}: the kernel does not tell its VLAN devices: {error}");
            vec![Finding::warning("interface", what, "run as root")]
        }
    }
}

/// VLAN devices that stand on an interface.
fn vlans_on(ifindex: u32) -> std::io::Result<Vec<String>> {
    let links = Netlink::open()?.dump(RouteNetlinkMessage::GetLink(LinkMessage::default()))?;
    let vlan = |message: RouteNetlinkMessage| {
        let RouteNetlinkMessage::NewLink(link) = message else { return None };
        let attributes = &link.attributes;
        let is_on = attributes.iter().any(|it| matches!(it, LinkAttribute::Link(below) if *below == ifindex));
        let is_vlan = attributes.iter().any(|it| match it {
            LinkAttribute::LinkInfo(info) => info.iter().any(|one| matches!(one, LinkInfo::Kind(InfoKind::Vlan))),
            _ => false,
        });
        let name = attributes.iter().find_map(|it| match it {
            LinkAttribute::IfName(name) => Some(name.clone()),
            _ => None,
        });
        if is_on && is_vlan { name } else { None }
    };
    Ok(links.into_iter().filter_map(vlan).collect())
}

fn judge(interface: &str, features: &BTreeMap<String, bool>, vlans: &[String], is_generic: bool) -> Vec<Finding> {
    let is_on = |name: &str| features.get(name).copied().unwrap_or(false);
    let mut findings = Vec::new();
    // Segments that were put together are larger than any packet: they cannot be forwarded.
    for (feature, word, what) in [("rx-lro", "lro", "LRO"), ("rx-gro-hw", "rx-gro-hw", "hardware GRO")] {
        if is_on(feature) {
            findings.push(Finding::failure(
                "interface",
                format!("{interface}: {what} is on: the NIC puts segments together that cannot be forwarded then"),
                format!("ethtool -K {interface} {word} off"),
            ));
        }
    }
    if is_generic && is_on("rx-gro") {
        findings.push(Finding::warning(
            "interface",
            format!("{interface}: GRO is on beside XDP in generic mode: segments are put together before the program"),
            format!("ethtool -K {interface} gro off"),
        ));
    }
    if is_on("rx-vlan-hw-parse") && !vlans.is_empty() {
        findings.push(Finding::warning(
            "interface",
            format!(
                "{interface}: the NIC takes VLAN tags off before the program sees them ({} stand on it): it cannot put them \
                 on its answers",
                vlans.join(", ")
            ),
            format!("ethtool -K {interface} rxvlan off"),
        ));
    }
    if features.get("rx-checksum") == Some(&false) {
        findings.push(Finding::warning(
            "interface",
            format!("{interface}: checksums of what goes up to this machine are computed by its CPUs"),
            format!("ethtool -K {interface} rx on"),
        ));
    }
    if findings.is_empty() {
        findings.push(Finding::ok("interface", format!("{interface}: no offload stands in XDP's way")));
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::super::Level;
    use super::*;

    fn judged(on: &[&str], vlans: &[&str], is_generic: bool) -> Vec<(Level, String)> {
        let names = ["rx-lro", "rx-gro-hw", "rx-gro", "rx-vlan-hw-parse", "rx-checksum"];
        let features = names.map(|name| (name.to_owned(), on.contains(&name))).into();
        let vlans: Vec<String> = vlans.iter().map(|&name| name.to_owned()).collect();
        judge("eth0", &features, &vlans, is_generic).into_iter().map(|it| (it.level, it.remedy)).collect()
    }

    #[test]
    fn offloads_are_told_where_they_matter_each_with_the_command_that_turns_it_off() {
        let usual = ["rx-checksum", "rx-gro", "rx-vlan-hw-parse"];
        assert_eq!(judged(&usual, &[], false), [(Level::Ok, String::new())]);
        let one = |level, command: &str| vec![(level, format!("ethtool -K eth0 {command}"))];
        assert_eq!(judged(&usual, &[], true), one(Level::Warning, "gro off"));
        assert_eq!(judged(&usual, &["eth0.10"], false), one(Level::Warning, "rxvlan off"));
        assert_eq!(judged(&["rx-checksum", "rx-lro"], &[], false), one(Level::Failure, "lro off"));
        assert_eq!(judged(&["rx-checksum", "rx-gro-hw"], &[], false), one(Level::Failure, "rx-gro-hw off"));
        assert_eq!(judged(&[], &[], false), one(Level::Warning, "rx on"));
    }
}
