//! The headers of a frame: Ethernet, up to two VLAN tags, IPv4 or IPv6, TCP or UDP.
//!
//! Results are three-valued: the headers of a flow, "not ours" with its reason, or malformed.

use crate::abi::service::kind;
use crate::abi::{Address, FlowKey, Reason, ServiceKey};
use crate::packet::{Packet, u16_at, u32_at, u64_at};

pub mod walk;

/// Length of an Ethernet header without tags, in bytes.
pub const ETHERNET_LEN: usize = 14;
/// Length of a VLAN tag, in bytes.
pub const VLAN_LEN: usize = 4;
/// Length of an IPv4 header without options, in bytes.
pub const IPV4_LEN: usize = 20;
/// Length of the fixed IPv6 header, in bytes.
pub const IPV6_LEN: usize = 40;
/// Length of a TCP header without options, in bytes.
pub const TCP_LEN: usize = 20;
/// Length of a UDP header, in bytes.
pub const UDP_LEN: usize = 8;

/// EtherTypes and protocol numbers.
pub mod number {
    /// EtherType of IPv4.
    pub const ETHERTYPE_IPV4: u16 = 0x0800;
    /// EtherType of IPv6.
    pub const ETHERTYPE_IPV6: u16 = 0x86dd;
    /// EtherType of a customer VLAN tag (IEEE 802.1Q).
    pub const ETHERTYPE_VLAN: u16 = 0x8100;
    /// EtherType of a service VLAN tag (IEEE 802.1ad).
    pub const ETHERTYPE_QINQ: u16 = 0x88a8;
    /// EtherType some switches give the outer of two tags.
    pub const ETHERTYPE_QINQ_OLD: u16 = 0x9100;
    /// ICMP.
    pub const ICMP: u8 = 1;
    /// IPv4 in IP (RFC 2003).
    pub const IPIP: u8 = 4;
    /// TCP.
    pub const TCP: u8 = 6;
    /// UDP.
    pub const UDP: u8 = 17;
    /// IPv6 in IP (RFC 4213, RFC 2473).
    pub const IPV6: u8 = 41;
    /// ICMPv6.
    pub const ICMPV6: u8 = 58;
}

/// TCP control bits (RFC 9293 §3.1).
pub mod tcp_flag {
    /// No more data.
    pub const FIN: u8 = 1 << 0;
    /// Opens a connection.
    pub const SYN: u8 = 1 << 1;
    /// Resets a connection.
    pub const RST: u8 = 1 << 2;
    /// The acknowledgement number counts.
    pub const ACK: u8 = 1 << 4;
}

/// IP version.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Family {
    /// IPv4.
    V4,
    /// IPv6.
    V6,
}

impl Family {
    /// Its EtherType, in host order.
    #[inline(always)]
    #[must_use]
    pub const fn ethertype(self) -> u16 {
        match self {
            Self::V4 => number::ETHERTYPE_IPV4,
            Self::V6 => number::ETHERTYPE_IPV6,
        }
    }
}

/// An [`Address`] as two words, each as it stands in memory: lowest address in the lowest bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AddressWords(pub [u64; 2]);

impl AddressWords {
    /// The words of a mapped IPv4 address, given as it stands in memory.
    #[inline(always)]
    #[must_use]
    pub const fn mapped(v4: u32) -> Self {
        Self([0, (v4 as u64) << 32 | 0xffff_0000])
    }

    /// Whether these are of an IPv4 address.
    #[inline(always)]
    #[must_use]
    pub const fn is_mapped(self) -> bool {
        self.0[0] == 0 && self.0[1] as u32 == 0xffff_0000
    }

    /// The words of an address.
    #[inline(always)]
    #[must_use]
    pub const fn of(address: &Address) -> Self {
        Self([u64_at::<0, 16>(address), u64_at::<8, 16>(address)])
    }

    /// The IPv4 address of a mapped one, as it stands in memory.
    #[inline(always)]
    #[must_use]
    pub const fn v4(self) -> u32 {
        (self.0[1] >> 32) as u32
    }

    /// The address.
    #[inline(always)]
    #[must_use]
    pub const fn address(self) -> Address {
        let [a, b, c, d, e, f, g, h] = self.0[0].to_le_bytes();
        let [i, j, k, l, m, n, o, p] = self.0[1].to_le_bytes();
        [a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p]
    }
}

/// What the data plane needs to know of a TCP or UDP packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Headers {
    /// IP version.
    pub family: Family,
    /// Bytes before the IP header: Ethernet and VLAN tags (14, 18 or 22).
    pub link_len: usize,
    /// Bytes of the IP packet, its header included; Ethernet padding is not.
    pub ip_len: u32,
    /// Where the transport header begins, in bytes from the start of the frame.
    pub transport: usize,
    /// Source address.
    pub source: AddressWords,
    /// Destination address.
    pub destination: AddressWords,
    /// Both ports as they stand in memory: the source port is the lower half.
    pub ports: u32,
    /// 6 or 17.
    pub protocol: u8,
    /// TCP control bits; 0 for UDP.
    pub tcp_flags: u8,
}

