//! Whether a packet is of interest to a capture: by what is at fixed places of its headers, also where they are broken
//! further on.

use crate::abi::capture::{CaptureEnd, CaptureFilter};
use crate::headers::{AddressWords, IPV4_LEN, IPV6_LEN, Malformed, ethertype_at, link, number};
use crate::packet::{Packet, u16_at, u32_at, u64_at};

/// What a capture sees of an IP packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sight {
    /// Source address.
    pub source: AddressWords,
    /// Destination address.
    pub destination: AddressWords,
    /// Both ports as they stand in memory, the source port in the lower half; 0 where there are none to be seen.
    pub ports: u32,
    /// IP protocol number; of IPv6 that of the first header.
    pub protocol: u8,
}

impl Sight {
    /// What is seen of a frame; `None` of one that is not IP.
    #[inline(always)]
    #[must_use]
    pub fn of<P: Packet + ?Sized>(packet: &P) -> Option<Self> {
        let (ethertype, ip) = ethertype_at(packet, 12).and_then(|it| link(packet, it)).map_err(|Malformed| ()).ok()?;
        let (source, destination, protocol, transport) = match ethertype {
            number::ETHERTYPE_IPV4 => {
                let header = packet.array::<IPV4_LEN>(ip)?;
                let is_first = u16::from_be(u16_at::<6, IPV4_LEN>(header)) & 0x1fff == 0;
                let transport = is_first.then_some(ip + (header[0] & 0x0f) as usize * 4);
                let (source, destination) = (u32_at::<12, IPV4_LEN>(header), u32_at::<16, IPV4_LEN>(header));
                (AddressWords::mapped(source), AddressWords::mapped(destination), header[9], transport)
            }
            number::ETHERTYPE_IPV6 => {
                let header = packet.array::<IPV6_LEN>(ip)?;
                let source = [u64_at::<8, IPV6_LEN>(header), u64_at::<16, IPV6_LEN>(header)];
                let destination = [u64_at::<24, IPV6_LEN>(header), u64_at::<32, IPV6_LEN>(header)];
                (AddressWords(source), AddressWords(destination), header[6], Some(ip + IPV6_LEN))
            }
            _ => return None,
        };
        let has_ports = protocol == number::TCP || protocol == number::UDP;
        let ports = match transport {
            Some(at) if has_ports => packet.array::<4>(at).map_or(0, |ports| u32::from_le_bytes(*ports)),
            _ => 0,
        };
        Some(Self { source, destination, ports, protocol })
    }

    /// Whether the packet is one between the ends that a filter names, in either direction; what it left for is not
    /// known yet.
    #[inline(always)]
    #[must_use]
    pub const fn is_wanted(&self, filter: &CaptureFilter) -> bool {
        if filter.protocol != 0 && filter.protocol != self.protocol as u32 {
            return false;
        }
        let (source_port, destination_port) = (self.ports & 0xffff, self.ports >> 16);
        let there = is_end(self.source, source_port, &filter.client)
            && is_end(self.destination, destination_port, &filter.service);
        there
            || is_end(self.source, source_port, &filter.service)
                && is_end(self.destination, destination_port, &filter.client)
    }
}

#[inline(always)]
const fn is_end(address: AddressWords, port: u32, end: &CaptureEnd) -> bool {
    address.0[0] & end.mask[0] == end.address[0]
        && address.0[1] & end.mask[1] == end.address[1]
        && (end.port == 0 || end.port == port)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::abi::mapped_v4;

    /// Ethernet, IPv4, and the first bytes of TCP.
    fn frame(source: [u8; 4], destination: [u8; 4], ports: [u16; 2], piece: u16) -> [u8; 54] {
        let mut frame = [0; 54];
        frame[12] = 8;
        frame[14] = 0x45;
        frame[20..22].copy_from_slice(&piece.to_be_bytes());
        frame[23] = number::TCP;
        frame[26..30].copy_from_slice(&source);
        frame[30..34].copy_from_slice(&destination);
        frame[34..36].copy_from_slice(&ports[0].to_be_bytes());
        frame[36..38].copy_from_slice(&ports[1].to_be_bytes());
        frame
    }

    fn end(address: [u8; 4], len: u8, port: u16) -> CaptureEnd {
        CaptureEnd::new(mapped_v4(address), 96 + len, port)
    }

    fn wants(filter: &CaptureFilter, frame: &[u8]) -> bool {
        Sight::of(frame).is_some_and(|sight| sight.is_wanted(filter))
    }

    const CLIENT: [u8; 4] = [198, 51, 100, 7];
    const VIP: [u8; 4] = [203, 0, 113, 10];

    #[test]
    fn packets_are_wanted_by_client_and_service_in_both_directions() {
        let there = frame(CLIENT, VIP, [40_000, 80], 0);
        let back = frame(VIP, CLIENT, [80, 40_000], 0);
        let filter =
            CaptureFilter { client: end([198, 51, 100, 0], 24, 0), service: end(VIP, 32, 80), ..Default::default() };
        assert!(wants(&filter, &there) && wants(&filter, &back));
        for other in [
            CaptureFilter { client: end([198, 51, 101, 0], 24, 0), ..filter },
            CaptureFilter { service: end(VIP, 32, 40_000), ..filter },
            CaptureFilter { service: end([203, 0, 113, 11], 32, 80), ..filter },
            CaptureFilter { protocol: u32::from(number::UDP), ..filter },
        ] {
            assert!(!wants(&other, &there) && !wants(&other, &back), "{other:?}");
        }
        let tcp = CaptureFilter { protocol: u32::from(number::TCP), ..Default::default() };
        assert!(wants(&tcp, &there) && wants(&CaptureFilter::default(), &there));
    }

    #[test]
    fn what_has_no_ports_is_wanted_by_its_addresses_only() {
        let piece = frame(CLIENT, VIP, [40_000, 80], 1);
        let by_port = CaptureFilter { service: end(VIP, 32, 80), ..Default::default() };
        let by_address = CaptureFilter { service: end(VIP, 32, 0), ..Default::default() };
        assert!(!wants(&by_port, &piece) && wants(&by_address, &piece));
        let mut other = frame(CLIENT, VIP, [40_000, 80], 0);
        other[12..14].copy_from_slice(&0x0806_u16.to_be_bytes());
        assert!(!wants(&CaptureFilter::default(), &other), "ARP is nothing that is judged");
        assert!(!wants(&CaptureFilter::default(), &piece[..30]), "nor what is cut short");
    }

    #[test]
    fn reasons_have_a_bit_each() {
        use crate::abi::Reason;
        for reason in Reason::ALL {
            let filter = CaptureFilter { reasons: CaptureFilter::bits([*reason]), ..Default::default() };
            for other in Reason::ALL {
                assert_eq!(filter.wants(*other as u32), other == reason);
            }
        }
    }
}
