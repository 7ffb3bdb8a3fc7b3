//! The user's `helm-set-values`: read with Helm's grammar, checked against what the run sets itself. Its values may be
//! secrets, so no message quotes one.

mod grammar;

pub use grammar::{InvalidSet, Style, parse};
use serde_json::Value;

use crate::name::NodeName;
use crate::refusal::Refusal;
use crate::values::{self, Values};

/// What the user asked for, ready for a values file.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct UserValues {
    /// The values.
    pub values: Values,
    /// What the user should know about them; names keys, never values.
    pub notices: Vec<String>,
}

/// Keys that the run sets itself, and what the user wants instead.
const RESERVED: &[(&str, &str)] = &[
    ("deploymentMode", "the run keeps the release's mode; say which one it is with parameter `deployment-mode`"),
    ("env.multiInstallSuffix", "a release keeps its suffix; install a second release for another one"),
    ("job.nodes", "choose nodes with parameter `node-selector` or `node-taint-key`"),
    ("job.parallelism", "choose the size of a wave with parameter `batch-size`"),
    ("updateStrategy", "the run needs `OnDelete` so that only the nodes of a wave restart"),
    ("verification.pod", "give the pod with parameter `verification-pod`"),
];

impl UserValues {
    /// Reads the parameter; every reserved key in it is a refusal.
    pub fn parse(text: &str) -> Result<Self, Vec<Refusal>> {
        if text.is_empty() {
            return Ok(Self::default());
        }
        let mut values = parse(text, Style::Typed).map_err(|error| {
            vec![Refusal::new(format!("parameter `helm-set-values` is not what `helm --set` takes: {error}"))]
        })?;
        if values.is_empty() {
            return Err(vec![
                Refusal::new("parameter `helm-set-values` sets nothing").hint("write it as `name=value,name=value`"),
            ]);
        }
        let refusals: Vec<Refusal> = RESERVED
            .iter()
            .filter(|(key, _)| values::touches(&values, key))
            .map(|(key, instead)| {
                Refusal::new(format!("parameter `helm-set-values` sets `{key}`, which the run sets itself"))
                    .hint(*instead)
            })
            .collect();
        if !refusals.is_empty() {
            return Err(refusals);
        }
        let notices = use_the_charts_image_key(&mut values).into_iter().collect();
        Ok(Self { values, notices })
    }
}

/// kata-deploy's charts have never had `image.repository`; Helm would take it and nothing would happen. Whoever writes
/// it means `image.reference`, so that is set as well, and said.
fn use_the_charts_image_key(values: &mut Values) -> Option<String> {
    let repository = values::text(values, "image.repository")?.to_owned();
    let Some(Value::Object(image)) = values.get_mut("image") else { return None };
    let known = "kata-deploy's chart has no `image.repository`; its key is `image.reference`";
    if image.contains_key("reference") {
        return Some(format!("{known}, which `helm-set-values` sets too: `image.repository` has no effect"));
    }
    image.remove("repository");
    image.insert("reference".to_owned(), Value::String(repository));
    Some(format!("{known}: the run sets `image.reference` to the text given; write `image.reference=…` next time"))
}

/// A node list as Helm's `--set-string` takes it: `{a,b}`. Names need no escape. Nothing for no node, because `{}`
/// means a list of one empty name, which some dispatchers take for "no node may keep Kata".
pub fn quote_list(nodes: &[NodeName]) -> Option<String> {
    let names: Vec<&str> = nodes.iter().map(NodeName::as_str).collect();
    (!names.is_empty()).then(|| format!("{{{}}}", names.join(",")))
}

#[cfg(test)]
mod tests;
