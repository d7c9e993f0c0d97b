//! `/healthz`: the agent answers.

/// Says that the agent answers.
#[utoipa::path(
    get, path = "/healthz",
    responses((status = 200, body = String, content_type = "text/plain; charset=utf-8")),
    security(())
)]
pub(in crate::api) async fn get() -> &'static str {
    "ok\n"
}
