//! What the chart tells a pod about itself, and what follows from it.

use anyhow::{Context as _, Result, bail};
use k8s_openapi::api::core::v1::ConfigMap;
use kube::Client;
use kube::api::Api;
use semver::Version;

use crate::image::ImageRef;
use crate::injection::{CONFIG_MAP, Injections, Settings};
use crate::perform::Actor;
use crate::profile::Profile;

/// A pod's surroundings.
pub struct Environment {
    /// The way to the API server.
    pub client: Client,
    /// Where the pod's image came from.
    pub image: ImageRef,
    /// The version of kata-deploy that the image would hold.
    pub version: Version,
    /// The pod's node.
    pub node: String,
    /// The release's namespace.
    pub namespace: String,
    /// The suffix of the installation.
    pub suffix: String,
    /// What the test wants.
    pub settings: Settings,
}

impl Environment {
    /// Reads the environment variables of `standin.env` and the test's `ConfigMap`.
    pub async fn read() -> Result<Self> {
        let client = Client::try_default().await.context("finding the API server")?;
        let namespace = variable("POD_NAMESPACE")?;
        let image = ImageRef::parse(&variable("STANDIN_IMAGE")?);
        let chart = std::env::var("STANDIN_CHART_VERSION").ok();
        Ok(Self {
            version: image.version(chart.as_deref())?,
            image,
            node: variable("NODE_NAME")?,
            suffix: std::env::var("STANDIN_SUFFIX").unwrap_or_default(),
            settings: settings(&client, &namespace).await?,
            client,
            namespace,
        })
    }

    /// What this pod's version does.
    pub fn profile(&self) -> Profile {
        Profile::of(&self.version)
    }

    /// What goes wrong on this pod's node.
    pub fn injections(&self) -> Result<Injections> {
        self.settings.injections(&self.node, self.image.label())
    }

    /// The pod as an actor.
    pub fn actor(&self) -> Result<Actor> {
        let handlers = std::env::var("STANDIN_HANDLERS").unwrap_or_default();
        Ok(Actor {
            client: self.client.clone(),
            node: self.node.clone(),
            namespace: self.namespace.clone(),
            uid: variable("POD_UID")?,
            suffix: self.suffix.clone(),
            version: self.image.label().to_owned(),
            profile: self.profile(),
            pace: self.settings.pace()?,
            job: std::env::var("STANDIN_JOB").ok().filter(|job| !job.is_empty()),
            handlers: handlers.split(',').filter(|one| !one.is_empty()).map(str::to_owned).collect(),
        })
    }
}

/// The test's wishes; without its `ConfigMap` there are none.
pub async fn settings(client: &Client, namespace: &str) -> Result<Settings> {
    let maps: Api<ConfigMap> = Api::namespaced(client.clone(), namespace);
    let map = match maps.get_opt(CONFIG_MAP).await {
        Err(kube::Error::Api(status)) if status.code == 403 => bail!(
            "the pods of namespace `{namespace}` may not read `{CONFIG_MAP}`\nhint: setup::prepare(client, \"{namespace}\"), or klm-standin prepare --namespace {namespace}"
        ),
        answer => answer.with_context(|| format!("reading `{namespace}/{CONFIG_MAP}`"))?,
    };
    Ok(Settings(map.and_then(|map| map.data).unwrap_or_default()))
}

fn variable(name: &str) -> Result<String> {
    std::env::var(name).with_context(|| format!("the chart didn't give `{name}`"))
}
