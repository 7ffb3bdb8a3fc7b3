//! The dispatcher's command line. Each version knows its own flags, and ends on any other.

use clap::error::ErrorKind;
use clap::parser::ValueSource;
use clap::{ArgAction, Args, Command, FromArgMatches as _};

use crate::profile::Dispatcher;

/// Every flag of every version.
#[allow(clippy::struct_excessive_bools, reason = "each is a switch of upstream's command line")]
#[derive(Args, Clone, Debug)]
pub struct Flags {
    /// The file of the Job that is made for each node.
    #[arg(long, required = true)]
    pub job_template: String,
    /// The file of the Job that takes Kata off a node. With it, nodes that are owned but not asked for are cleaned up.
    #[arg(long)]
    pub cleanup_job_template: Option<String>,
    /// What the per-node Jobs' names begin with.
    #[arg(long, required = true)]
    pub name_prefix: String,
    /// The dispatcher's own Job, which owns the per-node Jobs.
    #[arg(long, required = true)]
    pub owner_job_name: String,
    /// How many Jobs may run at once.
    #[arg(long, default_value_t = 1)]
    pub parallelism: usize,
    /// The nodes by name, with commas; they replace every selector.
    #[arg(long)]
    pub nodes: Option<String>,
    /// A label selector; several are alternatives.
    #[arg(long, action = ArgAction::Append)]
    pub node_selector: Vec<String>,
    /// A field selector for nodes.
    #[arg(long)]
    pub node_field_selector: Option<String>,
    /// How many nodes are listed at once.
    #[arg(long, default_value_t = 500)]
    pub node_page_size: u32,
    /// Where Jobs are made; the pod's own namespace by default.
    #[arg(long)]
    pub namespace: Option<String>,
    /// Seconds between two looks at the Jobs.
    #[arg(long)]
    pub poll_interval_secs: Option<u64>,
    /// How long to wait until a node matches.
    #[arg(long)]
    pub wait_for_nodes_secs: Option<u64>,
    /// How long the set of matching nodes has to stay the same.
    #[arg(long, default_value_t = 0)]
    pub node_settle_secs: u64,
    /// The suffix of the installation.
    #[arg(long, default_value = "")]
    pub multi_install_suffix: String,
    /// What nodes are labelled with in the end: `true` after an installation, `false` for one that is taken away.
    #[arg(long)]
    pub node_label: Option<bool>,
    /// Label nodes `false` before they are worked on, unless they have a value.
    #[arg(long)]
    pub claim_node_pending: bool,
    /// How long a node may take to be Ready after its Job.
    #[arg(long, default_value_t = 0)]
    pub wait_node_ready_secs: u64,
    /// Handlers of which the node's runtime has to serve one.
    #[arg(long, value_delimiter = ',')]
    pub require_node_handlers: Vec<String>,
    /// Taints to take off nodes that are done.
    #[arg(long, value_delimiter = ',')]
    pub remove_node_taints: Vec<String>,
    /// From which kubelet timeout on to warn.
    #[arg(long)]
    pub kubelet_timeout_warn_secs: Option<u64>,
    /// Work on nodes whose taints the Jobs don't tolerate, too.
    #[arg(long)]
    pub ignore_node_taints: bool,
    /// The prefix of labels on per-node Jobs.
    #[arg(long)]
    pub tracking_label_prefix: Option<String>,
    /// The label that says where Kata may run.
    #[arg(long)]
    pub node_label_key: Option<String>,
    /// The prefix of the marker label.
    #[arg(long)]
    pub instance_label_prefix: Option<String>,
    /// Refuse nodes that don't tell their runtime's version.
    #[arg(long)]
    pub require_node_runtime_version: bool,
    /// Refuse nodes that don't tell their machine's id.
    #[arg(long)]
    pub require_node_machine_id: bool,
}

/// The flags that came after 3.32.0.
const SINCE: [(&str, Dispatcher); 16] = [
    ("cleanup_job_template", Dispatcher::V4_1),
    ("wait_for_nodes_secs", Dispatcher::V4_1),
    ("node_settle_secs", Dispatcher::V4_1),
    ("multi_install_suffix", Dispatcher::V4_1),
    ("node_label", Dispatcher::V4_1),
    ("claim_node_pending", Dispatcher::V4_1),
    ("wait_node_ready_secs", Dispatcher::V4_1),
    ("require_node_handlers", Dispatcher::V4_1),
    ("remove_node_taints", Dispatcher::V4_1),
    ("kubelet_timeout_warn_secs", Dispatcher::V4_1),
    ("ignore_node_taints", Dispatcher::V4_1),
    ("tracking_label_prefix", Dispatcher::External),
    ("node_label_key", Dispatcher::External),
    ("instance_label_prefix", Dispatcher::External),
    ("require_node_runtime_version", Dispatcher::External),
    ("require_node_machine_id", Dispatcher::External),
];

