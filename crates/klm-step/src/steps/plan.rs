//! plan: prints what deploy-version would do, as text or JSON, and changes nothing.

use anyhow::Context as _;
use klm_core::forecast::{self, Forecast};
use klm_core::refusal::Refusal;

use crate::cli;
use crate::cluster::WorkflowTemplate;
use crate::exit::StepError;
use crate::front::{Draft, Known, check, expected, release_of};
use crate::world::World;

/// The step. Exit code 0 means that a run would begin.
pub async fn run(args: &cli::PlanArgs, world: &World) -> Result<(), StepError> {
    let text = print(args, world).await?;
    (world.print)(&text.0)?;
    text.1
}

/// What goes to stdout, and how the step ends after it.
async fn print(args: &cli::PlanArgs, world: &World) -> Result<(String, Result<(), StepError>), StepError> {
    let (parameters, namespace) = match &args.template {
        Some((namespace, name)) => (args.parameters.over_template(given_by(world, namespace, name).await?), namespace),
        None => (args.parameters.clone(), &world.here.namespace),
    };
    let draft = Draft::read(&args.target_version, &parameters);
    let findings = check(draft, world, None, namespace).await?;
    let end = if findings.refusals.is_empty() { Ok(()) } else { Err(findings.refusals.clone().into()) };
    let Some(known) = findings.known else { return Ok((String::new(), end)) };
    let forecast = forecast(&known, forecast::refusals(&findings.refusals));
    let text = match args.output {
        cli::Output::Text => forecast.to_string(),
        cli::Output::Json => {
            let mut text = serde_json::to_string_pretty(&forecast).context("failed to print the plan")?;
            text.push('\n');
            text
        }
    };
    Ok((text, end))
}

/// The parameters of an installed template, as Argo would list them.
async fn given_by(world: &World, namespace: &str, name: &str) -> Result<String, StepError> {
    let found = world.cluster.get::<WorkflowTemplate>(Some(namespace), name).await?;
    let Some(template) = found else {
        let refusal = Refusal::new(format!("there is no workflowtemplate `{namespace}/{name}`"));
        return Err(refusal.hint("kubectl get workflowtemplates --all-namespaces").into());
    };
    Ok(serde_json::to_string(&template.spec.arguments.parameters)
        .context("failed to read the template's parameters")?)
}

fn forecast(known: &Known, refusals: Vec<String>) -> Forecast {
    let Known { request, seen, outcome, obstacles } = known;
    let settings = &request.settings;
    let release = release_of(settings);
    let base = seen.live.as_ref().map(|live| &live.base);
    let origin = base.map_or_else(String::new, |base| seen.recorded().origin_of(base, &request.target).chart_version);
    let waves = forecast::waves(&outcome.selection.nodes, settings.batch_size);
    Forecast {
        release: format!("{}/{}", release.namespace, release.name),
        mode: outcome.detected.as_ref().map(|detected| detected.mode),
        mode_found: outcome.detected.as_ref().map_or_else(String::new, |detected| detected.how.clone()),
        origin,
        target: request.target_text.clone(),
        choice: request.choice.to_string(),
        batch_size: settings.batch_size,
        steps: waves.len().div_ceil(outcome.waves_per_item.max(1)),
        waves,
        skipped: forecast::skipped(&outcome.selection.skipped),
        commands: base.map(|base| expected(request, outcome, base)).unwrap_or_default(),
        hazards: outcome.hazards.clone(),
        obstacles: obstacles
            .iter()
            .map(|it| format!("node `{}`: pod `{}` is {}: {}", it.node, it.pod, it.class, it.why))
            .collect(),
        refusals,
    }
}

#[cfg(test)]
mod tests;
