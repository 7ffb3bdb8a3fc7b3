//! The cluster itself: it does what a cluster elsewhere does, so that what is proven here means something.

#![allow(clippy::unwrap_used, reason = "a helper that fails is a test that fails")]

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::time::Duration;

use anyhow::Result;
use k8s_openapi::api::core::v1::{Node, Pod};
use klm_bed::images::{SHELL_IMAGE, UTILS_IMAGE, VERIFY_IMAGE};
use klm_bed::netns::Netns;
use klm_bed::preflight::INSTANCES_OF_A_NODE;
use klm_e2e::{Scene, Seen, Wait};
use kube::Api;
use serde_json::{Value, json};

/// Nothing here takes longer, even on a busy machine.
const SOON: Duration = Duration::from_secs(180);

fn pod(name: &str, spec: &Value) -> String {
    let mut all = json!({"restartPolicy": "Never"});
    for (key, value) in spec.as_object().unwrap() {
        all[key] = value.clone();
    }
    json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name}, "spec": all}).to_string()
}

fn create(scene: &Scene, namespace: &str, manifest: &str) -> Result<String> {
    let mut command = scene.cluster.command("kubectl");
    command.args(["create", "--namespace", namespace, "--filename", "-"]);
    klm_bed::process::output_with_input(&mut command, manifest.as_bytes())
}

fn phase(pod: &Pod) -> &str {
    pod.status.as_ref().and_then(|status| status.phase.as_deref()).unwrap_or_default()
}

fn node_of(pod: &Pod) -> &str {
    pod.spec.as_ref().and_then(|spec| spec.node_name.as_deref()).unwrap_or_default()
}

fn runtime_class(scene: &Scene) {
    let class = json!({
        "apiVersion": "node.k8s.io/v1", "kind": "RuntimeClass",
        "metadata": {"name": "kata-qemu"}, "handler": "kata-qemu",
    });
    scene.apply(&class.to_string()).unwrap();
}

#[tokio::test]
#[ignore = "needs a cluster: cargo xtask test cluster"]
async fn a_two_step_workflow_passes_an_output_parameter_on() {
    let scene = Scene::open().await.unwrap();
    let namespace = scene.namespace("two-steps").unwrap();
    scene
        .kubectl(
            &["create", "role", "executor", "--verb=create,patch", "--resource=workflowtaskresults.argoproj.io"]
                .iter()
                .copied()
                .chain(["--namespace", &namespace])
                .collect::<Vec<_>>(),
        )
        .unwrap();
    let account = format!("--serviceaccount={namespace}:default");
    scene
        .kubectl(&["create", "rolebinding", "executor", "--role=executor", &account, "--namespace", &namespace])
        .unwrap();
    let workflow = json!({
        "apiVersion": "argoproj.io/v1alpha1", "kind": "Workflow", "metadata": {"name": "two"},
        "spec": {
            "entrypoint": "main",
            "templates": [
                {"name": "main", "steps": [
                    [{"name": "first", "template": "writes"}],
                    [{"name": "second", "template": "says", "arguments": {"parameters": [
                        {"name": "word", "value": "{{steps.first.outputs.parameters.word}}"},
                    ]}}],
                ]},
                {
                    "name": "writes",
                    "outputs": {"parameters": [{"name": "word", "valueFrom": {"path": "/tmp/word"}}]},
                    "container": {"image": SHELL_IMAGE, "command": ["sh", "-c", "echo -n forty-two > /tmp/word"]},
                },
                {
                    "name": "says",
                    "inputs": {"parameters": [{"name": "word"}]},
                    "container": {"image": VERIFY_IMAGE, "command": ["/verify"], "args": ["print={{inputs.parameters.word}}"]},
                },
            ],
        },
    });
    create(&scene, &namespace, &workflow.to_string()).unwrap();
    let outcome = scene.ended_workflow(&namespace, "two", SOON).await.unwrap();
    assert_eq!(outcome.phase, "Succeeded", "{outcome:?}");
    assert_eq!(outcome.step(".first").unwrap().outputs["word"], "forty-two");
    let said = scene.argo(&["logs", "--namespace", &namespace, "two", "--no-color"]).unwrap();
    assert!(said.lines().any(|line| line.ends_with(": forty-two")), "{said}");
}

