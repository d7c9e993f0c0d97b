//! What can be amiss with a load balancer on an edge, and what to do about each.

use serde::{Deserialize, Serialize};

use crate::plan::Unresolved;

/// A reason that stands in the queue. The words never change.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
#[schema(as = HealFault)]
pub enum Fault {
    /// A map has no room for it.
    MapFull,
    /// The kernel refuses a write or a read.
    WriteRefused,
    /// The maps hold a table of a later generation than the ledger's.
    NewerTable,
    /// The entry of one of its servers is not written yet.
    ServerNotWritten,
    /// A plan that does not hold together.
    Defect,
    /// The program is attached to no interface.
    NotAttached,
    /// Too many services would leave: they are held as they are.
    Held,
    /// The ledger was destroyed or cannot be read.
    LedgerLost,
    /// So many servers look down at once that the checker is suspected.
    MassFailure,
    /// Another host answers for the address.
    AddressTaken,
    /// No source address for translated flows of this IP version.
    NoSourceAddress,
    /// No route to a server.
    NoRoute,
    /// The server or its gateway does not answer ARP or NDP.
    NoNeighbour,
    /// The interface towards a server is down.
    LinkDown,
    /// A server's address is this machine's own.
    OwnAddress,
    /// A server that must stand on a segment of the edge is behind a gateway.
    NotOnLink,
    /// The route leads through a device that packets cannot be handed to.
    UnsupportedDevice,
    /// Every server of a pool refuses the probes.
    ProbesRefused,
    /// No server of a pool answers the probes.
    ProbesUnanswered,
    /// Every server of a pool is down, for other reasons.
    ServersFail,
}

impl Fault {
    /// Every reason.
    pub const ALL: [Self; 20] = [
        Self::MapFull,
        Self::WriteRefused,
        Self::NewerTable,
        Self::ServerNotWritten,
        Self::Defect,
        Self::NotAttached,
        Self::Held,
        Self::LedgerLost,
        Self::MassFailure,
        Self::AddressTaken,
        Self::NoSourceAddress,
        Self::NoRoute,
        Self::NoNeighbour,
        Self::LinkDown,
        Self::OwnAddress,
        Self::NotOnLink,
        Self::UnsupportedDevice,
        Self::ProbesRefused,
        Self::ProbesUnanswered,
        Self::ServersFail,
    ];

    /// The API's word.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::MapFull => "map_full",
            Self::WriteRefused => "write_refused",
            Self::NewerTable => "newer_table",
            Self::ServerNotWritten => "server_not_written",
            Self::Defect => "defect",
            Self::NotAttached => "not_attached",
            Self::Held => "held",
            Self::LedgerLost => "ledger_lost",
            Self::MassFailure => "mass_failure",
            Self::AddressTaken => "address_taken",
            Self::NoSourceAddress => "no_source_address",
            Self::NoRoute => "no_route",
            Self::NoNeighbour => "no_neighbour",
            Self::LinkDown => "link_down",
            Self::OwnAddress => "own_address",
            Self::NotOnLink => "not_on_link",
            Self::UnsupportedDevice => "unsupported_device",
            Self::ProbesRefused => "probes_refused",
            Self::ProbesUnanswered => "probes_unanswered",
            Self::ServersFail => "servers_fail",
        }
    }

    /// What to do about it.
    #[must_use]
    pub const fn remedy(self) -> &'static str {
        match self {
            Self::MapFull => {
                "raise the setting that the error names in agent.toml, stop the agent, `snowshed detach`, start it; or \
                 delete what is not used"
            }
            Self::WriteRefused => {
                "it is tried again by itself; if it lasts, see the kernel log and whether something else writes the maps"
            }
            Self::NewerTable => {
                "restore the newer ledger (`snowshed backup list`), or take forwarding off with `snowshed detach`"
            }
            Self::ServerNotWritten => "it waits for the server's entry, whose own error says why it is not written",
            Self::Defect => "this is a defect: please report it, with the agent's log",
            Self::NotAttached => {
                "see what took the program off (`ip link show`); the agent attaches it again when it can"
            }
            Self::Held => {
                "nothing is lost: they forward as before. If the removal is meant, plan and apply it \
                 (`snowshed ts plan-removal`); if not, undo it (`snowshed ops list`, `snowshed undo`)"
            }
            Self::LedgerLost => {
                "stop the agent and run `snowshed backup restore --name latest`; forwarding goes on meanwhile"
            }
            Self::MassFailure => {
                "let the servers' filters allow the probes' source address, or mend this edge's way to them"
            }
            Self::AddressTaken => {
                "take the address off that host; if it is a server that forwards directly, set arp_ignore=1 and \
                 arp_announce=2 there"
            }
            Self::NoSourceAddress => {
                "give `addresses.nat_v4` or `nat_v6` one in agent.toml, or let the pool use `ipip`"
            }
            Self::NoRoute => "add a route to the server, or correct its address",
            Self::NoNeighbour => "is the server or the gateway towards it up, and on this link?",
            Self::LinkDown => "bring the interface towards the server up",
            Self::OwnAddress => "give the pool a server that is another host",
            Self::NotOnLink => "let the pool use `nat` or `ipip`, or put the server on a segment of this edge",
            Self::UnsupportedDevice => "lead the route to the server through a device with link-level addresses",
            Self::ProbesRefused | Self::ProbesUnanswered => {
                "do the servers filter by source? Let them allow the address that the probes come from; if they do \
                 not, start the service there"
            }
            Self::ServersFail => "see each server's last probe: `snowshed status`",
        }
    }

    /// Whether it is mended by trying again: then a person is needed only when that has failed for a while.
    #[must_use]
    pub const fn is_tried_again(self) -> bool {
        matches!(self, Self::MapFull | Self::WriteRefused | Self::ServerNotWritten | Self::NewerTable | Self::Defect)
    }

    /// The reason why a way is not known; `None` while it is asked for.
    #[must_use]
    pub const fn of_way(why: Unresolved) -> Option<Self> {
        Some(match why {
            Unresolved::Pending => return None,
            Unresolved::NoRoute => Self::NoRoute,
            Unresolved::NoNeighbour => Self::NoNeighbour,
            Unresolved::LinkDown => Self::LinkDown,
            Unresolved::Local => Self::OwnAddress,
            Unresolved::NotOnLink => Self::NotOnLink,
            Unresolved::UnsupportedDevice => Self::UnsupportedDevice,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_reason_has_its_own_word_the_one_it_is_written_with_and_a_remedy() {
        let mut words: Vec<&str> = Fault::ALL.map(Fault::as_str).to_vec();
        for fault in Fault::ALL {
            assert_eq!(serde_json::to_value(fault).unwrap(), fault.as_str());
            assert!(fault.remedy().len() > 20, "{fault:?}");
        }
        words.sort_unstable();
        words.dedup();
        assert_eq!(words.len(), Fault::ALL.len());
    }
}
