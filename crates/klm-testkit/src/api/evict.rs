//! POST to `pods/<name>/eviction`: every answer that the disruption budgets can give.

use serde_json::{Value, json};

use super::delete::{self, DeleteOptions};
use super::object;
use super::selector::LabelSelector;
use super::status::{Answer, ApiStatus};
use super::store::{Key, Store};

const VIOLATES: &str = "Cannot evict pod as it would violate the pod's disruption budget.";

/// Evicts a pod, or says why not.
pub fn evict(store: &mut Store, key: &Key, body: &Value, dry_run: bool) -> Answer {
    let kind = key.kind();
    let pod = store.find(key).cloned().ok_or_else(|| ApiStatus::not_found(kind, &key.name))?;
    refuse_in_terminating_namespace(store, key)?;
    let mut options = DeleteOptions::of(&body["deleteOptions"]);
    options.dry_run |= dry_run;
    let phase = object::text(&pod, "/status/phase");
    if !matches!(phase, "Succeeded" | "Failed" | "Pending") && !object::is_terminating(&pod) {
        ask_budgets(store, key, &pod, options.dry_run)?;
    }
    // The budget is asked first; the preconditions are the deletion's own.
    delete::delete(store, key, &options)?;
    Ok(json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "code": 201}))
}

fn refuse_in_terminating_namespace(store: &Store, key: &Key) -> Answer<()> {
    let terminating = store.get("namespaces", "", &key.namespace).is_some_and(object::is_terminating);
    if !terminating {
        return Ok(());
    }
    let why = format!("unable to create new content in namespace {} because it is being terminated", key.namespace);
    let cause = format!("namespace {} is being terminated", key.namespace);
    Err(ApiStatus::forbidden(key.kind(), &key.name, &why).because_of(
        "NamespaceTerminating",
        cause,
        "metadata.namespace",
    ))
}

fn ask_budgets(store: &mut Store, key: &Key, pod: &Value, dry_run: bool) -> Answer<()> {
    let covering: Vec<Key> = store
        .of("poddisruptionbudgets")
        .filter(|(at, budget)| at.namespace == key.namespace && covers(budget, pod))
        .map(|(at, _)| at.clone())
        .collect();
    let budget_key = match covering.as_slice() {
        [] => return Ok(()),
        [one] => one.clone(),
        _ => {
            let why =
                "This pod has more than one PodDisruptionBudget, which the eviction subresource does not support.";
            return Err(ApiStatus::with_reason(500, "", why));
        }
    };
    let Some(budget) = store.find(&budget_key).cloned() else {
        return Ok(());
    };
    let number = |field: &str| budget["status"][field].as_i64().unwrap_or(0);
    let ready = object::condition(pod, "Ready") == Some("True");
    let always_allow = budget["spec"]["unhealthyPodEvictionPolicy"] == "AlwaysAllow";
    let healthy_enough = number("currentHealthy") >= number("desiredHealthy") && number("desiredHealthy") > 0;
    if !ready && (always_allow || healthy_enough) {
        return Ok(());
    }
    let name = &budget_key.name;
    if number("observedGeneration") < budget["metadata"]["generation"].as_i64().unwrap_or(0) {
        let cause = format!("The disruption budget {name} is still being processed by the server.");
        return Err(ApiStatus::new(429, VIOLATES).because("DisruptionBudget", cause).retry_after(10));
    }
    let forbid = |why: &str| ApiStatus::forbidden(budget_key.kind(), name, why);
    if number("disruptionsAllowed") < 0 {
        return Err(forbid("pdb disruptions allowed is negative"));
    }
    if budget["status"]["disruptedPods"].as_object().is_some_and(|pods| pods.len() > 2000) {
        return Err(forbid("DisruptedPods map too big - too many evictions not confirmed by PDB controller"));
    }
    if number("disruptionsAllowed") == 0 {
        let cause = format!(
            "The disruption budget {name} needs {} healthy pods and has {} currently",
            number("desiredHealthy"),
            number("currentHealthy")
        );
        return Err(ApiStatus::new(429, VIOLATES).because("DisruptionBudget", cause));
    }
    if !dry_run {
        let stamp = store.stamp();
        store.edit(&budget_key, |budget| {
            budget["status"]["disruptionsAllowed"] =
                json!(budget["status"]["disruptionsAllowed"].as_i64().unwrap_or(1) - 1);
            object::map_at(&mut budget["status"], "disruptedPods").insert(key.name.clone(), stamp);
        });
    }
    Ok(())
}

/// Whether the budget's selector covers the pod; an empty selector covers every pod of the namespace.
pub fn covers(budget: &Value, pod: &Value) -> bool {
    !budget["spec"]["selector"].is_null() && LabelSelector::of_object(&budget["spec"]["selector"]).matches(pod)
}

/// What the disruption controller would write: allowed disruptions from the pods as they are now.
pub fn refresh_budgets(store: &mut Store) {
    let budgets: Vec<(Key, Value)> =
        store.of("poddisruptionbudgets").map(|(key, budget)| (key.clone(), budget.clone())).collect();
    for (key, budget) in budgets {
        if store.frozen_budgets.contains(object::uid(&budget)) {
            continue;
        }
        let pods: Vec<&Value> = store
            .of("pods")
            .filter(|(at, pod)| at.namespace == key.namespace && covers(&budget, pod))
            .map(|(_, pod)| pod)
            .filter(|pod| !matches!(object::text(pod, "/status/phase"), "Succeeded" | "Failed"))
            .collect();
        let expected = i64::try_from(pods.len()).unwrap_or(i64::MAX);
        let healthy = pods
            .iter()
            .filter(|pod| object::condition(pod, "Ready") == Some("True") && !object::is_terminating(pod))
            .count();
        let healthy = i64::try_from(healthy).unwrap_or(i64::MAX);
        let desired = match (&budget["spec"]["minAvailable"], &budget["spec"]["maxUnavailable"]) {
            (Value::Null, Value::Null) => 1,
            (Value::Null, most) => (expected - amount(most, expected)).max(0),
            (least, _) => amount(least, expected),
        };
        let status = json!({
            "observedGeneration": budget["metadata"]["generation"], "expectedPods": expected,
            "currentHealthy": healthy, "desiredHealthy": desired, "disruptionsAllowed": (healthy - desired).max(0),
        });
        store.edit(&key, |budget| budget["status"] = status);
    }
}

/// A number, or a percentage of the expected pods rounded up.
fn amount(value: &Value, of: i64) -> i64 {
    let percent = value.as_str().and_then(|text| text.strip_suffix('%')).and_then(|text| text.parse::<i64>().ok());
    percent.map_or_else(|| value.as_i64().unwrap_or(0), |percent| (percent * of + 99) / 100)
}
