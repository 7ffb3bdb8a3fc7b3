//! The kata-deploy chart as a function: what each upstream version renders, without a template engine.

mod archive;
mod daemonset;
mod job;
mod rbac;
mod runtime_class;
mod state;
mod values;

use klm_core::values::Values;
use serde_json::{Value, json};

use crate::world::profile::Version;

pub(super) use archive::metadata as archive_metadata;
pub use archive::{pack, version_of};
pub use values::defaults;

/// The chart's name, which all its objects carry.
pub const NAME: &str = "kata-deploy";

/// Every version that the fake registry has. 4.2.0 stands for the version after 4.1.0.
pub const VERSIONS: [&str; 9] = ["3.27.0", "3.28.0", "3.29.0", "3.30.0", "3.31.0", "3.32.0", "4.0.0", "4.1.0", "4.2.0"];

/// What a template's `lookup` found.
#[derive(Debug, Clone, Default)]
pub struct Lookups {
    /// The state ConfigMap of 4.1.0 and later.
    pub state: Option<Value>,
    /// Whether the ConfigMap with job templates is there.
    pub job_templates: bool,
    /// Whether the DaemonSet is there.
    pub daemonset: bool,
}

/// One rendering.
#[derive(Debug)]
pub struct Rendering<'a> {
    /// Chart version, which is its app version too.
    pub version: &'a Version,
    /// Release name.
    pub release: &'a str,
    /// Release namespace.
    pub namespace: &'a str,
    /// Whether a release is there already.
    pub is_upgrade: bool,
    /// User values over the chart's defaults.
    pub values: &'a Values,
    /// What the cluster said.
    pub lookups: &'a Lookups,
}

/// One rendered object and the template that it came from.
#[derive(Debug, Clone, PartialEq)]
pub struct Document {
    /// File name below `templates/`.
    pub source: String,
    /// The object.
    pub object: Value,
}

impl Rendering<'_> {
    /// Renders everything, hooks included; the error is the text of the template's `fail`.
    pub fn render(&self) -> Result<Vec<Document>, String> {
        self.check_required()?;
        let mut documents = Vec::new();
        let mut add = |source: &str, objects: Vec<Value>| {
            documents.extend(objects.into_iter().map(|object| Document { source: source.to_owned(), object }));
        };
        add("kata-deploy-state.yaml", state::render(self)?);
        add("kata-rbac.yaml", rbac::installer(self));
        add("runtimeclasses.yaml", runtime_class::render(self));
        match self.mode() {
            "daemonset" => add("kata-deploy.yaml", vec![daemonset::render(self)]),
            "job" => {
                add("kata-deploy-dispatcher-rbac.yaml", rbac::dispatcher(self));
                add("kata-deploy-job-templates.yaml", vec![job::templates(self)]);
                add("kata-deploy-install-job.yaml", vec![job::install_dispatcher(self)?]);
                add("kata-deploy-cleanup-job.yaml", vec![job::cleanup_dispatcher(self)?]);
            }
            // 3.32.0 and 4.0.0 render neither for a word that they don't know.
            _ => {}
        }
        if !self.text("verification.pod").is_empty() {
            add("verification-job.yaml", vec![self.verification()]);
        }
        Ok(documents)
    }

    /// The mode in use: ignored before 3.32.0.
    pub fn mode(&self) -> &str {
        let stated = self.text("deploymentMode");
        if !self.version.reaches(3, 32) || stated.is_empty() { "daemonset" } else { stated }
    }

    /// Keys that a version's templates read without a default: `--reuse-values` across versions fails on them.
    fn check_required(&self) -> Result<(), String> {
        let required = [
            (3, 28, "kubectlImage.reference"),
            (3, 29, "containerd.configFileName"),
            (3, 32, "monitor.enabled"),
            (4, 0, "snapshotter.erofsSnapshotterMode"),
        ];
        for (major, minor, key) in required {
            if self.version.reaches(major, minor) && klm_core::values::get(self.values, key).is_none() {
                let leaf = key.rsplit('.').next().unwrap_or_default();
                return Err(format!(
                    "template: kata-deploy/templates/kata-deploy.yaml: executing at <.Values.{key}>: nil pointer evaluating interface {{}}.{leaf}"
                ));
            }
        }
        Ok(())
    }

    fn value(&self, key: &str) -> Value {
        klm_core::values::get(self.values, key).cloned().unwrap_or(Value::Null)
    }

    fn text(&self, key: &str) -> &str {
        klm_core::values::text(self.values, key).unwrap_or_default()
    }

    fn list(&self, key: &str) -> Vec<Value> {
        self.value(key).as_array().cloned().unwrap_or_default()
    }

    /// The suffix of a second installation with its dash, or nothing.
    fn suffix(&self) -> String {
        let suffix = self.text("env.multiInstallSuffix");
        if suffix.is_empty() { String::new() } else { format!("-{suffix}") }
    }

    /// What the marker label says.
    fn instance(&self) -> String {
        let suffix = self.text("env.multiInstallSuffix");
        if suffix.is_empty() { "default".to_owned() } else { suffix.to_owned() }
    }

    /// A digest in the reference wins over the tag from 3.28.0 on.
    fn image(&self) -> String {
        let reference = self.text("image.reference");
        if reference.contains('@') && self.version.reaches(3, 28) {
            return reference.to_owned();
        }
        let tag = self.text("image.tag");
        format!("{reference}:{}", if tag.is_empty() { self.version.as_str() } else { tag })
    }

    fn dispatcher_image(&self) -> Result<String, String> {
        let (reference, tag) = (self.text("job.dispatcherImage.reference"), self.text("job.dispatcherImage.tag"));
        match (reference.contains('@'), tag.is_empty()) {
            (true, _) => Ok(reference.to_owned()),
            (false, false) => Ok(format!("{reference}:{tag}")),
            (false, true) if self.version.reaches(4, 2) => {
                Err("job.dispatcherImage.tag is required unless job.dispatcherImage.reference carries a digest"
                    .to_owned())
            }
            (false, true) => Ok(format!("{reference}:{}", self.version.as_str())),
        }
    }

    /// The stub needs to know its version when the tag doesn't tell.
    fn environment(&self, image: &str) -> Value {
        let tag = image.rsplit(':').next().unwrap_or_default();
        if Version::parse(tag).is_some() && !image.contains('@') {
            return json!([]);
        }
        json!([{"name": crate::world::profile::CHART_VERSION_ENV, "value": self.version.as_str()}])
    }

    fn enabled_shims(&self) -> Vec<String> {
        let shims = self.value("shims");
        let enabled = shims.as_object().into_iter().flatten().filter(|(_, spec)| spec["enabled"] == true);
        enabled.map(|(shim, _)| format!("kata-{shim}{}", self.suffix())).collect()
    }

    /// The chart's own verification, which a controlled rollout must have switched off.
    fn verification(&self) -> Value {
        json!({
            "apiVersion": "batch/v1", "kind": "Job",
            "metadata": {
                "name": format!("{}-verify", self.release), "namespace": self.namespace,
                "annotations": {
                    "helm.sh/hook": "post-install,post-upgrade",
                    "helm.sh/hook-weight": if self.version.reaches(3, 32) && self.mode() == "job" { "10" } else { "0" },
                    "helm.sh/hook-delete-policy": "before-hook-creation,hook-succeeded",
                },
            },
            "spec": {"backoffLimit": 0, "template": {"spec": {
                "restartPolicy": "Never", "containers": [{"name": "verify", "image": "quay.io/kata-containers/kubectl:latest"}],
            }}},
        })
    }
}
