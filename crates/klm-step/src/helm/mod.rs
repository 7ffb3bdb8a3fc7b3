//! Running helm: its files, its time limit, its signals, and what its messages mean. Which calls: `klm_core::helm_command`.

mod error;
mod files;
mod private;
mod program;

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::Context as _;
pub use error::{HelmError, Trouble};
pub use files::digest as chart_digest;
use futures::future::BoxFuture;
use klm_core::helm_command::{self, Arg, Chart, HelmCommand, ReleaseRef};
use klm_core::release::{self, Metadata, Release, Revision};
use klm_core::values::Values;
use private::Private;
use semver::Version;
use tokio::time::{Instant, sleep};

use crate::world::Stop;

/// One start of helm, ready to run.
#[derive(Clone, Debug)]
pub struct Invocation {
    /// Everything after `helm`.
    pub args: Vec<String>,
    /// Environment beyond our own.
    pub env: Vec<(String, String)>,
    /// When to end it.
    pub limit: Duration,
}

/// What came of it.
#[derive(Clone, Debug, Default)]
pub struct Output {
    /// Exit code; nothing when a signal ended it.
    pub code: Option<i32>,
    /// What it printed as result.
    pub stdout: String,
    /// What it complained about.
    pub stderr: String,
}

/// A helm inside this process, for tests on virtual time: a real child can't share the clock.
pub type InProcess = Arc<dyn Fn(Invocation) -> BoxFuture<'static, Output> + Send + Sync>;

/// What runs a call.
#[derive(Clone)]
enum Runner {
    Program(PathBuf),
    InProcess(InProcess),
}

/// The helm program.
pub struct Helm {
    runner: Runner,
    scratch: tempfile::TempDir,
    stop: Stop,
    plain_http: bool,
    private: Mutex<Private>,
}

/// Tells the post-renderer, a grandchild of ours, of which version the chart is.
pub const CHART_VERSION: &str = "KLM_CHART_VERSION";

/// A call that only reads takes seconds; this is for a slow API server or registry.
const READ_LIMIT: Duration = Duration::from_secs(180);

/// Beyond helm's own `--timeout`, which counts each of its operations alone.
const SLACK: Duration = Duration::from_secs(300);

/// A read is repeated for this long while the API server can't be reached.
const REPEAT_FOR: Duration = Duration::from_secs(180);
const PAUSE: Duration = Duration::from_secs(5);

/// An API server that has just been started again knows nobody's rights for some seconds.
const RIGHTS_WITHIN: Duration = Duration::from_secs(12);

impl Helm {
    /// The program of the image, or of `PATH`.
    pub fn from_environment(stop: Stop) -> anyhow::Result<Self> {
        let program = std::env::var_os("KLM_HELM").map_or_else(|| PathBuf::from("helm"), PathBuf::from);
        let mut helm = Self::program(program, stop)?;
        helm.plain_http = std::env::var("KLM_HELM_PLAIN_HTTP").is_ok_and(|text| text == "true");
        Ok(helm)
    }

    /// This program.
    pub fn program(program: PathBuf, stop: Stop) -> anyhow::Result<Self> {
        Self::new(Runner::Program(program), stop)
    }

    /// A fake inside this process.
    pub fn in_process(fake: InProcess, stop: Stop) -> anyhow::Result<Self> {
        Self::new(Runner::InProcess(fake), stop)
    }

    fn new(runner: Runner, stop: Stop) -> anyhow::Result<Self> {
        let scratch = tempfile::tempdir().context("failed to make a folder for helm's files")?;
        Ok(Self { runner, scratch, stop, plain_http: false, private: Mutex::default() })
    }

    /// All revisions of the release, oldest first; none when there is no such release.
    pub async fn history(&self, release: &ReleaseRef) -> Result<Vec<Revision>, HelmError> {
        match self.read(&helm_command::history(release)).await {
            Ok(text) => release::history(&text).map_err(|error| HelmError::unreadable(&error)),
            Err(error) if error.trouble == Trouble::NoRelease => Ok(Vec::new()),
            Err(error) => Err(error),
        }
    }

    /// A revision's chart and status, the last one's unless told otherwise.
    pub async fn metadata(&self, release: &ReleaseRef, revision: Option<u64>) -> Result<Metadata, HelmError> {
        let text = self.read(&helm_command::metadata(release, revision)).await?;
        release::metadata(&text).map_err(|error| HelmError::unreadable(&error))
    }

    /// The values that users gave.
    pub async fn user_values(&self, release: &ReleaseRef, revision: Option<u64>) -> Result<Values, HelmError> {
        let text = self.read(&helm_command::user_values(release, revision)).await?;
        let values = release::user_values(&text).map_err(|error| HelmError::unreadable(&error))?;
        self.never_quote(&values);
        Ok(values)
    }

