//! A run's parameters after parsing: typed, checked, all errors at once. Holds no secret.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::contract::{Kind, PARAMETERS, Parameter};
use crate::refusal::Refusal;
use crate::{duration, name};

/// The parameters that steps work with. What may hold a secret (`helm-set-values`, `verification-pod`) isn't here.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[expect(clippy::struct_excessive_bools, reason = "each is one documented parameter of its own")]
pub struct Settings {
    /// `helm-release`
    pub helm_release: String,
    /// `helm-namespace`
    pub helm_namespace: String,
    /// `deployment-mode`: `auto`, `daemonset` or `job`
    pub deployment_mode: String,
    /// `batch-size`
    pub batch_size: usize,
    /// `node-selector`
    pub node_selector: String,
    /// `node-taint-key`
    pub node_taint_key: String,
    /// `node-taint-value`
    pub node_taint_value: String,
    /// `verification-namespace`
    pub verification_namespace: String,
    /// `drain-enabled`
    pub drain_enabled: bool,
    /// `drain-timeout`, seconds
    pub drain_timeout: u64,
    /// `kata-deploy-chart`
    pub kata_deploy_chart: String,
    /// `install-timeout`, seconds
    pub install_timeout: u64,
    /// `verification-timeout`, seconds
    pub verification_timeout: u64,
    /// `rollback-timeout`, seconds
    pub rollback_timeout: u64,
    /// `helm-timeout`, seconds
    pub helm_timeout: u64,
    /// `drain-scope`: `all` or `kata`
    pub drain_scope: String,
    /// `drain-pod-selector`
    pub drain_pod_selector: String,
    /// `drain-grace-period`, seconds; -1: the pod's own
    pub drain_grace_period: i64,
    /// `drain-delete-emptydir-data`
    pub drain_delete_emptydir_data: bool,
    /// `drain-force`
    pub drain_force: bool,
    /// `cordoned-nodes`: `skip` or `include`
    pub cordoned_nodes: String,
    /// `rollback-scope`: `failed` or `wave`
    pub rollback_scope: String,
    /// `force`
    pub force: bool,
    /// `accept-uninstall-window`
    pub accept_uninstall_window: bool,
    /// `waves-per-step`; 0: decided from the number of waves
    pub waves_per_step: usize,
    /// `when-locked`: `refuse` or `wait`
    pub when_locked: String,
}

/// Parameter texts by name. A missing or empty one means its default, because Argo passes unset ones as empty.
pub type Given = BTreeMap<String, String>;

impl Settings {
    /// Reads every parameter; every text that isn't allowed is a [`Refusal`] that names it.
    pub fn parse(given: &Given) -> Result<Self, Vec<Refusal>> {
        let refusals: Vec<Refusal> =
            PARAMETERS.iter().filter_map(|parameter| check(parameter, text(given, parameter.name)).err()).collect();
        if !refusals.is_empty() {
            return Err(refusals);
        }
        // Every text below was checked above; the fallbacks are never taken.
        let word = |name| text(given, name).to_owned();
        let flag = |name| text(given, name) == "true";
        let seconds = |name| duration::parse(text(given, name)).map_or(0, |d| d.as_secs().max(1));
        let number = |name| text(given, name).parse::<usize>().unwrap_or(0);
        Ok(Self {
            helm_release: word("helm-release"),
            helm_namespace: word("helm-namespace"),
            deployment_mode: word("deployment-mode"),
            batch_size: number("batch-size").max(1),
            node_selector: word("node-selector"),
            node_taint_key: word("node-taint-key"),
            node_taint_value: word("node-taint-value"),
            verification_namespace: word("verification-namespace"),
            drain_enabled: flag("drain-enabled"),
            drain_timeout: seconds("drain-timeout"),
            kata_deploy_chart: word("kata-deploy-chart"),
            install_timeout: seconds("install-timeout"),
            verification_timeout: seconds("verification-timeout"),
            rollback_timeout: seconds("rollback-timeout"),
            helm_timeout: seconds("helm-timeout"),
            drain_scope: word("drain-scope"),
            drain_pod_selector: word("drain-pod-selector"),
            drain_grace_period: text(given, "drain-grace-period").parse().unwrap_or(-1),
            drain_delete_emptydir_data: flag("drain-delete-emptydir-data"),
            drain_force: flag("drain-force"),
            cordoned_nodes: word("cordoned-nodes"),
            rollback_scope: word("rollback-scope"),
            force: flag("force"),
            accept_uninstall_window: flag("accept-uninstall-window"),
            waves_per_step: number("waves-per-step"),
            when_locked: word("when-locked"),
        })
    }
}

/// The text of a parameter, or its default.
pub fn text<'a>(given: &'a Given, name: &str) -> &'a str {
    let default = Parameter::named(name).map_or("", |parameter| parameter.default);
    given.get(name).map(String::as_str).filter(|text| !text.is_empty()).unwrap_or(default)
}

