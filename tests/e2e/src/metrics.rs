//! What Argo's controller exports, read as Prometheus reads it.

use std::time::Duration;

use anyhow::{Context, Result};
use k8s_openapi::api::core::v1::Pod;
use klm_bed::wait::{Seen, Wait};
use kube::api::ListParams;
use kube::{Api, Client, Config, ResourceExt};

use crate::Scene;
use crate::fleet::ARGO;

/// Where the controller's own certificate, which nobody else knows, guards what it exports.
const PORT: u16 = 9090;

impl Scene {
    /// Waits until one of the gauge's series has this value, and no other series is there.
    pub async fn gauge_becomes(&self, gauge: &str, value: &str) -> Result<()> {
        Wait::new(format!("{gauge} to be {value}"), Duration::from_secs(60))
            .until(async || {
                let text = self.exported().await?;
                let seen: Vec<&str> = text.lines().filter_map(|line| of(line, gauge)).collect();
                Ok(if seen == [value] { Seen::Done(()) } else { Seen::NotYet(format!("{seen:?}")) })
            })
            .await
    }

    async fn exported(&self) -> Result<String> {
        let (client, path) = if self.cluster.is_bed() {
            let mut config = Config::new(format!("https://127.0.0.1:{PORT}").parse()?);
            config.accept_invalid_certs = true;
            (Client::try_from(config)?, "/metrics".to_owned())
        } else {
            let pods: Api<Pod> = Api::namespaced(self.client.clone(), ARGO);
            let controllers = pods.list(&ListParams::default().labels("app=workflow-controller")).await?;
            let controller =
                controllers.iter().next().context("no pod in `argo` has the label app=workflow-controller")?;
            let pod = controller.name_any();
            (self.client.clone(), format!("/api/v1/namespaces/{ARGO}/pods/https:{pod}:{PORT}/proxy/metrics"))
        };
        let request = http::Request::get(path).body(Vec::new())?;
        client.request_text(request).await.context("cannot read what Argo's controller exports")
    }
}

/// The value in a line of the text format, if it is this metric's.
fn of<'a>(line: &'a str, metric: &str) -> Option<&'a str> {
    let rest = line.strip_prefix(metric)?;
    let (_, value) = rest.strip_prefix('{')?.rsplit_once("} ")?;
    value.split_whitespace().next()
}
