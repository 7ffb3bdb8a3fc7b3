//! What the server adds to or refuses in a new object before it is stored.

use serde_json::{Value, json};

use super::kinds::Kind;
use super::object;
use super::selector::LabelSelector;
use super::status::{Answer, ApiStatus};
use super::store::Store;

/// Refuses what may not be created here and now, and fills in what the server fills in.
pub fn admit(store: &Store, kind: &Kind, object: &mut Value) -> Answer<()> {
    let namespace = object::namespace(object).to_owned();
    if kind.namespaced {
        admit_namespace(store, kind, object::name(object), &namespace)?;
    }
    if kind.plural == "pods" {
        service_account_exists(store, kind, object)?;
        default_pod(object);
        apply_runtime_class(store, kind, object)?;
        within_quota(store, kind, object)?;
    }
    if kind.plural == "jobs" {
        default_job(object);
    }
    Ok(())
}

fn admit_namespace(store: &Store, kind: &Kind, name: &str, namespace: &str) -> Answer<()> {
    let Some(found) = store.get("namespaces", "", namespace) else {
        let namespaces = super::kinds::by_plural("namespaces").expect("is in the table");
        return Err(ApiStatus::not_found(namespaces, namespace));
    };
    if object::is_terminating(found) {
        let why = format!("unable to create new content in namespace {namespace} because it is being terminated");
        let cause = format!("namespace {namespace} is being terminated");
        return Err(ApiStatus::forbidden(kind, name, &why).because_of(
            "NamespaceTerminating",
            cause,
            "metadata.namespace",
        ));
    }
    Ok(())
}

fn service_account_exists(store: &Store, kind: &Kind, pod: &mut Value) -> Answer<()> {
    let account = object::text(pod, "/spec/serviceAccountName").to_owned();
    if account.is_empty() {
        object::map_at(pod, "spec").insert("serviceAccountName".to_owned(), json!("default"));
    } else if account != "default" && store.get("serviceaccounts", object::namespace(pod), &account).is_none() {
        let home = object::namespace(pod);
        let why = format!("error looking up service account {home}/{account}: serviceaccount \"{account}\" not found");
        return Err(ApiStatus::forbidden(kind, object::name(pod), &why));
    }
    Ok(())
}

/// The `RuntimeClass` admission: the class must exist, and its node selector, tolerations and overhead join the pod's.
fn apply_runtime_class(store: &Store, kind: &Kind, pod: &mut Value) -> Answer<()> {
    let class = object::text(pod, "/spec/runtimeClassName").to_owned();
    if class.is_empty() {
        return Ok(());
    }
    let refuse = |why: &str| Err(ApiStatus::forbidden(kind, object::name(pod), why));
    let Some(found) = store.get("runtimeclasses", "", &class).cloned() else {
        return refuse(&format!("pod rejected: RuntimeClass {class:?} not found"));
    };
    for (key, value) in found["scheduling"]["nodeSelector"].as_object().into_iter().flatten() {
        let chosen = &pod["spec"]["nodeSelector"][key];
        if !chosen.is_null() && chosen != value {
            let (theirs, ours) = (value.as_str().unwrap_or_default(), chosen.as_str().unwrap_or_default());
            return refuse(&format!(
                "conflict: runtimeClass.scheduling.nodeSelector[{key}] = {theirs}; pod.spec.nodeSelector[{key}] = {ours}"
            ));
        }
    }
    for (key, value) in found["scheduling"]["nodeSelector"].as_object().into_iter().flatten() {
        object::map_at(&mut pod["spec"], "nodeSelector").insert(key.clone(), value.clone());
    }
    if let Some(fixed) = found["overhead"].get("podFixed") {
        pod["spec"]["overhead"] = fixed.clone();
    }
    let mut tolerations = object::items(pod, "/spec/tolerations").to_vec();
    tolerations.extend(object::items(&found, "/scheduling/tolerations").iter().cloned());
    if !tolerations.is_empty() {
        pod["spec"]["tolerations"] = json!(tolerations);
    }
    Ok(())
}

