//! `--wait`: what a command waits for after it has changed something.

use uuid::Uuid;

use super::client::Client;
use super::failure::{Exit, Failure};
use super::output::text;

/// What is waited for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Awaited {
    /// The kernel's maps hold every change that was made
    Applied,
    /// The load balancer's status is ready
    Ready,
    /// The load balancer's status is locked: it is quarantined
    Locked,
    /// The load balancer is deleted, and forwards no more
    Deleted,
}

/// Nouns whose commands change a load balancer, beside those that are none.
const CHANGING: [&str; 7] = ["lb", "frontend", "backend", "acl", "server", "apply", "edit"];

impl Awaited {
    /// The word.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Applied => "applied",
            Self::Ready => "ready",
            Self::Locked => "locked",
            Self::Deleted => "deleted",
        }
    }

    /// Refuses what a command cannot wait for. `command` is its words, such as `lb delete`.
    ///
    /// # Errors
    /// A usage error that says which commands can.
    pub(super) fn check(self, command: &str) -> Result<(), Failure> {
        let noun = command.split(' ').next().unwrap_or_default();
        let shows = command.ends_with(" list") || (command.ends_with(" get") && noun != "lb");
        let can = match self {
            Self::Applied => true,
            Self::Ready | Self::Locked => CHANGING.contains(&noun) && !shows,
            Self::Deleted => noun == "lb" && !shows,
        };
        if can {
            return Ok(());
        }
        let of = if self == Self::Deleted {
            "`snowshed lb`".to_owned()
        } else {
            format!("{} and `lb get`", CHANGING.join(", "))
        };
        Err(Failure::usage(format!(
            "`snowshed {command}` changes no load balancer that could become {}",
            self.as_str()
        ))
        .help(format!("--wait={} is for changes by {of}; --wait waits for the maps", self.as_str())))
    }
}

/// Where a load balancer stands on its way.
pub(super) enum Way {
    /// It is there.
    There,
    /// Not yet: what is so now.
    Stands(String),
}

/// Looks where a load balancer stands.
///
/// # Errors
/// When the agent cannot be asked; when it is gone and that was not waited for.
pub(super) async fn look(client: &Client, lb: Uuid, awaited: Awaited) -> Result<Way, Failure> {
    let found = match client.get(&format!("lbs/{lb}")).await {
        Err(failure) if failure.exit == Exit::NotFound && awaited == Awaited::Deleted => return Ok(Way::There),
        found => found?,
    };
    let status = text(&found, "/status");
    let is_there = match awaited {
        Awaited::Applied => true,
        Awaited::Ready | Awaited::Locked => status == awaited.as_str(),
        Awaited::Deleted => {
            let is_deleted = found.get("deleted_at").is_some_and(|at| !at.is_null());
            is_deleted && !client.status().await?.services.iter().any(|service| service.lb.as_uuid() == lb)
        }
    };
    if is_there {
        return Ok(Way::There);
    }
    Ok(Way::Stands(format!("load balancer {} is {status}", text(&found, "/name"))))
}
