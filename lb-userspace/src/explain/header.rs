//! The headers of a frame, for people and as JSON: their bytes, and what they say.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::ops::Range;

use etherparse::{
    EtherType, Ethernet2Header, IpNumber, Ipv4Header, Ipv6Header, SingleVlanHeader, TcpHeader, UdpHeader,
};
use lb_common::encapsulation::gue;
use serde::Serialize;
use serde_json::{Map, Value, json};

/// One header.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Header {
    /// `ethernet`, `vlan`, `ipv4`, `ipv6`, `tcp` or `udp`; what follows them is `data`.
    pub layer: &'static str,
    /// Its bytes as hexadecimal digits; `..` for each that is decided only when the packet is sent.
    pub hex: String,
    /// Its fields in one line, in their order: `name value, name value`; `?` for what is not decided yet.
    pub says: String,
    /// Its fields by name. Those decided only when the packet is sent are null.
    pub fields: Map<String, Value>,
}

/// The headers of a frame, outermost first; what follows them is left out but for its first header that is not known.
#[must_use]
pub fn headers(frame: &[u8], open: &[Range<usize>]) -> Vec<Header> {
    let mut reader = Reader { frame, open, at: 0, headers: Vec::new() };
    reader.ethernet();
    reader.headers
}

struct Reader<'a> {
    frame: &'a [u8],
    open: &'a [Range<usize>],
    at: usize,
    headers: Vec<Header>,
}

impl Reader<'_> {
    fn rest(&self) -> &[u8] {
        self.frame.get(self.at..).unwrap_or_default()
    }

    /// Notes a header of `len` bytes; `spans` are where fields stand that may be open.
    fn note(
        &mut self,
        layer: &'static str,
        len: usize,
        spans: &[(&str, Range<usize>)],
        fields: Vec<(&'static str, Value)>,
    ) {
        let is_open = |at: usize| self.open.iter().any(|range| range.contains(&at));
        let undecided: Vec<&str> =
            spans.iter().filter(|(_, span)| is_open(self.at + span.start)).map(|(name, _)| *name).collect();
        let fields = fields.into_iter().map(|(name, value)| {
            let value = if undecided.contains(&name) { Value::Null } else { value };
            (name.to_owned(), value)
        });
        let fields: Vec<(String, Value)> = fields.collect();
        let says = fields.iter().map(|(name, value)| match value {
            Value::Null => format!("{name} ?"),
            Value::String(value) => format!("{name} {value}"),
            value => format!("{name} {value}"),
        });
        let says = says.collect::<Vec<_>>().join(", ");
        let hex = self
            .rest()
            .iter()
            .take(len)
            .enumerate()
            .map(|(offset, byte)| if is_open(self.at + offset) { "..".to_owned() } else { format!("{byte:02x}") });
        let hex = hex.collect();
        self.headers.push(Header { layer, hex, says, fields: fields.into_iter().collect() });
        self.at += len;
    }

    fn ethernet(&mut self) {
        let Ok((header, _)) = Ethernet2Header::from_slice(self.rest()) else { return };
        let fields = vec![
            ("source", json!(super::steps::mac(header.source))),
            ("destination", json!(super::steps::mac(header.destination))),
            ("ethertype", json!(format!("{:#06x}", header.ether_type.0))),
        ];
        self.note("ethernet", Ethernet2Header::LEN, &[], fields);
        self.behind_link(header.ether_type);
    }

    fn behind_link(&mut self, ether_type: EtherType) {
        match ether_type {
            EtherType::IPV4 => self.ipv4(),
            EtherType::IPV6 => self.ipv6(),
            EtherType::VLAN_TAGGED_FRAME | EtherType::PROVIDER_BRIDGING | EtherType::VLAN_DOUBLE_TAGGED_FRAME => {
                let Ok((header, _)) = SingleVlanHeader::from_slice(self.rest()) else { return };
                let fields = vec![
                    ("id", json!(header.vlan_id.value())),
                    ("priority", json!(header.pcp.value())),
                    ("drop_eligible", json!(header.drop_eligible_indicator)),
                    ("ethertype", json!(format!("{:#06x}", header.ether_type.0))),
                ];
                self.note("vlan", SingleVlanHeader::LEN, &[], fields);
                self.behind_link(header.ether_type);
            }
            _ => {}
        }
    }

    fn ipv4(&mut self) {
        let Ok((header, _)) = Ipv4Header::from_slice(self.rest()) else { return };
        let fields = vec![
            ("source", json!(Ipv4Addr::from(header.source))),
            ("destination", json!(Ipv4Addr::from(header.destination))),
            ("protocol", json!(header.protocol.0)),
            ("ttl", json!(header.time_to_live)),
            ("tos", json!(header.dscp.value() << 2 | header.ecn.value())),
            ("length", json!(header.total_len)),
            ("identification", json!(header.identification)),
            ("dont_fragment", json!(header.dont_fragment)),
            ("checksum", json!(format!("{:#06x}", header.header_checksum))),
        ];
        let spans = [("checksum", 10..12), ("source", 12..16)];
        self.note("ipv4", header.header_len(), &spans, fields);
        self.behind_ip(header.protocol);
    }

    fn ipv6(&mut self) {
        let Ok((header, _)) = Ipv6Header::from_slice(self.rest()) else { return };
        let fields = vec![
            ("source", json!(Ipv6Addr::from(header.source))),
            ("destination", json!(Ipv6Addr::from(header.destination))),
            ("next_header", json!(header.next_header.0)),
            ("hop_limit", json!(header.hop_limit)),
            ("traffic_class", json!(header.traffic_class)),
            ("flow_label", json!(format!("{:#07x}", header.flow_label.value()))),
            ("payload_length", json!(header.payload_length)),
        ];
        self.note("ipv6", Ipv6Header::LEN, &[("source", 8..24)], fields);
        self.behind_ip(header.next_header);
    }

    fn behind_ip(&mut self, protocol: IpNumber) {
        match protocol {
            IpNumber::IPV4 => self.ipv4(),
            IpNumber::IPV6 => self.ipv6(),
            IpNumber::TCP => self.tcp(),
            IpNumber::UDP => {
                let Ok((header, _)) = UdpHeader::from_slice(self.rest()) else { return };
                let fields = vec![
                    ("source_port", json!(header.source_port)),
                    ("destination_port", json!(header.destination_port)),
                    ("length", json!(header.length)),
                    ("checksum", json!(format!("{:#06x}", header.checksum))),
                ];
                self.note("udp", UdpHeader::LEN, &[("source_port", 0..2), ("checksum", 6..8)], fields);
                if header.destination_port == gue::PORT {
                    self.gue();
                }
            }
            _ => {}
        }
    }

    /// What the program writes in front of a packet in UDP; of anything else on that port, nothing.
    fn gue(&mut self) {
        let Some([0, protocol @ (4 | 41), 0, 0]) = self.rest().first_chunk::<{ gue::GUE_LEN }>().copied() else {
            return;
        };
        self.note("gue", gue::GUE_LEN, &[], vec![("variant", json!(0)), ("protocol", json!(protocol))]);
        self.behind_ip(IpNumber(protocol));
    }

    fn tcp(&mut self) {
        let Ok((header, _)) = TcpHeader::from_slice(self.rest()) else { return };
        let flags = [
            (header.fin, "FIN"),
            (header.syn, "SYN"),
            (header.rst, "RST"),
            (header.psh, "PSH"),
            (header.ack, "ACK"),
            (header.urg, "URG"),
        ];
        let flags: Vec<&str> = flags.into_iter().filter(|(set, _)| *set).map(|(_, name)| name).collect();
        let fields = vec![
            ("source_port", json!(header.source_port)),
            ("destination_port", json!(header.destination_port)),
            ("flags", json!(flags.join(" "))),
            ("sequence", json!(header.sequence_number)),
            ("acknowledgment", json!(header.acknowledgment_number)),
            ("window", json!(header.window_size)),
            ("checksum", json!(format!("{:#06x}", header.checksum))),
        ];
        let len = header.header_len();
        self.note("tcp", len, &[("source_port", 0..2), ("checksum", 16..18)], fields);
    }
}

