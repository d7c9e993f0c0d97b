//! Access lists in the map: which numbers are taken, by what, and since when nothing refers to them.
//!
//! A list is written whole under a fresh number before a service refers to it, and never changed while one does: no
//! packet meets a half-written list. Services with the same list share its number.

use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::Timestamp;
use lb_common::abi::AclPrefix;

use crate::dataplane::{Dataplane, DataplaneError};
use crate::plan::AccessList;

/// The lists that the map holds, as last written or observed.
#[derive(Debug, Default)]
pub(super) struct AccessLists {
    held: BTreeMap<u32, HeldList>,
    /// Numbers of lists that services may come to refer to.
    numbers: BTreeMap<Arc<AccessList>, u32>,
    last: u32,
}

#[derive(Debug)]
struct HeldList {
    list: Arc<AccessList>,
    /// What the map holds, where that is something else.
    found: Option<Vec<AclPrefix>>,
    users: usize,
    /// Since when nothing refers to it.
    idle_since: Option<Timestamp>,
}

impl AccessLists {
    /// Takes over a list that somebody else wrote.
    pub(super) fn adopt(&mut self, number: u32, lines: &[AclPrefix], now: Timestamp) {
        let list = Arc::new(AccessList { lines: lines.into() });
        if number != 0 {
            self.numbers.entry(Arc::clone(&list)).or_insert(number);
        }
        self.held.insert(number, HeldList { list, found: None, users: 0, idle_since: Some(now) });
    }

    /// The number of a complete list, which is written if it is not there.
    pub(super) fn want(
        &mut self,
        list: &Arc<AccessList>,
        dataplane: &mut impl Dataplane,
        now: Timestamp,
    ) -> Result<u32, DataplaneError> {
        let number = match self.numbers.get(list) {
            Some(number) => *number,
            None => self.take_number(list, now),
        };
        self.complete(number, dataplane)?;
        Ok(number)
    }

    /// Writes a list where the map holds something else.
    fn complete(&mut self, number: u32, dataplane: &mut impl Dataplane) -> Result<(), DataplaneError> {
        let Some(held) = self.held.get_mut(&number) else { return Ok(()) };
        if let Some(found) = &held.found {
            dataplane.write_acl(number, found, &held.list.lines)?;
            held.found = None;
        }
        Ok(())
    }

    /// Writes every list that somebody altered.
    pub(super) fn complete_all(&mut self, dataplane: &mut impl Dataplane) -> Result<(), DataplaneError> {
        let altered = self.held.iter().filter(|(_, held)| held.found.is_some() && held.users > 0);
        for number in altered.map(|(number, _)| *number).collect::<Vec<_>>() {
            self.complete(number, dataplane)?;
        }
        Ok(())
    }

    fn take_number(&mut self, list: &Arc<AccessList>, now: Timestamp) -> u32 {
        loop {
            self.last = self.last.wrapping_add(1);
            if self.last != 0 && !self.held.contains_key(&self.last) {
                break;
            }
        }
        let held = HeldList { list: Arc::clone(list), found: Some(Vec::new()), users: 0, idle_since: Some(now) };
        self.held.insert(self.last, held);
        self.numbers.insert(Arc::clone(list), self.last);
        self.last
    }

    /// A service refers to a list from now on; 0 is none.
    pub(super) fn refer(&mut self, number: u32, now: Timestamp) {
        if number == 0 {
            return;
        }
        if !self.held.contains_key(&number) {
            self.adopt(number, &[], now);
        }
        if let Some(held) = self.held.get_mut(&number) {
            held.users += 1;
            held.idle_since = None;
        }
    }

    /// A service refers to it no more.
    pub(super) fn unrefer(&mut self, number: u32, now: Timestamp) {
        if let Some(held) = self.held.get_mut(&number).filter(|_| number != 0) {
            held.users = held.users.saturating_sub(1);
            if held.users == 0 {
                held.idle_since = Some(now);
            }
        }
    }

    /// Empties lists that nothing has referred to since `before`: packets that knew their numbers are gone.
    pub(super) fn remove_idle(
        &mut self,
        before: Timestamp,
        dataplane: &mut impl Dataplane,
    ) -> Result<(), DataplaneError> {
        let idle = self.held.iter().filter(|(_, held)| held.idle_since.is_some_and(|since| since <= before));
        for number in idle.map(|(number, _)| *number).collect::<Vec<_>>() {
            let Some(held) = self.held.get(&number) else { continue };
            let there = held.found.as_deref().unwrap_or_default();
            let lines: Vec<AclPrefix> = held.list.lines.iter().chain(there).copied().collect();
            dataplane.write_acl(number, &lines, &[])?;
            if let Some(held) = self.held.remove(&number)
                && self.numbers.get(&held.list) == Some(&number)
            {
                self.numbers.remove(&held.list);
            }
        }
        Ok(())
    }

    /// When the oldest unused list may be emptied, if it is kept for so long.
    pub(super) fn next_change(&self, kept: std::time::Duration) -> Option<Timestamp> {
        let oldest = self.held.values().filter_map(|held| held.idle_since).min()?;
        Some(oldest.checked_add(kept).unwrap_or(Timestamp::MAX))
    }

    /// Notes what the map really holds. Returns a sentence for each list that somebody altered.
    pub(super) fn compare(&mut self, observed: &BTreeMap<u32, Vec<AclPrefix>>, now: Timestamp) -> Vec<String> {
        let mut altered = Vec::new();
        let nothing = Vec::new();
        for (number, held) in &mut self.held {
            let found = observed.get(number).unwrap_or(&nothing);
            if held.found.is_none() && *found.as_slice() != *held.list.lines {
                held.found = Some(found.clone());
                altered.push(format!("list {number} was altered; written again"));
            }
        }
        for (number, lines) in observed {
            if !self.held.contains_key(number) {
                self.adopt(*number, lines, now);
                altered.push(format!("list {number} was not written by the agent; removed"));
            }
        }
        altered
    }
}
