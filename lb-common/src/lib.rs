//! What the kernel program and the agent agree on: the ABI and the pure logic of a packet's path.
//!
//! `no_std`, no allocation, no clock, no maps, no system calls: the same code runs in the kernel, in the agent
//! (`snowshed explain`) and in the tests.
#![no_std]

pub mod abi;
pub mod bucket;
pub mod capture;
pub mod checksum;
pub mod decapsulation;
pub mod direct;
pub mod encapsulation;
pub mod hash;
pub mod headers;
pub mod icmp;
pub mod link;
pub mod nat;
pub mod packet;
pub mod quic;
pub mod reply;
pub mod steer;
