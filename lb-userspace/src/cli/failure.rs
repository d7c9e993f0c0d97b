//! Why a command did not do what was asked: exit codes, and the one place where answers of the API become them.

use std::fmt::Write as _;

use reqwest::StatusCode;
use serde::Deserialize;
use serde_json::Value;

use crate::api::wire::{Problem, ProblemKind};

/// How the process ends. Scripts rely on the numbers: they never change.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum Exit {
    /// Done.
    Ok = 0,
    /// Something failed that none of the others names.
    Error = 1,
    /// The command line, the file or a value in it is wrong.
    Usage = 2,
    /// A dry run found differences.
    Differs = 3,
    /// No token, a wrong one, or one without the right.
    NotAuthorized = 4,
    /// The guard refused the change.
    Refused = 5,
    /// The agent takes no changes at the moment.
    ReadOnly = 6,
    /// `--wait` ran out of time; the change itself is recorded.
    TimedOut = 7,
    /// What was named does not exist.
    NotFound = 8,
}

impl Exit {
    /// The table of `snowshed --help`.
    pub const HELP: &str = "Exit codes:
  0  done                        5  refused by the guard
  1  error                       6  the agent is read-only
  2  wrong command line or file  7  --wait ran out of time
  3  a dry run found differences 8  not found
  4  not authorized";
}

/// Why a command failed, and what to type next.
#[derive(Debug, thiserror::Error)]
#[error("{what}")]
pub struct Failure {
    /// The exit code.
    pub exit: Exit,
    /// What went wrong, and where.
    pub what: String,
    /// What to do about it; empty when `what` says it.
    pub help: String,
    /// The object has changed since it was read: reading it again may help.
    pub is_stale: bool,
}

impl Failure {
    /// A failure with an exit code.
    pub fn new(exit: Exit, what: impl Into<String>) -> Self {
        Self { exit, what: what.into(), help: String::new(), is_stale: false }
    }

    /// A wrong command line or file.
    pub fn usage(what: impl Into<String>) -> Self {
        Self::new(Exit::Usage, what)
    }

    /// An error without an exit code of its own.
    pub fn error(what: impl Into<String>) -> Self {
        Self::new(Exit::Error, what)
    }

    /// Whether the agent refused what was asked.
    #[must_use]
    pub const fn is_denial(&self) -> bool {
        matches!(self.exit, Exit::Refused | Exit::ReadOnly | Exit::NotAuthorized | Exit::NotFound)
    }

    /// The same failure with what to do about it.
    #[must_use]
    pub fn help(mut self, help: impl Into<String>) -> Self {
        self.help = help.into();
        self
    }

    /// The failure that an answer of the API stands for. `body` is Scaleway's typed error where it came from the agent.
    #[must_use]
    pub fn from_answer(status: StatusCode, body: &Value) -> Self {
        let kind = body.get("type").and_then(|kind| ProblemKind::deserialize(kind).ok());
        let exit = match exit_of(status, kind) {
            // What was typed is well-formed; what there is stands against it.
            Exit::Usage if text(body, "refused_by").is_some() => Exit::Refused,
            exit => exit,
        };
        let mut what = text(body, "message").unwrap_or_else(|| format!("the agent answered {status}"));
        for detail in body.get("details").and_then(Value::as_array).into_iter().flatten() {
            describe_detail(&mut what, detail);
        }
        let own = text(body, "help_message").filter(|help| !what.contains(help.as_str()));
        // The agent's help for a missing token speaks of headers; who types commands needs flags.
        let help = own.filter(|_| kind != Some(ProblemKind::DeniedAuthentication));
        let help = help.unwrap_or_else(|| general_help(exit, body));
        let is_stale = body.get("precondition").and_then(Value::as_str) == Some(Problem::STALE);
        Self { exit, what, help, is_stale }
    }
}

impl From<anyhow::Error> for Failure {
    fn from(error: anyhow::Error) -> Self {
        match error.downcast::<Self>() {
            Ok(failure) => failure,
            Err(error) => Self::error(format!("{error:#}")),
        }
    }
}

/// The only mapping from answers to exit codes. The error's `type` decides; the status only where there is none.
fn exit_of(status: StatusCode, kind: Option<ProblemKind>) -> Exit {
    match (kind, status.as_u16()) {
        (Some(ProblemKind::InvalidArguments | ProblemKind::TooLarge), _) => Exit::Usage,
        (Some(ProblemKind::DeniedAuthentication | ProblemKind::PermissionsDenied), _) => Exit::NotAuthorized,
        (
            Some(
                ProblemKind::QuotasExceeded
                | ProblemKind::TransientState
                | ProblemKind::PreconditionFailed
                | ProblemKind::OutOfStock,
            ),
            _,
        ) => Exit::Refused,
        (Some(ProblemKind::NotFound), _) => Exit::NotFound,
        (Some(ProblemKind::Locked), _) | (None, 423) => Exit::ReadOnly,
        (
            Some(
                ProblemKind::MethodNotAllowed
                | ProblemKind::Unavailable
                | ProblemKind::ExpectationFailed
                | ProblemKind::TooManyRequests,
            ),
            _,
        ) => Exit::Error,
        // An unknown `type` of a newer agent reads as `internal`: the status decides.
        (Some(ProblemKind::Internal) | None, 400) => Exit::Usage,
        (Some(ProblemKind::Internal) | None, 401 | 403) => Exit::NotAuthorized,
        (Some(ProblemKind::Internal) | None, 404) => Exit::NotFound,
        (Some(ProblemKind::Internal) | None, 409 | 412) => Exit::Refused,
        (Some(ProblemKind::Internal) | None, _) => Exit::Error,
    }
}

fn describe_detail(what: &mut String, detail: &Value) {
    let help = text(detail, "help_message").unwrap_or_default();
    let line = match (text(detail, "argument_name"), text(detail, "resource"), text(detail, "action")) {
        (Some(argument), ..) => format!("{argument}: {help}"),
        (None, Some(resource), Some(action)) => format!("{action} {resource}: {help}"),
        (None, Some(resource), None) => match (detail.get("quota"), detail.get("current")) {
            (Some(quota), Some(current)) => format!("{resource}: {current} of {quota} used"),
            _ => format!("{resource}: {help}"),
        },
        _ => help,
    };
    let line = line.trim_end_matches([':', ' ']);
    if !line.is_empty() && !what.contains(line) {
        let _infallible = write!(what, "\n  {line}");
    }
}

fn general_help(exit: Exit, body: &Value) -> String {
    match exit {
        Exit::NotAuthorized => TOKEN_HELP.to_owned(),
        Exit::ReadOnly => {
            "reads keep working; `snowshed status` shows why, and the change can be repeated later".into()
        }
        Exit::NotFound => match text(body, "resource") {
            Some(noun) if ["lb", "ip", "frontend", "backend", "server"].contains(&noun.as_str()) => {
                format!("`snowshed {noun} list` shows what there is")
            }
            _ => "the `list` command of the same noun shows what there is".into(),
        },
        _ => String::new(),
    }
}

/// What to type when a token is missing or wrong.
pub const TOKEN_HELP: &str = "give a token (`snowshed init` shows the first one, `snowshed token create` makes more) with --token-file, \
    --token, SNOWSHED_TOKEN, or in ~/.config/snowshed/token";

fn text(value: &Value, key: &str) -> Option<String> {
    value.get(key).and_then(Value::as_str).filter(|text| !text.is_empty()).map(str::to_owned)
}
