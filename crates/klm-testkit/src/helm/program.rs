//! Helm as a program: its directory holds the record of its calls, its script, and releases when there is no cluster.

use std::collections::BTreeMap;
use std::io::{self, Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::{Arc, Mutex};

use jiff::Timestamp;
use serde_json::{Value, json};
use tokio::sync::watch;

use super::chart::VERSIONS;
use super::engine::{Engine, Invocation, Output};
use super::script::{Effect, HelmFault, Stage};
use super::storage::Storage;

/// Names the program's directory.
pub const DIRECTORY_ENV: &str = "FAKE_HELM_DIR";

/// Variables that are recorded.
const RECORDED: [&str; 8] = ["HELM_", "KUBE", "HTTP", "NO_PROXY", "SSL_CERT", "DOCKER_CONFIG", "HOME", "KLM_"];

/// The test's handle on the program.
#[derive(Debug, Clone)]
pub struct HelmDirectory(PathBuf);

impl HelmDirectory {
    /// A directory that the test owns.
    pub fn new(path: &Path) -> Self {
        Self(path.to_owned())
    }

    /// Scripts faults for the calls to come.
    pub fn inject(&self, faults: &[HelmFault]) -> io::Result<()> {
        let mut all = self.faults()?;
        all.extend_from_slice(faults);
        std::fs::write(self.0.join("faults.json"), serde_json::to_vec(&all)?)
    }

    /// Every call so far: `arguments`, `env` and `stdin`.
    pub fn calls(&self) -> io::Result<Vec<Value>> {
        let text = match std::fs::read_to_string(self.0.join("calls.jsonl")) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            other => other?,
        };
        text.lines().map(|line| serde_json::from_str(line).map_err(io::Error::from)).collect()
    }

    fn faults(&self) -> io::Result<Vec<HelmFault>> {
        match std::fs::read(self.0.join("faults.json")) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
            other => Ok(serde_json::from_slice(&other?)?),
        }
    }

    fn strike(&self, verb: &str, stage: Stage) -> Option<Effect> {
        let mut faults = self.faults().ok()?;
        let effect = faults.iter_mut().find_map(|fault| fault.strikes(verb, stage).then(|| fault.effect.clone()));
        if effect.is_some() {
            std::fs::write(self.0.join("faults.json"), serde_json::to_vec(&faults).ok()?).ok()?;
        }
        effect
    }

    fn record(&self, call: &Invocation) -> io::Result<()> {
        let line = json!({"arguments": call.arguments, "env": call.env, "stdin": String::from_utf8_lossy(&call.stdin)});
        let mut file = std::fs::OpenOptions::new().create(true).append(true).open(self.0.join("calls.jsonl"))?;
        writeln!(file, "{line}")
    }
}

/// The whole program.
pub fn main() -> ExitCode {
    let Some(directory) = std::env::var_os(DIRECTORY_ENV) else {
        return say(io::stderr(), &format!("Error: {DIRECTORY_ENV} names no directory for the fake helm\n"), 1);
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let output = match runtime {
        Ok(runtime) => runtime.block_on(run(&HelmDirectory(directory.into()))),
        Err(error) => Err(error),
    };
    match output {
        Ok(Output { code: Some(code), stdout, stderr }) => {
            say(io::stdout(), &stdout, 0);
            say(io::stderr(), &stderr, u8::try_from(code).unwrap_or(1))
        }
        // Killed: the closest that a program can come to it by itself.
        Ok(Output { code: None, .. }) => std::process::abort(),
        Err(error) => say(io::stderr(), &format!("Error: the fake helm itself failed: {error}\n"), 1),
    }
}

fn say(mut to: impl io::Write, text: &str, code: u8) -> ExitCode {
    match to.write_all(text.as_bytes()) {
        Ok(()) => ExitCode::from(code),
        Err(_) => ExitCode::FAILURE,
    }
}

async fn run(directory: &HelmDirectory) -> io::Result<Output> {
    let env: BTreeMap<String, String> =
        std::env::vars().filter(|(name, _)| RECORDED.iter().any(|prefix| name.starts_with(prefix))).collect();
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let mut stdin = Vec::new();
    if arguments.windows(2).any(|pair| (pair[0] == "-f" || pair[0] == "--values") && pair[1] == "-") {
        io::stdin().read_to_end(&mut stdin)?;
    }
    let call = Invocation { arguments, env, stdin };
    directory.record(&call)?;
    // Without a kubeconfig there is no cluster: releases live in the directory, and nothing is applied.
    let client = match call.env.get("KUBECONFIG").filter(|path| !path.is_empty()) {
        Some(_) => Some(kube::Client::try_default().await.map_err(io::Error::other)?),
        None => None,
    };
    let storage = client.clone().map_or_else(|| Storage::Directory(directory.0.clone()), Storage::Cluster);
    let script = directory.clone();
    let cancel = watch::Sender::new(false);
    let engine = Engine {
        client,
        storage,
        clock: Arc::new(Timestamp::now),
        versions: VERSIONS.map(str::to_owned).to_vec(),
        edition: 0,
        helm_version: "v4.2.4".to_owned(),
        post_render: None,
        script: Arc::new(move |verb, stage| script.strike(verb, stage)),
        cancelled: cancel.subscribe(),
        call,
        warnings: Mutex::default(),
    };
    let mut terminate = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate())?;
    let work = engine.run();
    tokio::pin!(work);
    tokio::select! {
        output = &mut work => return Ok(output),
        _ = terminate.recv() => cancel.send_replace(true),
    };
    Ok(work.await)
}

/// The program beside the running test: an example of the tested crate whose `main` is [`main`], named `fake-helm`.
///
/// # Panics
/// When it wasn't built.
pub fn beside_this_test() -> PathBuf {
    let test = std::env::current_exe().expect("a test has an executable");
    let profile = test.parent().and_then(Path::parent).expect("tests lie in target/<profile>/deps");
    let found = [profile.join("examples/fake-helm"), profile.join("fake-helm")].into_iter().find(|path| path.exists());
    found.unwrap_or_else(|| panic!("no fake-helm in {}: the crate needs examples/fake-helm.rs", profile.display()))
}
