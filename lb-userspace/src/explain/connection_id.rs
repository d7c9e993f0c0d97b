//! A QUIC connection id, as packets of an open connection carry it.

use std::str::FromStr;

/// 1 to 20 bytes (RFC 9000 §17.2).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConnectionId(Vec<u8>);

impl ConnectionId {
    /// Longest connection id, in bytes.
    const MAX_LEN: usize = 20;

    /// The smallest packet that carries it: a short header (RFC 9000 §17.3.1), a packet number and a tag of 16 bytes.
    #[must_use]
    pub(super) fn packet(&self) -> Vec<u8> {
        const SHORT_HEADER: u8 = 0x40;
        [&[SHORT_HEADER][..], &self.0, &[0; 4 + 16]].concat()
    }
}

impl FromStr for ConnectionId {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let digits: Option<Vec<u8>> = text.chars().map(|digit| digit.to_digit(16).map(|value| value as u8)).collect();
        let bytes = digits.filter(|digits| digits.len().is_multiple_of(2)).map(|digits| {
            digits.chunks(2).map(|pair| pair.iter().fold(0, |byte, digit| byte << 4 | digit)).collect::<Vec<u8>>()
        });
        bytes.filter(|bytes| (1..=Self::MAX_LEN).contains(&bytes.len())).map(Self).ok_or_else(|| {
            format!("`{text}` is no QUIC connection id: 1 to 20 bytes as hexadecimal digits are expected, such as 00a1b2c3d4")
        })
    }
}

/// Hexadecimal digits.
impl std::fmt::Display for ConnectionId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}
