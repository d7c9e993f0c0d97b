//! `/snowshed/v1/operations`: the audit. Who changed what and when, from the ledger; a token sees its project's.

use axum::extract::State;
use axum::{Extension, Json};

use crate::api::change::run;
use crate::api::handlers::Id;
use crate::api::listing::Pairs;
use crate::api::openapi;
use crate::api::parse::{Arguments, id};
use crate::api::{ApiError, Context, wire};
use crate::authority::Sight;
use crate::ledger::difference::{action, differences};
use crate::ledger::{Authorized, Change, Operation};
use crate::model::{Actor, Generation, Invalid, LbId, OperationId};

/// Operations on a page when the query does not say, and at most.
const PAGE: (usize, usize) = (20, 100);
/// Operations read from the ledger at once.
const CHUNK: u64 = 256;
/// Operations looked through for one page; a page may be short, and says where the next one begins.
const MAX_LOOKED_AT: u64 = 4096;
/// Operations looked through for one id.
const MAX_SEARCHED: u64 = 100_000;

/// Lists operations of the ledger, the newest first.
#[utoipa::path(
    get, path = "/snowshed/v1/operations",
    params(openapi::OperationFilter),
    responses((status = 200, body = wire::OperationList))
)]
pub(in crate::api) async fn list(
    State(context): State<Context>,
    Extension(actor): Extension<Actor>,
    pairs: Pairs,
) -> Result<Json<wire::OperationList>, ApiError> {
    let pairs = pairs.known(&["before", "page_size", "lb_id", "verb", "actor"])?;
    let mut arguments = Arguments::default();
    let before = pairs.one(&mut arguments, "before");
    let before = arguments.or("before", before, None, |text| generation(text).map(Some));
    let size = pairs.one(&mut arguments, "page_size");
    let size = arguments.or("page_size", size, PAGE.0, page_size);
    let lb = pairs.one(&mut arguments, "lb_id");
    let lb = arguments.or("lb_id", lb, None, |text| id::<LbId>(text).map(Some));
    let verb = pairs.one(&mut arguments, "verb").map(str::to_owned);
    let by = pairs.one(&mut arguments, "actor").map(str::to_owned);
    let ((before, size), lb) = arguments.build(before.zip(size).zip(lb))?;
    run(&context, move |context| {
        let snapshot = context.ledger.snapshot();
        let sight = Sight::new(&snapshot, &actor);
        let wanted = |operation: &Operation| {
            lb.is_none_or(|lb| operation.changes.iter().any(|change| touches(change, lb)))
                && verb.as_ref().is_none_or(|verb| operation.verb == *verb)
                && by.as_ref().is_none_or(|by| operation.actor.name == *by)
        };
        let newest = context.ledger.snapshot().generation().0.saturating_add(1);
        let mut backwards = Backwards { ledger: &context.ledger, before: before.unwrap_or(newest).min(newest) };
        let stop = backwards.before.saturating_sub(MAX_LOOKED_AT);
        let mut operations = Vec::new();
        let mut next_before = None;
        'pages: while backwards.before > 1 {
            if backwards.before <= stop {
                next_before = Some(backwards.before);
                break;
            }
            for operation in backwards.chunk()? {
                if operations.len() == size {
                    next_before = Some(operation.generation.0 + 1);
                    break 'pages;
                }
                if let Some(part) = sight.part_of(operation).filter(&wanted) {
                    operations.push(show(&part, false)?);
                }
            }
        }
        Ok(Json(wire::OperationList { operations, next_before }))
    })
    .await
}

/// Shows an operation, by its id or its number.
#[utoipa::path(get, path = "/snowshed/v1/operations/{id}", responses((status = 200, body = wire::Operation)))]
pub(in crate::api) async fn get(
    State(context): State<Context>,
    Extension(actor): Extension<Actor>,
    path: Id,
    pairs: Pairs,
) -> Result<Json<wire::Operation>, ApiError> {
    pairs.known(&[])?;
    let named = Named::parse(path.text()).map_err(|invalid| ApiError::argument("operation_id", &invalid))?;
    run(&context, move |context| {
        let snapshot = context.ledger.snapshot();
        let sight = Sight::new(&snapshot, &actor);
        let found = find(&context.ledger, named)?.and_then(|operation| sight.part_of(operation));
        let missing = || {
            ApiError::nothing_there(
                "there is no such operation of the token's project".to_owned(),
                "`snowshed ops list` shows what there is".to_owned(),
            )
        };
        show(&found.ok_or_else(missing)?, true).map(Json)
    })
    .await
}

