//! The frame under an XDP program, read and written through exactly one bounds-checked accessor.

use aya_ebpf::{
    EbpfContext as _,
    bindings::xdp_md,
    helpers::generated::{bpf_xdp_adjust_head, bpf_xdp_adjust_tail, bpf_xdp_get_buff_len},
    programs::XdpContext,
};
use lb_common::checksum::Sum;
use lb_common::packet::{MAX_SUM, Packet, PacketMut};

/// The bytes between `data` and `data_end` of an XDP context. Of a frame that is more than the driver's buffer, that is
/// the first buffer.
///
/// The two pointers are read once: the verifier then knows that all checks speak of the same frame.
pub struct Frame<'c> {
    context: &'c XdpContext,
    start: usize,
    end: usize,
}

impl<'c> Frame<'c> {
    /// The frame of a context.
    #[inline(always)]
    #[must_use]
    pub fn new(context: &'c XdpContext) -> Self {
        Self { context, start: context.data(), end: context.data_end() }
    }

    /// Interface the frame came in on.
    #[inline(always)]
    #[must_use]
    pub fn ingress(&self) -> u32 {
        self.context.ingress_ifindex() as u32
    }

    /// Bytes of the whole frame, over all its buffers. A call into the kernel: only where [`Packet::len`] is not enough.
    #[inline(always)]
    #[must_use]
    pub fn total_len(&self) -> usize {
        // SAFETY: the context is the one the kernel gave to the program.
        unsafe { bpf_xdp_get_buff_len(self.context.as_ptr().cast()) as usize }
    }

    /// Moves the start of the frame: earlier (room in front) for a negative distance. `None` when the driver has no
    /// room, or too little of the frame would stay.
    #[inline(always)]
    #[must_use]
    pub fn move_start(self, distance: i32) -> Option<Self> {
        // SAFETY: the context is the one the kernel gave to the program; every pointer into the frame ends here,
        // because `self` is consumed.
        let failed = unsafe { bpf_xdp_adjust_head(self.context.as_ptr().cast(), distance) };
        (failed == 0).then(|| Self::new(self.context))
    }

    /// Cuts the end of the frame so that `len` bytes stay. `None` when that is less than an Ethernet header or more
    /// than there is.
    #[inline(always)]
    #[must_use]
    pub fn cut_to(self, len: usize) -> Option<Self> {
        let distance = len as i32 - self.total_len() as i32;
        if distance > 0 {
            return None;
        }
        // SAFETY: as in `move_start`.
        let failed = unsafe { bpf_xdp_adjust_tail(self.context.as_ptr().cast(), distance) };
        (failed == 0).then(|| Self::new(self.context))
    }

    /// The one bounds check.
    #[inline(always)]
    fn checked<const N: usize>(&self, offset: usize) -> Option<*mut [u8; N]> {
        let at = self.start + offset;
        if at + N > self.end {
            return None;
        }
        // SAFETY: a frame is never at address 0. Known, this saves a test at every use.
        unsafe { core::hint::assert_unchecked(at != 0) };
        Some(at as *mut [u8; N])
    }
}

impl Packet for Frame<'_> {
    #[inline(always)]
    fn len(&self) -> usize {
        self.end - self.start
    }

    #[inline(always)]
    fn array<const N: usize>(&self, offset: usize) -> Option<&[u8; N]> {
        // SAFETY: `checked` saw all N bytes inside the frame, which lives as long as the context; arrays of bytes
        // have no alignment; the borrow of `self` keeps writers away.
        self.checked(offset).map(|at| unsafe { &*at })
    }

    #[inline(always)]
    fn sum(&self, offset: usize, len: usize) -> Option<Sum> {
        let bits = frame_sum(self.context.as_ptr().cast(), offset as u64, len as u64);
        (bits != NO_SUM).then(|| Sum::from_bits(bits))
    }
}

/// No sum: not all inside the frame.
const NO_SUM: u64 = u64::MAX;

/// [`Packet::sum`]. A global function: the verifier walks through its loop once, alone, and not once for every way that leads
/// there, followed by every way that leads on.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn frame_sum(context: *mut xdp_md, offset: u64, len: u64) -> u64 {
    /// Summed up is what stands behind a link, an IP and an ICMP header.
    const MAX_OFFSET: usize = 0x7f;
    let context = XdpContext::new(context);
    let frame = Frame::new(&context);
    match Sum::new().add_packet::<MAX_SUM, _>(&frame, offset as usize & MAX_OFFSET, len as usize) {
        Some(sum) => sum.to_bits(),
        None => NO_SUM,
    }
}

impl PacketMut for Frame<'_> {
    #[inline(always)]
    fn array_mut<const N: usize>(&mut self, offset: usize) -> Option<&mut [u8; N]> {
        // SAFETY: as above, and `self` is borrowed exclusively.
        self.checked(offset).map(|at| unsafe { &mut *at })
    }
}
