//! The chart's source files, carried in the program so that packing needs no folder beside it.

/// `Chart.yaml` without its versions.
pub const CHART: &str = include_str!("../../chart/Chart.yaml");

/// Layers of values by the version that brought them, oldest first.
pub const VALUES: [(&str, &str); 8] = [
    ("3.27.0", include_str!("../../chart/values/3.27.0.yaml")),
    ("3.28.0", include_str!("../../chart/values/3.28.0.yaml")),
    ("3.29.0", include_str!("../../chart/values/3.29.0.yaml")),
    ("3.31.0", include_str!("../../chart/values/3.31.0.yaml")),
    ("3.32.0", include_str!("../../chart/values/3.32.0.yaml")),
    ("4.0.0", include_str!("../../chart/values/4.0.0.yaml")),
    ("4.1.0", include_str!("../../chart/values/4.1.0.yaml")),
    ("4.2.0", include_str!("../../chart/values/4.2.0.yaml")),
];

macro_rules! templates {
    ($($name:literal),* $(,)?) => {
        [$(($name, include_str!(concat!("../../chart/templates/", $name)))),*]
    };
}

/// Templates, by name.
pub const TEMPLATES: [(&str, &str); 15] = templates![
    "_helpers.tpl",
    "_job.tpl",
    "_standin.tpl",
    "daemonset.yaml",
    "dispatcher-cleanup.yaml",
    "dispatcher-install.yaml",
    "dispatcher-rbac.yaml",
    "job-templates.yaml",
    "monitor.yaml",
    "post-delete.yaml",
    "rbac.yaml",
    "runtimeclasses.yaml",
    "state.yaml",
    "validate.yaml",
    "verification.yaml",
];