/// How an operation is named.
#[derive(Clone, Copy)]
enum Named {
    Number(Generation),
    Id(OperationId),
}

impl Named {
    fn parse(text: &str) -> Result<Self, Invalid> {
        match text.parse::<u64>() {
            Ok(number) => Ok(Self::Number(Generation(number))),
            Err(_) => id(text).map(Self::Id).map_err(|_| {
                Invalid::format(format!("`{text}` is neither a number of an operation nor its id (a UUID)"))
            }),
        }
    }
}

fn find(ledger: &Authorized, named: Named) -> Result<Option<Operation>, ApiError> {
    match named {
        Named::Number(Generation(0)) => Ok(None),
        Named::Number(Generation(number)) => {
            let found = ledger.operations(Generation(number - 1), 1)?;
            Ok(found.into_iter().find(|operation| operation.generation.0 == number))
        }
        Named::Id(id) => {
            let newest = ledger.snapshot().generation().0 + 1;
            let mut backwards = Backwards { ledger, before: newest };
            while backwards.before > newest.saturating_sub(MAX_SEARCHED).max(1) {
                if let Some(found) = backwards.chunk()?.find(|operation| operation.id == id) {
                    return Ok(Some(found));
                }
            }
            Ok(None)
        }
    }
}

/// Reads a log from its end.
struct Backwards<'a> {
    ledger: &'a Authorized,
    before: u64,
}

impl Backwards<'_> {
    /// The next operations, newest first.
    fn chunk(&mut self) -> Result<impl Iterator<Item = Operation> + use<>, ApiError> {
        let after = self.before.saturating_sub(1).saturating_sub(CHUNK);
        let count = usize::try_from(self.before.saturating_sub(1) - after).unwrap_or(usize::MAX);
        let operations = self.ledger.operations(Generation(after), count)?;
        self.before = after + 1;
        Ok(operations.into_iter().rev())
    }
}

fn touches(change: &Change, lb: LbId) -> bool {
    change.before.iter().chain([&change.after]).any(|document| document.lb() == Some(lb))
}

fn show(operation: &Operation, with_fields: bool) -> Result<wire::Operation, ApiError> {
    let document = |change: &Change| {
        let fields = if with_fields { differences(change) } else { Ok(Vec::new()) };
        let fields = fields.map_err(|error| {
            log::error!("operation {} cannot be shown: {error}", operation.generation);
            ApiError::internal("the operation cannot be shown")
        })?;
        let key = change.key();
        Ok(wire::ChangedDocument {
            kind: key.kind.as_str().to_owned(),
            id: key.id,
            name: change.after.name(),
            action: action(change),
            fields,
        })
    };
    Ok(wire::Operation {
        generation: operation.generation.0,
        id: operation.id,
        at: operation.at,
        actor: operation.actor.name.clone(),
        token_id: operation.actor.token,
        role: operation.actor.role,
        verb: operation.verb.clone(),
        reason: operation.reason.clone(),
        scope: operation.scope.clone(),
        hash: operation.hash.to_string(),
        changes: operation.changes.iter().map(document).collect::<Result<_, ApiError>>()?,
    })
}

fn generation(text: &str) -> Result<u64, Invalid> {
    // The ledger numbers them as SQLite does, by signed words; the document says so by `int64`.
    let number = text.parse::<u64>().ok().filter(|number| (1..=i64::MAX.unsigned_abs()).contains(number));
    number.ok_or_else(|| {
        Invalid::constraint(format!("`{text}` is no number of an operation: a whole number from 1 upwards is expected"))
    })
}

fn page_size(text: &str) -> Result<usize, Invalid> {
    let number = text.parse().ok().filter(|number| (1..=PAGE.1).contains(number));
    number.ok_or_else(|| Invalid::constraint(format!("`{text}`: a whole number from 1 to {} is expected", PAGE.1)))
}
