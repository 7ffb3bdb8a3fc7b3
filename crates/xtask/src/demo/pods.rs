//! The verification pods of a demo: the README's, and one that finds the new version wanting on one node.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use klm_bed::paths::workspace;
use serde_yaml::Value;

/// Where they are written, relative to the repository: the commands that are shown name them.
const FOLDER: &str = "target/demo";

/// Writes the README's pod and returns its path, relative to the repository.
pub fn documented() -> Result<PathBuf> {
    let readme = fs::read_to_string(workspace().join("README.md")).context("cannot read README.md")?;
    store("my-verification-pod.yaml", in_readme(&readme)?)
}

/// Writes a pod that fails the first time that it runs on `node`, and returns its path: as if the new version was bad
/// there, and the old one wasn't. `key` keeps one demo's memory apart from another's on the same cluster.
pub fn failing_first_on(node: &str, key: &str) -> Result<PathBuf> {
    let readme = fs::read_to_string(workspace().join("README.md")).context("cannot read README.md")?;
    let mut pod: Value = serde_yaml::from_str(in_readme(&readme)?).context("cannot read the README's pod")?;
    make_fail(&mut pod, node, key).context("the README's pod isn't the one that the demo knows")?;
    store("failing-verification-pod.yaml", &serde_yaml::to_string(&pod)?)
}

fn make_fail(pod: &mut Value, node: &str, key: &str) -> Option<()> {
    let spec = pod.get_mut("spec")?;
    // On the node itself: what one pod leaves, the next one on that node finds.
    spec["volumes"] = serde_yaml::from_str(&format!(
        "[{{name: memory, hostPath: {{path: /run/klm-demo-{key}, type: DirectoryOrCreate}}}}]"
    ))
    .ok()?;
    let container = spec.get_mut("containers")?.get_mut(0)?;
    container["volumeMounts"] = serde_yaml::from_str("[{name: memory, mountPath: /memory}]").ok()?;
    let script = container.get_mut("command")?.as_sequence_mut()?.last_mut()?;
    let fails = format!(
        "if test \"${{NODE}}\" = {node} && ! test -e /memory/seen; then\n  touch /memory/seen\n  \
         echo \"this version is bad for ${{NODE}}\"\n  exit 7\nfi\n"
    );
    *script = Value::String(script.as_str()?.to_owned() + &fails);
    Some(())
}

/// The first YAML of the README that is a pod.
fn in_readme(readme: &str) -> Result<&str> {
    readme
        .split("```yaml\n")
        .skip(1)
        .filter_map(|rest| rest.split_once("```").map(|(block, _)| block))
        .find(|block| block.contains("kind: Pod"))
        .context("README.md shows no verification pod")
}

fn store(name: &str, text: &str) -> Result<PathBuf> {
    let folder = workspace().join(FOLDER);
    fs::create_dir_all(&folder).with_context(|| format!("cannot create {}", folder.display()))?;
    let path = folder.join(name);
    fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))?;
    Ok(Path::new(FOLDER).join(name))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn readme() -> String {
        fs::read_to_string(workspace().join("README.md")).unwrap()
    }

    #[test]
    fn the_readme_shows_a_pod_that_a_demo_can_use() {
        let pod: Value = serde_yaml::from_str(in_readme(&readme()).unwrap()).unwrap();
        assert_eq!(pod["metadata"]["name"], "${TEST_POD}");
    }

    #[test]
    fn the_failing_pod_is_the_documented_one_with_a_few_lines_more() {
        let mut pod: Value = serde_yaml::from_str(in_readme(&readme()).unwrap()).unwrap();
        let before = pod["spec"]["containers"][0]["command"][2].as_str().unwrap().to_owned();
        make_fail(&mut pod, "blue-2", "x").unwrap();
        let script = pod["spec"]["containers"][0]["command"][2].as_str().unwrap();
        assert!(script.starts_with(&before) && script.contains("= blue-2 &&") && script.contains("exit 7"), "{script}");
        assert_eq!(pod["spec"]["volumes"][0]["hostPath"]["path"], "/run/klm-demo-x");
        assert_eq!(pod["spec"]["runtimeClassName"], "kata-qemu");
    }
}
