use super::*;
use rstest::rstest;

fn node(labels: &[(&str, &str)]) -> Node {
    let mut node = Node::default();
    node.metadata.name = Some("worker-1".to_owned());
    node.metadata.labels = Some(labels.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect());
    node
}

fn daemonset(pod: &serde_json::Value) -> DaemonSet {
    serde_json::from_value(json!({"spec": {"selector": {}, "template": {"spec": pod}}})).unwrap()
}

#[test]
fn a_daemonset_that_is_gone_owns_nothing() {
    assert_eq!(owner(None, &node(&[])), Owner::Gone);
}

#[test]
fn a_plain_daemonset_selects_every_node() {
    assert_eq!(owner(Some(&daemonset(&json!({"containers": []}))), &node(&[])), Owner::SelectsNode);
}

#[test]
fn a_label_that_left_the_node_selector_deselects_it() {
    let pod = json!({"containers": [], "nodeSelector": {"pool": "kata"}});
    assert_eq!(owner(Some(&daemonset(&pod)), &node(&[("pool", "kata")])), Owner::SelectsNode);
    assert_eq!(owner(Some(&daemonset(&pod)), &node(&[("pool", "other")])), Owner::DeselectsNode);
}

#[rstest]
#[case("In", &["a", "b"], true, false)]
#[case("NotIn", &["a", "b"], false, true)]
#[case("Exists", &[], true, false)]
#[case("DoesNotExist", &[], false, true)]
fn required_affinity_counts(
    #[case] operator: &str,
    #[case] values: &[&str],
    #[case] with: bool,
    #[case] without: bool,
) {
    let term = json!({"matchExpressions": [{"key": "zone", "operator": operator, "values": values}]});
    let required = json!({"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": [term]}});
    let daemonset = daemonset(&json!({"containers": [], "affinity": {"nodeAffinity": required}}));
    let selects = |labels: &[(&str, &str)]| owner(Some(&daemonset), &node(labels)) == Owner::SelectsNode;
    assert_eq!(selects(&[("zone", "a")]), with);
    assert_eq!(selects(&[]), without);
}

#[test]
fn a_runtime_without_a_list_passes_and_one_with_an_empty_list_fails() {
    let ours = ["kata-qemu".to_owned()];
    let with = |handlers: serde_json::Value| -> Node {
        serde_json::from_value(json!({"status": {"runtimeHandlers": handlers}})).unwrap()
    };
    assert!(serves(&Node::default(), &ours));
    assert!(!serves(&with(json!([])), &ours));
    assert!(!serves(&with(json!([{"name": "runc"}])), &ours));
    assert!(serves(&with(json!([{"name": "runc"}, {"name": "kata-qemu"}])), &ours));
}
