//! A source address of translated flows: the edge's own, reserved in the ledger, and outliving everything that uses it.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use super::{NatSourceId, Times};

/// An address that translated packets are sent from; what servers answer comes back to it.
///
/// It belongs to the edge ([`super::Owner::EDGE`]), not to a tenant. One that is deleted is retired: no new flow gets it,
/// but those it has go on until its number is needed by another.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NatSource {
    /// Id.
    pub id: NatSourceId,
    /// The address.
    pub address: IpAddr,
    /// Which places of the flow table are its own. Two that are not deleted never have the same.
    pub number: u32,
    /// Created, updated, deleted.
    pub times: Times,
}
