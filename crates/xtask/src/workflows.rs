//! Checks on the GitHub workflows that no linter makes: names that users rely on, forks, limits, versions stated twice.

use std::collections::BTreeMap;
use std::fs;
use std::process::Command;

use klm_bed::paths::workspace;
use klm_bed::process::output;
use serde_yaml::Value;

/// Every workflow by its file name.
fn workflows() -> BTreeMap<String, (String, Value)> {
    let folder = workspace().join(".github/workflows");
    fs::read_dir(folder)
        .unwrap()
        .map(|entry| {
            let path = entry.unwrap().path();
            let text = fs::read_to_string(&path).unwrap();
            let parsed = serde_yaml::from_str(&text).unwrap();
            (path.file_name().unwrap().to_string_lossy().into_owned(), (text, parsed))
        })
        .collect()
}

fn jobs(workflow: &Value) -> impl Iterator<Item = (&str, &Value)> {
    workflow["jobs"].as_mapping().unwrap().iter().map(|(name, job)| (name.as_str().unwrap(), job))
}

#[test]
fn the_names_that_the_documentation_tells_people_to_click_are_there() {
    let found: Vec<String> =
        workflows().values().map(|(_, workflow)| workflow["name"].as_str().unwrap().to_owned()).collect();
    for name in ["E2E Tests", "Build workflow image", "Release Helm Chart"] {
        assert!(found.iter().any(|found| found == name), "{name} is not among {found:?}");
    }
}

#[test]
fn a_fork_publishes_under_its_own_name() {
    for (file, (text, _)) in workflows() {
        for line in text.lines().filter(|line| line.contains("ghcr.io/")) {
            assert!(line.contains("ghcr.io/${GITHUB_REPOSITORY_OWNER,,}/"), "{file}: {}", line.trim());
        }
    }
}

#[test]
fn rights_are_given_to_each_job_and_none_to_a_whole_workflow() {
    for (file, (_, workflow)) in workflows() {
        let whole = workflow["permissions"].as_mapping();
        assert!(whole.is_some_and(serde_yaml::Mapping::is_empty), "{file} gives rights to all of its jobs");
        for (job, described) in jobs(&workflow) {
            assert!(described["permissions"].is_mapping(), "{file}: {job} doesn't say which rights it needs");
        }
    }
}

#[test]
fn every_job_has_a_time_limit() {
    for (file, (_, workflow)) in workflows() {
        for (job, described) in jobs(&workflow) {
            // A job that is another workflow has that one's limits.
            assert!(described["timeout-minutes"].is_u64() || described["uses"].is_string(), "{file}: {job}");
        }
    }
}

/// A path that was renamed would silently stop to start the workflow.
#[test]
fn every_path_that_starts_a_workflow_is_there() {
    let mut seen = 0;
    for (file, (_, workflow)) in workflows() {
        for path in workflow["on"]["push"]["paths"].as_sequence().into_iter().flatten() {
            let path = path.as_str().unwrap();
            seen += 1;
            assert!(workspace().join(path.trim_end_matches("/**")).exists(), "{file}: {path}");
        }
    }
    assert!(seen > 0, "no workflow has paths: the search for them is broken");
}

#[test]
fn the_oldest_rust_that_is_tested_is_the_one_that_is_promised() {
    let manifest = fs::read_to_string(workspace().join("Cargo.toml")).unwrap();
    let promised = manifest.lines().find_map(|line| line.strip_prefix("rust-version = ")).unwrap();
    let promised = promised.split('"').nth(1).unwrap();
    let ci = &workflows()["ci.yaml"].1;
    assert_eq!(ci["jobs"]["msrv"]["env"]["RUSTUP_TOOLCHAIN"].as_str(), Some(promised));
}

#[test]
fn the_image_is_published_for_every_architecture_that_there_is_a_recipe_for() {
    let image = &workflows()["image.yaml"].1;
    let steps = image["jobs"]["build"]["steps"].as_sequence().unwrap();
    let platforms = steps.iter().find_map(|step| step["with"]["platforms"].as_str()).unwrap();
    let expected = klm_bed::utils::Arch::ALL.map(|arch| format!("linux/{}", arch.as_str())).join(",");
    assert_eq!(platforms, expected);
}

