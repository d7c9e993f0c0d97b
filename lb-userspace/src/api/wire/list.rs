//! The query string of lists.

use serde::{Deserialize, Serialize};

/// Filters, order and page of a list. A list refuses the filters it does not have.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields, default)]
pub struct ListQuery {
    /// Part of the name, not minding case.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// `created_at_asc` (default), `created_at_desc`, `name_asc` or `name_desc`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub order_by: Option<String>,
    /// Page, from 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub page: Option<String>,
    /// Entries on a page, 1 to 100; 20 when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub page_size: Option<String>,
    /// Instead of a page's number: the `next_cursor` of the page before, as it was.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cursor: Option<String>,
    /// Only of this project.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub project_id: Option<String>,
    /// Only of this organization.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub organization_id: Option<String>,
    /// With one of these labels.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub tags: Vec<String>,
    /// Load balancers: only these ids.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub lb_ids: Vec<String>,
    /// IPs: this address.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ip_address: Option<String>,
    /// IPs: `all`, `ipv4` or `ipv6`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ip_type: Option<String>,
    /// Load balancers, Snowshed's own: deleted ones too.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub deleted: Option<String>,
}

impl ListQuery {
    /// The query as pairs, lists as repeated keys: what the server reads.
    #[must_use]
    pub fn pairs(&self) -> Vec<(&'static str, String)> {
        let Self {
            name,
            order_by,
            page,
            page_size,
            cursor,
            project_id,
            organization_id,
            tags,
            lb_ids,
            ip_address,
            ip_type,
            deleted,
        } = self;
        let single = [
            ("name", name),
            ("order_by", order_by),
            ("page", page),
            ("page_size", page_size),
            ("cursor", cursor),
            ("project_id", project_id),
            ("organization_id", organization_id),
            ("ip_address", ip_address),
            ("ip_type", ip_type),
            ("deleted", deleted),
        ];
        let mut pairs: Vec<_> = single.into_iter().filter_map(|(key, value)| Some((key, value.clone()?))).collect();
        pairs.extend(tags.iter().map(|tag| ("tags", tag.clone())));
        pairs.extend(lb_ids.iter().map(|id| ("lb_ids", id.clone())));
        pairs
    }
}
