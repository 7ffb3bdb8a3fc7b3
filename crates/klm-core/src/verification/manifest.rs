//! The user's verification pod: decoded, checked, and filled in for one node. A pod spec is data: what isn't the user's
//! to say (name, namespace, node, owner) is set here whatever the manifest says.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::alphabet::STANDARD;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use serde_json::{Map, Value, json};

use crate::contract::{CHART_NAME, PLACEHOLDER_NODE, PLACEHOLDER_TEST_POD, RUN_LABEL};
use crate::journal::RunId;
use crate::name::NodeName;
use crate::node::NodeFacts;
use crate::refusal::Refusal;

/// Annotation on a verification pod: the exact name of its node.
pub const NODE_ANNOTATION: &str = "katacontainers.io/kata-lifecycle-manager-node";

/// Label with what made an object, in Kubernetes' own words.
const MANAGED_BY: &str = "app.kubernetes.io/managed-by";

/// What stands for the placeholders while the text is read as YAML. `${NODE}` itself is no scalar inside `{…}`.
const INERT_NODE: &str = "klm-placeholder-node-klm";
const INERT_TEST_POD: &str = "klm-placeholder-test-pod-klm";

/// The manifest's text: the parameter itself, or what it decodes to. A manifest needs a `:`, which base64 has not, so
/// the two can't be mistaken for each other.
pub fn text_of(parameter: &str) -> Result<String, Refusal> {
    let how = "give the pod's YAML, or `base64 -w0 < pod.yaml`";
    if parameter.trim().is_empty() {
        return Err(Refusal::new("parameter `verification-pod` is empty").hint(how));
    }
    if parameter.contains(':') {
        return Ok(parameter.to_owned());
    }
    let packed: String = parameter.chars().filter(|c| !c.is_whitespace()).collect();
    let lenient = GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent);
    GeneralPurpose::new(&STANDARD, lenient)
        .decode(packed)
        .ok()
        .and_then(|bytes| String::from_utf8(bytes).ok())
        .ok_or_else(|| Refusal::new("parameter `verification-pod` is neither YAML nor base64 of it").hint(how))
}

/// The text with its placeholders made harmless to a YAML reader. [`Template::check`] knows them again.
pub fn readable(text: &str) -> String {
    text.replace(PLACEHOLDER_NODE, INERT_NODE).replace(PLACEHOLDER_TEST_POD, INERT_TEST_POD)
}

/// A checked manifest, to be filled in per node.
#[derive(Clone, PartialEq)]
pub struct Template {
    pod: Value,
    /// What the user should know about it.
    pub notices: Vec<String>,
}

impl std::fmt::Debug for Template {
    /// Environment variables of the pod may be secrets.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Template").field("notices", &self.notices).finish_non_exhaustive()
    }
}

/// Where and as what a verification pod runs.
#[derive(Clone, Debug)]
pub struct Placement<'a> {
    /// Its node.
    pub node: &'a NodeFacts,
    /// Its name.
    pub name: &'a str,
    /// Its namespace.
    pub namespace: &'a str,
    /// The run that it belongs to.
    pub run: &'a RunId,
    /// Seconds until the kubelet ends it.
    pub seconds: u64,
}

