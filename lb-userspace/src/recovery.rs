//! Recovery: what was changed by mistake is changed back, out of the log, as one more operation of it.
//!
//! Everything here that decides is a pure function of the log; nothing is ever taken out of it.

pub mod advice;
mod back;
pub mod drill;
pub mod heal;
pub mod incident;
pub mod restore;
pub mod undo;

pub use back::{Conflict, Reversal, Touches};
