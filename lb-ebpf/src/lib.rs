//! What the programs share: the frame behind one bounds-checked accessor.
#![no_std]
#![feature(asm_experimental_arch)]

pub mod atomic;
pub mod frame;

pub use frame::Frame;

/// Aligns a map key: the verifier wants aligned accesses on the stack, and keys have an alignment of one byte.
#[repr(C, align(8))]
pub struct OnStack<T>(pub T);

/// The verifier proves that no path panics; the compiler wants a handler all the same.
#[cfg(not(test))]
#[panic_handler]
fn panic(_info: &core::panic::PanicInfo<'_>) -> ! {
    loop {}
}
