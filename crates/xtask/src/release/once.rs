//! A version is published once: nothing that a registry has is replaced, and a release is made from its own tag.

use std::process::Command;

use anyhow::{Context, Result, bail};
use klm_bed::{parts, process};
use semver::Version;

/// Fails when a run on this git ref may not publish this version.
pub fn from_its_tag(version: &Version, git_ref: &str) -> Result<()> {
    let tag = format!("refs/tags/{version}");
    let tries = !version.pre.is_empty() && git_ref.starts_with("refs/heads/");
    if git_ref != tag && !tries {
        bail!(
            "version {version} is not published from `{git_ref}`: a release is made from the tag of its name\nhint: git tag \
             {version} COMMIT && git push origin {version}, then run the workflow on that tag; to try something, \
             a version such as {}.{}.{}-dev may come from a branch",
            version.major,
            version.minor,
            version.patch
        );
    }
    Ok(())
}

/// Fails when the registry has this reference already, or can't say.
pub fn is_new(reference: &str, plain_http: bool) -> Result<()> {
    let crane = parts::build_one("crane", &|line| eprintln!("{line}"))?;
    let mut command = Command::new(crane);
    command.args(["manifest", reference]);
    if plain_http {
        command.arg("--insecure");
    }
    let answer = command.output().with_context(|| format!("cannot start `{}`", process::shown(&command)))?;
    judge(reference, answer.status.success(), &String::from_utf8_lossy(&answer.stderr))
}

fn judge(reference: &str, found: bool, said: &str) -> Result<()> {
    if found {
        bail!(
            "`{reference}` is published already, and is never replaced\nhint: take the next version; when only a later job of \
             its run has failed, re-run the failed jobs"
        );
    }
    // `DENIED` is GitHub's word for a package that isn't there, too. What we may not read we can't replace either.
    let nothing =
        ["MANIFEST_UNKNOWN", "NAME_UNKNOWN", "DENIED"].iter().any(|code| said.contains(&format!(": {code}: ")));
    if !nothing {
        bail!("cannot tell whether `{reference}` is published already: {}", process::tail(said, 3));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn may(version: &str, git_ref: &str) -> Result<()> {
        from_its_tag(&Version::parse(version).unwrap(), git_ref)
    }

    #[test]
    fn a_release_is_made_from_the_tag_of_its_name_only() {
        may("1.2.3", "refs/tags/1.2.3").unwrap();
        for other in ["refs/heads/main", "refs/heads/1.2.3", "refs/tags/1.2.4", "refs/tags/v1.2.3", ""] {
            let error = may("1.2.3", other).unwrap_err().to_string();
            assert!(error.contains(&format!("not published from `{other}`")), "{error}");
            assert!(error.contains("hint: git tag 1.2.3 COMMIT && git push origin 1.2.3"), "{error}");
        }
    }

    #[test]
    fn a_version_to_try_may_come_from_a_branch_or_its_own_tag() {
        may("1.2.3-dev", "refs/heads/mine").unwrap();
        may("1.2.3-dev", "refs/tags/1.2.3-dev").unwrap();
        assert!(may("1.2.3-dev", "refs/tags/1.2.3").is_err() && may("1.2.3-dev", "refs/pull/1/merge").is_err());
    }

    /// The words are those of crane, asked of registries that answer so.
    #[test]
    fn only_a_registry_that_says_so_has_nothing_under_a_version() {
        let said = |reason: &str| format!("Error: fetching manifest x: GET https://r/v2/x/manifests/1.0.0: {reason}\n");
        for reason in [
            "MANIFEST_UNKNOWN: manifest unknown",
            "NAME_UNKNOWN: repository name not known to registry",
            "DENIED: requested access to the resource is denied",
        ] {
            judge("r/x:1.0.0", false, &said(reason)).unwrap();
        }
        for reason in ["unexpected status code 500 Internal Server Error: oops", "dial tcp: lookup r: no such host"] {
            let error = judge("r/x:1.0.0", false, &said(reason)).unwrap_err().to_string();
            assert!(error.starts_with("cannot tell whether `r/x:1.0.0`") && error.contains(reason), "{error}");
        }
        let error = judge("r/x:1.0.0", true, "").unwrap_err().to_string();
        assert!(error.starts_with("`r/x:1.0.0` is published already") && error.contains("hint: "), "{error}");
    }
}
