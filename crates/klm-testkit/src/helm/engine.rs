//! One helm command from its arguments to its output.

use std::collections::BTreeMap;
use std::future::Future;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use klm_core::values::Values;
use kube::Client;
use tokio::sync::watch;

use super::argv::Argv;
use super::chart::{self, Document, Lookups, Rendering};
use super::post_render::{PostRender, run_plugin};
use super::script::{Effect, Stage};
use super::storage::Storage;
use super::{apply, manifest, query, rollback, upgrade, values};
use crate::world::profile::Version;

/// One call of the program.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Invocation {
    /// Without the program's name.
    pub arguments: Vec<String>,
    /// What the caller set.
    pub env: BTreeMap<String, String>,
    /// Standard input.
    pub stdin: Vec<u8>,
}

impl Invocation {
    /// A call with arguments only.
    pub fn of<S: AsRef<str>>(arguments: impl IntoIterator<Item = S>) -> Self {
        let arguments = arguments.into_iter().map(|argument| argument.as_ref().to_owned()).collect();
        Self { arguments, ..Self::default() }
    }

    /// The verb, for example `upgrade`.
    pub fn verb(&self) -> &str {
        self.arguments.first().map_or("", String::as_str)
    }
}

/// What came back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Output {
    /// Exit code; nothing when the process was killed.
    pub code: Option<i32>,
    /// Standard output.
    pub stdout: String,
    /// Standard error.
    pub stderr: String,
}

/// Why a command ends early.
#[derive(Debug)]
pub(super) enum Stop {
    /// Exit 1 with this after `Error: `.
    Failed(String),
    /// The process was killed.
    Died,
}

impl From<String> for Stop {
    fn from(error: String) -> Self {
        Self::Failed(error)
    }
}

/// Asks the script whether something goes wrong at this point.
pub(super) type Script = Arc<dyn Fn(&str, Stage) -> Option<Effect> + Send + Sync>;

/// Everything that a command needs.
pub(super) struct Engine {
    pub(super) client: Option<Client>,
    pub(super) storage: Storage,
    pub(super) clock: Arc<dyn Fn() -> Timestamp + Send + Sync>,
    pub(super) versions: Vec<String>,
    pub(super) edition: u32,
    pub(super) helm_version: String,
    pub(super) post_render: Option<PostRender>,
    pub(super) script: Script,
    pub(super) cancelled: watch::Receiver<bool>,
    pub(super) call: Invocation,
    /// Log lines, which go to standard error before the error itself.
    pub(super) warnings: Mutex<Vec<String>>,
}

impl Engine {
    /// Runs the command.
    pub(super) async fn run(&self) -> Output {
        let argv = match Argv::parse(&self.call.arguments) {
            Ok(argv) => argv,
            Err(error) => return failed(&error),
        };
        let outcome = self.dispatch(&argv).await;
        let warned = self.warnings.lock().unwrap_or_else(PoisonError::into_inner).concat();
        match outcome {
            Ok(stdout) => Output { code: Some(0), stdout, stderr: warned },
            Err(Stop::Failed(error)) => Output { stderr: format!("{warned}Error: {error}\n"), ..failed(&error) },
            Err(Stop::Died) => Output { code: None, stdout: String::new(), stderr: warned },
        }
    }

    /// Writes a log line.
    pub(super) fn warn(&self, line: &str) {
        self.warnings.lock().unwrap_or_else(PoisonError::into_inner).push(format!("{line}\n"));
    }

    async fn dispatch(&self, argv: &Argv) -> Result<String, Stop> {
        let verb = argv.words.first().map_or("", String::as_str);
        self.strike(verb, Stage::Start).await?;
        if matches!(verb, "history" | "status" | "get" | "list" | "install" | "upgrade" | "rollback") {
            self.reach_cluster().await?;
        }
        match verb {
            "version" => Ok(query::version(self, argv)),
            "history" => Ok(query::history(self, argv).await?),
            "status" => Ok(query::status(self, argv).await?),
            "get" => Ok(query::get(self, argv).await?),
            "list" => Ok(query::list(self, argv).await?),
            "show" => Ok(query::show(self, argv)?),
            "pull" => Ok(query::pull(self, argv)?),
            "template" => Ok(query::template(self, argv).await?),
            "install" => upgrade::install(self, argv).await,
            "upgrade" => upgrade::upgrade(self, argv).await,
            "rollback" => rollback::rollback(self, argv).await,
            other => Err(Stop::Failed(format!("unknown command {other:?} for \"helm\""))),
        }
    }

    /// Helm asks for the server's version before anything else.
    async fn reach_cluster(&self) -> Result<(), String> {
        match &self.client {
            Some(client) => apply::get(client, "/version").await.map(drop),
            None => Ok(()),
        }
    }

    /// Lets the script have its way at this point of the command.
    pub(super) async fn strike(&self, verb: &str, stage: Stage) -> Result<(), Stop> {
        match (self.script)(verb, stage) {
            None => Ok(()),
            Some(Effect::Fail(error)) => Err(Stop::Failed(error)),
            Some(Effect::Die) => Err(Stop::Died),
            Some(Effect::Slow(time)) => self.interruptible(tokio::time::sleep(Duration::from_millis(time))).await,
            Some(Effect::Hang) => self.interruptible(std::future::pending()).await,
        }
    }