    /// Keeps these out of every message from now on. A call may build on values that helm reads by itself.
    pub fn never_quote(&self, values: &Values) {
        self.private.lock().unwrap_or_else(PoisonError::into_inner).add(values);
    }

    /// Those over the chart's defaults.
    pub async fn all_values(&self, release: &ReleaseRef, revision: Option<u64>) -> Result<Values, HelmError> {
        let text = self.read(&helm_command::all_values(release, revision)).await?;
        release::user_values(&text).map_err(|error| HelmError::unreadable(&error))
    }

    /// Everything that decisions about a release need; nothing when there is no such release.
    pub async fn release(&self, release: &ReleaseRef) -> Result<Option<Release>, HelmError> {
        let history = self.history(release).await?;
        if history.is_empty() {
            return Ok(None);
        }
        Ok(Some(Release {
            name: release.name.clone(),
            namespace: release.namespace.clone(),
            metadata: self.metadata(release, None).await?,
            user: self.user_values(release, None).await?,
            all: self.all_values(release, None).await?,
            history,
        }))
    }

    /// The program's own version, as it prints it.
    pub async fn version(&self) -> Result<String, HelmError> {
        Ok(self.read(&helm_command::version()).await?.trim().to_owned())
    }

    /// The chart as a local file: pulled once per process, because every call would download an `oci://` chart again.
    pub async fn chart(&self, reference: &str, version: &str) -> Result<Chart, HelmError> {
        let folder = self.scratch.path().join("charts").join(version);
        let local = |path: &Path| Chart { reference: path.display().to_string(), version: None };
        if let Some(file) = files::first_chart(&folder) {
            return Ok(local(&file));
        }
        let wanted = Chart { reference: reference.to_owned(), version: Some(version.to_owned()) };
        let Some(pull) = helm_command::pull(&wanted, &folder.display().to_string(), self.plain_http) else {
            return Ok(Chart { version: None, ..wanted });
        };
        std::fs::create_dir_all(&folder).map_err(|error| HelmError::files(&error))?;
        self.read(&pull).await?;
        let missing = || HelmError::said("pull", format!("no chart file of version {version} came of it"));
        files::first_chart(&folder).map(|file| local(&file)).ok_or_else(missing)
    }

    /// Makes a revision. What came of it is in the release's history and objects: look there, also after an error.
    pub async fn change(&self, command: &HelmCommand, timeout: Duration) -> Result<(), HelmError> {
        self.run(command, timeout + SLACK, None).await.map(drop)
    }

    /// The same through our post-renderer, which must know of which version the chart is.
    pub async fn change_scoped(
        &self,
        command: &HelmCommand,
        timeout: Duration,
        version: &Version,
    ) -> Result<(), HelmError> {
        self.run(command, timeout + SLACK, Some(version)).await.map(drop)
    }

    async fn read(&self, command: &HelmCommand) -> Result<String, HelmError> {
        let began = Instant::now();
        loop {
            let result = self.run(command, READ_LIMIT, None).await;
            let within = match result.as_ref().map_err(|error| error.trouble) {
                Err(Trouble::Unreachable) => REPEAT_FOR,
                Err(Trouble::Forbidden) => RIGHTS_WITHIN,
                _ => return result,
            };
            match result {
                Err(error) if began.elapsed() + PAUSE < within => {
                    tracing::warn!(%error, again_in = ?PAUSE, "helm call failed");
                    sleep(PAUSE).await;
                }
                other => return other,
            }
        }
    }

    async fn run(&self, command: &HelmCommand, limit: Duration, scoped: Option<&Version>) -> Result<String, HelmError> {
        if self.stop.is_requested() {
            return Err(HelmError::stopped(command));
        }
        let files = files::write_values(self.scratch.path(), command).map_err(|error| HelmError::files(&error))?;
        let mut paths = files.iter();
        let args = command.args.iter().map(|arg| match arg {
            Arg::Text(text) => text.clone(),
            Arg::Values(_) => paths.next().map(|file| file.path().display().to_string()).unwrap_or_default(),
        });
        let args = args.collect();
        let mut env = Vec::new();
        if let Some(version) = scoped {
            let folder = files::write_plugin(self.scratch.path()).map_err(|error| HelmError::files(&error))?;
            env.push(("HELM_PLUGINS".to_owned(), folder.display().to_string()));
            env.push((CHART_VERSION.to_owned(), version.to_string()));
        }
        tracing::debug!(%command, "starting helm");
        let invocation = Invocation { args, env, limit };
        let output = match &self.runner {
            Runner::Program(path) => program::run(path, invocation, &self.stop).await,
            Runner::InProcess(fake) => Ok(fake(invocation).await),
        };
        let output = output.map_err(|end| HelmError::ended(command, end))?;
        if output.code == Some(0) {
            return Ok(output.stdout);
        }
        let private = self.private.lock().unwrap_or_else(PoisonError::into_inner);
        Err(HelmError::of(command, &output, &private))
    }
}
