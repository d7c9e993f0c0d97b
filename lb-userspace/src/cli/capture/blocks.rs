//! The blocks of a pcapng stream as they come: only whole ones are written, so that a file is whole whenever it ends.

/// Kind of a block that holds a packet.
const PACKET: u32 = 6;
/// Kind of a block that holds statistics.
const STATISTICS: u32 = 5;
/// Larger blocks are no blocks.
const LARGEST: usize = 1 << 20;

/// What came so far.
#[derive(Debug, Default)]
pub(super) struct Blocks {
    rest: Vec<u8>,
    /// Packets as they came in.
    pub(super) packets: u64,
    /// Packets that there was no rate or no room for, once that was told.
    pub(super) lost: Option<u64>,
}

impl Blocks {
    /// The blocks that are whole with these bytes.
    pub(super) fn take(&mut self, bytes: &[u8]) -> Result<Vec<u8>, String> {
        self.rest.extend(bytes);
        let mut end = 0;
        while let Some(head) = self.rest.get(end..).and_then(<[u8]>::first_chunk::<8>) {
            let [k0, k1, k2, k3, l0, l1, l2, l3] = *head;
            let (kind, len) = (u32::from_le_bytes([k0, k1, k2, k3]), u32::from_le_bytes([l0, l1, l2, l3]) as usize);
            if !(12..=LARGEST).contains(&len) || !len.is_multiple_of(4) {
                return Err("the agent sent something that is no pcapng".to_owned());
            }
            let Some(block) = self.rest.get(end..end + len) else { break };
            match kind {
                PACKET if came_in(block) => self.packets += 1,
                STATISTICS => self.lost = option(block, 20, 7).and_then(number),
                _ => {}
            }
            end += len;
        }
        let rest = self.rest.split_off(end);
        Ok(std::mem::replace(&mut self.rest, rest))
    }
}

/// By its flags: inbound is 1.
fn came_in(block: &[u8]) -> bool {
    let kept = block.get(20..).and_then(<[u8]>::first_chunk::<4>).map_or(0, |kept| u32::from_le_bytes(*kept) as usize);
    option(block, 28 + kept.next_multiple_of(4), 2).and_then(<[u8]>::first_chunk::<4>) == Some(&[1, 0, 0, 0])
}

/// The value of an option, looked for from an offset on.
fn option(block: &[u8], mut at: usize, wanted: u16) -> Option<&[u8]> {
    loop {
        let [c0, c1, l0, l1] = *block.get(at..)?.first_chunk::<4>()?;
        let (code, len) = (u16::from_le_bytes([c0, c1]), usize::from(u16::from_le_bytes([l0, l1])));
        if code == wanted {
            return block.get(at + 4..at + 4 + len);
        }
        if code == 0 {
            return None;
        }
        at += 4 + len.next_multiple_of(4);
    }
}

fn number(value: &[u8]) -> Option<u64> {
    value.first_chunk::<8>().map(|bytes| u64::from_le_bytes(*bytes))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

    use super::*;

    fn block(kind: u32, body: &[u8]) -> Vec<u8> {
        let len = u32::try_from(body.len() + 12).unwrap().to_le_bytes();
        [&kind.to_le_bytes()[..], &len, body, &len].concat()
    }

    /// A packet of three bytes with a comment and flags.
    fn packet(flags: u8) -> Vec<u8> {
        let head = [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 3, 0, 0, 0, 3, 0, 0, 0, 9, 9, 9, 0];
        let options = [1, 0, 2, 0, b'i', b'n', 0, 0, 2, 0, 4, 0, flags, 0, 0, 0, 0, 0, 0, 0];
        block(PACKET, &[&head[..], &options].concat())
    }

    #[test]
    fn whole_blocks_only_are_given_out_whatever_the_pieces_they_come_in() {
        let statistics =
            block(STATISTICS, &[0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 7, 0, 8, 0, 5, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
        let file = [packet(1), packet(2), packet(1), statistics].concat();
        for piece in [1, 7, 60, file.len()] {
            let mut blocks = Blocks::default();
            let mut written = Vec::new();
            for bytes in file.chunks(piece) {
                let whole = blocks.take(bytes).unwrap();
                assert!(whole.is_empty() || matches!(whole[0], 5 | 6), "it begins with a block's kind");
                written.extend(whole);
            }
            assert_eq!((written.as_slice(), blocks.packets, blocks.lost), (file.as_slice(), 2, Some(5)));
        }
        assert!(Blocks::default().take(b"<html><body>nothing</body>").is_err());
    }
}
