//! Every reason to refuse a run before anything is touched. Each gate looks at its own facts and says all that it finds.

mod drain;
mod nodes;
mod release;
mod rights;
mod tools;
mod values;

pub use drain::{Blocked, drain};
pub use nodes::{Rollout, nodes};
pub use release::{Found, at_work, origin, release};
pub use rights::{Right, Scope, missing, needed};
pub use tools::{argo, helm};
pub use values::{not_taken, values};

use crate::name::NodeName;
use crate::plan::Mode;
use crate::refusal::Refusal;
use crate::version;

/// Whether this mode can move to that version.
pub fn target(target: &semver::Version, mode: Mode) -> Option<Refusal> {
    let minimum = version::minimum(mode);
    (*target < minimum).then(|| {
        let refusal = Refusal::new(format!(
            "parameter `target-version` is `{target}`, but {mode} mode needs {minimum} or newer"
        ));
        match mode {
            Mode::Daemonset => refusal.hint(format!("choose {minimum} or newer")),
            Mode::Job => refusal.hint(format!(
                "choose {minimum} or newer: an older chart knows no job mode and would install a DaemonSet on every node"
            )),
        }
    })
}

/// A few names for a message, and how many more there are.
fn some<'a>(names: impl IntoIterator<Item = &'a NodeName>) -> String {
    let names: Vec<String> = names.into_iter().map(|name| format!("`{name}`")).collect();
    match names.len() {
        0..=5 => names.join(", "),
        many => format!("{} and {} more", names[..5].join(", "), many - 5),
    }
}

#[cfg(test)]
mod tests;
