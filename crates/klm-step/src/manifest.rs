//! YAML that others wrote: the verification pod, and what Helm renders. Read with the rules that kubectl has, so that
//! `0644` is a mode and `<<` merges.

use klm_core::refusal::Refusal;
use klm_core::settings::Settings;
use klm_core::verification::{Template, guarded, readable, text_of};
use serde_json::Value;

/// Text that isn't YAML. Says where, and doesn't quote it: manifests may hold secrets.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("it can't be read at line {line}, column {column}")]
pub struct InvalidYaml {
    line: u64,
    column: u64,
}

/// All documents of a text; empty ones are left out.
pub fn documents(text: &str) -> Result<Vec<Value>, InvalidYaml> {
    let options = serde_saphyr::options! { legacy_octal_numbers: true, with_snippet: false };
    serde_saphyr::from_multiple_with_options(text, options).map_err(|error| {
        let (line, column) = error.location().map_or((0, 0), |at| (at.line(), at.column()));
        InvalidYaml { line, column }
    })
}

/// The one document of a text.
pub fn document(text: &str) -> Result<Value, InvalidYaml> {
    Ok(documents(text)?.into_iter().next().unwrap_or_default())
}

/// The parameter `verification-pod`, plain or base64, checked.
pub fn verification_pod(parameter: &str, namespace: &str) -> Result<Template, Vec<Refusal>> {
    let text = text_of(parameter).map_err(|refusal| vec![refusal])?;
    let documents = documents(&readable(&text)).map_err(|error| {
        vec![
            Refusal::new(format!("the verification pod is not YAML: {error}"))
                .hint("`kubectl create --dry-run=client -f` shows more"),
        ]
    })?;
    Template::check(documents, namespace)
}

/// The same, for a run with these settings.
pub fn verification_pod_of(
    parameter: &str,
    settings: &Settings,
    workflow_namespace: &str,
) -> Result<Template, Vec<Refusal>> {
    let template = verification_pod(parameter, &settings.verification_namespace)?;
    match guarded(&template, settings, workflow_namespace) {
        None => Ok(template),
        Some(refusal) => Err(vec![refusal]),
    }
}

#[cfg(test)]
mod tests {
    use base64::Engine as _;
    use klm_core::post_render::scope;
    use rstest::rstest;
    use serde_json::json;

    use super::*;

    const POD: &str = "apiVersion: v1\nkind: Pod\nmetadata:\n  name: ${TEST_POD}\nspec:\n  runtimeClassName: kata-qemu\n  nodeSelector: {kubernetes.io/hostname: ${NODE}}\n  containers:\n  - name: c\n";

    #[test]
    fn numbers_merges_and_texts_are_read_as_kubectl_reads_them() {
        let text = "a: 0644\nb: &base {x: 1}\nc:\n  <<: *base\n  y: '0644'\nd: 1e3\n";
        assert_eq!(document(text).unwrap(), json!({"a": 420, "b": {"x": 1}, "c": {"x": 1, "y": "0644"}, "d": 1000.0}));
    }

    #[test]
    fn a_pod_is_read_plain_and_packed_with_its_placeholders_in_braces() {
        let packed = base64::engine::general_purpose::STANDARD.encode(POD);
        for parameter in [POD, packed.as_str()] {
            assert_eq!(verification_pod(parameter, "default").unwrap().runtime_class(), Some("kata-qemu"));
        }
    }

    #[rstest]
    #[case::indentation("kind: Pod\n  x: y\n", "line 2")]
    #[case::tab("kind: Pod\nspec:\n\tx: y\n", "line 3")]
    #[case::twice("kind: Pod\nkind: hunter2\n", "line 2")]
    fn what_is_not_yaml_is_told_by_its_place_and_not_quoted(#[case] text: &str, #[case] place: &str) {
        let refusal = verification_pod(text, "default").unwrap_err().remove(0).to_string();
        assert!(refusal.contains(place) && !refusal.contains("hunter2"), "{refusal}");
    }

    #[test]
    fn several_documents_are_refused_and_empty_ones_are_not_counted() {
        assert!(verification_pod(&format!("---\n{POD}---\n# nothing\n"), "default").is_ok());
        assert!(verification_pod(&format!("{POD}---\n{POD}"), "default").is_err());
    }

    #[test]
    fn the_rendered_dispatcher_is_scoped_in_yaml() {
        let stream = "---\n# Source: x\nkind: ConfigMap\ndata: {a: 0644}\n---\napiVersion: batch/v1\nkind: Job\nmetadata:\n  name: \"kata-deploy-install-dispatcher\"\n  annotations:\n    \"helm.sh/hook\": post-install,post-upgrade\nspec:\n  template:\n    spec:\n      containers:\n        - name: dispatcher\n          args:\n            - --nodes=a,b\n            - --cleanup-job-template=/etc/kata-job/cleanup-job.yaml\n";
        let scoped = scope(stream, true, document).unwrap();
        assert!(scoped.starts_with("---\n# Source: x\nkind: ConfigMap\ndata: {a: 0644}\n---\n{"), "{scoped}");
        let all = documents(&scoped).unwrap();
        assert_eq!(all[1].pointer("/spec/template/spec/containers/0/args"), Some(&json!(["--nodes=a,b"])));
        assert_eq!(all[1].pointer("/metadata/annotations/helm.sh~1hook"), Some(&json!("post-install,post-upgrade")));
    }
}