impl Template {
    /// Checks a manifest that was read from [`readable`] text: one value per document.
    pub fn check(documents: Vec<Value>, namespace: &str) -> Result<Self, Vec<Refusal>> {
        let mut documents: Vec<Value> = documents.into_iter().filter(|document| !document.is_null()).collect();
        let (Some(pod), true) = (documents.pop(), documents.is_empty()) else {
            return Err(vec![refuse("must be exactly one document")]);
        };
        let text = |pointer: &str| pod.pointer(pointer).and_then(Value::as_str).unwrap_or_default();
        if !pod.is_object() {
            return Err(vec![refuse("is not a Pod: it is not even a map")]);
        }
        if (text("/apiVersion"), text("/kind")) != ("v1", "Pod") {
            let found = format!("is `{}` of `{}`, but must be `Pod` of `v1`", text("/kind"), text("/apiVersion"));
            return Err(vec![refuse(&found)]);
        }
        let mut refusals = Vec::new();
        if pod.pointer("/spec/containers").and_then(Value::as_array).is_none_or(Vec::is_empty) {
            refusals.push(refuse("has no containers"));
        }
        if !["", namespace].contains(&text("/metadata/namespace")) {
            let found = text("/metadata/namespace");
            refusals.push(
                refuse(&format!("is in namespace `{found}`, but verification pods run in `{namespace}`"))
                    .hint(format!("leave the namespace out, or run with `-p verification-namespace={found}`")),
            );
        }
        for (pointer, what) in
            [("/spec/nodeName", "nodeName"), ("/spec/nodeSelector/kubernetes.io~1hostname", "nodeSelector")]
        {
            if !["", INERT_NODE].contains(&text(pointer)) {
                refusals.push(
                    refuse(&format!("names one node, `{}`, in its {what}", text(pointer)))
                        .hint(format!("leave it out, or write `{PLACEHOLDER_NODE}`")),
                );
            }
        }
        if text("/spec/restartPolicy") == "Always" {
            refusals.push(refuse("has `restartPolicy: Always`, so it never ends").hint("write `restartPolicy: Never`"));
        }
        if !refusals.is_empty() {
            return Err(refusals);
        }
        let mut notices = Vec::new();
        if text("/spec/runtimeClassName").is_empty() {
            notices.push("the verification pod has no runtimeClassName: it proves the node, but not Kata".to_owned());
        }
        Ok(Self { pod, notices })
    }

    /// What the user wrote below `spec`, placeholders and all.
    pub(super) fn spec(&self) -> &Value {
        &self.pod["spec"]
    }

    /// The `RuntimeClass` that it runs with.
    pub fn runtime_class(&self) -> Option<&str> {
        self.pod.pointer("/spec/runtimeClassName").and_then(Value::as_str).filter(|name| !name.is_empty())
    }

    /// The pod for one node. Pinned by affinity to the node's name and left to the scheduler, so that what it requests
    /// is really free there, whatever the node's hostname label says.
    pub fn fill(&self, placement: &Placement<'_>) -> Value {
        let mut pod = self.pod.clone();
        replace(&mut pod, placement);
        let Value::Object(root) = &mut pod else { return pod };
        root.remove("status");
        let user = take_map(root, "metadata");
        root.insert("metadata".to_owned(), metadata(user, placement));
        let mut spec = take_map(root, "spec");
        spec.remove("nodeName");
        spec.entry("restartPolicy").or_insert_with(|| json!("Never"));
        let seconds = spec.get("activeDeadlineSeconds").and_then(Value::as_u64).unwrap_or(u64::MAX);
        spec.insert("activeDeadlineSeconds".to_owned(), json!(seconds.min(placement.seconds)));
        tolerate(&mut spec, placement.node);
        pin(&mut spec, &placement.node.name);
        root.insert("spec".to_owned(), Value::Object(spec));
        pod
    }
}

fn refuse(what: &str) -> Refusal {
    Refusal::new(format!("the verification pod {what}"))
}

/// A pod name that is the same for the same node, run and attempt, so that a step that starts again finds its pod.
pub fn pod_name(run: &RunId, node: &NodeName, attempt: u32) -> String {
    let run: String = run.uid.chars().filter(char::is_ascii_alphanumeric).take(8).collect::<String>().to_lowercase();
    let node = node.as_str();
    let readable: String = node.chars().map(|c| if c == '.' { '-' } else { c }).take(24).collect();
    // The digest keeps `worker.1` and `worker-1`, and names that begin alike, apart.
    format!("klm-verify-{run}-{}-{:08x}-{attempt}", readable.trim_end_matches('-'), fnv1a(node.as_bytes()))
}

/// Whether these are the labels of a verification pod, of whichever run.
pub fn is_verification_pod(labels: &BTreeMap<String, String>) -> bool {
    labels.contains_key(RUN_LABEL) && labels.get(MANAGED_BY).is_some_and(|manager| manager == CHART_NAME)
}

/// What selects them.
pub fn verification_pods() -> String {
    format!("{RUN_LABEL},{MANAGED_BY}={CHART_NAME}")
}

