//! What is done before the kill, what is killed, and what follows.

use std::cell::Cell;

use klm_step::exit::StepError;
use klm_step::plan_store;
use klm_testkit::{Outcome, run_until_killed};

use super::scenario::{Scenario, Script, TAKEN_BACK};
use crate::bed::{Bed, Flow};

/// What follows a kill.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// Argo sees that the pod is gone and starts the same step again.
    Retry,
    /// Argo has tried often enough, or the Workflow is stopped: rollback where its dag has one, then the exit handler.
    GiveUp,
    /// `argo terminate`, then the same run submitted again.
    NewRun,
    /// `argo terminate`, then the entrypoint `recover`.
    Recover,
    /// `argo terminate`, then `rollback-node` again.
    Again,
}

/// What a kill does to the script.
#[derive(Default)]
pub struct Kill {
    /// Whether the step that was killed is started again, and the script goes on.
    pub again: bool,
    pub struck: Cell<Option<&'static str>>,
}

/// Where a kill struck.
pub struct Killed {
    pub step: &'static str,
    item: String,
    flow: Flow,
}

impl Scenario {
    /// Everything that happens before the kill is armed.
    pub async fn prepare(&self, bed: &Bed) {
        let flow = bed.flow("first", &self.given());
        match self.script {
            Script::Rollout => {}
            Script::Recover => {
                self.select(bed, &flow, self.to).await;
                bed.item(&flow, 1).await.unwrap();
                bed.step(&flow, &["apply-wave", "--item", "2"]).await.unwrap();
                bed.end(&flow, "Failed");
            }
            Script::RollbackNode => {
                for target in self.through.into_iter().chain([self.to]) {
                    let flow = bed.flow(&format!("to-{target}"), &self.given());
                    self.select(bed, &flow, target).await;
                    let items = self.items(bed, &flow).await;
                    bed.rollout(&flow, items).await.unwrap();
                }
            }
        }
    }

    /// The script, until it ends or is cut short. Says where it was killed.
    pub async fn perform(&self, bed: &Bed, kill: &Kill) -> Option<Killed> {
        let flow = bed.flow("up", &self.given());
        let short = match self.script {
            Script::Rollout => self.rollout(bed, kill, &flow).await,
            Script::Recover => self.one(bed, kill, &flow, "recover", &[]).await,
            Script::RollbackNode => {
                let [step, what @ ..] = &*self.rollback_node() else { unreachable!() };
                self.one(bed, kill, &flow, step, what).await
            }
        };
        short.or_else(|| kill.struck.get().map(|step| Killed { step, item: String::new(), flow }))
    }

    /// The run as the workflow does it. The check before it writes nothing.
    async fn rollout(&self, bed: &Bed, kill: &Kill, flow: &Flow) -> Option<Killed> {
        let killed = |step, item: &str| Some(Killed { step, item: item.to_owned(), flow: flow.clone() });
        if self.killed(bed, kill, flow, "select-nodes", &["--target-version", self.to]).await.is_none() {
            return killed("select-nodes", "");
        }
        for item in 1..=self.items(bed, flow).await {
            let item = item.to_string();
            let mut failed = false;
            for step in ["apply-wave", "verify"] {
                match self.killed(bed, kill, flow, step, &["--item", &item]).await {
                    Some(Ok(())) => {}
                    Some(Err(_)) => {
                        failed = true;
                        break;
                    }
                    None => return killed(step, &item),
                }
            }
            if failed {
                if self.killed(bed, kill, flow, "rollback", &["--item", &item]).await.is_none() {
                    return killed("rollback", &item);
                }
                break;
            }
        }
        match self.killed(bed, kill, flow, "finish", &["--workflow-status", "x"]).await {
            Some(outcome) => outcome.unwrap(),
            None => return killed("finish", ""),
        }
        bed.end(flow, "Succeeded");
        None
    }

