//! `snowshed gate`: what would act on a load balancer's silence asks first.

use std::os::unix::process::CommandExt as _;
use std::process::Command;
use std::time::{Duration, Instant};

use clap::Args;
use reqwest::Method;
use serde::Deserialize;

use super::failure::{Exit, Failure};
use super::output::text;
use super::session::{Noun, Session};
use super::value::Reference;
use crate::recovery::advice::Advice;

/// Time between two questions while waiting.
const PAUSE: Duration = Duration::from_millis(500);

/// Arguments of `gate`.
#[derive(Args, Debug)]
pub struct Gate {
    /// The load balancer: its id, or its name
    #[arg(long, value_name = "LB")]
    lb: Reference,
    /// The command and its arguments, run when it is safe; without one the answer is the exit code
    #[arg(value_name = "COMMAND", last = true)]
    command: Vec<String>,
}

impl Gate {
    /// Asks, and becomes the command when it is safe.
    ///
    /// # Errors
    /// [`Exit::Refused`] with the reasons when it is not safe; when the agent cannot be asked: silence is no consent.
    pub async fn run(self, session: &mut Session<'_>) -> Result<(), Failure> {
        let lb = session.find(Noun::Lb, &self.lb, None).await?;
        let path = format!("/snowshed/v1/lbs/{}/advice", text(&lb, "/id"));
        let started = Instant::now();
        loop {
            let answer = session.client.call(Method::GET, &path, &[], None, None).await?;
            let advice = Advice::deserialize(answer).map_err(|error| {
                Failure::error(format!("the agent's advice is of a shape this version does not know: {error}"))
            })?;
            if advice.safe {
                return self.act();
            }
            let reasons: Vec<String> = advice.reasons.into_iter().map(|reason| reason.what).collect();
            let Some(limit) = session.client.patience() else {
                return Err(Failure::new(Exit::Refused, format!("do not act: {}", reasons.join("; ")))
                    .help("add --wait and --timeout to wait until it is safe"));
            };
            if started.elapsed() >= limit {
                return Err(Failure::new(Exit::TimedOut, format!("still not safe to act: {}", reasons.join("; "))));
            }
            tokio::time::sleep(PAUSE.min(limit.saturating_sub(started.elapsed()))).await;
        }
    }

    fn act(&self) -> Result<(), Failure> {
        let Some((program, arguments)) = self.command.split_first() else { return Ok(()) };
        let error = Command::new(program).args(arguments).exec();
        Err(Failure::error(format!("it is safe to act, but {program} cannot be started: {error}")))
    }
}
