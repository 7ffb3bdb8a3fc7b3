//! Which nodes a dispatcher works on, and which it takes Kata off: pure.

use k8s_openapi::api::core::v1::{Node, Taint, Toleration};
use kube::ResourceExt;

/// A cordoned node is worked on, whatever the template tolerates.
const CORDONED: &str = "node.kubernetes.io/unschedulable";

/// Nodes that carry our marker but aren't wanted: these lose Kata.
pub fn owned_but_not_desired(owned: &[String], desired: &[String]) -> Vec<String> {
    owned.iter().filter(|node| !desired.contains(node)).cloned().collect()
}

/// Whether a Job with these tolerations may be put on the node; if not, the taint that keeps it off.
pub fn admitted<'a>(node: &'a Node, tolerations: &[Toleration]) -> Result<(), &'a Taint> {
    let taints = node.spec.as_ref().and_then(|spec| spec.taints.as_deref()).unwrap_or_default();
    let mut binding = taints.iter().filter(|taint| taint.effect != "PreferNoSchedule" && taint.key != CORDONED);
    match binding.find(|taint| !tolerations.iter().any(|one| tolerates(one, taint))) {
        Some(taint) => Err(taint),
        None => Ok(()),
    }
}

fn tolerates(toleration: &Toleration, taint: &Taint) -> bool {
    let effect = toleration.effect.as_deref().unwrap_or_default();
    let key = toleration.key.as_deref().unwrap_or_default();
    let exists = toleration.operator.as_deref() == Some("Exists");
    (effect.is_empty() || effect == taint.effect)
        && ((key.is_empty() && exists) || key == taint.key)
        && (exists || toleration.value.as_deref().unwrap_or_default() == taint.value.as_deref().unwrap_or_default())
}

/// What a node doesn't tell about itself although the dispatcher of 4.1.0 and later wants it.
pub fn missing_fact(node: &Node) -> Option<&'static str> {
    let info = node.status.as_ref().and_then(|status| status.node_info.as_ref());
    let empty = |text: Option<&String>| text.is_none_or(String::is_empty);
    if empty(info.map(|info| &info.container_runtime_version)) {
        Some("containerRuntimeVersion")
    } else if empty(info.map(|info| &info.machine_id)) {
        Some("machineID")
    } else {
        None
    }
}

/// The names of nodes, sorted and without doubles.
pub fn names(nodes: &[Node]) -> Vec<String> {
    let mut names: Vec<String> = nodes.iter().map(ResourceExt::name_any).collect();
    names.sort();
    names.dedup();
    names
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;
    use serde_json::json;

    fn words(names: &[&str]) -> Vec<String> {
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    #[test]
    fn a_wave_of_one_disowns_the_rest_of_the_fleet() {
        let owned = words(&["n1", "n2", "n3"]);
        assert_eq!(owned_but_not_desired(&owned, &words(&["n1"])), words(&["n2", "n3"]));
        assert_eq!(owned_but_not_desired(&owned, &words(&[])), owned, "an empty wave disowns everybody");
        assert_eq!(owned_but_not_desired(&words(&["n1"]), &words(&["n1", "n4"])), words(&[]));
    }

    fn tainted(key: &str, effect: &str) -> Node {
        serde_json::from_value(json!({"spec": {"taints": [{"key": key, "value": "v", "effect": effect}]}})).unwrap()
    }

    #[rstest]
    #[case("dedicated", "NoSchedule", json!([]), false)]
    #[case("dedicated", "NoExecute", json!([]), false)]
    #[case("dedicated", "PreferNoSchedule", json!([]), true)]
    #[case("node.kubernetes.io/unschedulable", "NoSchedule", json!([]), true)]
    #[case("dedicated", "NoSchedule", json!([{"operator": "Exists"}]), true)]
    #[case("dedicated", "NoSchedule", json!([{"key": "dedicated", "operator": "Exists"}]), true)]
    #[case("dedicated", "NoSchedule", json!([{"key": "dedicated", "operator": "Exists", "effect": "NoExecute"}]), false)]
    #[case("dedicated", "NoSchedule", json!([{"key": "dedicated", "value": "v"}]), true)]
    #[case("dedicated", "NoSchedule", json!([{"key": "dedicated", "value": "w"}]), false)]
    #[case("dedicated", "NoSchedule", json!([{"key": "other", "operator": "Exists"}]), false)]
    fn a_taint_keeps_a_job_off_unless_it_is_tolerated(
        #[case] key: &str,
        #[case] effect: &str,
        #[case] tolerations: serde_json::Value,
        #[case] expected: bool,
    ) {
        let tolerations: Vec<Toleration> = serde_json::from_value(tolerations).unwrap();
        assert_eq!(admitted(&tainted(key, effect), &tolerations).is_ok(), expected);
    }

    #[rstest]
    #[case("containerd://2.3.7", "abc", None)]
    #[case("", "abc", Some("containerRuntimeVersion"))]
    #[case("containerd://2.3.7", "", Some("machineID"))]
    fn a_node_has_to_tell_about_itself(#[case] runtime: &str, #[case] machine: &str, #[case] missing: Option<&str>) {
        let info = json!({
            "architecture": "", "bootID": "", "containerRuntimeVersion": runtime, "kernelVersion": "", "kubeProxyVersion": "",
            "kubeletVersion": "", "machineID": machine, "operatingSystem": "", "osImage": "", "systemUUID": "",
        });
        let node: Node = serde_json::from_value(json!({"status": {"nodeInfo": info}})).unwrap();
        assert_eq!(missing_fact(&node), missing);
        assert_eq!(missing_fact(&Node::default()), Some("containerRuntimeVersion"));
    }
}
