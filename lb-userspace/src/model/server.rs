//! A server of a pool: its share, whether it stands by, and whether it takes new flows or drains.

use std::net::IpAddr;
use std::num::NonZeroU16;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

use super::Invalid;

/// A server of a pool.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Server {
    /// Its address.
    pub address: IpAddr,
    /// Its share relative to the other servers.
    pub weight: Weight,
    /// It stands by: it gets flows only while no server that does not stand by takes any.
    pub backup: bool,
    /// What it does, and since when.
    pub duty: Duty,
}

/// What a server does by its tenant's word, whatever its health.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Duty {
    /// It takes new flows.
    Serves {
        /// When it was added or its drain ended: a slow start begins here.
        since: Timestamp,
    },
    /// It keeps its connections and gets no new ones.
    Drains {
        /// When that began.
        since: Timestamp,
        /// After this it is taken out, and the connections it still has with it; `None` leaves them all the time.
        at_most: Option<Duration>,
    },
}

impl Server {
    /// A server that takes new flows since it was added, and does not stand by.
    #[must_use]
    pub const fn serving(address: IpAddr, weight: Weight, since: Timestamp) -> Self {
        Self { address, weight, backup: false, duty: Duty::Serves { since } }
    }

    /// The same, draining without a deadline.
    #[must_use]
    pub const fn draining(address: IpAddr, weight: Weight, since: Timestamp) -> Self {
        Self { duty: Duty::Drains { since, at_most: None }, ..Self::serving(address, weight, since) }
    }

    /// Whether it drains, also after its deadline.
    #[must_use]
    pub const fn drains(&self) -> bool {
        matches!(self.duty, Duty::Drains { .. })
    }

    /// How long it may drain, if that has an end.
    #[must_use]
    pub const fn drain_timeout(&self) -> Option<Duration> {
        match self.duty {
            Duty::Drains { at_most, .. } => at_most,
            Duty::Serves { .. } => None,
        }
    }

    /// When it is taken out, if it drains and that has an end.
    #[must_use]
    pub fn deadline(&self) -> Option<Timestamp> {
        let Duty::Drains { since, at_most: Some(at_most) } = self.duty else { return None };
        let at_most = SignedDuration::try_from(at_most).unwrap_or(SignedDuration::MAX);
        Some(since.checked_add(at_most).unwrap_or(Timestamp::MAX))
    }

    /// Whether its drain is over: it is in the pool and gets nothing at all.
    #[must_use]
    pub fn is_out(&self, now: Timestamp) -> bool {
        self.deadline().is_some_and(|deadline| deadline <= now)
    }

    /// Servers in ascending order of their addresses.
    ///
    /// # Errors
    /// [`Invalid`] when an address is named twice.
    pub fn sorted(mut servers: Vec<Self>) -> Result<Vec<Self>, Invalid> {
        servers.sort_by_key(|server| server.address);
        match servers.windows(2).find(|pair| pair[0].address == pair[1].address) {
            Some(pair) => Err(Invalid::constraint(format!("{} is named twice; once is allowed", pair[0].address))),
            None => Ok(servers),
        }
    }
}

/// Relative share of a server: 1 to 65535, 1 unless said otherwise.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "u32", into = "u32")]
pub struct Weight(NonZeroU16);

impl Weight {
    /// The weight of a server that was given none.
    pub const ONE: Self = Self(NonZeroU16::MIN);

    /// The number.
    #[must_use]
    pub const fn get(self) -> u32 {
        self.0.get() as u32
    }
}

impl TryFrom<u32> for Weight {
    type Error = Invalid;

    fn try_from(weight: u32) -> Result<Self, Invalid> {
        u16::try_from(weight).ok().and_then(NonZeroU16::new).map(Self).ok_or_else(|| {
            Invalid::constraint(format!(
                "weight {weight} is outside 1 to 65535; to stop new connections to a server, drain it"
            ))
        })
    }
}

impl From<Weight> for u32 {
    fn from(weight: Weight) -> Self {
        weight.get()
    }
}
