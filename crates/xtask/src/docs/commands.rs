//! The commands that a page or a workflow shows, parsed by the programs' own command lines.

use clap::error::ErrorKind;
use clap::{CommandFactory, Parser as _};
use klm_step::cli::Cli;
use pulldown_cmark::{CodeBlockKind, Event, Options, Parser, Tag, TagEnd};

use super::takes;
use crate::Xtask;

/// One command as somebody would type it.
#[derive(Debug, PartialEq, Eq)]
pub struct Command {
    pub words: Vec<String>,
    /// Whether it is meant to be typed as it stands, or only named in a sentence, where arguments may be left out.
    pub whole: bool,
}

/// Commands in fenced blocks, and those that a sentence names.
pub fn in_markdown(text: &str) -> Vec<Command> {
    let mut found = Vec::new();
    let mut block: Option<String> = None;
    for event in Parser::new_ext(text, Options::all()) {
        match event {
            Event::Start(Tag::CodeBlock(CodeBlockKind::Fenced(language))) => {
                let shell = matches!(&*language, "" | "bash" | "console" | "sh" | "shell");
                block = shell.then(String::new);
            }
            Event::Text(line) => {
                if let Some(block) = &mut block {
                    block.push_str(&line);
                }
            }
            Event::End(TagEnd::CodeBlock) => found.extend(block.take().iter().flat_map(|text| in_shell(text))),
            Event::Code(code) => {
                found.extend(in_shell(&code).into_iter().map(|command| Command { whole: false, ..command }));
            }
            _ => {}
        }
    }
    found
}

/// Commands in the `run` of every step of a workflow.
pub fn in_workflow(text: &str) -> Vec<Command> {
    fn walk(value: &serde_yaml::Value, found: &mut Vec<Command>) {
        for item in value.as_sequence().into_iter().flatten() {
            walk(item, found);
        }
        for (key, value) in value.as_mapping().into_iter().flatten() {
            match (key.as_str(), value.as_str()) {
                (Some("run"), Some(script)) => found.extend(in_shell(script)),
                _ => walk(value, found),
            }
        }
    }
    let mut found = Vec::new();
    walk(&serde_yaml::from_str(text).unwrap(), &mut found);
    found
}

/// Commands in a piece of shell.
pub fn in_shell(text: &str) -> Vec<Command> {
    let joined = text.replace("\\\n", " ");
    // A value in a substitution may span lines or hold what looks like an operator; none of ours needs to be looked into.
    joined.lines().filter_map(words).flat_map(|words| split(&words)).collect()
}

fn words(line: &str) -> Option<Vec<String>> {
    let line = line.trim().trim_start_matches("$ ");
    shlex::split(line)
}

fn split(words: &[String]) -> Vec<Command> {
    words
        .split(|word| matches!(word.as_str(), "&&" | "||" | "|" | ";"))
        .map(|words| {
            let assigned = words.iter().take_while(|word| word.contains('=') && !word.starts_with('-')).count();
            let end = words.iter().position(|word| matches!(word.as_str(), ">" | ">>" | "2>&1")).unwrap_or(words.len());
            words.get(assigned..end).unwrap_or_default().to_vec()
        })
        .filter(|words| is_known(words))
        .map(|words| Command { words, whole: true })
        .collect()
}

/// A word alone names a program, not a command. Commands of the shell itself, and what a block shows beside commands,
/// begin with none of these.
fn is_known(words: &[String]) -> bool {
    match words {
        [cargo, task, ..] if cargo == "cargo" => task == "xtask" || task == "chart",
        [program, _, ..] => PROGRAMS.contains(&program.as_str()),
        _ => false,
    }
}

/// Programs whose commands the documentation shows.
const PROGRAMS: [&str; 8] = ["argo", "cosign", "docker", "gh", "helm", "kind", "klm-step", "kubectl"];