    /// Helm ends what it waits for when it is told to terminate.
    pub(super) async fn interruptible<T>(&self, work: impl Future<Output = T>) -> Result<T, Stop> {
        let mut cancelled = self.cancelled.clone();
        let asked = async move {
            if cancelled.wait_for(|cancelled| *cancelled).await.is_err() {
                std::future::pending::<()>().await;
            }
        };
        tokio::select! {
            biased;
            () = asked => Err(Stop::Failed("context canceled".to_owned())),
            value = work => Ok(value),
        }
    }

    pub(super) fn now(&self) -> String {
        (self.clock)().to_string()
    }

    /// The chart that the arguments name: a packed file, or a version of the registry.
    pub(super) fn locate(&self, argv: &Argv, reference: &str) -> Result<Version, String> {
        if !reference.starts_with("oci://") {
            let path = std::path::Path::new(reference);
            return chart::version_of(path).ok_or_else(|| format!("path {reference:?} not found"));
        }
        let wanted = argv.flag("version").or(self.versions.last().map(String::as_str)).unwrap_or_default();
        // A digest pins the same version once more.
        let wanted = wanted.split('@').next().unwrap_or_default();
        let name = reference.trim_start_matches("oci://");
        let known = self.versions.iter().any(|version| version == wanted);
        let version = Version::parse(wanted).filter(|_| known);
        version.ok_or_else(|| format!("failed to perform \"FetchReference\" on source: {name}:{wanted}: not found"))
    }

    /// Renders a chart and lets the post-renderer have it.
    pub(super) async fn render(&self, argv: &Argv, request: &RenderRequest<'_>) -> Result<Vec<Document>, String> {
        let effective = values::effective(request.defaults, request.config);
        let lookups = if request.live { self.look_up(request, &effective).await? } else { Lookups::default() };
        let (release, namespace) = request.release;
        let rendering = Rendering {
            version: request.version,
            release,
            namespace,
            is_upgrade: request.is_upgrade,
            values: &effective,
            lookups: &lookups,
        };
        let documents = rendering.render()?;
        let Some(plugin) = argv.flag("post-renderer") else { return Ok(documents) };
        let text = manifest::join(&documents);
        let arguments: Vec<String> = argv.flag("post-renderer-args").into_iter().map(str::to_owned).collect();
        let rendered = match &self.post_render {
            Some(function) => function(&text, &self.call.env),
            None => run_plugin(plugin, &arguments, &self.call.env, &text),
        };
        let rendered = rendered.map_err(|error| format!("error while running post render on files: {error}"))?;
        manifest::split(&rendered)
    }

    /// What the templates' `lookup`s ask; a refusal fails the rendering.
    async fn look_up(&self, request: &RenderRequest<'_>, values: &Values) -> Result<Lookups, String> {
        let Some(client) = &self.client else { return Ok(Lookups::default()) };
        let forbidden = |error: String| {
            format!("execution error at (kata-deploy/templates/runtimeclasses.yaml): error calling lookup: {error}")
        };
        if klm_core::values::get(values, "runtimeClasses.enabled") == Some(&true.into()) {
            apply::list(client, "/apis/apps/v1/daemonsets").await.map_err(forbidden)?;
            apply::list(client, "/apis/apps/v1/deployments").await.map_err(forbidden)?;
        }
        if !request.version.reaches(4, 1) || !request.is_upgrade {
            return Ok(Lookups::default());
        }
        let (release, namespace) = request.release;
        let suffix = klm_core::values::text(values, "env.multiInstallSuffix")
            .map_or(String::new(), |suffix| format!("-{suffix}"));
        let map = |name: String| format!("/api/v1/namespaces/{namespace}/configmaps/{name}");
        let state = apply::get(client, &map(format!("{release}-kata-deploy-state"))).await.map_err(forbidden)?;
        if state.is_some() {
            return Ok(Lookups { state, ..Lookups::default() });
        }
        let templates =
            apply::get(client, &map(format!("kata-deploy{suffix}-job-templates"))).await.map_err(forbidden)?;
        let path = format!("/apis/apps/v1/namespaces/{namespace}/daemonsets/kata-deploy{suffix}");
        let daemonset = apply::get(client, &path).await.map_err(forbidden)?;
        Ok(Lookups { state: None, job_templates: templates.is_some(), daemonset: daemonset.is_some() })
    }
}

/// What to render.
pub(super) struct RenderRequest<'a> {
    pub(super) version: &'a Version,
    pub(super) release: (&'a str, &'a str),
    pub(super) is_upgrade: bool,
    pub(super) defaults: &'a Values,
    pub(super) config: &'a Values,
    /// Whether `lookup` may ask the cluster.
    pub(super) live: bool,
}

fn failed(error: &str) -> Output {
    Output { code: Some(1), stdout: String::new(), stderr: format!("Error: {error}\n") }
}
