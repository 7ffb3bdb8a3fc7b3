//! Files that helm reads: values, which may be secrets, and the plugin that is this very program.

use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use klm_core::helm_command::{Arg, Chart, HelmCommand, POST_RENDERER};
use sha2::{Digest as _, Sha256};
use tempfile::NamedTempFile;

/// One file for each set of values in the call, readable by nobody else, gone with the call.
pub fn write_values(scratch: &Path, command: &HelmCommand) -> io::Result<Vec<NamedTempFile>> {
    let values = command.args.iter().filter_map(|arg| match arg {
        Arg::Values(values) => Some(values),
        Arg::Text(_) => None,
    });
    values
        .map(|values| {
            // `tempfile` makes them 0600; JSON is YAML, and has no dialects.
            let mut file = tempfile::Builder::new().prefix("values-").suffix(".json").tempfile_in(scratch)?;
            file.write_all(serde_json::to_string(values)?.as_bytes())?;
            file.flush()?;
            Ok(file)
        })
        .collect()
}

/// The folder for `HELM_PLUGINS`: helm 4 takes post-renderers only as plugins, and this one is ourselves.
pub fn write_plugin(scratch: &Path) -> io::Result<PathBuf> {
    let plugins = scratch.join("plugins");
    let plugin = plugins.join(POST_RENDERER);
    let manifest = plugin.join("plugin.yaml");
    if !manifest.exists() {
        let program = std::env::current_exe()?;
        std::fs::create_dir_all(&plugin)?;
        std::fs::write(&manifest, plugin_manifest(&program.display().to_string()))?;
    }
    Ok(plugins)
}

fn plugin_manifest(program: &str) -> String {
    let manifest = serde_json::json!({
        "apiVersion": "v1",
        "type": "postrenderer/v1",
        "name": POST_RENDERER,
        "version": env!("CARGO_PKG_VERSION"),
        "runtime": "subprocess",
        "runtimeConfig": { "platformCommand": [{ "command": program, "args": ["helm-postrender"] }] },
    });
    manifest.to_string()
}

/// The chart in a folder, if one was pulled.
pub fn first_chart(folder: &Path) -> Option<PathBuf> {
    let mut entries = std::fs::read_dir(folder).ok()?;
    entries.find_map(|entry| Some(entry.ok()?.path()).filter(|path| path.extension().is_some_and(|it| it == "tgz")))
}

/// SHA-256 of a chart that was pulled; nothing for a folder that somebody mounted.
pub fn digest(chart: &Chart) -> io::Result<Option<String>> {
    let path = Path::new(&chart.reference);
    if chart.version.is_some() || !path.is_file() {
        return Ok(None);
    }
    let digest = Sha256::digest(std::fs::read(path)?);
    Ok(Some(digest.iter().map(|byte| format!("{byte:02x}")).collect::<Vec<_>>().concat()))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn values_are_readable_by_nobody_else_and_gone_afterwards() {
        let scratch = tempfile::tempdir().unwrap();
        let values = serde_json::json!({"password": "hunter2"}).as_object().cloned().unwrap();
        let command = HelmCommand { args: vec![Arg::Text("-f".into()), Arg::Values(values)], makes: None };
        let files = write_values(scratch.path(), &command).unwrap();
        assert_eq!(files[0].as_file().metadata().unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(std::fs::read_to_string(files[0].path()).unwrap(), r#"{"password":"hunter2"}"#);
        // helm's `-f` splits at commas.
        assert!(!files[0].path().display().to_string().contains(','));
        let path = files[0].path().to_owned();
        drop(files);
        assert!(!path.exists());
    }

    #[test]
    fn the_plugin_is_this_program() {
        let scratch = tempfile::tempdir().unwrap();
        let folder = write_plugin(scratch.path()).unwrap();
        let text = std::fs::read_to_string(folder.join("klm/plugin.yaml")).unwrap();
        let program = std::env::current_exe().unwrap();
        assert!(text.contains("helm-postrender") && text.contains(&*program.to_string_lossy()));
    }
}