#[tokio::test]
#[ignore = "needs a cluster: cargo xtask test cluster"]
async fn a_pod_with_a_kata_runtime_class_runs_on_the_node_that_it_is_pinned_to() {
    let scene = Scene::open().await.unwrap();
    let namespace = scene.namespace("pinned").unwrap();
    runtime_class(&scene);
    for node in ["worker-1", "worker-2"] {
        let spec = json!({
            "runtimeClassName": "kata-qemu",
            "nodeSelector": {"kubernetes.io/hostname": node},
            "containers": [{"name": "verify", "image": VERIFY_IMAGE, "args": ["print=hello"]}],
        });
        create(&scene, &namespace, &pod(node, &spec)).unwrap();
        let ended = scene.ended_pod(&namespace, node, SOON).await.unwrap();
        assert_eq!((phase(&ended), node_of(&ended)), ("Succeeded", node));
    }
    let nodes: Api<Node> = Api::all(scene.client.clone());
    let node = nodes.get("worker-1").await.unwrap();
    let handlers = node.status.unwrap().runtime_handlers.unwrap();
    let names: Vec<_> = handlers.iter().filter_map(|handler| handler.name.as_deref()).collect();
    assert!(names.contains(&"kata-qemu") && names.contains(&"kata-qemu-runtime-rs"), "{names:?}");
}

#[tokio::test]
#[ignore = "needs a cluster: cargo xtask test cluster"]
async fn a_runtime_class_with_a_handler_that_no_node_has_starts_no_pod() {
    let scene = Scene::open().await.unwrap();
    let namespace = scene.namespace("no-handler").unwrap();
    let class = json!({
        "apiVersion": "node.k8s.io/v1", "kind": "RuntimeClass", "metadata": {"name": "absent"}, "handler": "absent",
    });
    scene.apply(&class.to_string()).unwrap();
    let spec = json!({"runtimeClassName": "absent", "containers": [{"name": "verify", "image": VERIFY_IMAGE}]});
    create(&scene, &namespace, &pod("stuck", &spec)).unwrap();
    Wait::new("the event about the missing handler", SOON)
        .until_blocking(|| {
            let events = scene.kubectl(&["get", "events", "--namespace", &namespace])?;
            Ok(if events.contains("FailedCreatePodSandBox") { Seen::Done(()) } else { Seen::NotYet(events) })
        })
        .unwrap();
}

#[tokio::test]
#[ignore = "needs a cluster: cargo xtask test cluster"]
async fn the_documented_verification_pod_runs_as_it_is() {
    let scene = Scene::open().await.unwrap();
    let namespace = scene.namespace("documented").unwrap();
    runtime_class(&scene);
    // No pull policy: for `:latest` the kubelet asks the registry each time.
    let spec = json!({
        "runtimeClassName": "kata-qemu",
        "nodeSelector": {"kubernetes.io/hostname": "worker-3"},
        "tolerations": [{"operator": "Exists"}],
        "containers": [{
            "name": "verify", "image": SHELL_IMAGE,
            "command": ["sh", "-c", "echo \"Node: worker-3\"\necho \"Kernel: $(uname -r)\"\n"],
        }],
    });
    create(&scene, &namespace, &pod("verify", &spec)).unwrap();
    let ended = scene.ended_pod(&namespace, "verify", SOON).await.unwrap();
    assert_eq!(phase(&ended), "Succeeded");
    let said = scene.logs(&namespace, "verify").unwrap();
    assert!(said.starts_with("Node: worker-3\nKernel: "), "{said}");
}

#[tokio::test]
#[ignore = "needs a cluster: cargo xtask test cluster"]
async fn the_image_of_the_steps_has_its_programs_and_is_not_root() {
    let scene = Scene::open().await.unwrap();
    let namespace = scene.namespace("utils").unwrap();
    for (name, command) in [("helm", vec!["helm", "version"]), ("kubectl", vec!["kubectl", "version", "--client"])] {
        let spec = json!({
            "securityContext": {"runAsNonRoot": true},
            "containers": [{"name": "tool", "image": UTILS_IMAGE, "command": command}],
        });
        create(&scene, &namespace, &pod(name, &spec)).unwrap();
        let ended = scene.ended_pod(&namespace, name, SOON).await.unwrap();
        assert_eq!(phase(&ended), "Succeeded", "{}", scene.logs(&namespace, name).unwrap());
    }
}

