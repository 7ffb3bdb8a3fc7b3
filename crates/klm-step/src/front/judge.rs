//! What was asked for against what is there: one verdict for the check, the selection and the plan. Pure.

use std::collections::BTreeMap;

use klm_core::gate::{self, Found, Rollout};
use klm_core::hazard::{self, Situation};
use klm_core::journal::RunId;
use klm_core::mode::{self, Detected};
use klm_core::origin::Origin;
use klm_core::plan::{Mode, Plan};
use klm_core::refusal::Refusal;
use klm_core::release::Release;
use klm_core::selection::{Circumstances, Selection, select};
use klm_core::settings::Settings;
use klm_core::values::overlay;
use klm_core::{version, wave};

use super::live::Live;
use super::look::{Seen, release_of};
use super::recorded::keeps_change;
use super::request::Request;

/// The verdict.
#[derive(Clone, Debug, Default)]
pub struct Outcome {
    /// The release's mode, when it has one.
    pub detected: Option<Detected>,
    /// The nodes.
    pub selection: Selection,
    /// Consecutive waves of one workflow step.
    pub waves_per_item: usize,
    /// What somebody may not expect.
    pub hazards: Vec<String>,
    /// Every reason to refuse.
    pub refusals: Vec<Refusal>,
}

/// Decides.
pub fn judge(request: &Request, seen: &Seen) -> Outcome {
    let settings = &request.settings;
    let mut outcome = Outcome { refusals: of_release(settings, seen), ..Outcome::default() };
    let Some(Live { base, last }) = &seen.live else { return outcome };
    let detected = match mode::detect(base) {
        Ok(detected) => detected,
        Err(refusal) => {
            outcome.refusals.push(refusal);
            return outcome;
        }
    };
    let (mode, target, set) = (detected.mode, &request.target, &request.user.values);
    outcome.refusals.extend(mode::check(&settings.deployment_mode, mode, base, &settings.kata_deploy_chart));
    outcome.refusals.extend(gate::target(target, mode));
    outcome.refusals.extend(gate::origin(base, mode));
    outcome.refusals.extend(gate::values(base, set, target, mode));
    let origin = seen.recorded().origin_of(base, target);
    outcome.selection = select(&seen.nodes, &request.choice, &circumstances(request, seen, base, mode, &origin));
    let chosen = &outcome.selection.nodes;
    let mut values = base.all.clone();
    overlay(&mut values, set);
    outcome.refusals.extend(gate::nodes(&Rollout {
        all: &seen.nodes,
        chosen,
        choice: request.choice.taint.as_ref(),
        values: &values,
        mode,
        target,
        settings,
    }));
    match wave::waves_per_step(chosen.len().div_ceil(settings.batch_size), settings.waves_per_step) {
        Ok(waves) => outcome.waves_per_item = waves,
        Err(refusal) => outcome.refusals.push(refusal),
    }
    outcome.hazards = hazard::hazards(&Situation {
        release: &Release { metadata: last.metadata.clone(), ..base.clone() },
        set,
        target,
        mode,
        all: &seen.nodes,
        chosen,
        verification: &request.verification,
        classes: seen.classes.as_deref(),
        others: &seen.installs.others(&release_of(settings)),
    });
    outcome.hazards.extend(request.user.notices.iter().cloned().chain(hazard::custom_image(set)));
    outcome.hazards.extend(keeps_change(&origin));
    outcome.detected = Some(detected);
    outcome
}

/// Reasons that need no more than the settings.
pub fn of_release(settings: &Settings, seen: &Seen) -> Vec<Refusal> {
    let found = match &seen.live {
        Some(live) => Found::Release { release: &live.last, age: seen.age, begun: seen.begun },
        None => Found::Nothing { elsewhere: seen.installs.releases.iter().cloned().collect() },
    };
    let mut refusals = Vec::new();
    // A living run explains all that is odd about its release, and waiting for it may mend that.
    match &seen.held {
        Some(_) if settings.when_locked == "wait" => {}
        Some(held) => refusals.push(held.refusal(&release_of(settings))),
        None => refusals.extend(gate::release(&found, settings)),
    }
    refusals
}

fn circumstances<'a>(
    request: &'a Request,
    seen: &Seen,
    base: &Release,
    mode: Mode,
    origin: &'a Origin,
) -> Circumstances<'a> {
    Circumstances {
        target: &request.target_text,
        origin: &origin.chart_version,
        marker: version::marks_nodes(&request.target).then(|| base.marker()),
        installed: if mode == Mode::Daemonset { seen.installed.clone() } else { BTreeMap::new() },
        hosts: seen.host.iter().cloned().collect(),
        force: request.settings.force,
        include_cordoned: request.settings.cordoned_nodes == "include",
    }
}

/// The plan that later steps follow.
pub fn plan_of(run: &RunId, request: &Request, outcome: &Outcome, origin: &Origin, seen: &Seen) -> Option<Plan> {
    Some(Plan {
        v: 1,
        run: run.clone(),
        target: request.target.to_string(),
        mode: outcome.detected.as_ref()?.mode,
        origin: origin.chart_version.clone(),
        settings: request.settings.clone(),
        nodes: outcome.selection.nodes.clone(),
        waves_per_item: outcome.waves_per_item,
        base_revision: seen.live.as_ref()?.last.metadata.revision,
    })
}
