//! Makes this machine answer for the source addresses of translated flows (ARP, NDP): they stand on its interfaces.
//!
//! Servers on the link find the edge as they find any neighbour, and what comes back for no flow is answered by the
//! kernel. The addresses are deprecated from the start, so that the machine itself never sends from one, and carry a
//! mark (`IFA_PROTO`, Linux 5.18), by which those that are no longer wanted are found.

use std::collections::BTreeSet;
use std::io;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use rtnetlink::packet_route::address::{
    AddressAttribute, AddressFlags, AddressMessage, AddressProtocol, AddressScope, CacheInfo,
};
use rtnetlink::packet_route::{AddressFamily, RouteNetlinkMessage};
use tokio::sync::watch;

use crate::netlink::Netlink;
use crate::plan::Tables;

/// The mark of our addresses.
const OURS: AddressProtocol = AddressProtocol::Other(0x53);
/// How often it is looked whether they still stand.
const EVERY: Duration = Duration::from_secs(5);
/// A lifetime without end.
const FOREVER: u32 = u32::MAX;

/// Keeps the addresses of the newest tables on these interfaces; returns when there are no more tables.
pub async fn follow(mut tables: watch::Receiver<Arc<Tables>>, interfaces: Vec<String>) {
    let interfaces = Arc::new(interfaces);
    loop {
        let tables_now = Arc::clone(&tables.borrow_and_update());
        let wanted: BTreeSet<IpAddr> = tables_now.nat_sources.iter().map(|source| source.address).collect();
        let on = Arc::clone(&interfaces);
        match tokio::task::spawn_blocking(move || ensure(&wanted, &on)).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => log::error!(
                "the source addresses of translated flows cannot be put on the interfaces ({error}): servers on the link \
                 do not find this edge; trying again"
            ),
            Err(error) => log::error!("putting addresses on the interfaces broke off: {error}"),
        }
        if let Ok(Err(_)) = tokio::time::timeout(EVERY, tables.changed()).await {
            return;
        }
    }
}

/// Takes our addresses off these interfaces.
///
/// # Errors
/// When the kernel cannot be asked, or refuses.
pub fn withdraw(interfaces: &[String]) -> io::Result<()> {
    ensure(&BTreeSet::new(), interfaces)
}

/// Makes each interface that exists have exactly these of our addresses.
fn ensure(wanted: &BTreeSet<IpAddr>, interfaces: &[String]) -> io::Result<()> {
    let numbers: BTreeSet<u32> =
        interfaces.iter().filter_map(|name| nix::net::if_::if_nametoindex(name.as_str()).ok()).collect();
    let mut netlink = Netlink::open()?;
    let mut standing = BTreeSet::new();
    let mut orders = Vec::new();
    for message in netlink.dump(RouteNetlinkMessage::GetAddress(AddressMessage::default()))? {
        let RouteNetlinkMessage::NewAddress(message) = message else { continue };
        let Some(address) = address_of(&message) else { continue };
        let is_ours = message.attributes.contains(&AddressAttribute::Protocol(OURS));
        if is_ours && numbers.contains(&message.header.index) && !wanted.contains(&address) {
            orders.push(RouteNetlinkMessage::DelAddress(message_of(address, message.header.index)));
        } else {
            standing.insert((message.header.index, address));
        }
    }
    for number in &numbers {
        let absent = wanted.iter().filter(|address| !standing.contains(&(*number, **address)));
        orders.extend(absent.map(|address| RouteNetlinkMessage::NewAddress(message_of(*address, *number))));
    }
    if orders.is_empty() {
        return Ok(());
    }
    // Somebody may have been faster.
    let is_failure =
        |error: &io::Error| !matches!(error.raw_os_error(), Some(libc::EEXIST | libc::EADDRNOTAVAIL | libc::ENODEV));
    netlink.order(orders)?.into_iter().filter_map(Result::err).find(is_failure).map_or(Ok(()), Err)
}

fn message_of(address: IpAddr, interface: u32) -> AddressMessage {
    let mut message = AddressMessage::default();
    let (family, prefix) = if address.is_ipv4() { (AddressFamily::Inet, 32) } else { (AddressFamily::Inet6, 128) };
    message.header.family = family;
    message.header.prefix_len = prefix;
    message.header.scope = AddressScope::Universe;
    message.header.index = interface;
    let mut lifetime = CacheInfo::default();
    (lifetime.ifa_preferred, lifetime.ifa_valid) = (0, FOREVER);
    message.attributes = vec![
        AddressAttribute::Local(address),
        AddressAttribute::Address(address),
        AddressAttribute::CacheInfo(lifetime),
        // Nobody else has it: the ledger says so, and duplicates are not looked for.
        AddressAttribute::Flags(AddressFlags::Nodad | AddressFlags::Noprefixroute),
        AddressAttribute::Protocol(OURS),
    ];
    message
}

fn address_of(message: &AddressMessage) -> Option<IpAddr> {
    let of = |attribute: &AddressAttribute| match attribute {
        AddressAttribute::Local(address) | AddressAttribute::Address(address) => Some(*address),
        _ => None,
    };
    message.attributes.iter().find_map(of)
}
