//! What the maps hold: adopted, bulk-read, swapped in one update.

use std::collections::BTreeSet;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use lb_common::abi::protection::{Rate, acl};
use lb_common::abi::service::flags;
use lb_common::abi::{AclPrefix, ConfigEntry, ProtectionEntry, ServiceEntry, ServiceKey, Slot, mapped_v4};
use lb_userspace::dataplane::kernel::GRACE;
use lb_userspace::dataplane::object::LOAD_BALANCER;
use lb_userspace::dataplane::{
    Counters, Dataplane, DataplaneError, KernelConfig, KernelDataplane, Lookup, Publish, Sizes,
};

use crate::fixture::{Fixture, SIZES, backend_entry, key, publish, slots};

const CONFIG: ConfigEntry = ConfigEntry {
    hash_key: [1, 2],
    outer_source_v6: [3; 16],
    outer_source_v4: [4; 4],
    abi_version: lb_common::abi::ABI_VERSION,
    nat_v4: lb_common::abi::nat::NatRange { first: 0, count: 0 },
    nat_v6: lb_common::abi::nat::NatRange { first: 0, count: 0 },
    ranges: 0,
    pad: 0,
};

/// Something of everything.
fn fill(dataplane: &mut KernelDataplane) {
    dataplane.set_config(&CONFIG).unwrap();
    dataplane.set_egress(&BTreeSet::from([1])).unwrap();
    for index in [0, 5, 1023] {
        dataplane.write_backend(index, &backend_entry(100 + u64::from(index))).unwrap();
    }
    for number in 0..50 {
        let (table, previous) = (slots(251, number), slots(if number % 2 == 0 { 509 } else { 0 }, 5));
        dataplane.publish_service(&key(number), &publish(number, &table, &previous)).unwrap();
    }
    dataplane.publish_service(&key(99), &publish(99, &[], &[])).unwrap();
}

#[test]
fn a_new_agent_finds_everything_as_the_last_one_left_it() {
    let fixture = Fixture::new("adopt");
    let mut first = fixture.open();
    fill(&mut first);
    let (left, free) = (first.observe().unwrap(), first.available_slots());
    let program = fixture.program_on_eth0();
    assert!(program.is_some());
    drop(first);
    assert_eq!(fixture.program_on_eth0(), program, "the program stays when the agent goes");

    let mut second = fixture.open();
    assert_eq!(fixture.program_on_eth0(), program);
    let found = second.observe().unwrap();
    assert_eq!(found.config, Some(CONFIG));
    assert_eq!(found.egress, BTreeSet::from([1]));
    assert_eq!(found.services, left.services);
    assert_eq!(found.services.len(), 51);
    assert_eq!(found.services[&key(3)].slots, slots(251, 3));
    assert_eq!(found.services[&key(4)].previous, slots(509, 5));
    assert_eq!(found.backends, left.backends);
    assert_eq!(found.backends.len(), 3);
    assert_eq!(second.available_slots(), free);
    // What it adopted, it does not hand out again.
    second.publish_service(&key(200), &publish(200, &slots(4093, 1), &[])).unwrap();
    assert_eq!(second.observe().unwrap().services[&key(3)], left.services[&key(3)]);
}

#[test]
fn ten_thousand_services_are_read_in_bulk_and_equal_to_those_read_one_by_one() {
    let fixture = Fixture::new("bulk");
    let mut dataplane = fixture.open();
    for number in 0..10_000 {
        dataplane.publish_service(&key(number), &publish(number, &slots(251, number % 1000), &[])).unwrap();
    }
    let started = Instant::now();
    let observed = dataplane.observe().unwrap();
    println!("10,000 services observed in {:?}", started.elapsed());
    let entries: std::collections::BTreeMap<_, ServiceEntry> =
        observed.services.iter().map(|(key, service)| (*key, service.entry)).collect();
    assert_eq!(entries, dataplane.services_one_by_one().unwrap());
    assert_eq!(entries.len(), 10_000);
    assert!(observed.services.values().all(|service| service.slots.len() == 251));
    let started = Instant::now();
    let counters = dataplane.counters().unwrap();
    println!("counters read in {:?}", started.elapsed());
    assert!(counters.services.is_empty());
}

