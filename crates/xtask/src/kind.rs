//! `cargo xtask kind`: gives a kind cluster what the suites expect and kind doesn't bring: runtime handlers for Kata, and a
//! registry that nodes look into before any other. It also says on the cluster that the suites may wipe it.

use std::process::ExitCode;

use anyhow::{Context, Result, bail};
use clap::Args;
use klm_bed::consent::{ASKED, MAY_BE_WIPED};
use klm_bed::node::HANDLERS;
use klm_bed::process::{output, output_with_input, run as start, words};

/// The registry's container, and its image.
const REGISTRY: &str = "klm-registry";
const REGISTRY_IMAGE: &str = "docker.io/library/registry:3";

/// The runtime handler that kind's nodes bring for tests of Kubernetes itself: an ordinary container runtime.
const SPARE: &str = "test-handler";

const CONFIG: &str = "/etc/containerd/config.toml";

/// What containerd asks first, whatever registry an image's name says.
const MIRROR: &str = "/etc/containerd/certs.d/_default/hosts.toml";

/// Which cluster.
#[derive(Args)]
pub struct Task {
    /// Name of the kind cluster
    #[arg(long, default_value = "kind")]
    name: String,
}

pub fn run(task: &Task) -> Result<ExitCode> {
    let nodes = output(&mut words(["kind", "get", "nodes", "--name", &task.name]))?;
    if nodes.trim().is_empty() {
        bail!(
            "there is no kind cluster `{0}`\nhint: kind create cluster --name {0} --config .github/kind.yaml",
            task.name
        );
    }
    let registry = registry()?;
    for node in nodes.lines() {
        adapt(node, &registry).with_context(|| format!("cannot prepare the node {node}"))?;
        eprintln!("{node}: runtime handlers and registry are set");
    }
    // Inside a node, where kubectl can't be the one of another cluster.
    start(&mut words(mark(&task.name)))?;
    eprintln!("the cluster says that it may be wiped");
    result("registry", &registry);
    Ok(ExitCode::SUCCESS)
}

#[expect(clippy::print_stdout, reason = "the result, which a workflow reads")]
fn result(name: &str, value: &str) {
    println!("{name}={value}");
}

/// Starts the registry unless it runs, in kind's own network: one address is then good for nodes, pods and this machine.
fn registry() -> Result<String> {
    let running = output(&mut words(["docker", "ps", "--quiet", "--filter", &format!("name=^{REGISTRY}$")]))?;
    if running.trim().is_empty() {
        // Removed when it ends, or its name would be in the way of the next one.
        let run = ["docker", "run", "--rm", "--detach", "--name", REGISTRY, "--network", "kind", REGISTRY_IMAGE];
        start(&mut words(run))?;
    }
    let format = "{{ .NetworkSettings.Networks.kind.IPAddress }}";
    let address = output(&mut words(["docker", "inspect", REGISTRY, "--format", format]))?;
    Ok(format!("{}:5000", address.trim()))
}

/// Marks the cluster of this name as one that the suites may wipe.
fn mark(name: &str) -> Vec<String> {
    let node = format!("{name}-control-plane");
    let mark = format!("{MAY_BE_WIPED}=true");
    let kubectl = ["kubectl", "--kubeconfig", "/etc/kubernetes/admin.conf"];
    let annotate = ["annotate", "--overwrite", "namespace", ASKED, &mark];
    ["docker", "exec", &node].into_iter().chain(kubectl).chain(annotate).map(str::to_owned).collect()
}

fn adapt(node: &str, registry: &str) -> Result<()> {
    let config = output(&mut words(["docker", "exec", node, "cat", CONFIG]))?;
    write(node, CONFIG, &with_handlers(&config, HANDLERS)?)?;
    let folder = MIRROR.trim_end_matches("/hosts.toml");
    start(&mut words(["docker", "exec", node, "mkdir", "--parents", folder]))?;
    write(node, MIRROR, &mirror(registry))?;
    start(&mut words(["docker", "exec", node, "systemctl", "restart", "containerd"]))
}