impl Headers {
    /// [`Headers::service_key`] as words, in its layout. Written by three stores; bytes that are stored one by one and
    /// then read as a word stall the processor.
    #[inline(always)]
    #[must_use]
    pub const fn service_key_words(&self) -> ServiceKeyWords {
        let [head, tail] = self.destination.0;
        ServiceKeyWords([head, tail, (self.ports >> 16 | (self.protocol as u32) << 16) as u64])
    }

    /// The key of `SERVICES_V4` of an IPv4 packet's service, as a word in its layout.
    #[inline(always)]
    #[must_use]
    pub const fn service_key_v4_word(&self) -> ServiceKeyV4Word {
        let rest = self.ports >> 16 | (self.protocol as u32) << 16;
        ServiceKeyV4Word(self.destination.v4() as u64 | (rest as u64) << 32)
    }

    /// Key of the packet's service.
    #[inline(always)]
    #[must_use]
    pub const fn service_key(&self) -> ServiceKey {
        let [_, _, high, low] = self.ports.to_le_bytes();
        ServiceKey {
            address: self.destination.address(),
            port: [high, low],
            protocol: self.protocol,
            kind: kind::PORT,
            pad: [0; 4],
        }
    }

    /// Key of the packet's flow.
    #[inline(always)]
    #[must_use]
    pub const fn flow_key(&self) -> FlowKey {
        let [a, b, c, d] = self.ports.to_le_bytes();
        FlowKey {
            source: self.source.address(),
            destination: self.destination.address(),
            source_port: [a, b],
            destination_port: [c, d],
            protocol: self.protocol,
            via: [0; 3],
        }
    }

    /// The last word of the key of the flow by way of some server, one more than its index; 0 of the tuple's own flow.
    #[inline(always)]
    #[must_use]
    pub const fn last_word(&self, via: u32) -> u32 {
        self.protocol as u32 | via << 8
    }

    /// [`Headers::flow_key`] as words, in its layout.
    #[inline(always)]
    #[must_use]
    pub const fn flow_key_words(&self) -> FlowKeyWords {
        let (source, destination) = (self.source.0, self.destination.0);
        let last = self.ports as u64 | (self.protocol as u64) << 32;
        FlowKeyWords([source[0], source[1], destination[0], destination[1], last])
    }

    /// Whether the packet opens a flow: TCP SYN without ACK.
    #[inline(always)]
    #[must_use]
    pub const fn opens_flow(&self) -> bool {
        self.tcp_flags & (tcp_flag::SYN | tcp_flag::ACK) == tcp_flag::SYN
    }
}

/// Fields of the IP header that an outer header takes over. Read when they are needed: the kernel's programs have few
/// registers, and each value kept through a map lookup is stored and loaded again. All are 32 bits wide, so that each
/// has a register.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Inherited {
    /// IPv4 type of service or IPv6 traffic class.
    pub traffic_class: u32,
    /// IPv4 TTL or IPv6 hop limit.
    pub ttl: u32,
    /// IPv4 identification as it stands in memory; 0 for IPv6.
    pub identification: u32,
    /// IPv4 don't-fragment bit, 0 or 1; always 1 for IPv6, which routers never fragment.
    pub dont_fragment: u32,
}

impl Inherited {
    /// The fields of a parsed packet. `None` when the frame is not the one that was parsed.
    #[inline(always)]
    #[must_use]
    pub fn read<P: Packet + ?Sized>(packet: &P, headers: &Headers) -> Option<Self> {
        match headers.family {
            Family::V4 => {
                let ip = packet.array::<IPV4_LEN>(headers.link_len)?;
                Some(Self {
                    traffic_class: u32::from(ip[1]),
                    ttl: u32::from(ip[8]),
                    identification: u32::from(u16_at::<4, IPV4_LEN>(ip)),
                    dont_fragment: u32::from(ip[6]) >> 6 & 1,
                })
            }
            Family::V6 => {
                let ip = packet.array::<IPV6_LEN>(headers.link_len)?;
                Some(Self {
                    traffic_class: u32::from(u16::from_be_bytes([ip[0], ip[1]])) >> 4 & 0xff,
                    ttl: u32::from(ip[7]),
                    identification: 0,
                    dont_fragment: 1,
                })
            }
        }
    }
}

/// The bytes of a [`FlowKey`], aligned to 8.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct FlowKeyWords([u64; 5]);

