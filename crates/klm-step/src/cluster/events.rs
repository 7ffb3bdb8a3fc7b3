//! Events on a Node: what `kubectl describe node` tells about the upgrade.

use k8s_openapi::api::core::v1::{Event, EventSource, ObjectReference};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, Time};
use klm_core::contract::CHART_NAME;
use klm_core::journal::RunId;
use klm_core::node::NodeFacts;

use super::Cluster;
use crate::exit::cut;

/// What happened to a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Note {
    /// The change begins.
    UpgradeStarted,
    /// Verified at the target.
    UpgradeCompleted,
    /// It failed; the version before is being restored.
    RollbackStarted,
    /// The version before was restored and verified, or the node was given back untouched.
    RolledBack,
    /// The rollback failed as well.
    RollbackStuck,
    /// Somebody uncordoned it meanwhile.
    Uncordoned,
}

impl Note {
    const fn reason(self) -> &'static str {
        match self {
            Self::UpgradeStarted => "KataUpgradeStarted",
            Self::UpgradeCompleted => "KataUpgradeCompleted",
            Self::RollbackStarted => "KataRollbackStarted",
            Self::RolledBack => "KataRolledBack",
            Self::RollbackStuck => "KataRollbackStuck",
            Self::Uncordoned => "KataUncordoned",
        }
    }

    const fn kind(self) -> &'static str {
        match self {
            Self::UpgradeStarted | Self::UpgradeCompleted | Self::RolledBack => "Normal",
            Self::RollbackStarted | Self::RollbackStuck | Self::Uncordoned => "Warning",
        }
    }
}

/// The API server takes 1024 bytes.
const MESSAGE_LIMIT: usize = 1000;

impl Cluster {
    /// Leaves an event on a node. An event is for people: when it can't be written, the work goes on.
    pub async fn note(&self, node: &NodeFacts, run: &RunId, what: Note, message: &str, now: jiff::Timestamp) {
        let event = event(node, run, what, message, now);
        match self.create(Some(NAMESPACE), &event).await {
            Ok(_) => {}
            // A step that runs again says the same thing again; once is enough.
            Err(error) if error.is_already_there() => {}
            Err(error) => tracing::warn!(node = %node.name, %error, "event not written"),
        }
    }
}

/// Events about objects without a namespace live in this one.
const NAMESPACE: &str = "default";

fn event(node: &NodeFacts, run: &RunId, what: Note, message: &str, now: jiff::Timestamp) -> Event {
    let node_name = node.name.as_str();
    let run_part = run.uid.get(..8).unwrap_or(&run.uid);
    let name = format!("{}.{run_part}.{}", cut_name(node_name), what.reason().to_lowercase());
    Event {
        metadata: ObjectMeta { name: Some(name), namespace: Some(NAMESPACE.to_owned()), ..ObjectMeta::default() },
        involved_object: ObjectReference {
            api_version: Some("v1".to_owned()),
            kind: Some("Node".to_owned()),
            name: Some(node_name.to_owned()),
            uid: Some(node.uid.clone()),
            ..ObjectReference::default()
        },
        type_: Some(what.kind().to_owned()),
        reason: Some(what.reason().to_owned()),
        message: Some(format!("{} (run {run})", cut(message, MESSAGE_LIMIT - 100))),
        source: Some(EventSource { component: Some(CHART_NAME.to_owned()), host: None }),
        reporting_component: Some(CHART_NAME.to_owned()),
        first_timestamp: Some(Time(now)),
        last_timestamp: Some(Time(now)),
        count: Some(1),
        ..Event::default()
    }
}

/// A node's name may be as long as an event's; the rest must fit behind it.
fn cut_name(name: &str) -> &str {
    name.get(..200).unwrap_or(name).trim_end_matches(['-', '.'])
}