fn write(node: &str, file: &str, text: &str) -> Result<()> {
    output_with_input(&mut words(["docker", "exec", "--interactive", node, "tee", file]), text.as_bytes()).map(|_| ())
}

fn mirror(registry: &str) -> String {
    format!("[host.\"http://{registry}\"]\n  capabilities = [\"pull\", \"resolve\"]\n")
}

/// The configuration with a copy of the spare handler under each name; those that are there already stay as they are.
///
/// Copied rather than written, because where a handler belongs differs between versions of containerd's configuration.
fn with_handlers(config: &str, names: &[&str]) -> Result<String> {
    let spare = tables(config, SPARE);
    if spare.is_empty() {
        bail!("{CONFIG} has no runtime handler `{SPARE}` to copy");
    }
    let mut all = config.trim_end().to_owned();
    for name in names {
        if tables(config, name).is_empty() {
            all.push_str("\n\n");
            all.push_str(&spare.replace(SPARE, name));
        }
    }
    Ok(all + "\n")
}

/// Every table of a TOML file that has this word as a part of its name, with its header.
fn tables(config: &str, word: &str) -> String {
    let mut mine = false;
    let lines = config.lines().filter(|line| {
        if let Some(header) = line.trim().strip_prefix('[') {
            mine = header.trim_end_matches(']').split(['.', '"', '\'']).any(|part| part == word);
        }
        mine
    });
    lines.collect::<Vec<_>>().join("\n").trim_end().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    const KIND: &str = r#"version = 2
[plugins."io.containerd.grpc.v1.cri".containerd]
  default_runtime_name = "runc"
[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
  runtime_type = "io.containerd.runc.v2"
[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.test-handler]
  runtime_type = "io.containerd.runc.v2"
  [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.test-handler.options]
    SystemdCgroup = true
[plugins."io.containerd.grpc.v1.cri"]
  tolerate_missing_hugetlb_controller = true
"#;

    #[test]
    fn the_spare_handler_is_copied_under_each_name() {
        let changed = with_handlers(KIND, &["kata-qemu", "kata-other"]).unwrap();
        let added = changed.strip_prefix(KIND.trim_end()).unwrap();
        assert_eq!(
            added,
            r#"

[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.kata-qemu]
  runtime_type = "io.containerd.runc.v2"
  [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.kata-qemu.options]
    SystemdCgroup = true

[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.kata-other]
  runtime_type = "io.containerd.runc.v2"
  [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.kata-other.options]
    SystemdCgroup = true
"#
        );
    }

    #[test]
    fn a_second_time_changes_nothing() {
        let once = with_handlers(KIND, &["kata-qemu"]).unwrap();
        assert_eq!(with_handlers(&once, &["kata-qemu"]).unwrap(), once);
    }

    #[test]
    fn a_name_that_only_begins_the_same_is_another_handler() {
        let once = with_handlers(KIND, &["kata-qemu-runtime-rs"]).unwrap();
        assert!(with_handlers(&once, &["kata-qemu"]).unwrap().contains("runtimes.kata-qemu]"));
    }

    #[test]
    fn a_node_without_a_spare_handler_is_refused() {
        let error = with_handlers("version = 3\n", &["kata-qemu"]).unwrap_err().to_string();
        assert!(error.contains("no runtime handler `test-handler`"), "{error}");
    }

    #[test]
    fn the_cluster_is_told_that_it_may_be_wiped_on_a_node_of_its_own() {
        assert_eq!(
            mark("klm").join(" "),
            "docker exec klm-control-plane kubectl --kubeconfig /etc/kubernetes/admin.conf annotate --overwrite \
             namespace kube-system katacontainers.io/kata-lifecycle-manager-may-be-wiped=true"
        );
    }
}
