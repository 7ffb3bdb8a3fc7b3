//! The values of one version: layers, merged as Helm merges values.

use anyhow::{Context as _, Result};
use semver::Version;
use serde_json::{Map, Value};

use super::files;

/// The default values of the chart of `version`. Keys that came later aren't there, keys that were removed aren't any more.
pub fn for_version(version: &Version) -> Result<Value> {
    let mut values = Value::Object(Map::new());
    for (since, text) in files::VALUES {
        let since: Version = since.parse().with_context(|| format!("the layer's version `{since}`"))?;
        // A build before a release, like 4.1.0-rc1, has that release's values.
        if (since.major, since.minor) <= (version.major, version.minor) {
            let layer = serde_yaml::from_str(text).with_context(|| format!("reading the values of {since}"))?;
            merge(&mut values, layer);
        }
    }
    Ok(values)
}

/// Helm's rule: maps merge, `null` removes a key, anything else replaces it.
fn merge(base: &mut Value, layer: Value) {
    match (base, layer) {
        (Value::Object(base), Value::Object(layer)) => {
            for (key, value) in layer {
                if value.is_null() {
                    base.remove(&key);
                } else {
                    merge(base.entry(key).or_insert(Value::Null), value);
                }
            }
        }
        (base, layer) => *base = layer,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    fn has(version: &str, pointer: &str) -> bool {
        for_version(&version.parse().unwrap()).unwrap().pointer(pointer).is_some()
    }

    #[rstest]
    #[case("/kubectlImage/reference", "3.27.0", "3.28.0")]
    #[case("/containerd/configFileName", "3.27.0", "3.29.0")]
    #[case("/runtimeClasses/overheadEnabled", "3.27.0", "3.29.0")]
    #[case("/priorityClassName", "3.29.0", "3.31.0")]
    #[case("/health/port", "3.29.0", "3.31.0")]
    #[case("/deploymentMode", "3.31.0", "3.32.0")]
    #[case("/job/nodes", "3.31.0", "3.32.0")]
    #[case("/monitor/enabled", "3.31.0", "3.32.0")]
    #[case("/affinity", "3.32.0", "4.0.0")]
    #[case("/snapshotter/erofsSnapshotterMode", "3.32.0", "4.0.0")]
    #[case("/job/waitNodeReadySeconds", "4.0.0", "4.1.0")]
    #[case("/job/cleanup/nodeAffinity", "4.0.0", "4.1.0")]
    fn a_key_appears_in_its_version(#[case] key: &str, #[case] before: &str, #[case] since: &str) {
        assert!(!has(before, key), "{key} in {before}");
        assert!(has(since, key), "{key} in {since}");
        assert!(has("4.2.0", key), "{key} in 4.2.0");
    }

    #[rstest]
    #[case("/job/nodeSelector")]
    #[case("/job/nodeSelectorExpressions")]
    #[case("/job/cleanup/nodeSelectorExpressions")]
    fn a_key_that_4_1_removed_is_absent_there(#[case] key: &str) {
        assert!(has("4.0.0", key));
        assert!(!has("4.1.0", key));
    }

    #[rstest]
    #[case("3.32.0", "amd64", "qemu")]
    #[case("4.0.0", "amd64", "qemu-runtime-rs")]
    #[case("4.0.0", "ppc64le", "qemu")]
    #[case("4.1.0", "ppc64le", "qemu-runtime-rs")]
    fn the_default_shim_changes_at_4_0(#[case] version: &str, #[case] arch: &str, #[case] shim: &str) {
        assert_eq!(for_version(&version.parse().unwrap()).unwrap()["defaultShim"][arch], shim);
    }

    #[test]
    fn daemonset_stays_the_default_mode_everywhere() {
        for version in super::super::VERSIONS.iter().filter(|version| **version >= Version::new(3, 32, 0)) {
            assert_eq!(for_version(version).unwrap()["deploymentMode"], "daemonset", "{version}");
        }
    }
}
