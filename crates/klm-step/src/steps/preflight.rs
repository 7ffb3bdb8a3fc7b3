//! preflight: whether this image, its rights and the cluster fit together. What `helm test` runs; touches no node.

use klm_core::refusal::Refusal;

use crate::cli;
use crate::cluster::{ApiDefinition, WorkflowTemplate};
use crate::exit::StepError;
use crate::front::{Draft, rights, tools};
use crate::world::World;

/// The definition that Argo brings.
const WORKFLOWS: &str = "workflows.argoproj.io";

/// The step.
pub async fn run(args: &cli::Preflight, world: &World) -> Result<(), StepError> {
    let draft = Draft::of_defaults(&args.parameters);
    let mut refusals = tools(world).await?;
    refusals.extend(argo(world).await?);
    if let Some(settings) = &draft.settings {
        refusals.extend(rights(world, settings, None, &args.workflow_namespace).await?);
    }
    refusals.extend(draft.refusals().iter().cloned());
    template(args, world).await?;
    if refusals.is_empty() {
        tracing::info!("image, rights and cluster fit together");
        Ok(())
    } else {
        Err(refusals.into())
    }
}

/// Whether Argo Workflows is installed at all.
async fn argo(world: &World) -> Result<Option<Refusal>, StepError> {
    match world.cluster.get::<ApiDefinition>(None, WORKFLOWS).await {
        Ok(Some(_)) => Ok(None),
        Ok(None) => Ok(Some(
            Refusal::new(format!("Argo Workflows isn't installed: there is no customresourcedefinition `{WORKFLOWS}`"))
                .hint("install Argo Workflows (not Argo CD) first"),
        )),
        // A cluster that keeps its definitions to itself still runs workflows.
        Err(error) if error.is_forbidden() => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// Says when the template isn't there. Runs can be made from another one, so it is no reason to fail.
async fn template(args: &cli::Preflight, world: &World) -> Result<(), StepError> {
    let (namespace, name) = (args.workflow_namespace.as_str(), args.workflow_template.as_str());
    match world.cluster.get::<WorkflowTemplate>(Some(namespace), name).await {
        Ok(Some(_)) => {}
        Ok(None) => tracing::warn!("there is no workflowtemplate `{namespace}/{name}`: nothing to submit a run from"),
        Err(error) if error.is_forbidden() => {}
        Err(error) => return Err(error.into()),
    }
    Ok(())
}

#[cfg(test)]
mod tests;