/// The clock of [`a_new_table_replaces_the_old_one_in_one_update`].
static NOW: Mutex<Option<Instant>> = Mutex::new(None);

#[test]
fn a_new_table_replaces_the_old_one_in_one_update() {
    let start = Instant::now();
    *NOW.lock().unwrap() = Some(start);
    let fixture = Fixture::new("swap");
    let config = KernelConfig { sizes: Sizes { max_slots: 1000, ..SIZES }, ..fixture.config() };
    let clock = || NOW.lock().unwrap().unwrap();
    let mut dataplane = fixture.inside(|| KernelDataplane::open_with(config, &LOAD_BALANCER, clock)).unwrap();

    dataplane.publish_service(&key(1), &publish(1, &slots(251, 1), &slots(100, 9))).unwrap();
    let old = dataplane.service(&key(1)).unwrap().unwrap();
    dataplane.publish_service(&key(1), &publish(1, &slots(251, 2), &[])).unwrap();
    let new = dataplane.service(&key(1)).unwrap().unwrap();
    assert_ne!(new.slots_offset, old.slots_offset);
    let table = |dataplane: &KernelDataplane, offset: u32, len: u32| -> Vec<Slot> {
        (offset..offset + len).map(|index| dataplane.slot(index).unwrap()).collect()
    };
    assert_eq!(table(&dataplane, new.slots_offset, 251), slots(251, 2));

    // A packet that read the old entry still finds the old tables: nothing else is put there within the grace.
    *NOW.lock().unwrap() = Some(start + GRACE / 2);
    dataplane.publish_service(&key(2), &publish(2, &slots(251, 3), &[])).unwrap();
    let full = dataplane.publish_service(&key(3), &publish(3, &slots(251, 4), &[])).unwrap_err();
    assert!(matches!(full, DataplaneError::Full { map: "SLOTS", capacity: 1000, .. }), "{full}");
    assert!(full.to_string().contains("dataplane.max_slots"), "{full}");
    assert_eq!(dataplane.service(&key(3)).unwrap(), None);
    assert_eq!(table(&dataplane, old.slots_offset, 251), slots(251, 1));
    assert_eq!(table(&dataplane, old.previous_offset, 100), slots(100, 9));

    *NOW.lock().unwrap() = Some(start + GRACE + Duration::from_millis(1));
    dataplane.publish_service(&key(3), &publish(3, &slots(251, 4), &[])).unwrap();
    assert_eq!(dataplane.service(&key(3)).unwrap().unwrap().slots_offset, old.slots_offset);
}

#[test]
fn a_table_in_another_services_slots_is_not_shown_and_its_slots_are_not_freed() {
    let fixture = Fixture::new("stray");
    let mut dataplane = fixture.open();
    dataplane.publish_service(&key(1), &publish(1, &slots(251, 1), &[])).unwrap();
    dataplane.publish_service(&key(2), &publish(2, &slots(251, 1), &[])).unwrap();
    let one = dataplane.service(&key(1)).unwrap().unwrap();
    let stray = ServiceEntry { id: 2, ..one };
    overwrite(&fixture, 2, &stray);
    overwrite(&fixture, 3, &ServiceEntry { id: 3, slots_offset: u32::MAX - 5, ..one });
    // Bindings go in reverse: the data plane before its fixture.
    for (_fixture, mut dataplane) in [(None, dataplane), {
        // The next agent, which never saw the right entry.
        let fixture = Fixture::new("stray");
        let mut other = fixture.open();
        other.publish_service(&key(1), &publish(1, &slots(251, 1), &[])).unwrap();
        overwrite(&fixture, 2, &ServiceEntry { id: 2, ..other.service(&key(1)).unwrap().unwrap() });
        drop(other);
        let adopted = fixture.open();
        (Some(fixture), adopted)
    }] {
        let observed = dataplane.observe().unwrap();
        assert_eq!(observed.services[&key(1)].slots, slots(251, 1));
        assert_eq!(observed.services[&key(2)].slots, Vec::new());
        dataplane.remove_service(&key(2)).unwrap();
        dataplane.publish_service(&key(4), &publish(4, &slots(251, 4), &[])).unwrap();
        assert_eq!(dataplane.observe().unwrap().services[&key(1)].slots, slots(251, 1));
    }
}