#[tokio::test]
#[ignore = "needs a cluster: cargo xtask test cluster"]
async fn an_image_that_is_nowhere_fails_with_not_found() {
    let scene = Scene::open().await.unwrap();
    let namespace = scene.namespace("no-image").unwrap();
    let spec = json!({"containers": [{"name": "x", "image": "quay.io/kata-containers/kata-deploy:9.9.9"}]});
    create(&scene, &namespace, &pod("absent", &spec)).unwrap();
    Wait::new("the event about the missing image", SOON)
        .until_blocking(|| {
            let events = scene.kubectl(&["get", "events", "--namespace", &namespace])?;
            Ok(if events.contains("9.9.9: not found") { Seen::Done(()) } else { Seen::NotYet(events) })
        })
        .unwrap();
}

#[tokio::test]
#[ignore = "needs a cluster: cargo xtask test cluster"]
async fn pods_reach_the_api_server_and_the_registry() {
    let scene = Scene::open().await.unwrap();
    let namespace = scene.namespace("reach").unwrap();
    let account = format!("--serviceaccount={namespace}:default");
    scene
        .kubectl(&["create", "rolebinding", "view", "--clusterrole=view", &account, "--namespace", &namespace])
        .unwrap();
    let registry = scene.cluster.registry().unwrap();
    let pods = [
        ("api", json!(["kubectl", "get", "pods"])),
        (
            "registry",
            json!([
                "helm",
                "show",
                "chart",
                "--plain-http",
                "--version",
                "4.0.0",
                format!("oci://{registry}/kata-deploy-charts/kata-deploy")
            ]),
        ),
    ];
    for (name, command) in pods {
        let container = json!({
            "name": "tool", "image": UTILS_IMAGE, "imagePullPolicy": "IfNotPresent", "command": command,
            "env": [{"name": "HOME", "value": "/tmp"}],
        });
        create(&scene, &namespace, &pod(name, &json!({"containers": [container]}))).unwrap();
        let ended = scene.ended_pod(&namespace, name, SOON).await.unwrap();
        assert_eq!(phase(&ended), "Succeeded", "{name}: {}", scene.logs(&namespace, name).unwrap());
    }
}

#[tokio::test]
#[ignore = "needs a cluster: cargo xtask test cluster"]
async fn who_has_no_right_and_what_is_not_admitted_is_refused() {
    let scene = Scene::open().await.unwrap();
    let namespace = scene.namespace("refused").unwrap();

    let nobody = format!("--as=system:serviceaccount:{namespace}:default");
    let refused = scene.kubectl(&["get", "secrets", "--namespace", &namespace, &nobody]).unwrap_err();
    assert!(format!("{refused:#}").contains("Forbidden"), "{refused:#}");

    let itself = scene
        .kubectl(&[
            "label",
            "node",
            "worker-1",
            "node-restriction.kubernetes.io/mine=true",
            "--as=system:node:worker-1",
            "--as-group=system:nodes",
        ])
        .unwrap_err();
    assert!(format!("{itself:#}").contains("is not allowed to modify labels"), "{itself:#}");

    scene.kubectl(&["label", "namespace", &namespace, "pod-security.kubernetes.io/enforce=restricted"]).unwrap();
    let spec = json!({"hostNetwork": true, "containers": [{"name": "x", "image": VERIFY_IMAGE}]});
    let insecure = create(&scene, &namespace, &pod("insecure", &spec)).unwrap_err();
    assert!(format!("{insecure:#}").contains("violates PodSecurity"), "{insecure:#}");

    let crowded = scene.namespace("crowded").unwrap();
    scene.kubectl(&["create", "quota", "none", "--hard=pods=0", "--namespace", &crowded]).unwrap();
    let spec = json!({"containers": [{"name": "x", "image": VERIFY_IMAGE}]});
    // The quota counts once its controller has looked at it.
    Wait::new("the quota to refuse a pod", SOON)
        .until_blocking(|| match create(&scene, &crowded, &pod("one-too-many", &spec)) {
            Err(error) if format!("{error:#}").contains("exceeded quota") => Ok(Seen::Done(())),
            Err(error) => Err(error),
            Ok(said) => panic!("the quota let a pod pass: {said}"),
        })
        .unwrap();
}

