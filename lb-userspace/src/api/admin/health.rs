//! `/healthz`: the agent answers.

pub(in crate::api) async fn get() -> &'static str {
    "ok\n"
}
