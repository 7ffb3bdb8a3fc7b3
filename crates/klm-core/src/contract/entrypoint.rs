//! The workflow's entrypoints and the inputs that each of them alone takes.

/// What `argo submit --entrypoint` can name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Entrypoint {
    /// Move the selected nodes to a version, wave by wave. The default.
    DeployVersion,
    /// Take one node back.
    RollbackNode,
    /// Print what `deploy-version` would do and change nothing.
    Plan,
    /// Put right what a terminated run left behind and release its lock.
    Recover,
}

impl Entrypoint {
    /// All of them, the default first.
    pub const ALL: [Self; 4] = [Self::DeployVersion, Self::RollbackNode, Self::Plan, Self::Recover];

    /// The word on the command line.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::DeployVersion => "deploy-version",
            Self::RollbackNode => "rollback-node",
            Self::Plan => "plan",
            Self::Recover => "recover",
        }
    }

    /// The parameters that only this entrypoint takes: name, default (none = required), what it is for.
    pub const fn inputs(self) -> &'static [Input] {
        match self {
            Self::DeployVersion | Self::Plan => &[TARGET_VERSION],
            Self::RollbackNode => &[NODE_NAME, ROLLBACK_VERSION],
            Self::Recover => &[],
        }
    }
}

/// A parameter of one entrypoint. It must not stand in `spec.arguments`: Argo would then ask for it everywhere.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Input {
    /// As in `-p name=value`.
    pub name: &'static str,
    /// `None`: `argo submit` refuses without it.
    pub default: Option<&'static str>,
    /// One line for tables and `--help`.
    pub help: &'static str,
}

/// The version to move nodes to.
pub const TARGET_VERSION: Input =
    Input { name: "target-version", default: None, help: "Kata version to move the nodes to" };

/// The node to take back.
pub const NODE_NAME: Input = Input { name: "node-name", default: None, help: "Node to take back" };

/// The version to take a node back to.
pub const ROLLBACK_VERSION: Input = Input {
    name: "rollback-version",
    default: Some(""),
    help: "Kata version to take the node back to; empty: the one that the last run found",
};
