//! Access lists as the data plane looks them up: rules in order become prefixes of which the longest decides.

use std::sync::Arc;

use ipnet::IpNet;
use lb_common::abi::protection::acl;
use lb_common::abi::{AclPrefix, address_of};

use crate::model::{Acl, AclAction};

/// A frontend's rules, compiled: for every address the longest of these prefixes says what the first matching rule says.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct AccessList {
    /// In ascending order.
    pub lines: Box<[AclPrefix]>,
}

/// Every IPv4 address, mapped.
const V4_BITS: u32 = 96;

/// Compiles rules; `None` when they deny nobody.
///
/// The prefixes that rules name cut the addresses into regions in which every rule says the same of all addresses. A
/// region that says another thing than the one around it becomes a line.
#[must_use]
pub fn compile(rules: &[Arc<Acl>]) -> Option<AccessList> {
    let mut rules = rules.to_vec();
    Acl::sort(&mut rules);
    let mut lines = Vec::new();
    for is_v4 in [true, false] {
        Compiler::new(&rules, is_v4).run(&mut lines);
    }
    lines.sort_unstable();
    lines.iter().any(|line| line.verdict == acl::DENY).then(|| AccessList { lines: lines.into() })
}

/// A prefix: address and bits, and the rules that name it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Named {
    address: u128,
    bits: u32,
    rule: usize,
}

/// A region that the walk is in.
struct Region {
    address: u128,
    bits: u32,
    /// The first rule without inversion that names this prefix or one around it.
    first: usize,
    /// Where the inverted rules that name this prefix begin in `Compiler::covering`.
    covering: usize,
    verdict: u32,
}

struct Compiler<'a> {
    rules: &'a [Arc<Acl>],
    named: Vec<Named>,
    /// Inverted rules in their order, and how many of the prefixes around the walk each names.
    inverted: Vec<(usize, usize)>,
    /// Positions in `inverted` that the regions of the walk added.
    covering: Vec<usize>,
    is_v4: bool,
}

impl<'a> Compiler<'a> {
    fn new(rules: &'a [Arc<Acl>], is_v4: bool) -> Self {
        let mut named: Vec<Named> = Vec::new();
        for (rule, of) in rules.iter().enumerate() {
            let nets = of.subnets.iter().filter(|net| matches!(net, IpNet::V4(_)) == is_v4);
            named.extend(nets.map(|net| {
                let (address, bits) = (u128::from_be_bytes(address_of(net.network())), u32::from(net.prefix_len()));
                Named { address, bits: if is_v4 { V4_BITS + bits } else { bits }, rule }
            }));
        }
        named.sort_unstable();
        named.dedup();
        let inverted =
            rules.iter().enumerate().filter(|(_, rule)| rule.invert).map(|(number, _)| (number, 0)).collect();
        Self { rules, named, inverted, covering: Vec::new(), is_v4 }
    }

    fn run(mut self, lines: &mut Vec<AclPrefix>) {
        let (address, bits) = if self.is_v4 { (0xffff_u128 << 32, V4_BITS) } else { (0, 0) };
        let named = std::mem::take(&mut self.named);
        let (all, named) =
            named.split_at(named.partition_point(|named| (named.address, named.bits) == (address, bits)));
        let root = self.region(address, bits, usize::MAX, all);
        // IPv4 stands inside the IPv6 addresses: it always has a line of its own, whatever is around it.
        if self.is_v4 || root.verdict != acl::ALLOW {
            lines.push(root.line());
        }
        let mut regions = vec![root];
        for same in named.chunk_by(|a, b| (a.address, a.bits) == (b.address, b.bits)) {
            let Some(&Named { address, bits, .. }) = same.first() else { continue };
            while regions.len() > 1 && regions.last().is_some_and(|around| !around.contains(address, bits)) {
                self.leave(&mut regions);
            }
            let Some((first, outer)) = regions.last().map(|around| (around.first, around.verdict)) else { continue };
            let region = self.region(address, bits, first, same);
            if region.verdict != outer {
                lines.push(region.line());
            }
            regions.push(region);
        }
    }

    /// Enters the region of a prefix that these rules name, within one where rule `first` is the first to match.
    fn region(&mut self, address: u128, bits: u32, mut first: usize, named: &[Named]) -> Region {
        let covering = self.covering.len();
        for rule in named.iter().map(|named| named.rule) {
            match self.inverted.binary_search_by_key(&rule, |(number, _)| *number) {
                Ok(position) => {
                    self.inverted[position].1 += 1;
                    self.covering.push(position);
                }
                Err(_) => first = first.min(rule),
            }
        }
        Region { address, bits, first, covering, verdict: self.verdict(first) }
    }

    fn leave(&mut self, regions: &mut Vec<Region>) {
        let Some(region) = regions.pop() else { return };
        for position in self.covering.drain(region.covering..) {
            self.inverted[position].1 -= 1;
        }
    }

    /// What the first matching rule says: `first` without inversion, or one with it that names nothing around.
    fn verdict(&self, first: usize) -> u32 {
        let inverted = self.inverted.iter().find(|(_, covering)| *covering == 0).map_or(usize::MAX, |(rule, _)| *rule);
        match self.rules.get(first.min(inverted)).map(|rule| rule.action) {
            Some(AclAction::Deny) => acl::DENY,
            Some(AclAction::Allow) | None => acl::ALLOW,
        }
    }
}

impl Region {
    fn line(&self) -> AclPrefix {
        AclPrefix { address: self.address.to_be_bytes(), bits: self.bits, verdict: self.verdict }
    }

    fn contains(&self, address: u128, bits: u32) -> bool {
        bits >= self.bits && (address ^ self.address).leading_zeros() >= self.bits
    }
}

#[cfg(test)]
mod tests;
