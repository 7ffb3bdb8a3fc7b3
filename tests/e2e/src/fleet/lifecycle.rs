//! Installing our own chart from the source tree, as documented, with times and sources that suit a test.

use anyhow::Result;
use klm_bed::paths;

use super::{ARGO, Fleet, LIFECYCLE, VerificationPod};

/// An install of our chart.
#[derive(Clone, Debug)]
pub struct Lifecycle {
    /// `defaults.verificationPod`.
    pub pod: VerificationPod,
    /// What a user gave with `--set`.
    pub sets: Vec<String>,
    step_pods_anywhere: bool,
}

impl Default for Lifecycle {
    fn default() -> Self {
        Self { pod: VerificationPod::documented(), sets: Vec::new(), step_pods_anywhere: false }
    }
}

impl Lifecycle {
    /// With this verification pod.
    pub fn verifying_with(pod: VerificationPod) -> Self {
        Self { pod, ..Self::default() }
    }

    /// With step pods wherever the scheduler puts them. Otherwise they run on the last node, because the node of the first
    /// step goes last, and tests want to know which wave a node is in.
    #[must_use]
    pub fn with_step_pods_anywhere(mut self) -> Self {
        self.step_pods_anywhere = true;
        self
    }

    /// One more value, as for `--set`.
    #[must_use]
    pub fn set(mut self, set: &str) -> Self {
        self.sets.push(set.to_owned());
        self
    }
}

/// A test that waits for a timeout waits this long; one that waits for success never does.
const TIMES: &[&str] = &[
    "defaults.installTimeout=180s",
    "defaults.verificationTimeout=90s",
    "defaults.rollbackTimeout=240s",
    "defaults.helmTimeout=240s",
];

impl Fleet {
    /// Installs our chart, or gives it other values.
    pub fn install_lifecycle(&self, lifecycle: &Lifecycle) -> Result<()> {
        let folder = tempfile::tempdir()?;
        let pod = folder.path().join("my-verification-pod.yaml");
        std::fs::write(&pod, serde_yaml::to_string(&lifecycle.pod.manifest)?)?;
        let chart = paths::workspace().join("chart");
        let mut arguments: Vec<String> = vec![
            "upgrade".into(),
            "--install".into(),
            LIFECYCLE.into(),
            chart.display().to_string(),
            "--namespace".into(),
            ARGO.into(),
            "--reset-values".into(),
            "--set-file".into(),
            format!("defaults.verificationPod={}", pod.display()),
        ];
        let source = format!("defaults.kataDeployChart={}", self.kata_charts()?);
        // Kept until the end, so that a test can read what each step said.
        let here = [
            source.as_str(),
            "registry.plainHTTP=true",
            "images.pullPolicy=IfNotPresent",
            "workflow.podGC=OnWorkflowCompletion",
        ];
        let pinned =
            (!lifecycle.step_pods_anywhere).then_some(r"stepPods.nodeSelector.kubernetes\.io/hostname=worker-3");
        let given = pinned.into_iter().chain(lifecycle.sets.iter().map(String::as_str));
        for set in here.into_iter().chain(TIMES.iter().copied()).chain(given) {
            arguments.extend(["--set".to_owned(), set.to_owned()]);
        }
        self.scene.helm(&arguments).map(drop)
    }
}
