//! `/snowshed/v1/explain`: which server a client's packets go to, and why, from the live maps.

use std::net::SocketAddr;

use axum::extract::State;
use axum::{Extension, Json};

use crate::api::listing::Pairs;
use crate::api::openapi;
use crate::api::parse::Arguments;
use crate::api::{ApiError, Context, ExplainError};
use crate::authority::Sight;
use crate::model::{Actor, Invalid, Protocol};
use crate::plan::ServiceAddress;

/// Says which server a client's packets go to, and why.
#[utoipa::path(
    get, path = "/snowshed/v1/explain",
    params(openapi::ExplainQuery),
    responses((status = 200, body = serde_json::Value))
)]
pub(in crate::api) async fn get(
    State(context): State<Context>,
    Extension(actor): Extension<Actor>,
    pairs: Pairs,
) -> Result<Json<serde_json::Value>, ApiError> {
    let pairs = pairs.known(&["client", "service", "protocol", "connection_id"])?;
    let mut arguments = Arguments::default();
    let client = pairs.one(&mut arguments, "client");
    let client = arguments.needed("client", client, "address and port, as in 198.51.100.7:40000", endpoint);
    let service = pairs.one(&mut arguments, "service");
    let service = arguments.needed("service", service, "address and port, as in 192.0.2.10:80", endpoint);
    let protocol = pairs.one(&mut arguments, "protocol");
    let protocol = arguments.or("protocol", protocol, Protocol::Tcp, str::parse);
    let id = pairs.one(&mut arguments, "connection_id");
    let id = arguments.or("connection_id", id, None, |text| text.parse().map(Some).map_err(Invalid::format));
    if protocol == Some(Protocol::Tcp) && matches!(id, Some(Some(_))) {
        let help = "a connection id is of QUIC, which goes over UDP: give `protocol=udp` as well";
        arguments.wrong("connection_id", &Invalid::constraint(help));
    }
    if let Some((client, service)) = client.zip(service)
        && client.is_ipv4() != service.is_ipv4()
    {
        arguments.wrong("client", &Invalid::constraint("client and service are of one address family"));
    }
    let (((client, service), protocol), connection_id) = arguments.build(client.zip(service).zip(protocol).zip(id))?;
    let address = service.ip();
    let snapshot = context.ledger.snapshot();
    let nothing = || {
        ApiError::nothing_there(
            format!("{service}/{} is no service of the token's project", protocol.as_str()),
            "`snowshed status` lists the services".to_owned(),
        )
    };
    if Sight::new(&snapshot, &actor).ip_with_address(address).is_none() {
        return Err(nothing());
    }
    let service = ServiceAddress { address, port: service.port(), protocol, is_range: false };
    context.explain.explain(client, service, connection_id).await.map(Json).map_err(|error| match error {
        ExplainError::NotFound(what) => {
            ApiError::nothing_there(what, "`snowshed status` lists the services".to_owned())
        }
        ExplainError::Failed(what) => {
            log::error!("explain failed: {what}");
            ApiError::internal("the maps cannot be read")
        }
    })
}

fn endpoint(text: &str) -> Result<SocketAddr, Invalid> {
    text.parse().ok().filter(|endpoint: &SocketAddr| endpoint.port() != 0).ok_or_else(|| {
        Invalid::format(format!(
            "`{text}` is no address and port: one such as 192.0.2.10:80 or [2001:db8::10]:80 is expected"
        ))
    })
}
