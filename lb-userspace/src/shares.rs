//! Places that tenants share: so many in all, and so many of one, so that no tenant can take them all.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::model::OrganizationId;

/// Whose a place is: an organization's, or the fleet's where there is none.
pub type Sharer = Option<OrganizationId>;

/// Places, and who has how many of them.
#[derive(Debug)]
pub struct Shares {
    all: Arc<Semaphore>,
    each: usize,
    own: Mutex<BTreeMap<Sharer, Arc<Semaphore>>>,
}

/// A place, until it is dropped.
#[derive(Debug)]
pub struct Share {
    _own: OwnedSemaphorePermit,
    _all: OwnedSemaphorePermit,
}

impl Shares {
    /// So many in all, and `each` of one.
    #[must_use]
    pub fn new(all: usize, each: usize) -> Self {
        Self { all: Arc::new(Semaphore::new(all)), each, own: Mutex::default() }
    }

    /// A place, if there is one and its sharer has not had its share.
    #[must_use]
    pub fn try_take(&self, sharer: Sharer) -> Option<Share> {
        let own = self.of(sharer).try_acquire_owned().ok()?;
        let all = Arc::clone(&self.all).try_acquire_owned().ok()?;
        Some(Share { _own: own, _all: all })
    }

    /// A place, as soon as there is one. Whoever waits for a place of its own share keeps nobody else waiting.
    pub async fn take(&self, sharer: Sharer) -> Option<Share> {
        let own = self.of(sharer).acquire_owned().await.ok()?;
        let all = Arc::clone(&self.all).acquire_owned().await.ok()?;
        Some(Share { _own: own, _all: all })
    }

    /// The share of one. Those of whom nobody has or wants a place are forgotten.
    fn of(&self, sharer: Sharer) -> Arc<Semaphore> {
        let mut own = self.own.lock().unwrap_or_else(PoisonError::into_inner);
        own.retain(|_, share| Arc::strong_count(share) > 1);
        Arc::clone(own.entry(sharer).or_insert_with(|| Arc::new(Semaphore::new(self.each))))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn nobody_takes_more_than_a_share_and_all_together_no_more_than_there_are() {
        let shares = Shares::new(5, 2);
        let tenants: Vec<Sharer> = (0..3).map(|_| Some(OrganizationId::new())).collect();
        let mut held = Vec::new();
        for tenant in &tenants {
            held.extend([shares.try_take(*tenant), shares.try_take(*tenant)]);
            assert!(shares.try_take(*tenant).is_none(), "more than a share");
        }
        assert_eq!(held.iter().flatten().count(), 5);
        assert!(shares.try_take(None).is_none(), "more than there are");
        drop(held.remove(0));
        let place = shares.try_take(None);
        assert!(place.is_some());
        held.clear();
        drop(place);
        assert!(shares.take(None).await.is_some());
        assert_eq!(shares.own.lock().unwrap().len(), 1, "idle sharers are forgotten");
    }
}
