//! Heal: the reconciler with a scoreboard. Per load balancer what is wanted, programmed and answering; what is amiss,
//! with its reason and its remedy; what comes first. It steers and reports: the reconciler is the only writer.

pub mod board;
pub mod fault;
mod keeper;

pub use board::{Board, Facts, Finding, Instance, Progress, State, Summary};
pub use fault::Fault;
pub use keeper::{Heal, Sources};
