//! The dispatcher's command line: each version ends on a flag that it doesn't know.

use crate::world::profile::Dispatcher;

/// What the arguments say.
#[derive(Debug, Clone, Default)]
pub(super) struct Flags {
    pub(super) name_prefix: String,
    pub(super) parallelism: usize,
    pub(super) nodes: Option<String>,
    pub(super) selectors: Vec<String>,
    /// Whether nodes that are owned but not asked for are cleaned up.
    pub(super) cleans_up: bool,
    suffix: String,
}

/// Known since 4.1.0, and checked for nothing else here.
const SINCE_4_1: [&str; 8] = [
    "--wait-for-nodes-secs",
    "--node-settle-secs",
    "--node-label",
    "--claim-node-pending",
    "--wait-node-ready-secs",
    "--require-node-handlers",
    "--remove-node-taints",
    "--kubelet-timeout-warn-secs",
];

impl Flags {
    /// Reads the arguments as that version does.
    pub(super) fn parse(arguments: &[&str], behaviour: Dispatcher, external: bool) -> Result<Self, String> {
        let mut flags = Self { parallelism: 1, ..Self::default() };
        let since41 = behaviour == Dispatcher::V4_1;
        for argument in arguments {
            let (name, value) = argument.split_once('=').unwrap_or((argument, ""));
            match name {
                "--job-template" | "--owner-job-name" => {}
                "--name-prefix" => value.clone_into(&mut flags.name_prefix),
                "--parallelism" => {
                    flags.parallelism = value.parse().map_err(|_| format!("invalid value {value:?} for '{name}'"))?;
                }
                "--nodes" => flags.nodes = Some(value.to_owned()),
                "--node-selector" => flags.selectors.push(value.to_owned()),
                "--cleanup-job-template" if since41 => flags.cleans_up = true,
                "--multi-install-suffix" if since41 => value.clone_into(&mut flags.suffix),
                _ if since41 && SINCE_4_1.contains(&name) => {}
                "--tracking-label-prefix" | "--require-node-machine-id" if external => {}
                _ => return Err(format!("unexpected argument '{name}' found")),
            }
        }
        Ok(flags)
    }

    /// The label that says which installation a node belongs to.
    pub(super) fn marker(&self) -> String {
        let instance = if self.suffix.is_empty() { "default" } else { &self.suffix };
        format!("kata-deploy.katacontainers.io/{instance}")
    }
}