/// The bytes of a [`ServiceKeyV4`](crate::abi::ServiceKeyV4), aligned to 8.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct ServiceKeyV4Word(pub u64);

/// The bytes of a [`ServiceKey`], aligned to 8.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct ServiceKeyWords(pub [u64; 3]);

/// A well-formed frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Parsed {
    /// TCP or UDP with ports.
    Flow(Headers),
    /// Something else, for the kernel to deal with.
    NotOurs(Reason),
}

/// The frame is cut short or contradicts itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Malformed;

/// Walks the headers of a frame.
///
/// # Errors
/// [`Malformed`] when a header is cut short, a length is impossible or a version field disagrees with the EtherType.
#[inline(always)]
pub fn parse<P: Packet + ?Sized>(packet: &P) -> Result<Parsed, Malformed> {
    match link(packet, ethertype_at(packet, 12)?)? {
        (number::ETHERTYPE_IPV4, link_len) => ipv4(packet, link_len),
        (number::ETHERTYPE_IPV6, link_len) => ipv6(packet, link_len),
        (ethertype, _) if is_vlan(ethertype) => Ok(Parsed::NotOurs(Reason::VlanDepth)),
        _ => Ok(Parsed::NotOurs(Reason::NotIp)),
    }
}

/// The headers of the most common kind of frame, and nothing but those: untagged, IPv4 without options, no fragment,
/// TCP or UDP. `None` says only that [`parse`] is to be asked. What [`parse`] says of these frames is the same; here
/// all offsets are constants, and no reason has to be kept at hand for what is wrong.
#[inline(always)]
#[must_use]
pub fn parse_common<P: Packet + ?Sized>(packet: &P) -> Option<Headers> {
    const UDP_END: usize = ETHERNET_LEN + IPV4_LEN + UDP_LEN;
    const TCP_END: usize = ETHERNET_LEN + IPV4_LEN + TCP_LEN;
    /// EtherType, version and header length, without the type of service.
    const IPV4_PLAIN: u32 = u32::from_le_bytes([0x08, 0x00, 0x45, 0]);
    const NOT_TOS: u32 = u32::from_le_bytes([0xff, 0xff, 0xff, 0]);
    const MORE_FRAGMENTS_AND_OFFSET: u32 = u32::from_le_bytes([0x3f, 0xff, 0, 0]);
    let bytes = packet.array::<UDP_END>(0)?;
    // Fragment field, TTL and protocol in one load.
    let third = u32_at::<20, UDP_END>(bytes);
    let ip_len = u32::from(u16::from_be(u16_at::<16, UDP_END>(bytes)));
    if u32_at::<12, UDP_END>(bytes) & NOT_TOS != IPV4_PLAIN
        || third & MORE_FRAGMENTS_AND_OFFSET != 0
        || ETHERNET_LEN + ip_len as usize > packet.len()
    {
        return None;
    }
    let protocol = (third >> 24) as u8;
    let tcp_flags = if protocol == number::TCP {
        let tcp = packet.array::<TCP_END>(0)?;
        if (ip_len as usize) < IPV4_LEN + TCP_LEN {
            return None;
        }
        tcp[47]
    } else if protocol == number::UDP && ip_len as usize >= IPV4_LEN + UDP_LEN {
        0
    } else {
        return None;
    };
    Some(Headers {
        family: Family::V4,
        link_len: ETHERNET_LEN,
        ip_len,
        transport: ETHERNET_LEN + IPV4_LEN,
        source: AddressWords::mapped(u32_at::<26, UDP_END>(bytes)),
        destination: AddressWords::mapped(u32_at::<30, UDP_END>(bytes)),
        ports: u32_at::<34, UDP_END>(bytes),
        protocol,
        tcp_flags,
    })
}

/// EtherType behind at most two VLAN tags, and the length of everything before it.
///
/// # Errors
/// [`Malformed`] when the frame ends within the tags.
#[inline(always)]
pub fn link<P: Packet + ?Sized>(packet: &P, ethertype: u16) -> Result<(u16, usize), Malformed> {
    if !is_vlan(ethertype) {
        return Ok((ethertype, ETHERNET_LEN));
    }
    let inner = ethertype_at(packet, 16)?;
    if !is_vlan(inner) {
        return Ok((inner, ETHERNET_LEN + VLAN_LEN));
    }
    Ok((ethertype_at(packet, 20)?, ETHERNET_LEN + 2 * VLAN_LEN))
}

/// EtherType at an offset, in host order.
///
/// # Errors
/// [`Malformed`] when it is not inside the frame.
#[inline(always)]
pub fn ethertype_at<P: Packet + ?Sized>(packet: &P, offset: usize) -> Result<u16, Malformed> {
    packet.array::<2>(offset).map(|bytes| u16::from_be_bytes(*bytes)).ok_or(Malformed)
}

