//! The control against simulated servers whose flows live differently long.

use proptest::prelude::*;

use super::*;

const BACKEND: BackendId = BackendId::from_uuid(uuid::Uuid::from_u128(1));
const GROUP: Group = Group { backend: BACKEND, backup: false, family: None };

fn address(number: usize) -> IpAddr {
    [10, 0, 0, number as u8].into()
}

/// Servers as a fluid: new flows come in proportion to weight and share, and each ends after its server's time.
#[derive(Debug)]
struct Servers {
    weights: Vec<u32>,
    /// Readings that a flow lives.
    lifetimes: Vec<f64>,
    flows: Vec<f64>,
    shares: Shares,
    /// New flows in a reading.
    arrivals: f64,
}

impl Servers {
    fn groups(&self) -> Groups {
        let weights = self.weights.iter().enumerate().map(|(number, weight)| (address(number), *weight)).collect();
        [(GROUP, weights)].into()
    }

    fn advance(&mut self) {
        let part = |number: usize| {
            let share = self.shares.get(&ServerRef { backend: BACKEND, address: address(number) });
            f64::from(self.weights[number]) * share.map_or(f64::from(FULL), |share| f64::from(*share))
        };
        let parts: Vec<f64> = (0..self.weights.len()).map(part).collect();
        let sum: f64 = parts.iter().sum();
        for (number, part) in parts.iter().enumerate() {
            let flows = &mut self.flows[number];
            *flows = (*flows + self.arrivals * part / sum) * (-1.0 / self.lifetimes[number]).exp();
        }
    }

    fn step(&mut self, balancer: &mut Balancer) -> bool {
        let server = |number| ServerRef { backend: BACKEND, address: address(number) };
        let loads = self.flows.iter().enumerate().map(|(number, flows)| (server(number), *flows)).collect();
        let told = balancer.step(&self.groups(), &loads);
        let is_told = told.is_some();
        if let Some(shares) = told {
            self.shares = shares;
        }
        is_told
    }

    /// Greatest load for its weight, in parts of the smallest.
    fn spread(&self) -> f64 {
        let relative = self.flows.iter().zip(&self.weights).map(|(flows, weight)| flows / f64::from(*weight));
        let (least, most) = relative.fold((f64::MAX, 0.0_f64), |(least, most), load| (least.min(load), most.max(load)));
        most / least
    }
}

fn servers() -> impl Strategy<Value = Servers> {
    (2usize..8).prop_flat_map(|count| {
        let weights = prop::collection::vec(1u32..5, count);
        let lifetimes = prop::collection::vec(1.0f64..200.0, count);
        (weights, lifetimes, 50.0f64..5000.0).prop_map(|(weights, lifetimes, arrivals)| Servers {
            flows: vec![0.0; weights.len()],
            shares: Shares::new(),
            weights,
            lifetimes,
            arrivals,
        })
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 32, ..ProptestConfig::default() })]

    /// The loop settles: after a time nothing is told any more, on loads more even than equal shares would give. On
    /// the way there no server gets less than a sixteenth of what another one gets for its weight.
    #[test]
    fn shares_converge_do_not_oscillate_and_starve_nobody(mut servers in servers()) {
        let mut balancer = Balancer::default();
        let mut told_at = 0;
        for reading in 0..3000 {
            let before = servers.shares.clone();
            servers.advance();
            if servers.step(&mut balancer) {
                told_at = reading;
                for (server, share) in &servers.shares {
                    prop_assert!(*share >= (FULL / 16) as u16, "{} has {} of {}", server.address, share, FULL);
                    let before = before.get(server).map_or(f64::from(FULL), |before| f64::from(*before));
                    let step = f64::from(*share) / before;
                    prop_assert!((0.75..1.34).contains(&step), "{} went by {} at once", server.address, step);
                }
            }
        }
        prop_assert!(told_at < 2400, "still moving after {} readings", told_at);
        // Flows for each new one of a reading, where all get as many: a flow that lives one reading is seldom counted.
        let counted = servers.lifetimes.iter().map(|time| (1.0 / time).exp_m1().recip());
        let (least, most) = counted.fold((f64::MAX, 0.0_f64), |(least, most), flows| (least.min(flows), most.max(flows)));
        let equal = most / least;
        // The cube root of it where the bounds leave room, and at most a quarter where they do not.
        let bound = equal.cbrt().max(equal / 4.0) * 1.3;
        prop_assert!(servers.spread() <= bound, "loads differ by {}, at equal shares by {}", servers.spread(), equal);
    }

    /// Whatever is measured, and however long, a server that takes flows keeps a sixteenth.
    #[test]
    fn no_reading_starves_a_server(readings in prop::collection::vec(prop::collection::vec(prop_oneof![Just(0.0), 0.0f64..1e9], 4), 1..6)) {
        let weights = (0..4).map(|number| (address(number), 1)).collect();
        let groups: Groups = [(GROUP, weights)].into();
        let mut balancer = Balancer::default();
        for reading in readings.iter().flat_map(|reading| std::iter::repeat_n(reading, 100)) {
            let server = |number| ServerRef { backend: BACKEND, address: address(number) };
            let loads = reading.iter().enumerate().map(|(number, load)| (server(number), *load)).collect();
            if let Some(shares) = balancer.step(&groups, &loads) {
                prop_assert_eq!(shares.len(), 4);
                prop_assert!(shares.values().all(|share| *share >= (FULL / 16) as u16));
                prop_assert!(shares.values().any(|share| u32::from(*share) == FULL));
            }
        }
    }
}

#[test]
fn a_server_whose_flows_live_longer_gets_fewer_new_ones() {
    let mut servers = Servers {
        weights: vec![1, 1],
        lifetimes: vec![10.0, 100.0],
        flows: vec![0.0; 2],
        shares: Shares::new(),
        arrivals: 200.0,
    };
    let mut balancer = Balancer::default();
    for _ in 0..3000 {
        servers.advance();
        servers.step(&mut balancer);
    }
    let spread = servers.spread();
    assert!((1.9..2.7).contains(&spread), "ten times as long, {spread} times as many flows");
}

#[test]
fn few_flows_are_left_to_chance_and_a_group_that_is_gone_is_forgotten() {
    let weights = (0..2).map(|number| (address(number), 1)).collect();
    let groups: Groups = [(GROUP, weights)].into();
    let mut balancer = Balancer::default();
    let loads = [(ServerRef { backend: BACKEND, address: address(0) }, 7.0)].into();
    let first = balancer.step(&groups, &loads).expect("a new group is told");
    assert!(first.values().all(|share| u32::from(*share) == FULL));
    for _ in 0..100 {
        assert_eq!(balancer.step(&groups, &loads), None, "seven flows of two servers are noise");
    }
    assert_eq!(balancer.step(&Groups::new(), &loads), Some(Shares::new()));
}