#[test]
fn the_oldest_argo_that_is_tested_is_the_one_that_is_promised() {
    let e2e = &workflows()["e2e.yaml"].1;
    let tested = e2e["jobs"]["kind"]["strategy"]["matrix"]["include"].as_sequence().unwrap();
    let of_age = |age: &str| tested.iter().find(|entry| entry["age"] == *age).unwrap()["argo"].as_str().unwrap();
    let promised = klm_core::contract::MIN_ARGO;
    assert!(of_age("oldest").starts_with(&format!("v{}.{}.", promised.major, promised.minor)));
    let readme = fs::read_to_string(workspace().join("README.md")).unwrap();
    assert!(readme.contains(&format!(" {}.{} or newer (not Argo CD)", promised.major, promised.minor)));
}

#[test]
fn every_action_is_named_by_commit_with_its_version_beside_it() {
    let mut seen = 0;
    for (file, (text, _)) in workflows() {
        for uses in text.lines().filter_map(|line| line.trim().trim_start_matches("- ").strip_prefix("uses: ")) {
            if uses.starts_with("./") {
                continue;
            }
            seen += 1;
            let (action, version) = uses.split_once(" # ").unwrap_or((uses, ""));
            let commit = action.split_once('@').map_or("", |(_, commit)| commit);
            let whole = commit.len() == 40 && commit.bytes().all(|byte| byte.is_ascii_hexdigit());
            assert!(whole && version.starts_with('v'), "{file}: {uses}");
        }
    }
    assert!(seen > 0, "no workflow uses an action: the search for them is broken");
}

/// The script of a step.
fn script(file: &str, job: &str, step: &str) -> String {
    let workflow = &workflows()[file].1;
    let steps = workflow["jobs"][job]["steps"].as_sequence().unwrap();
    let found = steps.iter().find(|each| each["name"] == *step).unwrap_or_else(|| panic!("{file}: no step `{step}`"));
    found["run"].as_str().unwrap().to_owned()
}

/// The tags that a build on this git ref gives its image.
fn tags(git_ref: &str, version: &str) -> Vec<String> {
    let folder = tempfile::tempdir().unwrap();
    let docker = format!(
        "docker() {{ [ \"$1 $2 $3 $4\" = 'buildx imagetools create --tag' ] && echo \"$5\"; }}; {}",
        script("image.yaml", "build", "Tag")
    );
    let mut bash = Command::new("bash");
    bash.args(["--noprofile", "--norc", "-eo", "pipefail", "-c", &docker]);
    bash.env("GITHUB_REF", git_ref)
        .env("GITHUB_SHA", "0123456789abcdef")
        .env("GITHUB_OUTPUT", folder.path().join("output"));
    let said = output(bash.env("NAME", "image").env("DIGEST", "sha256:1").env("VERSION", version)).unwrap();
    let today = output(Command::new("date").args(["-u", "+%Y%m%d"])).unwrap();
    said.lines().map(|line| line.trim_start_matches("image:").replace(today.trim(), "DAY")).collect()
}

#[test]
fn only_the_main_branch_moves_latest_and_only_a_release_gives_its_version() {
    let commit = "sha-0123456789ab";
    assert_eq!(tags("refs/heads/main", ""), [commit, "DAY", "latest"]);
    assert_eq!(tags("refs/heads/mine", ""), [commit]);
    assert_eq!(tags("refs/tags/main", ""), [commit]);
    assert_eq!(tags("refs/tags/1.2.3", "1.2.3"), [commit, "1.2.3"]);
    assert_eq!(tags("refs/heads/main", "1.2.3-dev"), [commit, "1.2.3-dev"]);
}