/// As somebody with `bpftool` would.
fn overwrite(fixture: &Fixture, number: u32, entry: &ServiceEntry) {
    let hex = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x} ")).collect::<String>();
    let service = key(number);
    let mut key = service.address[12..].to_vec();
    key.extend(service.port);
    key.extend([service.protocol, 0]);
    let mut value = Vec::new();
    let words = [entry.id, entry.flags, entry.slots_offset, entry.slots_len, entry.previous_offset, entry.previous_len];
    words.iter().for_each(|word| value.extend(word.to_ne_bytes()));
    value.extend(entry.generation.to_ne_bytes());
    let path = fixture.pin_dir.join("SERVICES_V4").display().to_string();
    let command = format!("bpftool map update pinned {path} key hex {} value hex {}", hex(&key), hex(&value));
    tests::netns::run("sh", &["-c", &command]).unwrap();
}

#[test]
fn services_of_both_ip_versions_stand_in_their_own_maps_and_are_seen_as_one() {
    let fixture = Fixture::new("both");
    // An odd number of slots, and tables of odd lengths: elements of the arena are shared by two tables.
    let config = KernelConfig { sizes: Sizes { max_slots: 2001, ..SIZES }, ..fixture.config() };
    let mut dataplane = fixture.try_open(config.clone()).unwrap();
    let v6 = ServiceKey { address: [0xfd; 16], ..key(1) };
    dataplane.publish_service(&key(1), &publish(1, &slots(251, 1), &slots(3, 8))).unwrap();
    dataplane.publish_service(&v6, &publish(2, &slots(251, 2), &[])).unwrap();
    dataplane.publish_service(&key(2), &publish(3, &slots(251, 3), &[])).unwrap();
    let tables = |dataplane: &mut KernelDataplane| {
        let services = dataplane.observe().unwrap().services;
        services.into_iter().map(|(key, service)| (key, service.slots, service.previous)).collect::<Vec<_>>()
    };
    let expected = [(key(1), slots(251, 1), slots(3, 8)), (key(2), slots(251, 3), vec![]), (v6, slots(251, 2), vec![])];
    assert_eq!(tables(&mut dataplane), expected);
    drop(dataplane);
    let mut dataplane = fixture.try_open(config.clone()).unwrap();
    assert_eq!(tables(&mut dataplane), expected);
    assert_eq!(dataplane.service(&v6).unwrap().unwrap().id, 2);
    assert_eq!(dataplane.services_one_by_one().unwrap().len(), 3);
    dataplane.remove_service(&v6).unwrap();
    assert_eq!(dataplane.service(&v6).unwrap(), None);
    assert_eq!(tables(&mut dataplane), expected[..2]);
    drop(dataplane);
    let other = KernelConfig { sizes: Sizes { max_slots: 4000, ..SIZES }, ..config };
    let refused = fixture.try_open(other).unwrap_err().to_string();
    assert!(
        refused.contains("2002") && refused.contains("4000") && refused.contains("dataplane.max_slots"),
        "{refused}"
    );
}