impl Flags {
    /// Reads the arguments (without the program's name) as `dispatcher` does.
    pub fn parse(dispatcher: Dispatcher, arguments: &[String]) -> Result<Self, clap::Error> {
        let mut command = Flags::augment_args(Command::new("kata-deploy-job-dispatcher").no_binary_name(true));
        let matches = command.try_get_matches_from_mut(arguments)?;
        for (id, since) in SINCE {
            if dispatcher < since && matches.value_source(id) == Some(ValueSource::CommandLine) {
                let flag = format!("unexpected argument '--{}' found", id.replace('_', "-"));
                return Err(command.error(ErrorKind::UnknownArgument, flag));
            }
        }
        let flags = Self::from_arg_matches(&matches)?;
        if dispatcher < Dispatcher::V4_1 && flags.node_selector.len() > 1 {
            let twice = "the argument '--node-selector' cannot be used multiple times";
            return Err(command.error(ErrorKind::ArgumentConflict, twice));
        }
        Ok(flags)
    }

    /// The named nodes, sorted and without doubles; none if `--nodes` wasn't given, which isn't the same as naming nobody.
    pub fn named_nodes(&self) -> Option<Vec<String>> {
        let mut nodes: Vec<String> =
            self.nodes.as_ref()?.split(',').filter(|name| !name.is_empty()).map(str::to_owned).collect();
        nodes.sort();
        nodes.dedup();
        Some(nodes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    const ALWAYS: [&str; 3] = ["--job-template=/t", "--name-prefix=kata-deploy-install", "--owner-job-name=d"];

    fn parse(dispatcher: Dispatcher, more: &[&str]) -> Result<Flags, clap::Error> {
        let arguments: Vec<String> = ALWAYS.iter().chain(more).map(|one| (*one).to_owned()).collect();
        Flags::parse(dispatcher, &arguments)
    }

    #[rstest]
    #[case("--parallelism=3", Dispatcher::V3_32)]
    #[case("--nodes=a,b", Dispatcher::V3_32)]
    #[case("--node-selector=a=b", Dispatcher::V3_32)]
    #[case("--poll-interval-secs=1", Dispatcher::V3_32)]
    #[case("--namespace=x", Dispatcher::V3_32)]
    #[case("--node-field-selector=metadata.name=a", Dispatcher::V3_32)]
    #[case("--node-page-size=100", Dispatcher::V3_32)]
    #[case("--cleanup-job-template=/c", Dispatcher::V4_1)]
    #[case("--wait-for-nodes-secs=120", Dispatcher::V4_1)]
    #[case("--node-settle-secs=15", Dispatcher::V4_1)]
    #[case("--multi-install-suffix=x", Dispatcher::V4_1)]
    #[case("--node-label=true", Dispatcher::V4_1)]
    #[case("--claim-node-pending", Dispatcher::V4_1)]
    #[case("--wait-node-ready-secs=300", Dispatcher::V4_1)]
    #[case("--require-node-handlers=a,b", Dispatcher::V4_1)]
    #[case("--remove-node-taints=a", Dispatcher::V4_1)]
    #[case("--kubelet-timeout-warn-secs=600", Dispatcher::V4_1)]
    #[case("--ignore-node-taints", Dispatcher::V4_1)]
    #[case("--tracking-label-prefix=p", Dispatcher::External)]
    #[case("--node-label-key=k", Dispatcher::External)]
    #[case("--instance-label-prefix=p", Dispatcher::External)]
    #[case("--require-node-runtime-version", Dispatcher::External)]
    #[case("--require-node-machine-id", Dispatcher::External)]
    fn a_flag_is_known_from_its_version_on(#[case] flag: &str, #[case] since: Dispatcher) {
        for dispatcher in [Dispatcher::V3_32, Dispatcher::V4_0, Dispatcher::V4_1, Dispatcher::External] {
            assert_eq!(parse(dispatcher, &[flag]).is_ok(), dispatcher >= since, "{flag} for {dispatcher:?}");
        }
    }

    #[test]
    fn a_flag_of_no_version_ends_every_dispatcher() {
        for dispatcher in [Dispatcher::V3_32, Dispatcher::External] {
            assert_eq!(parse(dispatcher, &["--node-affinity=x"]).unwrap_err().kind(), ErrorKind::UnknownArgument);
        }
    }

    #[test]
    fn selectors_are_alternatives_in_version_2_only() {
        let two = ["--node-selector=a=1", "--node-selector=b=2"];
        assert!(parse(Dispatcher::V4_0, &two).is_err());
        assert_eq!(parse(Dispatcher::V4_1, &two).unwrap().node_selector, ["a=1", "b=2"]);
    }

    #[test]
    fn an_empty_list_of_nodes_names_nobody_and_is_not_an_absent_one() {
        assert_eq!(parse(Dispatcher::V4_1, &["--nodes="]).unwrap().named_nodes(), Some(vec![]));
        assert_eq!(parse(Dispatcher::V4_1, &[]).unwrap().named_nodes(), None);
        assert_eq!(parse(Dispatcher::V4_1, &["--nodes=b,a,b"]).unwrap().named_nodes().unwrap(), ["a", "b"]);
    }
}
