//! The control plane: which programs with which flags, all in one process namespace.

use std::collections::BTreeMap;
use std::fs;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use anyhow::Result;
use serde_json::json;

use crate::address::{API, REGISTRY, SERVICE, SERVICES};
use crate::options::Options;
use crate::parts::{self, Parts};
use crate::pki::{Authority, Identity};
use crate::run::Run;
use crate::world::{After, Program, World};

/// The file whose presence says that Argo's definitions and rights are in the cluster.
pub const ARGO_INSTALLED: &str = "argo/installed";
/// The image of Argo's helper in every step pod.
pub const EXECUTOR_IMAGE: &str = "bed.local/argoexec";

/// Controllers of what no cluster of ours has.
const IDLE_CONTROLLERS: [&str; 10] = [
    "certificatesigningrequest-approving",
    "certificatesigningrequest-cleaner",
    "cronjob",
    "ephemeral-volume",
    "horizontal-pod-autoscaler",
    "persistentvolume-attach-detach",
    "persistentvolume-binder",
    "persistentvolume-expander",
    "persistentvolume-protection",
    "persistentvolumeclaim-protection",
];

/// Not as root: the kernel counts inotify instances by user, and those of root are for the nodes, which can't run as anybody
/// else. No account has this number; what belongs to root may still be read and written, and port 443 be listened at.
const UNPRIVILEGED: [&str; 4] = [
    "setpriv",
    "--reuid=60443",
    "--inh-caps=+dac_override,+net_bind_service",
    "--ambient-caps=+dac_override,+net_bind_service",
];

/// Makes certificates and kubeconfig files for everything that speaks to the API server.
pub fn credentials(run: &Run) -> Result<Authority> {
    let authority = Authority::create(&run.path("pki"))?;
    let names = ["127.0.0.1", SERVICE, "localhost", "kubernetes", "kubernetes.default", "kubernetes.default.svc"];
    authority.server("apiserver", &names)?;
    let admins = Some("system:masters");
    let kubelet_client = Identity { user: "kube-apiserver-kubelet-client", group: admins };
    authority.client("kubelet-client", kubelet_client)?;
    let users = [
        ("kubeconfig", "bed-admin", admins),
        ("pki/controller-manager.conf", "system:kube-controller-manager", None),
        ("pki/scheduler.conf", "system:kube-scheduler", None),
        ("pki/kwok.conf", "bed-kwok", admins),
        // Argo runs as the service account of its published manifests, under exactly the rights that these give it.
        ("pki/argo.conf", "system:serviceaccount:argo:argo", None),
    ];
    for (file, user, group) in users {
        let name = user.replace(':', "-");
        authority.kubeconfig(&run.path(file), API, &name, Identity { user, group })?;
    }
    Ok(authority)
}

/// The first process of the control plane and everything that it runs.
pub fn world(run: &Run, parts: &Parts, options: &Options) -> Result<World> {
    fs::write(run.path("audit-policy.json"), serde_json::to_vec(&audit_policy())?)?;
    let at = |port| SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    let file = |name: &str| run.path(name).display().to_string();
    let mut programs = vec![
        program(run, parts, "etcd", After::Nothing, etcd(run))?,
        program(run, parts, "kube-apiserver", After::Listening(at(2379)), api_server(run, options))?,
        program(run, parts, "kube-controller-manager", After::Listening(at(443)), controller_manager(run, options))?,
        program(
            run,
            parts,
            "kube-scheduler",
            After::Listening(at(443)),
            [
                "--leader-elect=false".to_owned(),
                "--bind-address=127.0.0.1".to_owned(),
                format!("--kubeconfig={}", file("pki/scheduler.conf")),
                "--kube-api-qps=200".to_owned(),
                "--kube-api-burst=400".to_owned(),
            ],
        )?,
        program(
            run,
            parts,
            "crane",
            After::Nothing,
            [
                "registry".to_owned(),
                "serve".to_owned(),
                format!("--address={REGISTRY}"),
                format!("--disk={}", file("registry")),
            ],
        )?,
        argo(run, parts, options)?,
    ];
    if options.simulated > 0 {
        programs.push(crate::simulated::kwok(run, parts)?);
    }
    fs::create_dir_all(run.path("registry"))?;
    Ok(World { hostname: None, mounts: Vec::new(), programs })
}

/// A program of the control plane that logs to a file of its name.
pub(crate) fn program(
    run: &Run,
    parts: &Parts,
    name: &str,
    after: After,
    arguments: impl IntoIterator<Item = String>,
) -> Result<Program> {
    let mut command = UNPRIVILEGED.map(str::to_owned).to_vec();
    command.push(parts.path(name)?.display().to_string());
    command.extend(arguments);
    Ok(Program {
        name: name.to_owned(),
        command,
        env: BTreeMap::new(),
        log: run.path(format!("log/{name}.log")),
        after,
    })
}