/// The smallest packet from one end to another: TCP with some flags set, or UDP with a payload; hops 64, everything else 0.
pub(super) fn smallest(from: (IpAddr, u16), to: (IpAddr, u16), what: Smallest<'_>) -> Vec<u8> {
    use etherparse::PacketBuilder;
    const HOPS: u8 = 64;
    let ethernet = PacketBuilder::ethernet2([0; 6], [0; 6]);
    let ip = match (from.0, to.0) {
        (IpAddr::V4(source), IpAddr::V4(destination)) => ethernet.ipv4(source.octets(), destination.octets(), HOPS),
        (source, destination) => {
            let octets = |address: IpAddr| match address {
                IpAddr::V4(v4) => v4.to_ipv6_mapped().octets(),
                IpAddr::V6(v6) => v6.octets(),
            };
            ethernet.ipv6(octets(source), octets(destination), HOPS)
        }
    };
    let mut bytes = Vec::new();
    let written = match what {
        Smallest::Tcp(flags) => {
            let mut header = TcpHeader::new(from.1, to.1, 0, 0);
            header.syn = flags.contains(&TcpFlag::Syn);
            header.ack = flags.contains(&TcpFlag::Ack);
            ip.tcp_header(header).write(&mut bytes, &[])
        }
        Smallest::Udp(payload) => ip.udp(from.1, to.1).write(&mut bytes, payload),
    };
    // Nothing is too long here, and a vector takes everything.
    debug_assert!(written.is_ok(), "{written:?}");
    bytes
}

/// What a smallest packet is of.
#[derive(Clone, Copy, Debug)]
pub(super) enum Smallest<'a> {
    Tcp(&'a [TcpFlag]),
    Udp(&'a [u8]),
}

/// A control bit of TCP.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum TcpFlag {
    Syn,
    Ack,
}