/// Whether a text is what its parameter allows. Selectors, taints, pods and `--set` texts have parsers of their own,
/// whose refusals say more; here they only pass.
fn check(parameter: &Parameter, text: &str) -> Result<(), Refusal> {
    let Parameter { name, kind, .. } = parameter;
    let refuse = |allowed: &str| Err(Refusal::new(format!("parameter `{name}` is `{text}`, but must be {allowed}")));
    match kind {
        Kind::Namespace if !name::is_dns1123_label(text) => {
            refuse("a DNS-1123 label: lower-case letters, digits and `-`")
        }
        Kind::Release if !name::is_helm_release(text) => refuse(&format!(
            "the name of a Helm release: lower-case letters, digits, `-` and `.`, at most {} characters",
            name::MAX_HELM_RELEASE
        )),
        Kind::OneOf(words) if !words.contains(&text) => {
            refuse(&words.iter().map(|word| format!("`{word}`")).collect::<Vec<_>>().join(" or "))
        }
        Kind::Bool if !matches!(text, "true" | "false") => refuse("`true` or `false`"),
        Kind::Duration if duration::parse(text).is_err() => refuse("a duration such as `300s`, `10m` or `1h30m`"),
        Kind::ChartReference if !is_chart_reference(text) => {
            refuse("`oci://…`, a chart repository's URL with the chart's name, or a path")
        }
        Kind::Integer { min } if text.parse::<i64>().map_or(true, |number| number < *min) => {
            refuse(&format!("a whole number, {min} or more"))
        }
        _ => Ok(()),
    }
}

/// Whether helm would read this as a chart. It stands alone on helm's command line, and so does a chart's name, which is
/// the end of a repository's URL: neither may be read as a flag.
fn is_chart_reference(text: &str) -> bool {
    let begins_as_name = |part: &str| part.starts_with(|c: char| c.is_ascii_alphanumeric() || "./_".contains(c));
    let is_printable = !text.chars().any(|c| c.is_whitespace() || c.is_control());
    let names_a_chart = match text.split_once("://") {
        Some((scheme, rest)) => {
            let name = rest.rsplit_once('/').map(|(_, name)| name);
            ["oci", "http", "https"].contains(&scheme) && name.is_some_and(begins_as_name)
        }
        None => begins_as_name(text),
    };
    names_a_chart && is_printable
}

#[cfg(test)]
mod tests {
    use super::*;

    fn given(pairs: &[(&str, &str)]) -> Given {
        pairs.iter().map(|(name, text)| ((*name).to_owned(), (*text).to_owned())).collect()
    }

    #[test]
    fn nothing_given_means_the_contracts_defaults() {
        let settings = Settings::parse(&Given::new()).unwrap();
        assert_eq!((settings.helm_release.as_str(), settings.helm_namespace.as_str()), ("kata-deploy", "kube-system"));
        assert_eq!((settings.batch_size, settings.drain_enabled, settings.drain_timeout), (1, false, 300));
        assert_eq!(settings, Settings::parse(&given(&[("batch-size", ""), ("drain-timeout", "")])).unwrap());
    }

    #[test]
    fn all_wrong_parameters_are_named_at_once() {
        let refusals = Settings::parse(&given(&[
            ("batch-size", "many"),
            ("deployment-mode", "pod"),
            ("drain-timeout", "5 minutes"),
            ("drain-enabled", "yes"),
            ("helm-namespace", "Kube_System"),
        ]))
        .unwrap_err();
        insta::assert_snapshot!(refusals.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"));
    }

    #[test]
    fn a_chart_is_never_a_flag_of_helm() {
        let hostile = [
            "--post-renderer=sh",
            "-f/etc/passwd",
            "https://charts.example.com/--post-renderer=sh",
            "oci://example.com/-x",
            "file:///etc/kata",
            "oci://example.com/a b",
            "oci://example.com/a\nb",
            "$(id)",
            "{{workflow.uid}}",
            "https://example.com/charts/",
            "oci://kata-deploy",
        ];
        for text in hostile {
            let refusals = Settings::parse(&given(&[("kata-deploy-chart", text)])).unwrap_err();
            assert!(refusals[0].what.starts_with("parameter `kata-deploy-chart` is"), "{text:?}: {refusals:?}");
        }
        for text in [
            "oci://ghcr.io/x/kata-deploy",
            "https://example.com/charts/kata-deploy",
            "/charts/kata/",
            "./kata",
            "../kata",
        ] {
            assert!(Settings::parse(&given(&[("kata-deploy-chart", text)])).is_ok(), "{text}");
        }
    }

    #[test]
    fn a_batch_of_none_or_less_is_refused() {
        for text in ["0", "-1", "1.5", "99999999999999999999"] {
            assert!(Settings::parse(&given(&[("batch-size", text)])).is_err(), "{text}");
        }
    }
}
