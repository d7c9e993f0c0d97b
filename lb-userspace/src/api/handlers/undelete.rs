//! What was deleted is brought back, to the byte: the load balancer, and the addresses that were released with it.

use axum::extract::State;

use super::lbs::show;
use super::{Id, find_lb, in_lb, key};
use crate::api::body::Bare;
use crate::api::change::{Draft, Order, commit_as, run, update};
use crate::api::etag::{IfMatch, Versioned};
use crate::api::idempotency::Caller;
use crate::api::openapi;
use crate::api::wire;
use crate::api::{ApiError, Context};
use crate::ledger::{Change, Snapshot};
use crate::model::{Document, Ip, Kind, Lb, LbId, Times};

/// Brings a deleted load balancer back.
///
/// Bringing back what is not deleted changes nothing.
#[utoipa::path(
    post, path = "/lbs/{id}/undelete",
    params(openapi::IfMatch),
    responses((status = 200, body = wire::Lb))
)]
pub(in crate::api) async fn undelete(
    State(context): State<Context>,
    actor: Caller,
    path: Id,
    if_match: IfMatch,
    _: Bare,
) -> Result<Versioned<wire::Lb>, ApiError> {
    let lb_id: LbId = path.parse("lb_id")?;
    run(&context, move |context| {
        let order = Order { is_recovery: true, ..Order::new("lb.undelete") };
        commit_as(
            context,
            &actor,
            &order,
            |current, _| {
                let lb = find_lb(current, &actor, lb_id)?;
                if_match.check(key(Kind::Lb, lb_id.as_uuid()), &*lb)?;
                Ok(Draft { authority: in_lb(current, &actor, lb_id)?, changes: changes(current, &lb) })
            },
            |after| show(context, after, &actor, lb_id),
        )
    })
    .await
}

/// What brings a load balancer back; nothing when it lives.
pub(in crate::api) fn changes(current: &Snapshot, lb: &Lb) -> Vec<Change> {
    if lb.times.is_live() {
        return Vec::new();
    }
    let live = |times: Times| Times { deleted_at: None, ..times };
    let revived = Lb { at_once: false, taken_down: None, times: live(lb.times), ..lb.clone() };
    let with_it = current.ips_of(lb.id).filter(|ip| !ip.times.is_live() && ip.times.deleted_at == lb.times.deleted_at);
    let ips = with_it.map(|ip| {
        let after = Ip { times: live(ip.times), ..Ip::clone(ip) };
        update(Document::Ip(Ip::clone(ip)), Document::Ip(after))
    });
    std::iter::once(update(Document::Lb(lb.clone()), Document::Lb(revived))).chain(ips).collect()
}
