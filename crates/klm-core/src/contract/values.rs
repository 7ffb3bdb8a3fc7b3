//! The chart's values beyond `defaults.*`: path, default, what is allowed, help. `defaults.*` are [`super::PARAMETERS`].

/// What a value must be. The chart's schema is made from it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ValueKind {
    /// A namespace: a DNS-1123 label.
    Namespace,
    /// A DNS-1123 label, or nothing: it becomes a part of longer names.
    LabelOrEmpty,
    /// The name of an object that is there already, a DNS-1123 subdomain, or nothing.
    NameOrEmpty,
    /// Any text.
    Text,
    /// An image: repository, and a tag, a digest or both.
    Image,
    /// `true` or `false`.
    Bool,
    /// `true`, `false`, or null: leave it to the cluster.
    BoolOrNull,
    /// A whole number, at least this.
    Integer {
        /// The smallest that is allowed.
        min: i64,
    },
    /// A whole number, at least this, or null: unset.
    IntegerOrNull {
        /// The smallest that is allowed.
        min: i64,
    },
    /// One of these words.
    OneOf(&'static [&'static str]),
    /// Texts by name: labels, annotations, node selectors.
    TextMap,
    /// A part of a Kubernetes object, as Kubernetes defines it.
    Object,
    /// A list of parts of Kubernetes objects.
    Objects,
    /// A list of namespaces; `*` alone stands for every one.
    Namespaces,
    /// A list of texts.
    Texts,
    /// A list of Secret names, each as text or as `{name: …}`.
    Secrets,
}

/// One value of the chart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Value {
    /// As in `--set path=…`.
    pub path: &'static str,
    /// The default, as YAML in one line.
    pub default: &'static str,
    /// What is allowed.
    pub kind: ValueKind,
    /// One line for `values.yaml` and the README.
    pub help: &'static str,
}

