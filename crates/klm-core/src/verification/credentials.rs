//! What a verification pod takes along from its namespace: an account, Secrets. Where a run keeps its own, it may take
//! none: Helm's releases and the accounts of the steps and of kata-deploy are as good as root on the nodes.

use serde_json::Value;

use super::Template;
use crate::refusal::Refusal;
use crate::settings::Settings;

/// Why a pod may not run in its namespace, if that is kata-deploy's or the Workflow's.
pub fn guarded(template: &Template, settings: &Settings, workflow_namespace: &str) -> Option<Refusal> {
    let namespace = settings.verification_namespace.as_str();
    if ![settings.helm_namespace.as_str(), workflow_namespace].contains(&namespace) {
        return None;
    }
    let wanted = credentials(template.spec());
    if wanted.is_empty() {
        return None;
    }
    let what = format!(
        "the verification pod uses {} of namespace `{namespace}`, where what can change the nodes is kept",
        wanted.join(", ")
    );
    Some(Refusal::new(what).hint("run it in a namespace of its own with `-p verification-namespace=…`"))
}

/// Accounts and Secrets by name.
fn credentials(spec: &Value) -> Vec<String> {
    let mut found = Vec::new();
    for key in ["serviceAccountName", "serviceAccount"] {
        if let Some(account) = spec[key].as_str().filter(|name| !["", "default"].contains(name)) {
            found.push(format!("service account `{account}`"));
        }
    }
    for part in ["volumes", "containers", "initContainers"] {
        secrets(&spec[part], &mut found);
    }
    found.dedup();
    found
}

/// Every kind of reference to a Secret has the word in its key, in all kinds of volumes and of variables.
fn secrets(value: &Value, found: &mut Vec<String>) {
    match value {
        Value::Array(items) => items.iter().for_each(|item| secrets(item, found)),
        Value::Object(map) => {
            for (key, value) in map {
                if !key.to_ascii_lowercase().contains("secret") {
                    secrets(value, found);
                    continue;
                }
                let name = value.as_str().or_else(|| value["secretName"].as_str()).or_else(|| value["name"].as_str());
                found.push(name.map_or_else(|| "a Secret".to_owned(), |name| format!("Secret `{name}`")));
            }
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;
    use serde_json::json;

    use super::*;
    use crate::settings::Given;

    #[rstest]
    #[case::nothing(json!({"containers": [{"env": [{"name": "SECRET", "value": "x"}]}], "imagePullSecrets": [{"name": "pull"}]}), "")]
    #[case::default_account(json!({"serviceAccountName": "default"}), "")]
    #[case::account(json!({"serviceAccountName": "kata-deploy-sa"}), "service account `kata-deploy-sa`")]
    #[case::old_spelling(json!({"serviceAccount": "sa"}), "service account `sa`")]
    #[case::volume(json!({"volumes": [{"name": "v", "secret": {"secretName": "s"}}]}), "Secret `s`")]
    #[case::projected(json!({"volumes": [{"projected": {"sources": [{"secret": {"name": "s"}}]}}]}), "Secret `s`")]
    #[case::driver(json!({"volumes": [{"csi": {"nodePublishSecretRef": {"name": "s"}}}]}), "Secret `s`")]
    #[case::variable(json!({"containers": [{"env": [{"valueFrom": {"secretKeyRef": {"name": "s", "key": "k"}}}]}]}), "Secret `s`")]
    #[case::variables(json!({"initContainers": [{"envFrom": [{"secretRef": {"name": "s"}}]}]}), "Secret `s`")]
    #[case::odd(json!({"volumes": [{"secret": 7}]}), "a Secret")]
    fn a_pod_takes_no_credentials_where_a_runs_own_are(#[case] spec: Value, #[case] wanted: &str) {
        assert_eq!(credentials(&spec).join(", "), wanted);
        let mut pod = json!({"apiVersion": "v1", "kind": "Pod", "spec": spec});
        if pod["spec"]["containers"].is_null() {
            pod["spec"]["containers"] = json!([{"name": "c"}]);
        }
        for (namespace, is_guarded) in [("kube-system", true), ("flows", true), ("checks", false)] {
            let given: Given = [("verification-namespace".to_owned(), namespace.to_owned())].into();
            let settings = Settings::parse(&given).unwrap();
            let template = Template::check(vec![pod.clone()], namespace).unwrap();
            let refusal = guarded(&template, &settings, "flows");
            assert_eq!(refusal.is_some(), is_guarded && !wanted.is_empty(), "{namespace}: {refusal:?}");
        }
    }
}
