//! Whether a drain can succeed at all: found before the first cordon, for every chosen node at once.

use crate::drain::{Fate, Outlook};
use crate::name::NodeName;
use crate::pod::PodFacts;
use crate::refusal::Refusal;

/// A pod in the way of a drain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Blocked {
    /// Its node.
    pub node: NodeName,
    /// `namespace/name`.
    pub pod: String,
    /// Why it can't go.
    pub why: String,
}

impl Blocked {
    /// Whether this pod blocks its node's drain for good.
    pub fn of(node: &NodeName, pod: &PodFacts, fate: &Fate, outlook: &Outlook) -> Option<Self> {
        let why = match (fate, outlook) {
            (Fate::Block(why), _) => (*why).to_owned(),
            (Fate::Evict, Outlook::Never(why)) => why.clone(),
            _ => return None,
        };
        Some(Self { node: node.clone(), pod: pod.full_name(), why })
    }
}

/// Most that is listed: a fleet may have thousands.
const LISTED: usize = 20;

/// Reasons in the pods.
pub fn drain(blocked: &[Blocked]) -> Vec<Refusal> {
    let mut refusals: Vec<Refusal> = blocked
        .iter()
        .take(LISTED)
        .map(|Blocked { node, pod, why }| Refusal::new(format!("node `{node}` can't be drained: pod `{pod}`: {why}")))
        .collect();
    if blocked.len() > LISTED {
        refusals.push(Refusal::new(format!("{} more pods are in the way of a drain", blocked.len() - LISTED)));
    }
    if let Some(last) = refusals.last_mut() {
        last.hint = Some(
            "change the budgets or the parameters named, or drain only Kata pods with `-p drain-scope=kata`".to_owned(),
        );
    }
    refusals
}
