//! Frames, built field by field and independently of `lb-common`.

/// Where a frame comes from and goes to.
#[derive(Clone, Debug)]
pub struct Frame {
    pub tags: Vec<(u16, u16)>,
    pub ip: Ip,
    pub transport: Transport,
    pub payload: Vec<u8>,
    /// Bytes after the IP packet.
    pub padding: usize,
}

#[derive(Clone, Debug)]
pub enum Ip {
    V4(V4),
    V6(V6),
}

#[derive(Clone, Debug)]
pub struct V4 {
    pub source: [u8; 4],
    pub destination: [u8; 4],
    pub tos: u8,
    pub ttl: u8,
    pub id: u16,
    /// Flags and fragment offset.
    pub fragment: u16,
    pub options: Vec<u8>,
}

#[derive(Clone, Debug)]
pub struct V6 {
    pub source: [u8; 16],
    pub destination: [u8; 16],
    pub class: u8,
    pub hops: u8,
}

#[derive(Clone, Debug)]
pub enum Transport {
    Tcp { source: u16, destination: u16, seq: u32, ack: u32, flags: u8 },
    Udp { source: u16, destination: u16 },
    Other { protocol: u8 },
}

pub const CLIENT_MAC: [u8; 6] = [2, 0, 0, 0, 0, 1];
pub const EDGE_MAC: [u8; 6] = [2, 0, 0, 0, 0, 2];

impl Frame {
    /// A TCP packet from a client to the IPv4 service of the tests.
    pub fn tcp(source_port: u16, flags: u8) -> Self {
        Self {
            tags: Vec::new(),
            ip: Ip::V4(V4 {
                source: [198, 51, 100, 7],
                destination: [192, 0, 2, 1],
                tos: 0,
                ttl: 61,
                id: 0x1234,
                fragment: 0x4000,
                options: Vec::new(),
            }),
            transport: Transport::Tcp { source: source_port, destination: 80, seq: 1000, ack: 2000, flags },
            payload: b"hello".to_vec(),
            padding: 0,
        }
    }

    /// A UDP packet from a client to the IPv4 service of the tests.
    pub fn udp(source_port: u16) -> Self {
        Self { transport: Transport::Udp { source: source_port, destination: 53 }, ..Self::tcp(0, 0) }
    }

    /// The same over IPv6.
    pub fn v6(self) -> Self {
        let ip = Ip::V6(V6 {
            source: [0x20, 1, 0xd, 0xb8, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 7],
            destination: [0x20, 1, 0xd, 0xb8, 0, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1],
            class: 0,
            hops: 61,
        });
        Self { ip, ..self }
    }

    /// The frame with this IPv4 header changed.
    pub fn with_v4(mut self, change: impl FnOnce(&mut V4)) -> Self {
        match &mut self.ip {
            Ip::V4(v4) => change(v4),
            Ip::V6(_) => panic!("this frame is IPv6"),
        }
        self
    }

    /// The frame with this IPv6 header changed.
    pub fn with_v6(mut self, change: impl FnOnce(&mut V6)) -> Self {
        match &mut self.ip {
            Ip::V6(v6) => change(v6),
            Ip::V4(_) => panic!("this frame is IPv4"),
        }
        self
    }

    /// All bytes.
    pub fn bytes(&self) -> Vec<u8> {
        let mut bytes = [EDGE_MAC, CLIENT_MAC].concat();
        for (tpid, tci) in &self.tags {
            bytes.extend(tpid.to_be_bytes());
            bytes.extend(tci.to_be_bytes());
        }
        bytes.extend(if matches!(self.ip, Ip::V4(_)) { [0x08, 0x00] } else { [0x86, 0xdd] });
        bytes.extend(self.packet());
        bytes.extend(vec![0xaa; self.padding]);
        bytes
    }

    /// The IP packet.
    pub fn packet(&self) -> Vec<u8> {
        let segment = self.segment();
        let mut packet = match &self.ip {
            Ip::V4(v4) => v4.header(self.transport.protocol(), segment.len()),
            Ip::V6(v6) => v6.header(self.transport.protocol(), segment.len()),
        };
        packet.extend(segment);
        packet
    }

    fn segment(&self) -> Vec<u8> {
        let mut segment = Vec::new();
        let checksum_at = match self.transport {
            Transport::Tcp { source, destination, seq, ack, flags } => {
                segment.extend([source.to_be_bytes(), destination.to_be_bytes()].concat());
                segment.extend([seq.to_be_bytes(), ack.to_be_bytes()].concat());
                segment.extend([0x50, flags, 0x10, 0x00, 0, 0, 0, 0]);
                16
            }
            Transport::Udp { source, destination } => {
                segment.extend([source.to_be_bytes(), destination.to_be_bytes()].concat());
                segment.extend((8 + self.payload.len() as u16).to_be_bytes());
                segment.extend([0, 0]);
                6
            }
            Transport::Other { .. } => {
                segment.extend(&self.payload);
                return segment;
            }
        };
        segment.extend(&self.payload);
        let pseudo = match &self.ip {
            Ip::V4(v4) => [&v4.source[..], &v4.destination].concat(),
            Ip::V6(v6) => [&v6.source[..], &v6.destination].concat(),
        };
        let sum = transport_checksum(&pseudo, self.transport.protocol(), &segment);
        segment[checksum_at..checksum_at + 2].copy_from_slice(&sum.to_be_bytes());
        segment
    }
}

impl Transport {
    pub fn protocol(&self) -> u8 {
        match self {
            Self::Tcp { .. } => 6,
            Self::Udp { .. } => 17,
            Self::Other { protocol } => *protocol,
        }
    }
}

impl V4 {
    pub fn header(&self, protocol: u8, payload: usize) -> Vec<u8> {
        assert!(self.options.len().is_multiple_of(4) && self.options.len() <= 40);
        let len = 20 + self.options.len();
        let mut header = vec![0x40 | (len / 4) as u8, self.tos];
        header.extend(((len + payload) as u16).to_be_bytes());
        header.extend(self.id.to_be_bytes());
        header.extend(self.fragment.to_be_bytes());
        header.extend([self.ttl, protocol, 0, 0]);
        header.extend(self.source);
        header.extend(self.destination);
        header.extend(&self.options);
        let sum = checksum(&header);
        header[10..12].copy_from_slice(&sum.to_be_bytes());
        header
    }
}

impl V6 {
    pub fn header(&self, next: u8, payload: usize) -> Vec<u8> {
        let mut header = vec![0x60 | self.class >> 4, self.class << 4, 0, 0];
        header.extend((payload as u16).to_be_bytes());
        header.extend([next, self.hops]);
        header.extend(self.source);
        header.extend(self.destination);
        header
    }
}

/// RFC 1071, as slowly and plainly as possible.
pub fn checksum(bytes: &[u8]) -> u16 {
    let mut sum: u32 = 0;
    for pair in bytes.chunks(2) {
        sum += u32::from(pair[0]) << 8 | u32::from(*pair.get(1).unwrap_or(&0));
        if sum > 0xffff {
            sum -= 0xffff;
        }
    }
    !(sum as u16)
}

/// With the pseudo header: addresses, length, protocol. A 32-bit length serves both IP versions.
pub fn transport_checksum(addresses: &[u8], protocol: u8, segment: &[u8]) -> u16 {
    let mut bytes = addresses.to_vec();
    bytes.extend((segment.len() as u32).to_be_bytes());
    bytes.extend([0, 0, 0, protocol]);
    bytes.extend(segment);
    checksum(&bytes)
}
