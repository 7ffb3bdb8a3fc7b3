//! Starts each program of the image once, the foreign ones in an emulator: a program that isn't static doesn't start there.

use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, bail};

use super::programs::required_version;
use super::{Arch, PROGRAMS};
use crate::process;

/// Asks every program in the folder for its version and returns what they answered, by name.
pub fn start(arch: Arch, folder: &Path) -> Result<Vec<(&'static str, String)>> {
    PROGRAMS
        .into_iter()
        .map(|program| {
            let said = process::output(&mut command(arch, folder, program))
                .with_context(|| format!("{program} for {} doesn't start", arch.as_str()))?;
            let said = said.lines().next().unwrap_or_default().to_owned();
            judge(arch, program, &said, &expected(arch, program)?)?;
            Ok((program, said))
        })
        .collect()
}

/// What a program must say of itself: the version that its module file asks for, and ours its architecture too.
fn expected(arch: Arch, program: &str) -> Result<String> {
    Ok(match program {
        "helm" => format!("v{}", required_version("helm.sh/helm/v4")?),
        // Kubernetes' libraries are numbered 0.x where Kubernetes itself is 1.x.
        "kubectl" => format!("v1{}", required_version("k8s.io/kubectl")?.trim_start_matches('0')),
        _ => format!("klm-step {} linux/{}", env!("CARGO_PKG_VERSION"), arch.rust_name()),
    })
}

fn judge(arch: Arch, program: &str, said: &str, expected: &str) -> Result<()> {
    if !said.contains(expected) {
        bail!("{program} for {} says `{said}`, and should say `{expected}`", arch.as_str());
    }
    Ok(())
}

fn command(arch: Arch, folder: &Path, program: &str) -> Command {
    let path = folder.join(program);
    let mut command = if Arch::host().is_ok_and(|host| host == arch) {
        Command::new(path)
    } else {
        let mut emulated = Command::new(arch.emulator());
        emulated.arg(path);
        emulated
    };
    // As in the image: nothing to find, neither settings nor libraries.
    command.env_clear().env("HOME", "/nonexistent");
    match program {
        "helm" => command.args(["version", "--template", "{{.Version}} {{.GoVersion}}"]),
        "kubectl" => command.args(["version", "--client"]),
        _ => command.arg("version"),
    };
    command
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_of_another_version_is_named() {
        let expected = expected(Arch::S390x, "klm-step").unwrap();
        judge(Arch::S390x, "klm-step", &expected, &expected).unwrap();
        let error = judge(Arch::S390x, "klm-step", "klm-step 0.0.9 linux/s390x", &expected).unwrap_err().to_string();
        assert!(error.contains("klm-step for s390x says `klm-step 0.0.9 linux/s390x`"), "{error}");
    }

    #[test]
    fn the_expected_versions_are_those_of_the_image() {
        assert!(expected(Arch::Amd64, "helm").unwrap().starts_with("v4."));
        assert!(expected(Arch::Amd64, "kubectl").unwrap().starts_with("v1."));
        assert!(expected(Arch::Ppc64le, "klm-step").unwrap().ends_with("linux/powerpc64"));
    }
}
