//! Why a packet left: permanent numbers, shared by kernel, agent, metrics and documentation.
//!
//! A number is never reused and never changes its meaning; new ones are appended in their block.

macro_rules! reasons {
    ($($(#[$doc:meta])+ $name:ident = $number:literal, $label:literal, $remedy:literal;)+) => {
        /// Index into `VERDICTS`.
        #[repr(u32)]
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Reason {
            $($(#[$doc])+ $name = $number,)+
        }

        impl Reason {
            /// Every reason, in the order of the numbers.
            pub const ALL: &'static [Self] = &[$(Self::$name),+];

            /// Name in metrics and output: snake case, permanent like the number.
            #[must_use]
            pub const fn label(self) -> &'static str {
                match self { $(Self::$name => $label),+ }
            }

            /// What a person does about it; empty where there is nothing to do.
            #[must_use]
            pub const fn remedy(self) -> &'static str {
                match self { $(Self::$name => $remedy),+ }
            }
        }
    };
}

reasons! {
    /// Sent back through the interface it came from.
    Transmitted = 1, "transmitted", "";
    /// Sent through another interface.
    Redirected = 2, "redirected", "";
    /// Answered with TCP RST or ICMP port unreachable: no usable server, policy reject.
    Rejected = 3, "rejected", "the service has no usable server: see `snowshed status`";

    /// Answered: an echo request to an address of ours.
    EchoAnswered = 4, "echo_answered", "";
    /// Answered with TCP RST or ICMP unreachable: nobody listens on this port of an address of ours; policy reject.
    ClosedRejected = 5, "closed_rejected", "";
    /// Answered with ICMP "fragmentation needed" or ICMPv6 "packet too big".
    TooBigAnswered = 6, "too_big_answered", "";
    /// Answered with ICMP "time exceeded".
    TtlAnswered = 7, "ttl_answered", "";

    /// Passed to the kernel: not IPv4 or IPv6.
    NotIp = 16, "not_ip", "";
    /// Passed: an IP protocol other than TCP and UDP.
    OtherProtocol = 17, "other_protocol", "";
    /// Passed: no service has this address, port and protocol.
    NoService = 18, "no_service", "";
    /// Passed: a piece of a packet that is not for us.
    Fragment = 19, "fragment", "";
    /// Passed: headers are cut short or contradict themselves.
    Malformed = 20, "malformed", "";
    /// Passed: more VLAN tags than are walked (two).
    VlanDepth = 21, "vlan_depth", "";
    /// Passed: IPv6 extension headers.
    ExtensionHeader = 22, "extension_header", "";
    /// Passed: neighbour or multicast listener discovery for an address of ours; the kernel's.
    Link = 24, "link", "";

    /// Passed: to a source address of translated flows, but of no such flow.
    NatNoFlow = 23, "nat_no_flow", "";

    /// Dropped: no usable server, policy drop.
    EmptyPool = 32, "empty_pool", "the service has no usable server: see `snowshed status`";
    /// Dropped: the next hop towards the server is not known.
    NextHopUnresolved = 33, "next_hop_unresolved", "no route or no neighbour towards the server: see `snowshed status`";
    /// Dropped: a slot points at no backend; the reconciler repairs it.
    NoBackend = 34, "no_backend", "the maps were altered by hand; the agent repairs them";
    /// Dropped: with the outer header the packet exceeds the path MTU.
    TooBig = 35, "too_big", "raise the MTU towards the servers or lower the MSS of the clients";
    /// Dropped: the driver gives no room for the outer header.
    NoHeadroom = 36, "no_headroom", "the driver gives XDP too little headroom: attach in another mode";
    /// Dropped: TTL or hop limit is used up.
    TtlExceeded = 37, "ttl_exceeded", "";
    /// Dropped: a reject would have exceeded its rate limit.
    RejectLimited = 38, "reject_limited", "";
    /// Dropped: the redirect was refused (interface not in `EGRESS`).
    EgressMissing = 39, "egress_missing", "the maps were altered by hand; the agent repairs them";
    /// Dropped: of a connection that was never seen to open, or whose server is gone; policy drop.
    NatUnknownFlow = 40, "nat_unknown_flow", "";
    /// Dropped: no source port for a new translated flow.
    NatPortsExhausted = 41, "nat_ports_exhausted", "give `addresses.nat_v4` or `nat_v6` more addresses";
    /// Dropped: no source address of the client's IP version.
    NatNoSource = 42, "nat_no_source", "give `addresses.nat_v4` or `nat_v6` an address";

    /// Dropped: nobody listens on this port of an address of ours; policy drop, or nothing that may be answered.
    ClosedDropped = 43, "closed_dropped", "";
    /// Dropped: an ICMP error to an address of ours that quotes no packet of a flow we know.
    IcmpUnknown = 44, "icmp_unknown", "";
    /// Dropped: a piece of a packet whose first piece was not seen before it.
    FragmentUnknown = 45, "fragment_unknown", "";
    /// Dropped: to an address of ours, with headers that are cut short, too many, or contradict themselves.
    BadHeaders = 46, "bad_headers", "";
    /// Dropped: an echo request to an address of ours: it does not answer them, or not so many.
    EchoDropped = 47, "echo_dropped", "";

    /// Dropped: the service is quarantined.
    Quarantined = 48, "quarantined", "the load balancer, its project or its organization is quarantined: see `snowshed status`";

    /// Dropped: the service's access list denies the client.
    AclDenied = 49, "acl_denied", "";
    /// Dropped: the client opens more connections per second than the frontend's `connection_rate_limit`.
    SourceLimited = 50, "source_limited", "";
    /// Dropped: the service's clients together open more connections per second than it takes.
    ConnectionLimited = 51, "connection_limited", "raise the frontend's `service_connection_rate_limit`, or find out who floods it";
    /// Dropped: the service gets more packets per second than it takes.
    PacketLimited = 52, "packet_limited", "raise the frontend's `packet_rate_limit`, or find out who floods it";

    /// Beside a packet's own reason: a translated flow, half open or just ended, gave way to a new one.
    NatEvicted = 64, "nat_evicted", "give `addresses.nat_v4` or `nat_v6` more addresses";
    /// Beside a packet's own reason: it went to the server that its QUIC connection id names.
    QuicRouted = 65, "quic_routed", "";
    /// Beside a packet's own reason: its QUIC connection id names no server that serves, and it went by its hash.
    QuicStranger = 66, "quic_stranger", "let the servers put their id into connection ids: `snowshed server list -o wide` shows it";
}

/// Numbers of the decapsulator's counters (`DECAP_VERDICTS`).
pub mod decap {
    /// Unwrapped and passed up.
    pub const UNWRAPPED: u32 = 1;
    /// Not an encapsulated packet: passed up untouched.
    pub const NOT_ENCAPSULATED: u32 = 2;
    /// The inner destination is no VIP of this server: passed up untouched.
    pub const NOT_OUR_VIP: u32 = 3;
    /// The inner packet is cut short: dropped.
    pub const MALFORMED: u32 = 4;
}