/// Quotas on the number of pods; quotas on cpu and memory only ask that limits be stated.
fn within_quota(store: &Store, kind: &Kind, pod: &Value) -> Answer<()> {
    let namespace = object::namespace(pod);
    for (key, quota) in store.of("resourcequotas").filter(|(key, _)| key.namespace == namespace) {
        let hard = &quota["spec"]["hard"];
        let used = store.of("pods").filter(|(key, _)| key.namespace == namespace).count();
        for resource in ["pods", "count/pods"] {
            let Some(limit) = hard[resource].as_str().and_then(|limit| limit.parse::<usize>().ok()) else {
                continue;
            };
            if used >= limit {
                let why = format!(
                    "exceeded quota: {}, requested: {resource}=1, used: {resource}={used}, limited: {resource}={limit}",
                    key.name
                );
                return Err(ApiStatus::forbidden(kind, object::name(pod), &why));
            }
        }
        for resource in ["limits.cpu", "limits.memory", "requests.cpu", "requests.memory"] {
            let (part, what) = resource.split_once('.').unwrap_or_default();
            let states = |container: &Value| !container["resources"][part][what].is_null();
            let silent: Vec<&str> = object::items(pod, "/spec/containers")
                .iter()
                .filter(|container| !states(container))
                .map(|container| object::text(container, "/name"))
                .collect();
            if !hard[resource].is_null() && !silent.is_empty() {
                let why = format!("failed quota: {}: must specify {resource} for: {}", key.name, silent.join(","));
                return Err(ApiStatus::forbidden(kind, object::name(pod), &why));
            }
        }
    }
    Ok(())
}

fn default_pod(pod: &mut Value) {
    let spec = object::map_at(pod, "spec");
    spec.entry("restartPolicy").or_insert_with(|| json!("Always"));
    spec.entry("terminationGracePeriodSeconds").or_insert_with(|| json!(30));
    spec.entry("schedulerName").or_insert_with(|| json!("default-scheduler"));
    // The two that the server adds to every pod, with five minutes each.
    for key in ["node.kubernetes.io/not-ready", "node.kubernetes.io/unreachable"] {
        let tolerations = spec.entry("tolerations").or_insert_with(|| json!([]));
        let Some(list) = tolerations.as_array_mut() else {
            continue;
        };
        let covers = |it: &Value| {
            (it["key"] == key || it["key"].is_null()) && (it["effect"] == "NoExecute" || it["effect"].is_null())
        };
        if !list.iter().any(covers) {
            list.push(json!({"key": key, "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 300}));
        }
    }
    pod["status"] = json!({"phase": "Pending", "qosClass": "BestEffort"});
}

fn default_job(job: &mut Value) {
    let uid = object::uid(job).to_owned();
    let name = object::name(job).to_owned();
    let spec = object::map_at(job, "spec");
    spec.entry("backoffLimit").or_insert_with(|| json!(6));
    spec.entry("completions").or_insert_with(|| json!(1));
    spec.entry("parallelism").or_insert_with(|| json!(1));
    spec.insert("selector".to_owned(), json!({"matchLabels": {"batch.kubernetes.io/controller-uid": uid}}));
    let template = object::map_at(&mut job["spec"], "template");
    let labels = object::map_at(template.entry("metadata").or_insert_with(|| json!({})), "labels");
    labels.insert("batch.kubernetes.io/controller-uid".to_owned(), json!(uid));
    labels.insert("batch.kubernetes.io/job-name".to_owned(), json!(name));
    labels.insert("job-name".to_owned(), json!(name));
}

/// Whether a toleration covers a taint.
pub fn tolerates(tolerations: &[Value], taint: &Value) -> bool {
    tolerations.iter().any(|it| {
        let key = object::text(it, "/key");
        let exists = object::text(it, "/operator") == "Exists";
        let key_fits = (key.is_empty() && exists) || key == object::text(taint, "/key");
        let value_fits = exists || object::text(it, "/value") == object::text(taint, "/value");
        let effect = object::text(it, "/effect");
        key_fits && value_fits && (effect.is_empty() || effect == object::text(taint, "/effect"))
    })
}

/// Whether a node satisfies a pod's node selector and required node affinity.
pub fn node_fits(pod_spec: &Value, node: &Value) -> bool {
    let selected = LabelSelector::of_object(&json!({"matchLabels": pod_spec["nodeSelector"]})).matches(node);
    let terms = object::items(
        pod_spec,
        "/affinity/nodeAffinity/requiredDuringSchedulingIgnoredDuringExecution/nodeSelectorTerms",
    );
    let term_fits = |term: &Value| {
        let by_field = object::items(term, "/matchFields")
            .iter()
            .all(|field| object::strings(field, "/values").contains(&object::name(node)));
        by_field && LabelSelector::of_object(&json!({"matchExpressions": term["matchExpressions"]})).matches(node)
    };
    selected && (terms.is_empty() || terms.iter().any(term_fits))
}
