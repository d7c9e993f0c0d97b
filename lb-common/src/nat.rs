//! Network address translation: pure logic of a translated flow's packets, lifetime and port.
//!
//! A flow from client *c* to service *v* becomes one from our source *n* to server *s*, and its answers go the way
//! back: `c → v` becomes `n → s`, `s → n` becomes `v → c` (full NAT; the server needs no set-up).

pub mod flow;
pub mod index;
pub mod lifetime;
pub mod ports;
pub mod rewrite;
