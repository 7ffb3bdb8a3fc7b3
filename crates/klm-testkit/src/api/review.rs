//! `SelfSubjectAccessReview` and `SelfSubjectRulesReview`: the server answers from the caller's own grants.

use serde_json::{Value, json};

use super::authorize::{Attributes, Identity};
use super::kinds::Kind;
use super::object;

/// Answers a review; nothing is stored.
pub fn review(kind: &Kind, body: &Value, identity: &Identity) -> Value {
    let mut answer = body.clone();
    answer["apiVersion"] = json!(kind.api_version());
    answer["kind"] = json!(kind.kind);
    if kind.plural == "selfsubjectrulesreviews" {
        let namespace = object::text(body, "/spec/namespace");
        let all = || vec![json!({"apiGroups": ["*"], "resources": ["*"], "verbs": ["*"], "resourceNames": []})];
        let rules = identity.rbac.as_ref().map_or_else(all, |rbac| rbac.rules_in(namespace));
        answer["status"] = json!({"resourceRules": rules, "nonResourceRules": [], "incomplete": false});
        return answer;
    }
    let wanted = &body["spec"]["resourceAttributes"];
    let text = |field: &str| object::text(wanted, &format!("/{field}")).to_owned();
    let subresource = text("subresource");
    let resource =
        if subresource.is_empty() { text("resource") } else { format!("{}/{subresource}", text("resource")) };
    let asked = Attributes {
        verb: text("verb"),
        group: text("group"),
        resource,
        namespace: text("namespace"),
        name: text("name"),
    };
    // Asking is not using: a grant that is only ever asked about stays unused.
    let allowed = identity.rbac.as_ref().is_none_or(|rbac| wanted.is_null() || rbac.allows(&asked).is_some());
    answer["status"] = json!({"allowed": allowed});
    answer
}
