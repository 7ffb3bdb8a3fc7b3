//! The dispatcher: the hook's program that makes one Job for each node, waits for them, and reports.

mod flags;
mod job;
mod select;
mod v1;
mod v2;
mod v2_node;

use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::Node;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use kube::api::{Api, ListParams};
use kube::{Client, ResourceExt as _};
use tracing::{error, info};

use crate::environment::Environment;
use crate::image::ImageRef;
use crate::injection::{Injections, Pace, Settings};
use crate::names::TRACKING_PREFIX;
use crate::profile::Dispatcher;

pub use flags::Flags;
pub use job::{Mould, Standing, standing};

/// How a killed process ends, as Kubernetes tells it.
const KILLED: i32 = 137;

/// All that a run works with.
struct World {
    client: Client,
    jobs: Api<Job>,
    nodes: Api<Node>,
    flags: Flags,
    mould: Mould,
    settings: Settings,
    /// The version that the per-node Jobs install, which needn't be the dispatcher's own.
    installs: String,
    pace: Pace,
    poll: Duration,
}

impl World {
    fn injections(&self, node: &str) -> Result<Injections> {
        self.settings.injections(node, &self.installs)
    }

    async fn list_nodes(&self, label_selector: Option<&str>) -> Result<Vec<Node>> {
        let mut nodes = Vec::new();
        let mut parameters = ListParams::default().limit(self.flags.node_page_size);
        parameters.label_selector = label_selector.map(str::to_owned);
        parameters.field_selector.clone_from(&self.flags.node_field_selector);
        loop {
            let page = self.nodes.list(&parameters).await.context("listing nodes")?;
            nodes.extend(page.items);
            match page.metadata.continue_.filter(|token| !token.is_empty()) {
                Some(token) => parameters = parameters.continue_token(&token),
                None => return Ok(nodes),
            }
        }
    }

    /// The last line of a run, and its exit code.
    fn report(&self, mut failed: Vec<String>) -> i32 {
        if failed.is_empty() {
            info!("all nodes done");
            return 0;
        }
        failed.sort();
        let (count, names) = (failed.len(), failed.join(", "));
        let owner = format!("{}={}", self.mould.owner_label(), self.mould.prefix);
        error!(
            "{count} node(s) failed: {names}. Inspect the per-node Job logs with: kubectl logs -l {owner} --all-containers --prefix"
        );
        1
    }
}

/// Runs the dispatcher with these arguments (without the program's name); gives the exit code.
pub async fn dispatch(arguments: &[String]) -> Result<i32> {
    let environment = Environment::read().await?;
    let dispatcher = if environment.image.is_external_dispatcher() {
        Dispatcher::External
    } else {
        let version = &environment.version;
        environment.profile().dispatcher.with_context(|| format!("kata-deploy {version} has no dispatcher"))?
    };
    let flags = match Flags::parse(dispatcher, arguments) {
        Ok(flags) => flags,
        Err(wrong) => {
            error!("{}", wrong.render());
            return Ok(2);
        }
    };
    let template = read_template(&flags.job_template)?;
    let namespace = flags.namespace.clone().unwrap_or_else(|| environment.namespace.clone());
    let jobs: Api<Job> = Api::namespaced(environment.client.clone(), &namespace);
    let pace = environment.settings.pace()?;
    let owner = owner_of_this_run(&jobs, &flags.owner_job_name).await?;
    let world = World {
        nodes: Api::all(environment.client.clone()),
        jobs,
        installs: installed_version(&template)?,
        mould: Mould {
            dispatcher,
            prefix: flags.name_prefix.clone(),
            tracking: flags.tracking_label_prefix.clone().unwrap_or_else(|| TRACKING_PREFIX.to_owned()),
            owner,
            template,
        },
        poll: flags.poll_interval_secs.map_or(pace.poll, Duration::from_secs),
        client: environment.client,
        settings: environment.settings,
        flags,
        pace,
    };
    if dispatcher < Dispatcher::V4_1 { v1::run(&world).await } else { v2::run(world).await }
}

fn read_template(path: &str) -> Result<Job> {
    let text = std::fs::read_to_string(Path::new(path)).with_context(|| format!("reading `{path}`"))?;
    serde_yaml::from_str(&text).with_context(|| format!("`{path}` is no Job"))
}

fn installed_version(template: &Job) -> Result<String> {
    let pod = template.spec.as_ref().and_then(|spec| spec.template.spec.as_ref());
    let image = pod.and_then(|pod| pod.containers.first()).and_then(|container| container.image.as_deref());
    Ok(ImageRef::parse(image.context("the Job template has no image")?).label().to_owned())
}

async fn owner_of_this_run(jobs: &Api<Job>, name: &str) -> Result<OwnerReference> {
    let job = jobs.get(name).await.with_context(|| format!("reading the dispatcher's own Job `{name}`"))?;
    let Some(uid) = job.uid() else {
        bail!("Job `{name}` has no UID");
    };
    Ok(OwnerReference {
        api_version: "batch/v1".to_owned(),
        kind: "Job".to_owned(),
        name: name.to_owned(),
        uid,
        controller: Some(false),
        block_owner_deletion: Some(false),
    })
}