/// Whether an EtherType announces a VLAN tag.
#[inline(always)]
#[must_use]
pub const fn is_vlan(ethertype: u16) -> bool {
    matches!(ethertype, number::ETHERTYPE_VLAN | number::ETHERTYPE_QINQ | number::ETHERTYPE_QINQ_OLD)
}

/// RFC 791, behind `link_len` bytes. Options are stepped over; pieces of packets are left to [`walk`].
#[inline(always)]
fn ipv4<P: Packet + ?Sized>(packet: &P, link_len: usize) -> Result<Parsed, Malformed> {
    const MORE_FRAGMENTS_AND_OFFSET: u16 = 0x3fff;

    let ip = packet.array::<IPV4_LEN>(link_len).ok_or(Malformed)?;
    let header_len = usize::from(ip[0] & 0x0f) * 4;
    let ip_len = u32::from(u16::from_be(u16_at::<2, IPV4_LEN>(ip)));
    if ip[0] >> 4 != 4 || header_len < IPV4_LEN || (ip_len as usize) < header_len {
        return Err(Malformed);
    }
    if link_len + ip_len as usize > packet.len() {
        return Err(Malformed);
    }
    let protocol = ip[9];
    if protocol != number::TCP && protocol != number::UDP {
        return Ok(Parsed::NotOurs(Reason::OtherProtocol));
    }
    let fragment = u16::from_be(u16_at::<6, IPV4_LEN>(ip));
    if fragment & MORE_FRAGMENTS_AND_OFFSET != 0 {
        return Ok(Parsed::NotOurs(Reason::Fragment));
    }
    let transport = link_len + header_len;
    let (ports, tcp_flags) = transport_header(packet, transport, protocol, ip_len as usize - header_len)?;
    Ok(Parsed::Flow(Headers {
        family: Family::V4,
        link_len,
        ip_len,
        transport,
        source: AddressWords::mapped(u32_at::<12, IPV4_LEN>(ip)),
        destination: AddressWords::mapped(u32_at::<16, IPV4_LEN>(ip)),
        ports,
        protocol,
        tcp_flags,
    }))
}

/// RFC 8200, behind `link_len` bytes. Extension headers are left to [`walk`].
#[inline(always)]
fn ipv6<P: Packet + ?Sized>(packet: &P, link_len: usize) -> Result<Parsed, Malformed> {
    let ip = packet.array::<IPV6_LEN>(link_len).ok_or(Malformed)?;
    let payload_len = u32::from(u16::from_be(u16_at::<4, IPV6_LEN>(ip)));
    let ip_len = payload_len + IPV6_LEN as u32;
    if ip[0] >> 4 != 6 || link_len + ip_len as usize > packet.len() {
        return Err(Malformed);
    }
    let protocol = ip[6];
    if is_extension(protocol) {
        return Ok(Parsed::NotOurs(Reason::ExtensionHeader));
    }
    if protocol != number::TCP && protocol != number::UDP {
        return Ok(Parsed::NotOurs(Reason::OtherProtocol));
    }
    let transport = link_len + IPV6_LEN;
    let (ports, tcp_flags) = transport_header(packet, transport, protocol, payload_len as usize)?;
    Ok(Parsed::Flow(Headers {
        family: Family::V6,
        link_len,
        ip_len,
        transport,
        source: AddressWords([u64_at::<8, IPV6_LEN>(ip), u64_at::<16, IPV6_LEN>(ip)]),
        destination: AddressWords([u64_at::<24, IPV6_LEN>(ip), u64_at::<32, IPV6_LEN>(ip)]),
        ports,
        protocol,
        tcp_flags,
    }))
}

/// IANA's list of IPv6 extension header types: hop-by-hop, routing, fragment, ESP, authentication, destination,
/// mobility, HIP, shim6.
#[inline(always)]
const fn is_extension(protocol: u8) -> bool {
    matches!(protocol, 0 | 43 | 44 | 50 | 51 | 60 | 135 | 139 | 140)
}

/// Ports and TCP control bits. `len` is what the IP header says is there.
#[inline(always)]
fn transport_header<P: Packet + ?Sized>(
    packet: &P,
    offset: usize,
    protocol: u8,
    len: usize,
) -> Result<(u32, u8), Malformed> {
    if protocol == number::TCP {
        let tcp = packet.array::<TCP_LEN>(offset).ok_or(Malformed)?;
        if len < TCP_LEN {
            return Err(Malformed);
        }
        Ok((u32_at::<0, TCP_LEN>(tcp), tcp[13]))
    } else {
        let udp = packet.array::<UDP_LEN>(offset).ok_or(Malformed)?;
        if len < UDP_LEN {
            return Err(Malformed);
        }
        Ok((u32_at::<0, UDP_LEN>(udp), 0))
    }
}
