//! What Helm's post-renderer does in job mode: kata-deploy's install dispatcher acts on the wave's nodes only, and can
//! run while every node is cordoned. Everything else passes byte for byte.
//!
//! From 4.1.0 on the dispatcher takes `--nodes` for all nodes that may keep Kata and cleans up the rest; without
//! `--cleanup-job-template` it has nothing to clean up with.

use serde_json::{Value, json};

/// Why a stream of manifests can't be used. The upgrade must not happen then.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unsafe {
    /// A document that may be the dispatcher can't be read.
    #[error("document {number} of the rendered chart is not YAML: {why}")]
    Unreadable {
        /// Which, from 1.
        number: usize,
        /// The reader's words.
        why: String,
    },
    /// There is no dispatcher, or there are several.
    #[error("the rendered chart has {0} install dispatchers, but job mode needs exactly one")]
    Dispatchers(usize),
    /// It would act on all nodes.
    #[error("the install dispatcher isn't limited to the nodes of the wave: it has no `--nodes`")]
    NoNodes,
    /// It should be told to clean up the other nodes, and isn't; so this chart does that in a way that we don't know.
    #[error("the install dispatcher has no `{CLEANUP}`, as charts from 4.1.0 on are known to have")]
    NoCleanup,
}

const CLEANUP: &str = "--cleanup-job-template";
const NODES: &str = "--nodes";
const UNSCHEDULABLE: &str = "node.kubernetes.io/unschedulable";

/// Changes the dispatcher in a stream of YAML documents. `read` is a YAML reader; `cleans_up` says whether the chart is
/// one whose dispatcher cleans up nodes outside the wave.
pub fn scope<E: std::fmt::Display>(
    stream: &str,
    cleans_up: bool,
    read: impl Fn(&str) -> Result<Value, E>,
) -> Result<String, Unsafe> {
    let mut scoped = String::with_capacity(stream.len());
    let mut found = 0;
    for (number, document) in documents(stream).into_iter().enumerate() {
        // Only what mentions both words can be the dispatcher; nothing else is even read.
        if !(document.contains("install-dispatcher") && document.contains("Job")) {
            scoped.push_str(document);
            continue;
        }
        let (separator, body) = split_separator(document);
        let mut value =
            read(body).map_err(|error| Unsafe::Unreadable { number: number + 1, why: error.to_string() })?;
        if !is_install_dispatcher(&value) {
            scoped.push_str(document);
            continue;
        }
        found += 1;
        limit(&mut value, cleans_up)?;
        tolerate(&mut value);
        // JSON is YAML, and needs no guess about quotes.
        scoped.push_str(separator);
        scoped.push_str(&value.to_string());
        scoped.push('\n');
    }
    if found == 1 { Ok(scoped) } else { Err(Unsafe::Dispatchers(found)) }
}

/// The documents, each beginning with the separator before it, so that joining them gives the stream.
fn documents(stream: &str) -> Vec<&str> {
    let mut starts = vec![0];
    let mut at = 0;
    for line in stream.split_inclusive('\n') {
        if at > 0 && is_separator(line) {
            starts.push(at);
        }
        at += line.len();
    }
    starts.push(stream.len());
    starts.windows(2).map(|ends| &stream[ends[0]..ends[1]]).collect()
}

fn is_separator(line: &str) -> bool {
    line.strip_prefix("---").is_some_and(|rest| rest.trim().is_empty() || rest.starts_with([' ', '\t']))
}

fn split_separator(document: &str) -> (&str, &str) {
    let end = document.find('\n').map_or(document.len(), |end| end + 1);
    if is_separator(&document[..end]) { document.split_at(end) } else { ("", document) }
}

fn is_install_dispatcher(document: &Value) -> bool {
    let text = |pointer: &str| document.pointer(pointer).and_then(Value::as_str).unwrap_or_default();
    text("/kind") == "Job" && text("/metadata/name").ends_with("-install-dispatcher")
}

/// Takes the clean-up away from every container and makes sure that `--nodes` names nodes.
fn limit(job: &mut Value, cleans_up: bool) -> Result<(), Unsafe> {
    let (mut cleaned, mut named) = (false, false);
    let containers = job.pointer_mut("/spec/template/spec/containers").and_then(Value::as_array_mut);
    for container in containers.into_iter().flatten() {
        for key in ["command", "args"] {
            let Some(args) = container.get_mut(key).and_then(Value::as_array_mut) else { continue };
            cleaned |= take_flag(args, CLEANUP);
            named |= flag_value(args, NODES).is_some_and(|names| names.split(',').all(|name| !name.trim().is_empty()));
        }
    }
    match (named, cleaned, cleans_up) {
        (false, _, _) => Err(Unsafe::NoNodes),
        (true, false, true) => Err(Unsafe::NoCleanup),
        _ => Ok(()),
    }
}

/// Removes `--flag=value` and `--flag value`, wherever they are and however often.
fn take_flag(args: &mut Vec<Value>, flag: &str) -> bool {
    let before = args.len();
    let mut is_value = false;
    args.retain(|arg| {
        let text = arg.as_str().unwrap_or_default();
        let ours = std::mem::take(&mut is_value) || text == flag || is_with_value(text, flag).is_some();
        is_value = text == flag;
        !ours
    });
    args.len() < before
}

fn flag_value<'a>(args: &'a [Value], flag: &str) -> Option<&'a str> {
    let texts: Vec<&str> = args.iter().map(|arg| arg.as_str().unwrap_or_default()).collect();
    let at = texts.iter().position(|text| *text == flag || is_with_value(text, flag).is_some())?;
    is_with_value(texts[at], flag).or_else(|| texts.get(at + 1).copied())
}