impl Command {
    /// What is wrong with it, if anything.
    pub fn complaint(&self) -> Option<String> {
        let shown = self.words.join(" ");
        let said = match (self.words[0].as_str(), self.words[1].as_str()) {
            ("cargo", "xtask") => Xtask::try_parse_from(&self.words[1..]).map(|_| ()),
            ("klm-step", _) => Cli::try_parse_from(&self.words).map(|_| ()),
            _ => return takes::complaint(self).map(|why| format!("`{shown}`: {why}")),
        };
        let error = said.err()?;
        match error.kind() {
            ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => None,
            ErrorKind::MissingRequiredArgument
            | ErrorKind::MissingSubcommand
            | ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand
                if !self.whole =>
            {
                None
            }
            _ => Some(format!("`{shown}`: {}", error.to_string().lines().next().unwrap_or_default())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn complaints(text: &str) -> Vec<String> {
        in_markdown(text).iter().filter_map(Command::complaint).collect()
    }

    #[test]
    fn commands_that_the_programs_take_are_left_alone() {
        let text = "Run `cargo xtask lint`, or `klm-step apply-wave` by hand; `klm-step` is one binary.\n\
            ```sh\nKLM=1 cargo xtask lint workflows > out # a comment\nklm-step --version\n\
            argo submit -n argo --from workflowtemplate/kata-lifecycle-manager \\\n  -p target-version=3.27.0 \\\n  \
            -p verification-pod=\"$(base64 -w0 < ./pod.yaml)\"\n\
            helm install kata-lifecycle-manager ./chart --set-file defaults.verificationPod=x --set images.utils=y\n\
            helm install kata-deploy x --set whatever.it.has=1\n```\n\
            ```yaml\nklm-step nonsense\n```\n";
        assert_eq!(complaints(text), Vec::<String>::new());
        assert_eq!(in_markdown(text).len(), 7);
    }

    #[test]
    fn commands_that_no_program_takes_are_named() {
        let text = "Try `klm-step aply-wave`.\n```sh\ncargo xtask lint --everything\ncd x && klm-step apply-wave\n\
            argo submit --entrypoint undo -p node-name=a\nargo submit -p target-verison=1\n\
            argo submit -p target-version=4.1.0\nargo sumbit x\n\
            argo submit -n argo --from workflowtemplate/kata-lifecycle-manager -p batch-size=2\n\
            argo submit -n argo --from workflowtemplate/kata-lifecycle-manager -p target-version=4.1.0 -p batch-size=0\n\
            helm install kata-lifecycle-manager ./chart --set defaults.batchsize=3\n```\n";
        assert_eq!(
            complaints(text),
            [
                "`klm-step aply-wave`: error: unrecognized subcommand 'aply-wave'",
                "`cargo xtask lint --everything`: error: unexpected argument '--everything' found",
                "`klm-step apply-wave`: error: the following required arguments were not provided:",
                "`argo submit --entrypoint undo -p node-name=a`: the workflow has no entrypoint `undo`",
                "`argo submit -p target-verison=1`: entrypoint `deploy-version` has no parameter `target-verison`",
                "`argo submit -p target-version=4.1.0`: it doesn't say `-n argo --from workflowtemplate/kata-lifecycle-manager`",
                "`argo sumbit x`: argo has no `sumbit`, or none that we know of",
                "`argo submit -n argo --from workflowtemplate/kata-lifecycle-manager -p batch-size=2`: entrypoint `deploy-version` needs `target-version`",
                "`argo submit -n argo --from workflowtemplate/kata-lifecycle-manager -p target-version=4.1.0 -p batch-size=0`: error: parameter `batch-size` is `0`, but must be a whole number, 1 or more",
                "`helm install kata-lifecycle-manager ./chart --set defaults.batchsize=3`: /defaults: Additional properties are not allowed ('batchsize' was unexpected)",
            ]
        );
    }

    #[test]
    fn a_workflow_is_searched_in_each_step() {
        let text = "jobs:\n  a:\n    steps:\n      - uses: x\n      - run: cargo xtask lint >> \"$OUT\"\n      - run: |\n          echo\n          cargo xtask nonsense\n";
        let found = in_workflow(text);
        assert_eq!(
            found.iter().map(|command| command.words.join(" ")).collect::<Vec<_>>(),
            ["cargo xtask lint", "cargo xtask nonsense"]
        );
        assert!(found[0].complaint().is_none() && found[1].complaint().is_some());
    }

    #[test]
    fn both_command_lines_are_sound() {
        Xtask::command().debug_assert();
        Cli::command().debug_assert();
    }
}