#[tokio::test]
#[ignore = "needs a cluster: cargo xtask test cluster"]
async fn the_audit_log_counts_the_requests_of_a_program() {
    let scene = Scene::open().await.unwrap();
    let namespace = scene.namespace("counted").unwrap();
    let audit = scene.cluster.audit().unwrap();
    scene.kubectl(&["create", "configmap", "thing", "--namespace", &namespace]).unwrap();
    let mark = audit.mark().unwrap();
    for _ in 0..3 {
        scene.kubectl(&["get", "configmap", "thing", "--namespace", &namespace]).unwrap();
    }
    // The server writes an entry just after its answer.
    let seen = Wait::new("three entries", SOON)
        .until_blocking(|| {
            let all = audit.since(mark)?;
            let ours: Vec<_> = all
                .into_iter()
                .filter(|request| request.agent.starts_with("kubectl/") && request.namespace == namespace)
                // That of the creation may come after the mark.
                .filter(|request| request.verb == "get")
                .collect();
            Ok(if ours.len() >= 3 { Seen::Done(ours) } else { Seen::NotYet(format!("{ours:?}")) })
        })
        .unwrap();
    assert_eq!(seen.len(), 3, "{seen:?}");
    for request in &seen {
        assert_eq!(
            (request.verb.as_str(), request.resource.as_str(), request.name.as_str(), request.code),
            ("get", "configmaps", "thing", 200)
        );
        assert_eq!(request.user, "bed-admin");
    }
}

#[tokio::test]
#[ignore = "needs a cluster: cargo xtask test cluster"]
async fn a_node_that_lost_power_comes_back_and_runs_pods() {
    let scene = Scene::open().await.unwrap();
    let namespace = scene.namespace("power").unwrap();
    let spec = |node: &str| {
        json!({
            "nodeName": node,
            "containers": [{"name": "verify", "image": VERIFY_IMAGE, "args": ["sleep=1"]}],
        })
    };
    scene.cluster.stop_node("worker-2").unwrap();
    assert!(scene.cluster.node_command("worker-2", "true").is_err(), "nothing of the node runs any more");
    create(&scene, &namespace, &pod("meanwhile", &spec("worker-1"))).unwrap();
    create(&scene, &namespace, &pod("later", &spec("worker-2"))).unwrap();
    let elsewhere = scene.ended_pod(&namespace, "meanwhile", SOON).await.unwrap();
    assert_eq!(phase(&elsewhere), "Succeeded");
    let pods: Api<Pod> = Api::namespaced(scene.client.clone(), &namespace);
    assert_eq!(phase(&pods.get("later").await.unwrap()), "Pending");
    scene.cluster.start_node("worker-2").unwrap();
    let later = scene.ended_pod(&namespace, "later", SOON).await.unwrap();
    assert_eq!(phase(&later), "Succeeded");
}

#[tokio::test]
#[ignore = "needs a cluster: cargo xtask test cluster"]
async fn a_cluster_holds_no_more_inotify_instances_of_root_than_it_is_counted_by() {
    let scene = Scene::open().await.unwrap();
    let (run, options) = scene.cluster.bed().unwrap();
    let found: Vec<String> = run.namespaces().iter().flat_map(Netns::processes).flat_map(inotify_of_root).collect();
    let counted = options.nodes * INSTANCES_OF_A_NODE;
    assert!(found.len() <= counted, "{counted} are counted, and there are {}: {found:?}", found.len());
    assert!(found.iter().any(|program| program == "kubelet"), "a kubelet has some: {found:?}");
}

/// The program's name, once for each instance that it holds.
fn inotify_of_root(pid: i32) -> Vec<String> {
    let own = |file: &str| format!("/proc/{pid}/{file}");
    if !fs::metadata(own("")).is_ok_and(|facts| facts.uid() == 0) {
        return Vec::new();
    }
    let name = fs::read_to_string(own("comm")).unwrap_or_default();
    let descriptors = fs::read_dir(own("fd")).into_iter().flatten().flatten();
    let is_one = |descriptor: &fs::DirEntry| {
        fs::read_link(descriptor.path()).is_ok_and(|target| target.ends_with("anon_inode:inotify"))
    };
    descriptors.filter(is_one).map(|_| name.trim().to_owned()).collect()
}
