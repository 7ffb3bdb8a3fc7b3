//! Which taints keep kata-deploy's next pod off a node.

use semver::Version;
use serde_json::Value;

use crate::node::Taint;
use crate::plan::Mode;
use crate::values::{Values, get};
use crate::version::marks_nodes;

/// What a release's values let kata-deploy's pods tolerate.
pub fn of(values: &Values) -> &[Value] {
    get(values, "tolerations").and_then(Value::as_array).map_or(&[], Vec::as_slice)
}

/// Whether a taint keeps a pod of this version with these tolerations off its node, for as long as it is there.
pub fn keeps_off(taint: &Taint, mode: Mode, version: &Version, tolerations: &[Value]) -> bool {
    let forever = match mode {
        Mode::Daemonset => taint.effect != "PreferNoSchedule",
        // Per-node Jobs bypass the scheduler, so only eviction matters; with `job.nodes` newer charts tolerate that too.
        Mode::Job => taint.effect == "NoExecute" && !marks_nodes(version),
    };
    // The controllers give their pods tolerations for what Kubernetes itself puts on sick and cordoned nodes.
    let kubernetes_own = taint.key.starts_with("node.kubernetes.io/");
    forever && !kubernetes_own && !tolerated(taint, tolerations)
}

/// Whether one of the tolerations is for this taint.
pub fn tolerated(taint: &Taint, tolerations: &[Value]) -> bool {
    tolerations.iter().any(|toleration| tolerates(toleration, taint))
}

/// Kubernetes' rule.
fn tolerates(toleration: &Value, taint: &Taint) -> bool {
    let text = |key: &str| toleration[key].as_str().unwrap_or_default();
    let same_effect = text("effect").is_empty() || text("effect") == taint.effect;
    let same_key = text("key") == taint.key;
    match text("operator") {
        "Exists" => same_effect && (text("key").is_empty() || same_key),
        "" | "Equal" => same_effect && same_key && text("value") == taint.value.as_deref().unwrap_or_default(),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;
    use serde_json::json;

    use super::*;

    fn taint(effect: &str) -> Taint {
        Taint { key: "window".into(), value: Some("pending".into()), effect: effect.into(), time_added: None }
    }

    #[rstest]
    #[case::everything(json!({"operator": "Exists"}), true)]
    #[case::key(json!({"operator": "Exists", "key": "window"}), true)]
    #[case::value(json!({"key": "window", "value": "pending", "effect": "NoSchedule"}), true)]
    #[case::other_value(json!({"key": "window", "value": "open"}), false)]
    #[case::other_effect(json!({"operator": "Exists", "key": "window", "effect": "NoExecute"}), false)]
    #[case::other_key(json!({"operator": "Exists", "key": "spot"}), false)]
    #[case::nothing(json!({}), false)]
    fn tolerations_are_read_as_the_scheduler_reads_them(#[case] toleration: Value, #[case] expected: bool) {
        assert_eq!(tolerated(&taint("NoSchedule"), &[toleration]), expected);
    }

    #[rstest]
    #[case::of_a_daemonset(Mode::Daemonset, "NoSchedule", "4.1.0", true)]
    #[case::only_asked_for(Mode::Daemonset, "PreferNoSchedule", "4.1.0", false)]
    #[case::of_a_job_that_is_evicted(Mode::Job, "NoExecute", "4.0.0", true)]
    #[case::of_a_job_that_tolerates_all(Mode::Job, "NoExecute", "4.1.0", false)]
    #[case::of_a_job_that_no_scheduler_sees(Mode::Job, "NoSchedule", "4.0.0", false)]
    fn a_taint_keeps_the_pod_off(
        #[case] mode: Mode,
        #[case] effect: &str,
        #[case] version: &str,
        #[case] expected: bool,
    ) {
        assert_eq!(keeps_off(&taint(effect), mode, &version.parse().unwrap(), &[]), expected);
        assert!(!keeps_off(&taint(effect), mode, &version.parse().unwrap(), &[json!({"operator": "Exists"})]));
    }
}
