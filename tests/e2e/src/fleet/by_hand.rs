//! `klm-step plan` as a person runs it: from outside the cluster, with the values of the installed template.

use anyhow::{Context as _, Result};
use klm_bed::images::Programs;
use serde_json::json;

use super::{ARGO, Fleet, LIFECYCLE};

/// How `klm-step plan` ended.
#[derive(Debug)]
pub struct Planned {
    /// Its exit code: 0 when a run would begin, 3 when it would be refused.
    pub code: Option<i32>,
    /// What it wrote, the plan and every refusal.
    pub said: String,
    /// What it wrote beside the plan: every refusal with its hints.
    pub refusals: String,
}

impl Fleet {
    /// Asks for the plan of a run to this version with these parameters, `name=value` each. The checks are those of
    /// `check-prerequisites` but for the steps' rights, without the minute that a refused Workflow takes.
    pub fn plan_by_hand(&self, target: &str, parameters: &[&str]) -> Result<Planned> {
        let given = parameters.iter().map(|parameter| {
            let (name, value) = parameter.split_once('=').context("a parameter without a value")?;
            Ok(json!({"name": name, "value": value}))
        });
        let given = given.collect::<Result<Vec<_>>>()?;
        let mut command = self.scene.cluster.command(Programs::build()?.step);
        command.args(["plan", "--template", &format!("{ARGO}/{LIFECYCLE}"), "--target-version", target]);
        command.arg("--parameters").arg(json!(given).to_string()).env("KLM_HELM_PLAIN_HTTP", "true");
        let ended = command.output().context("starting `klm-step plan`")?;
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        Ok(Planned {
            code: ended.status.code(),
            said: text(&[&*ended.stdout, &*ended.stderr].concat()),
            refusals: text(&ended.stderr),
        })
    }

    /// A run that would be refused, and what is said of it.
    pub fn refused_by_hand(&self, target: &str, parameters: &[&str]) -> Result<String> {
        let planned = self.plan_by_hand(target, parameters)?;
        anyhow::ensure!(planned.code == Some(3), "not refused (exit {:?}):\n{}", planned.code, planned.said);
        Ok(planned.refusals)
    }
}
