//! What a change of a document did, field by field: what an audit shows to a person.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::Change;

/// Fields of documents that say nothing about what somebody did.
const BOOKKEEPING: [&str; 3] = ["times.created_at", "times.updated_at", "id"];
/// Parts of a field's name that make its values secrets: they are shown as changed, and not what they are.
const SECRETS: [&str; 4] = ["secret", "digest", "hash", "password"];
/// What is shown in place of a secret.
const HIDDEN: &str = "(hidden)";

/// What happened to a document.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
#[schema(as = ChangeAction)]
pub enum Action {
    /// It was made.
    Created,
    /// It was changed.
    Updated,
    /// It was deleted.
    Deleted,
    /// Its deletion was taken back.
    Restored,
    /// It was deleted long ago, and left the snapshot.
    Purged,
}

impl Action {
    /// The API's word.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Created => "created",
            Self::Updated => "updated",
            Self::Deleted => "deleted",
            Self::Restored => "restored",
            Self::Purged => "purged",
        }
    }
}

/// One field before and after a change; absent where the document had none.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Difference {
    /// The field, for example `servers[10.0.0.5].weight`.
    pub field: String,
    /// Before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub before: Option<Value>,
    /// After.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after: Option<Value>,
}

/// What a change did to its document.
#[must_use]
pub fn action(change: &Change) -> Action {
    let was_deleted = change.before.as_ref().map(|before| before.times().deleted_at.is_some());
    if change.purges() {
        return Action::Purged;
    }
    match (was_deleted, change.after.times().deleted_at.is_some()) {
        (None, _) => Action::Created,
        (Some(false), true) => Action::Deleted,
        (Some(true), false) => Action::Restored,
        (Some(false), false) | (Some(true), true) => Action::Updated,
    }
}

/// Names changes, whenever they are made: the same digest means the same changes. When something is deleted is left out
/// of it. 32 hexadecimal digits.
#[must_use]
pub fn digest<'a>(changes: impl IntoIterator<Item = &'a Change>) -> String {
    use sha2::{Digest, Sha256};
    let mut hasher = Sha256::new();
    for change in changes {
        let mut timeless = change.after.clone();
        let times = timeless.times_mut();
        times.deleted_at = times.deleted_at.map(|_| jiff::Timestamp::UNIX_EPOCH);
        // Documents are plain data: they always have a JSON.
        hasher.update(serde_json::to_vec(&(&change.before, &timeless)).unwrap_or_default());
        hasher.update(b"\n");
    }
    hasher.finalize().iter().take(16).map(|byte| format!("{byte:02x}")).collect()
}

/// The fields that a change made different, in the order of their names. Secrets are hidden.
///
/// # Errors
/// When a document is no JSON, which none can be.
pub fn differences(change: &Change) -> Result<Vec<Difference>, serde_json::Error> {
    let mut before = change.before.as_ref().map(fields).transpose()?.unwrap_or_default();
    let mut differences: Vec<Difference> = Vec::new();
    for (field, after) in fields(&change.after)? {
        let before = before.remove(&field);
        if before.as_ref() != Some(&after) {
            differences.push(Difference { field, before, after: Some(after) });
        }
    }
    differences.extend(before.into_iter().map(|(field, before)| Difference {
        field,
        before: Some(before),
        after: None,
    }));
    differences.retain(|difference| !BOOKKEEPING.contains(&difference.field.as_str()));
    differences.sort_by(|a, b| a.field.cmp(&b.field));
    for difference in &mut differences {
        if is_secret(&difference.field) {
            for value in difference.before.iter_mut().chain(&mut difference.after) {
                *value = Value::from(HIDDEN);
            }
        }
    }
    Ok(differences)
}

fn is_secret(field: &str) -> bool {
    let last = field.rsplit('.').next().unwrap_or(field);
    SECRETS.iter().any(|part| last.contains(part))
}

/// A document's fields by their path; empty ones (`null`, `[]`, `""`) are none.
fn fields(document: &crate::model::Document) -> Result<BTreeMap<String, Value>, serde_json::Error> {
    let tagged = serde_json::to_value(document)?;
    let mut fields = BTreeMap::new();
    collect(tagged.get("document").unwrap_or(&tagged), "", &mut fields);
    Ok(fields)
}

fn collect(value: &Value, path: &str, fields: &mut BTreeMap<String, Value>) {
    match value {
        Value::Object(members) => {
            for (name, member) in members {
                let path = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
                collect(member, &path, fields);
            }
        }
        Value::Array(items) if items.iter().any(Value::is_object) => {
            for (position, item) in items.iter().enumerate() {
                collect(item, &format!("{path}[{}]", key(item, position)), fields);
            }
        }
        Value::Array(items) if items.is_empty() => {}
        Value::Null => {}
        Value::String(text) if text.is_empty() => {}
        Value::Array(_) | Value::String(_) | Value::Number(_) | Value::Bool(_) => {
            fields.insert(path.to_owned(), value.clone());
        }
    }
}

/// What names an item of a list: its address, id or name, so that an insertion does not look like many changes.
fn key(item: &Value, position: usize) -> String {
    let named = ["address", "id", "name"].iter().find_map(|name| item.get(name).and_then(Value::as_str));
    named.map_or_else(|| position.to_string(), str::to_owned)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn secrets_are_hidden_by_their_names() {
        for (field, hidden) in [("digest", true), ("webhook.secret", true), ("name", false), ("secrets.name", false)] {
            assert_eq!(is_secret(field), hidden, "{field}");
        }
    }

    #[test]
    fn items_of_lists_are_named_by_what_they_are() {
        let mut found = BTreeMap::new();
        let value = json!({"servers": [{"address": "10.0.0.5", "weight": 3}, {"weight": 1}], "tags": ["a"], "x": []});
        collect(&value, "", &mut found);
        let names: Vec<_> = found.keys().map(String::as_str).collect();
        assert_eq!(names, ["servers[10.0.0.5].address", "servers[10.0.0.5].weight", "servers[1].weight", "tags"]);
    }
}