/// What the weekly rebuild says and starts when this release is the newest one; empty: none is.
fn rebuilt(newest: &str) -> String {
    let gh = format!(
        "gh() {{ case \"$1\" in release) echo -n \"$NEWEST\";; *) echo \"gh $*\";; esac; }}; {}",
        script("rebuild.yaml", "start", "Start \"Build workflow image\" on its tag")
    );
    let mut bash = Command::new("bash");
    bash.args(["--noprofile", "--norc", "-eo", "pipefail", "-c", &gh]);
    output(bash.env("GITHUB_REPOSITORY", "owner/repository").env("NEWEST", newest)).unwrap()
}

/// On its tag, the build's own commit is the release's: the one that is signed, attested and in the image's tag.
#[test]
fn the_newest_release_is_built_again_on_its_own_tag() {
    let said = rebuilt("1.2.3");
    assert_eq!(said.lines().last(), Some("gh workflow run image.yaml --repo owner/repository --ref 1.2.3"));
    let said = rebuilt("");
    assert!(said.contains("there is no release yet") && !said.contains("gh workflow run"), "{said}");
    let weekly = |file: &str| workflows()[file].1["on"]["schedule"][0]["cron"].as_str().unwrap().ends_with("* * 0");
    assert!(weekly("rebuild.yaml") && weekly("image.yaml"), "the pages promise both every Sunday");
    assert!(workflows()["image.yaml"].1["on"].get("workflow_dispatch").is_some());
}

/// A release's first job refuses, and all others wait for it.
#[test]
fn nothing_is_built_for_a_version_that_may_not_be_published() {
    let checked = script("release.yaml", "version", "Must not be published, and a release must be its tag's");
    for published in ["kata-lifecycle-manager-charts/kata-lifecycle-manager", "lifecycle-manager-utils"] {
        assert!(checked.contains(&format!("/{published}\"")), "{published} isn't looked for: {checked}");
    }
    let release = &workflows()["release.yaml"].1;
    for (job, described) in jobs(release).filter(|(job, _)| *job != "version") {
        let mut needed = described;
        while needed["needs"] != *"version" {
            let next = needed["needs"].as_str().unwrap_or_else(|| panic!("{job} doesn't wait for `version`"));
            needed = &release["jobs"][next];
        }
    }
}

#[test]
fn kinds_nodes_have_the_names_that_the_suites_use() {
    let text = fs::read_to_string(workspace().join(".github/kind.yaml")).unwrap();
    let kind: Value = serde_yaml::from_str(&text).unwrap();
    let name = |node: &Value| {
        let patch: Value = serde_yaml::from_str(node["kubeadmConfigPatches"][0].as_str().unwrap()).unwrap();
        let expected = if node["role"] == *"control-plane" { "InitConfiguration" } else { "JoinConfiguration" };
        assert_eq!(patch["kind"], *expected, "kubeadm reads a name from there");
        patch["nodeRegistration"]["name"].as_str().unwrap().to_owned()
    };
    let mut names: Vec<String> = kind["nodes"].as_sequence().unwrap().iter().map(name).collect();
    names.sort();
    assert_eq!(names, klm_bed::Options::default().node_names());
}

/// A suite that no combination runs would be green for ever.
#[test]
fn every_suite_runs_on_every_kubernetes() {
    let e2e = &workflows()["e2e.yaml"].1;
    let matrix = &e2e["jobs"]["kind"]["strategy"]["matrix"];
    let include = matrix["include"].as_sequence().unwrap();
    let of = |key: &str| -> Vec<&str> { include.iter().filter_map(|entry| entry[key].as_str()).collect() };
    let parts: Vec<&str> = of("without").into_iter().flat_map(|names| names.split(',')).collect();
    assert_eq!(parts, of("only"), "what one job leaves out, others run");
    for name in parts {
        assert!(workspace().join(format!("tests/e2e/tests/{name}.rs")).exists(), "there is no suite {name}");
    }
    for dimension in ["mode", "age"] {
        let all: Vec<&str> = matrix[dimension].as_sequence().unwrap().iter().filter_map(Value::as_str).collect();
        assert_eq!(all, of(dimension), "each {dimension} says what it means");
    }
}
