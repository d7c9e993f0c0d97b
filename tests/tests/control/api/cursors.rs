//! Lists by cursor: every entry that stays is shown once, whatever is made and deleted between two pages.

use std::collections::BTreeSet;
use std::sync::Arc;

use axum::http::Method;
use lb_userspace::guard::Limits;
use lb_userspace::ledger::MemoryLedger;
use serde_json::{Value, json};

use super::{Api, text};

const MANY: usize = 30;

fn api() -> Api {
    Api::with(Arc::new(MemoryLedger::new()), Limits { lbs_per_project: 1000, ips_per_project: 1000, ..super::LIMITS })
}

/// Makes a load balancer at a second; its id.
async fn create(api: &Api, name: &str, second: i64) -> String {
    api.seconds.store(second, std::sync::atomic::Ordering::SeqCst);
    let lb = api.ok(Method::POST, "/lbs", &json!({"name": name, "assign_flexible_ip": false})).await;
    text(&lb, "/id").to_owned()
}

fn names(page: &Value) -> Vec<String> {
    page["lbs"].as_array().unwrap().iter().map(|lb| text(lb, "/name").to_owned()).collect()
}

#[tokio::test]
async fn pages_by_cursor_show_what_stays_once_in_every_order_whatever_comes_and_goes() {
    for order in ["created_at_asc", "created_at_desc", "name_asc", "name_desc"] {
        let api = api();
        let mut ids = Vec::new();
        for number in 0..MANY {
            // Two of each second, and names that are not in the order of time.
            ids.push(create(&api, &format!("n{:02}", (number * 7) % MANY), 1000 + number as i64 / 2).await);
        }
        let whole = names(&api.get(&format!("/lbs?order_by={order}&page_size=100")).await);
        let mut seen = Vec::new();
        let mut gone = BTreeSet::new();
        let mut path = format!("/lbs?order_by={order}&page_size=4");
        for round in 0.. {
            let page = api.get(&path).await;
            seen.extend(names(&page));
            // The entry that the cursor stands on is deleted, one that comes later too, and one is made on either side.
            let last = text(&page["lbs"].as_array().unwrap()[names(&page).len() - 1], "/id").to_owned();
            api.delete(&format!("/lbs/{last}")).await;
            let later = whole.iter().rev().find(|name| !seen.contains(name) && !gone.contains(*name)).cloned();
            if let Some(name) = later.filter(|_| round % 2 == 0) {
                let found = api.get(&format!("/lbs?name={name}")).await;
                api.delete(&format!("/lbs/{}", text(&found, "/lbs/0/id"))).await;
                gone.insert(name);
            }
            create(&api, &format!("a-early-{round}"), 1).await;
            create(&api, &format!("z-late-{round}"), 1_000_000).await;
            match page.get("next_cursor").and_then(Value::as_str) {
                // It goes on in its own order.
                Some(cursor) => path = format!("/lbs?page_size=4&cursor={cursor}"),
                None => break,
            }
        }
        let of_before: Vec<String> = seen.iter().filter(|name| name.starts_with('n')).cloned().collect();
        let expected: Vec<String> = whole.into_iter().filter(|name| !gone.contains(name)).collect();
        assert_eq!(of_before, expected, "{order}");
        assert_eq!(seen.iter().collect::<BTreeSet<_>>().len(), seen.len(), "{order}: nothing twice");
    }
}

#[tokio::test]
async fn a_cursor_keeps_to_the_filters_and_ends_with_the_last_page() {
    let api = api();
    for number in 0..5 {
        create(&api, &format!("web-{number}"), number).await;
        create(&api, &format!("mail-{number}"), number).await;
    }
    let first = api.get("/lbs?name=web&page_size=3&order_by=name_asc").await;
    assert_eq!((&first["total_count"], names(&first).len()), (&json!(5), 3));
    let cursor = text(&first, "/next_cursor");
    let second = api.get(&format!("/lbs?name=web&page_size=3&cursor={cursor}")).await;
    assert_eq!((names(&second), second.get("next_cursor")), (vec!["web-3".to_owned(), "web-4".to_owned()], None));
    let (_, theirs) = api.call_as("secret-two", Method::GET, &format!("/lbs?cursor={cursor}"), None).await;
    assert_eq!(theirs["total_count"], 0, "a cursor opens nothing");
    assert_eq!(api.get("/ips").await.get("next_cursor"), None);
}