/// As if packets had been counted, on every CPU.
fn count(fixture: &Fixture, map: &str, index: u32, words: usize) {
    let hex = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x} ")).collect::<String>();
    let path = fixture.pin_dir.join(map).display().to_string();
    let value = hex(&7_u64.to_ne_bytes()).repeat(words);
    let command = format!("bpftool map update pinned {path} key hex {} value hex {value}", hex(&index.to_ne_bytes()));
    tests::netns::run("sh", &["-c", &command]).unwrap();
}

#[test]
fn counters_begin_anew_when_an_id_or_an_index_is_given_to_another() {
    let fixture = Fixture::new("reuse");
    let mut dataplane = fixture.open();
    dataplane.write_backend(5, &backend_entry(1)).unwrap();
    dataplane.publish_service(&key(1), &publish(3, &slots(251, 5), &[])).unwrap();
    let counted = || {
        count(&fixture, "SERVICE_STATS", 3, size_of::<lb_common::abi::ServiceStats>() / 8);
        count(&fixture, "BACKEND_STATS", 5, 2);
    };
    counted();
    let mut changed = backend_entry(1);
    changed.mtu = 1400;
    dataplane.write_backend(5, &changed).unwrap();
    dataplane.publish_service(&key(1), &publish(3, &slots(251, 5), &slots(3, 5))).unwrap();
    let counters = dataplane.counters().unwrap();
    assert!(counters.services[&3].packets > 0 && counters.backends[&5].bytes > 0, "the same service and server go on");

    dataplane.remove_service(&key(1)).unwrap();
    dataplane.publish_service(&key(2), &publish(3, &slots(251, 5), &[])).unwrap();
    dataplane.write_backend(5, &backend_entry(2)).unwrap();
    let counters = dataplane.counters().unwrap();
    assert!(counters.services.is_empty() && counters.backends.is_empty(), "{counters:?}");
    counted();
    dataplane.publish_service(&key(2), &publish(4, &slots(251, 5), &[])).unwrap();
    dataplane.publish_service(&key(9), &publish(3, &[], &[])).unwrap();
    assert!(dataplane.counters().unwrap().services.is_empty());
}

#[test]
fn counters_are_read_while_somebody_holds_the_data_plane() {
    let fixture = Fixture::new("scrape");
    let dataplane = Mutex::new(fixture.open());
    let reader = dataplane.lock().unwrap().counter_reader();
    let mut writing = dataplane.lock().unwrap();
    count(&fixture, "BACKEND_STATS", 5, 2);
    assert!(reader.read().unwrap().backends[&5].packets > 0);
    writing.write_backend(5, &backend_entry(2)).unwrap();
    // Reasons are counted too: the kernel greets its neighbours on a new link.
    let Counters { services, backends, .. } = reader.read().unwrap();
    assert_eq!((services, backends), Default::default());
}

#[test]
fn what_is_outside_a_map_or_too_much_for_it_is_refused() {
    let fixture = Fixture::new("bounds");
    let config = KernelConfig { sizes: Sizes { max_services: 4, ..SIZES }, ..fixture.config() };
    let mut dataplane = fixture.try_open(config).unwrap();
    let outside = |outcome: Result<(), DataplaneError>| {
        assert!(matches!(outcome, Err(DataplaneError::OutOfRange { .. })), "{outcome:?}");
    };
    outside(dataplane.write_backend(SIZES.max_backends, &backend_entry(1)));
    outside(dataplane.backend(SIZES.max_backends).map(drop));
    outside(dataplane.slot(SIZES.max_slots).map(drop));
    outside(dataplane.publish_service(&key(1), &publish(4, &[], &[])));
    let free = dataplane.available_slots();
    for number in 0..4 {
        dataplane.publish_service(&key(number), &publish(number, &[], &[])).unwrap();
    }
    let full = dataplane.publish_service(&key(9), &publish(0, &slots(251, 0), &[])).unwrap_err();
    assert!(matches!(full, DataplaneError::Full { map: "SERVICES_V4", capacity: 4, .. }), "{full}");
    assert_eq!(dataplane.available_slots(), free, "a failed write keeps no slots");
}