    /// A script of one step and the exit handler.
    async fn one(&self, bed: &Bed, kill: &Kill, flow: &Flow, step: &'static str, more: &[&str]) -> Option<Killed> {
        for (step, more) in [(step, more), ("finish", &["--workflow-status", "x"])] {
            match self.killed(bed, kill, flow, step, more).await {
                // Its first try had done it.
                Some(Err(StepError::Refused(why))) if kill.struck.get() == Some(step) => {
                    assert!(why[0].what.contains("already"), "{why:?}");
                }
                Some(outcome) => outcome.unwrap(),
                None => return Some(Killed { step, item: String::new(), flow: flow.clone() }),
            }
        }
        bed.end(flow, "Succeeded");
        None
    }

    /// What comes after the kill, to its end.
    pub async fn follow(&self, bed: &Bed, killed: &Killed, next: Next) {
        if next == Next::Retry {
            return;
        }
        let Killed { step, item, flow } = killed;
        if next == Next::GiveUp {
            if ["apply-wave", "verify"].contains(step) {
                bed.step(flow, &["rollback", "--item", item]).await.unwrap();
            }
            if *step != "finish" {
                finish(bed, flow).await;
            }
        }
        bed.end(flow, "Failed");
        match next {
            // Only a kill of the exit handler itself leaves anything to do.
            Next::Retry => {}
            Next::GiveUp if *step != "finish" => {}
            Next::GiveUp | Next::Recover => {
                let recovery = bed.flow("recovery", &self.given());
                bed.step(&recovery, &["recover"]).await.unwrap();
                finish(bed, &recovery).await;
                bed.end(&recovery, "Succeeded");
            }
            Next::NewRun => {
                let again = bed.flow("again", &self.given());
                bed.step(&again, &["check-prerequisites", "--target-version", self.to]).await.unwrap();
                self.select(bed, &again, self.to).await;
                let items = self.items(bed, &again).await;
                let outcome = bed.rollout(&again, items).await;
                assert_eq!(outcome.is_err(), self.bad.is_some(), "{outcome:?}");
            }
            Next::Again => {
                let again = bed.flow("again", &self.given());
                match bed.step(&again, &self.rollback_node()).await {
                    Ok(()) => {}
                    // The killed one had done it.
                    Err(StepError::Refused(why)) => assert!(why[0].what.contains("already"), "{why:?}"),
                    Err(other) => panic!("{other:?}"),
                }
                finish(bed, &again).await;
                bed.end(&again, "Succeeded");
            }
        }
    }

    async fn select(&self, bed: &Bed, flow: &Flow, target: &str) {
        bed.step(flow, &["select-nodes", "--target-version", target]).await.unwrap();
    }

    fn rollback_node(&self) -> Vec<&'static str> {
        let version = self.through.map(|_| ["--rollback-version", self.from]);
        ["rollback-node", "--node-name", TAKEN_BACK].into_iter().chain(version.into_iter().flatten()).collect()
    }

    async fn items(&self, bed: &Bed, flow: &Flow) -> usize {
        let (world, _switch) = bed.world();
        plan_store::read(&world.cluster, &flow.id).await.unwrap().unwrap().plan.item_count()
    }

    /// A step under the kill; nothing when it struck and the script ends here.
    async fn killed(
        &self,
        bed: &Bed,
        kill: &Kill,
        flow: &Flow,
        step: &'static str,
        more: &[&str],
    ) -> Option<Result<(), StepError>> {
        let args: Vec<&str> = [step].iter().chain(more).copied().collect();
        match run_until_killed(&bed.cluster, bed.step(flow, &args)).await {
            Outcome::Finished(outcome) => Some(outcome),
            Outcome::Killed if kill.again => {
                kill.struck.set(Some(step));
                Some(bed.step(flow, &args).await)
            }
            Outcome::Killed => None,
        }
    }
}

async fn finish(bed: &Bed, flow: &Flow) {
    bed.step(flow, &["finish", "--workflow-status", "Failed"]).await.unwrap();
}
