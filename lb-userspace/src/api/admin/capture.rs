//! `/snowshed/v1/capture`: packets of this edge with the verdicts on them, as they come.

use std::time::Duration;

use axum::Extension;
use axum::body::Body;
use axum::extract::State;
use axum::http::header;
use axum::response::{IntoResponse as _, Response};
use futures_util::StreamExt as _;
use lb_common::abi::Reason;

use super::holds::operators_only;
use crate::api::listing::Pairs;
use crate::api::openapi;
use crate::api::parse::Arguments;
use crate::api::wire::{Problem, ProblemKind};
use crate::api::{ApiError, CaptureError, CaptureOrder, Context};
use crate::model::{Actor, Invalid};
use crate::observe::capture::{Format, Wanted, parse};

const KEYS: [&str; 9] = ["client", "service", "protocol", "reason", "count", "seconds", "rate", "snap", "format"];

/// Captures packets with the verdicts on them.
///
/// For operators of the fleet: packets are everybody's. One capture at a time; it ends after `seconds`, after `count`
/// packets, or when the connection is closed. `pcapng` has each packet as it came in and what left in its place, the
/// decision in their comments; `lines` has a line of JSON for each packet, and a last one that says how many were lost.
#[utoipa::path(
    get, path = "/snowshed/v1/capture",
    params(openapi::CaptureQuery),
    responses((status = 200, content(
        (Vec<u8> = "application/x-pcapng"),
        (String = "application/x-ndjson"),
    )))
)]
pub(in crate::api) async fn get(
    State(context): State<Context>,
    Extension(actor): Extension<Actor>,
    pairs: Pairs,
) -> Result<Response, ApiError> {
    let order = order(pairs, &actor)?;
    operators_only(&actor)?;
    let format = order.format;
    let packets = context.captures.begin(order).await.map_err(refusal)?;
    let kind = match format {
        Format::Pcapng => "application/x-pcapng",
        Format::Lines => "application/x-ndjson",
    };
    let packets = packets.map(Ok::<_, std::convert::Infallible>);
    Ok(([(header::CONTENT_TYPE, kind)], Body::from_stream(packets)).into_response())
}

fn order(pairs: Pairs, actor: &Actor) -> Result<CaptureOrder, ApiError> {
    let pairs = pairs.known(&KEYS)?;
    let mut arguments = Arguments::default();
    let client = pairs.one(&mut arguments, "client");
    let client = arguments.or("client", client, None, |text| parse::net(text).map(Some));
    let service = pairs.one(&mut arguments, "service");
    let service = arguments.or("service", service, (None, None), parse::end);
    let protocol = pairs.one(&mut arguments, "protocol");
    let protocol = arguments.or("protocol", protocol, None, |text| parse::protocol(text).map(Some));
    let reasons: Result<Vec<Reason>, Invalid> = pairs.all("reason").map(parse::reason).collect();
    let reasons = arguments.take("reason", reasons);
    let mut whole = |name, default, range| {
        let value = pairs.one(&mut arguments, name);
        arguments.or(name, value, default, |text| parse::number(text, range))
    };
    let count = whole("count", 0, &parse::COUNT);
    let seconds = whole("seconds", 60, &parse::SECONDS);
    let rate = whole("rate", 1000, &parse::RATE);
    let snap = whole("snap", 256, &parse::SNAP);
    let format = pairs.one(&mut arguments, "format");
    let format = arguments.or("format", format, Format::Pcapng, parse::format);
    if let (Some(Some(client)), Some((Some(service), _))) = (client, service)
        && client.addr().is_ipv4() != service.addr().is_ipv4()
    {
        arguments.wrong("client", &Invalid::constraint("client and service are of one address family"));
    }
    let read = client.zip(service).zip(protocol).zip(reasons).zip(count.zip(seconds)).zip(rate.zip(snap)).zip(format);
    let ((((((client, (service, port)), protocol), reasons), (count, seconds)), (rate, snap)), format) =
        arguments.build(read)?;
    let small = |value: u64| u32::try_from(value).unwrap_or(u32::MAX);
    Ok(CaptureOrder {
        by: actor.name.clone(),
        wanted: Wanted { client, service, port, protocol, reasons, rate: small(rate), snap: small(snap) },
        format,
        count: Some(count).filter(|count| *count != 0),
        lasts: Duration::from_secs(seconds),
    })
}

fn refusal(error: CaptureError) -> ApiError {
    match error {
        CaptureError::Busy { .. } => ApiError::new(Problem {
            kind: ProblemKind::TransientState,
            message: error.to_string(),
            help_message: "there is one capture at a time: wait, or end that one".to_owned(),
            ..Problem::default()
        }),
        CaptureError::Stopping => ApiError::unavailable("the agent stops"),
        CaptureError::Failed(what) => {
            log::error!("capturing failed: {what}");
            ApiError::internal("the program that captures could not be put in place; forwarding goes on as before")
        }
    }
}