#[test]
fn a_freed_backend_and_a_removed_service_are_gone() {
    let fixture = Fixture::new("free");
    let mut dataplane = fixture.open();
    fill(&mut dataplane);
    let mut free = backend_entry(0);
    (free.state, free.mode) = (0, 0);
    dataplane.write_backend(5, &free).unwrap();
    assert_eq!(dataplane.backend(5).unwrap(), None);
    assert_eq!(dataplane.backend(0).unwrap(), Some(backend_entry(100)));
    dataplane.remove_service(&key(3)).unwrap();
    dataplane.remove_service(&key(3)).unwrap();
    dataplane.set_egress(&BTreeSet::new()).unwrap();
    let observed = dataplane.observe().unwrap();
    assert!(!observed.services.contains_key(&key(3)));
    assert_eq!(observed.backends.keys().copied().collect::<Vec<_>>(), [0, 1023]);
    assert!(observed.egress.is_empty());
}

#[test]
fn an_access_list_of_a_hundred_thousand_prefixes_is_written_found_and_removed() {
    let fixture = Fixture::new("acl");
    let mut dataplane = fixture.open();
    let line = |number: u32, verdict| {
        let [a, b, c, d] = (number * 2).to_be_bytes();
        AclPrefix { address: mapped_v4([10 + a, b, c, d]), bits: 128, verdict }
    };
    let all = AclPrefix { address: mapped_v4([0; 4]), bits: 96, verdict: acl::ALLOW };
    let lines: Vec<AclPrefix> = std::iter::once(all).chain((0..100_000).map(|n| line(n, acl::DENY))).collect();
    dataplane.write_acl(7, &[], &lines).unwrap();
    dataplane.write_acl(8, &[], &lines[..2]).unwrap();
    assert_eq!(dataplane.observe().unwrap().acls, [(7, lines.clone()), (8, lines[..2].to_vec())].into());
    let found = |dataplane: &KernelDataplane, list, number| dataplane.acl(list, line(number, 0).address).unwrap();
    assert_eq!(found(&dataplane, 7, 99_999), Some(acl::DENY));
    assert_eq!(found(&dataplane, 8, 99_999), Some(acl::ALLOW));
    assert_eq!(found(&dataplane, 9, 99_999), None);

    let fewer = [all, line(5, acl::ALLOW)];
    dataplane.write_acl(7, &lines, &fewer).unwrap();
    assert_eq!(dataplane.observe().unwrap().acls[&7], fewer);
    assert!(matches!(
        dataplane.write_acl(9, &[], &(0..250_000).map(|n| line(n, acl::DENY)).collect::<Vec<_>>()),
        Err(DataplaneError::Full { map: "ACL", setting: "dataplane.max_acl_prefixes", .. })
    ));
}

#[test]
fn limits_and_the_number_of_a_list_stand_before_a_service_reads_them() {
    let fixture = Fixture::new("limits");
    let mut dataplane = fixture.open();
    let protection = ProtectionEntry { acl: 4, packets: Rate::per_second(1000), ..ProtectionEntry::default() };
    let table = slots(251, 1);
    let with = |flags| Publish { flags, protection, ..publish(3, &table, &[]) };
    dataplane.publish_service(&key(1), &with(1)).unwrap();
    assert_eq!(dataplane.observe().unwrap().services[&key(1)].protection, ProtectionEntry::default());
    assert_eq!(dataplane.protection(3).unwrap(), ProtectionEntry::default(), "nobody reads it");
    dataplane.publish_service(&key(1), &with(1 | flags::LIMITED)).unwrap();
    assert_eq!(dataplane.observe().unwrap().services[&key(1)].protection, protection);
    assert_eq!(dataplane.protection(3).unwrap(), protection);
}