fn etcd(run: &Run) -> Vec<String> {
    vec![
        format!("--data-dir={}", run.path("etcd").display()),
        // Nobody will want this data after a power cut.
        "--unsafe-no-fsync".to_owned(),
        "--listen-client-urls=http://127.0.0.1:2379".to_owned(),
        "--advertise-client-urls=http://127.0.0.1:2379".to_owned(),
        "--listen-peer-urls=http://127.0.0.1:2380".to_owned(),
        "--log-level=warn".to_owned(),
        // Five thousand nodes don't fit into the default of 2 GiB for long.
        "--quota-backend-bytes=8589934592".to_owned(),
        "--auto-compaction-mode=periodic".to_owned(),
        "--auto-compaction-retention=5m".to_owned(),
    ]
}

fn api_server(run: &Run, options: &Options) -> Vec<String> {
    let pki = |name: &str| run.path("pki").join(name).display().to_string();
    let mut flags = vec![
        "--etcd-servers=http://127.0.0.1:2379".to_owned(),
        "--secure-port=443".to_owned(),
        "--bind-address=0.0.0.0".to_owned(),
        format!("--advertise-address={SERVICE}"),
        // The service's address is the server's own; there are no endpoints to keep.
        "--endpoint-reconciler-type=none".to_owned(),
        format!("--service-cluster-ip-range={SERVICES}"),
        format!("--tls-cert-file={}", pki("apiserver.crt")),
        format!("--tls-private-key-file={}", pki("apiserver.key")),
        format!("--client-ca-file={}", pki("ca.crt")),
        format!("--service-account-key-file={}", pki("sa.pub")),
        format!("--service-account-signing-key-file={}", pki("sa.key")),
        "--service-account-issuer=https://kubernetes.default.svc".to_owned(),
        "--authorization-mode=Node,RBAC".to_owned(),
        "--enable-admission-plugins=NodeRestriction".to_owned(),
        "--allow-privileged=true".to_owned(),
        format!("--kubelet-client-certificate={}", pki("kubelet-client.crt")),
        format!("--kubelet-client-key={}", pki("kubelet-client.key")),
        "--kubelet-preferred-address-types=InternalIP".to_owned(),
        "--profiling=false".to_owned(),
        format!("--audit-policy-file={}", run.path("audit-policy.json").display()),
        format!("--audit-log-path={}", audit_log(run).display()),
        "--audit-log-format=json".to_owned(),
        // One file, never rotated: a count over half a log is worse than none.
        "--audit-log-maxsize=100000".to_owned(),
    ];
    if options.simulated > 0 {
        flags.push("--max-requests-inflight=1500".to_owned());
        flags.push("--max-mutating-requests-inflight=600".to_owned());
    }
    flags
}

fn controller_manager(run: &Run, options: &Options) -> Vec<String> {
    let mut flags = vec![
        format!("--kubeconfig={}", run.path("pki/controller-manager.conf").display()),
        format!("--service-account-private-key-file={}", run.path("pki/sa.key").display()),
        format!("--root-ca-file={}", run.path("pki/ca.crt").display()),
        "--use-service-account-credentials".to_owned(),
        // Nothing here has volumes that are attached, scales by itself, or is started by the clock; looking out for it costs
        // a third of this program's time.
        format!("--controllers=*{}", IDLE_CONTROLLERS.map(|name| format!(",-{name}-controller")).concat()),
        "--leader-elect=false".to_owned(),
        "--bind-address=127.0.0.1".to_owned(),
        "--kube-api-qps=200".to_owned(),
        "--kube-api-burst=400".to_owned(),
    ];
    if options.simulated > 0 {
        // Leases are renewed every hundred seconds, and late on few cores; a late one isn't a lost node.
        flags.push("--node-monitor-grace-period=500s".to_owned());
        flags.push("--node-monitor-period=20s".to_owned());
        flags.push("--concurrent-daemonset-syncs=4".to_owned());
    }
    flags
}

fn argo(run: &Run, parts: &Parts, options: &Options) -> Result<Program> {
    let version = parts::version("argo")?;
    let mut program = program(
        run,
        parts,
        "workflow-controller",
        After::File(run.path(ARGO_INSTALLED)),
        [
            format!("--kubeconfig={}", run.path("pki/argo.conf").display()),
            "--namespace=argo".to_owned(),
            format!("--executor-image={EXECUTOR_IMAGE}:{version}"),
            "--executor-image-pull-policy=IfNotPresent".to_owned(),
        ],
    )?;
    program.env = BTreeMap::from([
        ("LEADER_ELECTION_DISABLE".to_owned(), "true".to_owned()),
        ("ARGO_NAMESPACE".to_owned(), "argo".to_owned()),
        ("DEFAULT_REQUEUE_TIME".to_owned(), seconds(options.requeue)),
    ]);
    Ok(program)
}

fn seconds(time: Duration) -> String {
    format!("{}ms", time.as_millis())
}

/// The API server's audit log: one JSON object a line.
pub fn audit_log(run: &Run) -> PathBuf {
    run.path("audit.log")
}

/// Every request once, when it is answered, without its content. The cluster's own machinery isn't of interest and is most of them.
fn audit_policy() -> serde_json::Value {
    json!({
        "apiVersion": "audit.k8s.io/v1",
        "kind": "Policy",
        "omitStages": ["RequestReceived"],
        "rules": [
            {"level": "None", "users": ["system:apiserver", "system:kube-scheduler", "bed-kwok"]},
            {"level": "None", "userGroups": ["system:nodes"]},
            {"level": "Metadata"},
        ],
    })
}
