//! Post-renderers: a plugin that is run for real, or a function that stands for it in process.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;

use serde_json::Value;

/// Stands for a post-renderer plugin in process: manifests and environment in, manifests out.
pub type PostRender = Arc<dyn Fn(&str, &BTreeMap<String, String>) -> Result<String, String> + Send + Sync>;

/// Runs the plugin of this name from the plugin directories, as helm does.
pub(super) fn run_plugin(
    name: &str,
    arguments: &[String],
    env: &BTreeMap<String, String>,
    text: &str,
) -> Result<String, String> {
    let directories = env.get("HELM_PLUGINS").cloned().unwrap_or_default();
    let found = std::env::split_paths(&directories).find_map(|directory| find(&directory, name));
    let (home, command) = found.ok_or_else(|| format!("plugin: {{Name:{name} Type:postrenderer/v1}} not found"))?;
    let mut words = command.iter().map(|word| word.replace("${HELM_PLUGIN_DIR}", &home.to_string_lossy()));
    let program = words.next().unwrap_or_default();
    let failed = |error: &dyn std::fmt::Display| format!("error while running command {program}: {error}");
    let mut child = Command::new(&program)
        .args(words)
        .args(arguments)
        .envs(env)
        .env("HELM_PLUGIN_DIR", &home)
        .env("HELM_PLUGIN_NAME", name)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(|error| failed(&error))?;
    let input = child.stdin.take();
    let text = text.to_owned();
    let feeder =
        std::thread::spawn(move || input.map(|mut input| std::io::Write::write_all(&mut input, text.as_bytes())));
    let output = child.wait_with_output().map_err(|error| failed(&error))?;
    // A plugin that does not read all of its input is judged by its answer.
    let _ = feeder.join();
    if !output.status.success() {
        return Err(format!(
            "error while running command {program}. error output:\n{}",
            String::from_utf8_lossy(&output.stderr)
        ));
    }
    let rendered = String::from_utf8_lossy(&output.stdout).into_owned();
    if rendered.trim().is_empty() { Err(format!("post-renderer {name:?} produced empty output")) } else { Ok(rendered) }
}

fn find(directory: &Path, name: &str) -> Option<(PathBuf, Vec<String>)> {
    for entry in std::fs::read_dir(directory).ok()? {
        let home = entry.ok()?.path();
        let Ok(text) = std::fs::read_to_string(home.join("plugin.yaml")) else { continue };
        let Ok(plugin) = serde_yaml::from_str::<Value>(&text) else { continue };
        if plugin["name"] != name || plugin["type"] != "postrenderer/v1" || plugin["apiVersion"] != "v1" {
            continue;
        }
        let command = &plugin["runtimeConfig"]["platformCommand"][0];
        let mut words = vec![command["command"].as_str()?.to_owned()];
        words.extend(crate::api::object::strings(command, "/args").into_iter().map(str::to_owned));
        return Some((home, words));
    }
    None
}