fn fnv1a(bytes: &[u8]) -> u32 {
    bytes.iter().fold(0x811c_9dc5, |hash, byte| (hash ^ u32::from(*byte)).wrapping_mul(0x0100_0193))
}

/// Puts the real names into every text of the pod, keys included.
fn replace(value: &mut Value, placement: &Placement<'_>) {
    let filled =
        |text: &str| text.replace(INERT_NODE, placement.node.hostname()).replace(INERT_TEST_POD, placement.name);
    match value {
        Value::String(text) => *text = filled(text),
        Value::Array(items) => items.iter_mut().for_each(|item| replace(item, placement)),
        Value::Object(map) => {
            *map = std::mem::take(map)
                .into_iter()
                .map(|(key, mut value)| {
                    replace(&mut value, placement);
                    (filled(&key), value)
                })
                .collect();
        }
        _ => {}
    }
}

fn take_map(map: &mut Map<String, Value>, key: &str) -> Map<String, Value> {
    match map.remove(key) {
        Some(Value::Object(inner)) => inner,
        _ => Map::new(),
    }
}

/// Of the user's metadata only labels and annotations stay: a finalizer or an owner would keep the pod, or end it.
fn metadata(mut user: Map<String, Value>, placement: &Placement<'_>) -> Value {
    let mut labels = take_map(&mut user, "labels");
    labels.insert(MANAGED_BY.to_owned(), json!(CHART_NAME));
    labels.insert(RUN_LABEL.to_owned(), json!(placement.run.uid));
    let mut annotations = take_map(&mut user, "annotations");
    annotations.insert(NODE_ANNOTATION.to_owned(), json!(placement.node.name.as_str()));
    json!({"name": placement.name, "namespace": placement.namespace, "labels": labels, "annotations": annotations})
}

/// The node is cordoned and may be reserved by taints; neither says anything about Kata. Taints by which Kubernetes
/// reports a sick node stay in force.
fn tolerate(spec: &mut Map<String, Value>, node: &NodeFacts) {
    let mut tolerations = match spec.remove("tolerations") {
        Some(Value::Array(tolerations)) => tolerations,
        _ => Vec::new(),
    };
    let reserved = node.taints.iter().filter(|taint| !taint.key.contains("kubernetes.io/") || is_role(&taint.key));
    let keys = std::iter::once("node.kubernetes.io/unschedulable").chain(reserved.map(|taint| taint.key.as_str()));
    for key in keys {
        let covers = |toleration: &Value| {
            let every_effect = toleration["operator"] == "Exists" && toleration.get("effect").is_none();
            every_effect && toleration.get("key").is_none_or(|given| given == key)
        };
        if !tolerations.iter().any(covers) {
            tolerations.push(json!({"key": key, "operator": "Exists"}));
        }
    }
    spec.insert("tolerations".to_owned(), Value::Array(tolerations));
}

fn is_role(key: &str) -> bool {
    key.starts_with("node-role.kubernetes.io/")
}

/// Requires the node by name, in each of the alternatives that the user may have given.
fn pin(spec: &mut Map<String, Value>, node: &NodeName) {
    const TERMS: &str = "nodeSelectorTerms";
    const REQUIRED: &str = "requiredDuringSchedulingIgnoredDuringExecution";
    let here = json!({"key": "metadata.name", "operator": "In", "values": [node.as_str()]});
    let mut affinity = take_map(spec, "affinity");
    let mut of_node = take_map(&mut affinity, "nodeAffinity");
    let mut required = take_map(&mut of_node, REQUIRED);
    let mut terms = match required.remove(TERMS) {
        Some(Value::Array(terms)) if !terms.is_empty() => terms,
        _ => vec![json!({})],
    };
    for term in terms.iter_mut().filter_map(Value::as_object_mut) {
        match term.entry("matchFields").or_insert_with(|| json!([])) {
            Value::Array(fields) => fields.push(here.clone()),
            other => *other = json!([here]),
        }
    }
    required.insert(TERMS.to_owned(), Value::Array(terms));
    of_node.insert(REQUIRED.to_owned(), Value::Object(required));
    affinity.insert("nodeAffinity".to_owned(), Value::Object(of_node));
    spec.insert("affinity".to_owned(), Value::Object(affinity));
}

#[cfg(test)]
mod tests;
