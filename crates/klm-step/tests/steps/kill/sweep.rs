//! One kill after the other, until the script has no write left to be killed at.

use std::collections::BTreeMap;
use std::time::Duration;

use klm_testkit::When;
use tokio::time::Instant;

use super::check::Before;
use super::scenario::Scenario;
use super::script::{Kill, Next};

/// `helm-timeout`: a helm of ours that was taken for somebody else's would be waited for as long.
const A_HELM_MAY_LIVE: Duration = Duration::from_secs(4500);

impl Scenario {
    /// Kills the script at its k-th write, for every k, and lets something follow, which may depend on the kill's
    /// number. Returns the kills by the step that was killed: all of them have converged, or the test has stopped.
    pub async fn sweep(&self, next: impl Fn(usize) -> Next) -> BTreeMap<String, u64> {
        let mut points = BTreeMap::new();
        let mut kills = 0;
        let whole = self.undisturbed().await;
        for k in 1.. {
            let mut struck = false;
            for when in When::ALL {
                let next = next(kills);
                let bed = self.bed();
                let found = Before::of(&bed);
                self.prepare(&bed).await;
                bed.cluster.kill_at(k, when);
                let kill = Kill { again: next == Next::Retry, ..Kill::default() };
                let began = Instant::now();
                let killed = self.perform(&bed, &kill).await;
                bed.cluster.spare();
                if let Some(killed) = killed {
                    struck = true;
                    kills += 1;
                    let done = Before::settled(&bed);
                    self.follow(&bed, &killed, next).await;
                    let what = format!("{}: {next:?} after a kill {when:?} write {k}, in {}", self.name, killed.step);
                    assert!(began.elapsed() < A_HELM_MAY_LIVE, "{what}: took {:?}", began.elapsed());
                    self.check(&bed, &found, &done, &whole, next, &what);
                    *points.entry(killed.step.to_owned()).or_default() += 1;
                }
            }
            if !struck {
                break;
            }
        }
        assert_eq!(points, whole.points, "{}: every write was killed, on both sides", self.name);
        points
    }
}