fn is_with_value<'a>(text: &'a str, flag: &str) -> Option<&'a str> {
    text.strip_prefix(flag)?.strip_prefix('=')
}

/// Lets the dispatcher run on a cordoned node: on a single node, or when a wave is the whole pool, there is no other.
fn tolerate(job: &mut Value) {
    let Some(spec) = job.pointer_mut("/spec/template/spec").and_then(Value::as_object_mut) else { return };
    let tolerations = spec.entry("tolerations").or_insert_with(|| json!([]));
    if !tolerations.is_array() {
        *tolerations = json!([]);
    }
    let Some(tolerations) = tolerations.as_array_mut() else { return };
    let covered = |toleration: &Value| {
        let key = toleration["key"].as_str().unwrap_or_default();
        let effect = toleration["effect"].as_str().unwrap_or_default();
        toleration["operator"] == "Exists" && ["", UNSCHEDULABLE].contains(&key) && ["", "NoSchedule"].contains(&effect)
    };
    if !tolerations.iter().any(covered) {
        tolerations.push(json!({"key": UNSCHEDULABLE, "operator": "Exists", "effect": "NoSchedule"}));
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    const OTHER: &str = "# Source: kata-deploy/templates/x.yaml\napiVersion: v1\nkind: ConfigMap\nmetadata: {name: a-install-dispatcher}\ndata:\n  mode:   0644 # Job\n";

    fn job(args: &Value, tolerations: &Value) -> String {
        json!({
            "apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": "kata-deploy-cicd-install-dispatcher"},
            "spec": {"template": {"spec": {"tolerations": tolerations, "containers": [{"name": "d", "args": args}]}}}
        })
        .to_string()
    }

    /// The tests' documents are JSON or without interest, so no YAML reader is needed.
    fn read(text: &str) -> Result<Value, serde_json::Error> {
        let body = text.trim();
        if body.starts_with('{') { serde_json::from_str(body) } else { Ok(Value::Null) }
    }

    fn run(stream: &str, cleans_up: bool) -> Result<String, Unsafe> {
        scope(stream, cleans_up, read)
    }

    #[rstest]
    #[case(json!(["--nodes=a,b", "--cleanup-job-template=/x", "--name-prefix=p"]))]
    #[case(json!(["--nodes=a,b", "--cleanup-job-template", "/x", "--name-prefix=p"]))]
    #[case(json!(["--cleanup-job-template", "/x", "--nodes=a,b", "--cleanup-job-template=/y", "--name-prefix=p"]))]
    fn the_clean_up_goes_in_either_form_and_the_rest_stays(#[case] args: Value) {
        let scoped = run(&job(&args, &json!([])), true).unwrap();
        let job: Value = serde_json::from_str(&scoped).unwrap();
        let spec = &job["spec"]["template"]["spec"];
        assert_eq!(spec["containers"][0]["args"], json!(["--nodes=a,b", "--name-prefix=p"]));
        assert_eq!(spec["tolerations"], json!([{"key": UNSCHEDULABLE, "operator": "Exists", "effect": "NoSchedule"}]));
    }

    #[test]
    fn every_other_document_passes_byte_for_byte() {
        let dispatcher = job(&json!(["--nodes", "a"]), &json!(null));
        let stream = format!("{OTHER}---\n{dispatcher}\n--- # next\n{OTHER}\n---\n\n");
        let scoped = run(&stream, false).unwrap();
        assert!(scoped.starts_with(OTHER) && scoped.ends_with(&format!("\n--- # next\n{OTHER}\n---\n\n")), "{scoped}");
    }

    #[test]
    fn what_was_scoped_once_is_not_changed_again() {
        let once = run(&job(&json!(["--nodes=a"]), &json!([{"operator": "Exists"}])), false).unwrap();
        assert_eq!(run(&once, false).unwrap(), once);
    }

    #[rstest]
    #[case::nothing("", Unsafe::Dispatchers(0))]
    #[case::none(OTHER, Unsafe::Dispatchers(0))]
    fn without_a_dispatcher_there_is_no_upgrade(#[case] stream: &str, #[case] expected: Unsafe) {
        assert_eq!(run(stream, false), Err(expected));
    }

    #[rstest]
    #[case(json!(["--nodes=", "--cleanup-job-template=/x"]), Unsafe::NoNodes)]
    #[case(json!(["--nodes=a,", "--cleanup-job-template=/x"]), Unsafe::NoNodes)]
    #[case(json!(["--node-selector=a=b", "--cleanup-job-template=/x"]), Unsafe::NoNodes)]
    #[case(json!(["--nodes=a"]), Unsafe::NoCleanup)]
    #[case(json!(["--nodes=a", "--cleanup-job-templates=/x"]), Unsafe::NoCleanup)]
    fn a_dispatcher_that_is_not_as_expected_fails_the_upgrade(#[case] args: Value, #[case] expected: Unsafe) {
        assert_eq!(run(&job(&args, &json!([])), true), Err(expected));
    }

    #[test]
    fn two_dispatchers_or_one_that_can_not_be_read_fail_the_upgrade() {
        let one = job(&json!(["--nodes=a"]), &json!([]));
        assert_eq!(run(&format!("{one}\n---\n{one}"), false), Err(Unsafe::Dispatchers(2)));
        let broken = format!("{OTHER}---\n{{{one}");
        assert!(matches!(run(&broken, false), Err(Unsafe::Unreadable { number: 2, .. })));
    }
}