/// Every value that isn't the default of a workflow parameter, in the order of `values.yaml`.
pub const VALUES: &[Value] = &[
    v(
        "argoNamespace",
        "argo",
        ValueKind::Namespace,
        "Namespace for the WorkflowTemplate and the service account of its steps",
    ),
    v("nameOverride", "\"\"", ValueKind::LabelOrEmpty, "Another name for `app.kubernetes.io/name` and for objects"),
    v(
        "fullnameOverride",
        "\"\"",
        ValueKind::LabelOrEmpty,
        "Another name for the WorkflowTemplate and all other objects; it doesn't depend on the release's name",
    ),
    v(
        "images.utils",
        super::UTILS_IMAGE,
        ValueKind::Image,
        "Image with Helm 4, kubectl and klm-step (multi-arch); takes `repository:tag@sha256:…`",
    ),
    v(
        "images.pullPolicy",
        "\"\"",
        ValueKind::OneOf(&["", "Always", "IfNotPresent", "Never"]),
        "When to pull it; empty: as Kubernetes does for such a tag",
    ),
    v("imagePullSecrets", "[]", ValueKind::Secrets, "Secrets in `argoNamespace` to pull the image with"),
    v("commonLabels", "{}", ValueKind::TextMap, "More labels for every object, Workflow and step pod"),
    v("commonAnnotations", "{}", ValueKind::TextMap, "More annotations for every object"),
    v("serviceAccount.create", "true", ValueKind::Bool, "Create the steps' service account"),
    v(
        "serviceAccount.name",
        "\"\"",
        ValueKind::NameOrEmpty,
        "Its name; empty: the chart's name. When neither it nor roles are created: `default`",
    ),
    v("serviceAccount.annotations", "{}", ValueKind::TextMap, "Its annotations"),
    v("rbac.create", "true", ValueKind::Bool, "Create the roles that the steps need"),
    v(
        "rbac.scope",
        "cluster",
        ValueKind::OneOf(&["cluster", "namespaced"]),
        "`cluster`: a run may name any `verification-namespace`; `namespaced`: only those listed here",
    ),
    v(
        "rbac.helmNamespaces",
        "[]",
        ValueKind::Namespaces,
        "More namespaces that `-p helm-namespace` may name, besides `defaults.helmNamespace`; `[\"*\"]`: all, \
         which lets the steps read every Secret of the cluster",
    ),
    v(
        "rbac.verificationNamespaces",
        "[]",
        ValueKind::Namespaces,
        "With `rbac.scope=namespaced`: more namespaces that `-p verification-namespace` may name",
    ),
    v(
        "rbac.installSuffixes",
        "[]",
        ValueKind::Texts,
        "Values of kata-deploy's `env.multiInstallSuffix` that are in use, so that Helm may change those installs' roles",
    ),
    v("rbac.drain", "true", ValueKind::Bool, "Allow what a drain needs: list all pods and evict them"),
    v(
        "rbac.nodeFeatureDiscovery",
        "false",
        ValueKind::Bool,
        "Allow what Helm needs when kata-deploy's `node-feature-discovery.enabled` is set; that reaches every ClusterRole and \
         ClusterRoleBinding",
    ),
    v("rbac.extraRules", "[]", ValueKind::Objects, "More rules for the steps' ClusterRole"),
    v(
        "rbac.submitterRole",
        "false",
        ValueKind::Bool,
        "Create a Role for people who submit and watch runs; bind it yourself",
    ),
    v(
        "registry.existingSecret",
        "\"\"",
        ValueKind::NameOrEmpty,
        "Secret in `argoNamespace`, type `kubernetes.io/dockerconfigjson`: credentials for the registry of \
         kata-deploy's chart",
    ),
    v("registry.plainHTTP", "false", ValueKind::Bool, "Fetch kata-deploy's chart over HTTP without TLS"),
    v(
        "caBundle.configMap",
        "\"\"",
        ValueKind::NameOrEmpty,
        "ConfigMap in `argoNamespace` with the certificate authorities that Helm trusts instead of the image's own",
    ),
    v("caBundle.key", "ca.crt", ValueKind::Text, "Its key"),
    v("proxy.http", "\"\"", ValueKind::Text, "HTTP proxy of the steps"),
    v("proxy.https", "\"\"", ValueKind::Text, "HTTPS proxy of the steps"),
    v("proxy.noProxy", "\"\"", ValueKind::Text, "Hosts to reach without it; the API server always is one"),
    v("stepPods.labels", "{}", ValueKind::TextMap, "More labels for step pods"),
    v("stepPods.annotations", "{}", ValueKind::TextMap, "More annotations for step pods"),
    v("stepPods.nodeSelector", "{}", ValueKind::TextMap, "Nodes that step pods run on"),
    v(
        "stepPods.tolerations",
        "[]",
        ValueKind::Objects,
        "More tolerations of step pods; cordoned nodes are always tolerated",
    ),
    v("stepPods.affinity", "{}", ValueKind::Object, "Affinity of step pods"),
    v("stepPods.priorityClassName", "\"\"", ValueKind::Text, "Priority class of step pods"),
    v(
        "stepPods.resources",
        "{requests: {cpu: 50m, memory: 96Mi}, limits: {memory: 512Mi}}",
        ValueKind::Object,
        "Resources of a step's container; Helm runs inside it",
    ),
    v(
        "stepPods.podSecurityContext",
        "{runAsNonRoot: true, runAsUser: 65532, runAsGroup: 65532, fsGroup: 65532, seccompProfile: {type: RuntimeDefault}}",
        ValueKind::Object,
        "Security context of step pods",
    ),
    v(
        "stepPods.securityContext",
        "{allowPrivilegeEscalation: false, readOnlyRootFilesystem: true, capabilities: {drop: [ALL]}}",
        ValueKind::Object,
        "Security context of a step's container",
    ),
    v(
        "stepPods.patchExecutor",
        "true",
        ValueKind::Bool,
        "Also lock down the containers that Argo adds, so that Pod Security `restricted` admits step pods; \
         set to false with Argo's init-less pods (4.1, opt-in)",
    ),
    v(
        "stepPods.terminationGracePeriodSeconds",
        "120",
        ValueKind::Integer { min: 30 },
        "Time that a step gets to put down its work when it is stopped",
    ),
    v("stepPods.extraEnv", "[]", ValueKind::Objects, "More environment variables of a step's container"),
    v("stepPods.extraVolumes", "[]", ValueKind::Objects, "More volumes of step pods"),
    v("stepPods.extraVolumeMounts", "[]", ValueKind::Objects, "More volume mounts of a step's container"),
    v(
        "workflow.retries",
        "2",
        ValueKind::Integer { min: 0 },
        "How often a step is started again when its pod was lost or killed; a step that failed isn't",
    ),
    v(
        "workflow.podGC",
        "OnPodSuccess",
        ValueKind::OneOf(&["OnPodSuccess", "OnPodCompletion", "OnWorkflowSuccess", "OnWorkflowCompletion"]),
        "When Argo deletes step pods; the default keeps failed ones and their logs",
    ),
    v(
        "workflow.ttlSecondsAfterSuccess",
        "604800",
        ValueKind::IntegerOrNull { min: 0 },
        "When Argo deletes a Workflow that succeeded, and its plan with it; null: never",
    ),
    v(
        "workflow.ttlSecondsAfterFailure",
        "2592000",
        ValueKind::IntegerOrNull { min: 0 },
        "When Argo deletes a Workflow that failed; null: never",
    ),
    v(
        "workflow.archiveLogs",
        "null",
        ValueKind::BoolOrNull,
        "Store the steps' logs in Argo's artifact repository; null: as the cluster is set up",
    ),
    v("networkPolicy.enabled", "false", ValueKind::Bool, "Limit what step pods can reach and be reached by"),
    v(
        "networkPolicy.egress",
        "[{ports: [{port: 53, protocol: UDP}, {port: 53, protocol: TCP}]}, {ports: [{port: 443, protocol: TCP}, \
         {port: 6443, protocol: TCP}]}]",
        ValueKind::Objects,
        "What they can reach: DNS, the API server, the chart's registry",
    ),
    v("metrics.enabled", "false", ValueKind::Bool, "Let Argo's controller export metrics of runs, waves and rollbacks"),
    v(
        "metrics.prometheusRule.enabled",
        "false",
        ValueKind::Bool,
        "Create alerts on them; needs the Prometheus operator, and kube-state-metrics with our node labels for the one on stuck nodes",
    ),
    v("metrics.prometheusRule.labels", "{}", ValueKind::TextMap, "More labels for the alerts' object"),
    v("metrics.dashboard.enabled", "false", ValueKind::Bool, "Create a ConfigMap with a Grafana dashboard"),
    v(
        "metrics.dashboard.labels",
        "{grafana_dashboard: \"1\"}",
        ValueKind::TextMap,
        "Labels by which Grafana's sidecar finds it",
    ),
    v("extraObjects", "[]", ValueKind::Objects, "More objects to install; texts in them may use Helm templates"),
];

const fn v(path: &'static str, default: &'static str, kind: ValueKind, help: &'static str) -> Value {
    Value { path, default, kind, help }
}
