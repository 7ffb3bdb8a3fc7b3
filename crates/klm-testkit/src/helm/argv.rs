//! Helm's command line, as far as it is used: an unknown flag is an error here as there.

use std::time::Duration;

/// How values were given, in helm's order of precedence.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Source {
    /// `-f`.
    File,
    /// `--set-json`.
    Json,
    /// `--set`.
    Set,
    /// `--set-string`.
    Text,
    /// `--set-file`.
    SetFile,
    /// `--set-literal`.
    Literal,
}

/// What was typed.
#[derive(Debug, Clone, Default)]
pub struct Argv {
    /// Everything that is no flag: verb, release, chart.
    pub words: Vec<String>,
    /// Flags with their last value; `true` for those without one.
    flags: Vec<(String, String)>,
    /// Values in the order given.
    pub values: Vec<(Source, String)>,
}

const SWITCHES: &[&str] = &[
    "all",
    "cleanup-on-fail",
    "create-namespace",
    "debug",
    "devel",
    "force-conflicts",
    "force-replace",
    "help",
    "hide-notes",
    "hide-secret",
    "include-crds",
    "insecure-skip-tls-verify",
    "install",
    "is-upgrade",
    "no-hooks",
    "plain-http",
    "reset-then-reuse-values",
    "reset-values",
    "reuse-values",
    "rollback-on-failure",
    "short",
    "skip-crds",
    "skip-schema-validation",
    "take-ownership",
    "untar",
    "wait-for-jobs",
];

/// These may stand alone or carry a value after `=`, but never take the next word.
const OPTIONAL: &[(&str, &str)] = &[("wait", "watcher"), ("dry-run", "client")];

const VALUED: &[&str] = &[
    "burst-limit",
    "ca-file",
    "cert-file",
    "color",
    "content-cache",
    "description",
    "destination",
    "filter",
    "history-max",
    "key-file",
    "keyring",
    "kube-apiserver",
    "kube-as-user",
    "kube-ca-file",
    "kube-context",
    "kube-token",
    "kubeconfig",
    "labels",
    "max",
    "namespace",
    "output",
    "password",
    "post-renderer",
    "post-renderer-args",
    "qps",
    "registry-config",
    "repo",
    "repository-cache",
    "repository-config",
    "revision",
    "selector",
    "server-side",
    "show-only",
    "template",
    "timeout",
    "username",
    "version",
];

impl Argv {
    /// Reads a command line without the program's name.
    pub fn parse(arguments: &[String]) -> Result<Self, String> {
        let mut argv = Self::default();
        let mut rest = arguments.iter().map(String::as_str);
        while let Some(word) = rest.next() {
            let Some(flag) = word.strip_prefix('-').filter(|flag| !flag.is_empty()) else {
                argv.words.push(word.to_owned());
                continue;
            };
            let flag = flag.strip_prefix('-').map_or_else(|| long(flag), |long| Ok(long.to_owned()))?;
            let (name, attached) = match flag.split_once('=') {
                Some((name, value)) => (name.to_owned(), Some(value.to_owned())),
                None => (flag, None),
            };
            argv.take(&name, attached, &mut rest)?;
        }
        Ok(argv)
    }

    fn take<'a>(
        &mut self,
        name: &str,
        attached: Option<String>,
        rest: &mut impl Iterator<Item = &'a str>,
    ) -> Result<(), String> {
        if SWITCHES.contains(&name) {
            self.flags.push((name.to_owned(), attached.unwrap_or_else(|| "true".to_owned())));
            return Ok(());
        }
        if let Some((_, alone)) = OPTIONAL.iter().find(|(flag, _)| *flag == name) {
            self.flags.push((name.to_owned(), attached.unwrap_or_else(|| (*alone).to_owned())));
            return Ok(());
        }
        let source = source_of(name);
        if source.is_none() && !VALUED.contains(&name) {
            return Err(format!("unknown flag: --{name}"));
        }
        let value = match attached {
            Some(value) => value,
            None => rest.next().ok_or_else(|| format!("flag needs an argument: --{name}"))?.to_owned(),
        };
        match source {
            Some(source) => self.values.push((source, value)),
            None => self.flags.push((name.to_owned(), value)),
        }
        Ok(())
    }

    /// A flag's value.
    pub fn flag(&self, name: &str) -> Option<&str> {
        self.flags.iter().rev().find(|(flag, _)| flag == name).map(|(_, value)| value.as_str())
    }

    /// Whether a switch is on.
    pub fn has(&self, name: &str) -> bool {
        self.flag(name) == Some("true")
    }

    /// The words after the verb.
    pub fn word(&self, at: usize) -> Result<&str, String> {
        self.words
            .get(at)
            .map(String::as_str)
            .ok_or_else(|| format!("{:?} requires at least {at} argument", self.words.join(" ")))
    }

    /// `--namespace`, or `default`.
    pub fn namespace(&self) -> &str {
        self.flag("namespace").unwrap_or("default")
    }

    /// Whether JSON was asked for.
    pub fn wants_json(&self) -> bool {
        self.flag("output") == Some("json")
    }

    /// `--timeout`, five minutes without.
    pub fn timeout(&self) -> Result<Duration, String> {
        let text = self.flag("timeout").unwrap_or("5m0s");
        let bare = text.ends_with(|letter: char| letter.is_ascii_digit());
        let why = if bare { "missing unit in duration" } else { "invalid duration" };
        duration(text).ok_or_else(|| format!("invalid argument {text:?} for \"--timeout\" flag: time: {why} {text:?}"))
    }

    /// A number.
    pub fn number(&self, name: &str) -> Result<Option<u64>, String> {
        let Some(text) = self.flag(name) else { return Ok(None) };
        text.parse().map(Some).map_err(|_| {
            format!(
                "invalid argument {text:?} for \"--{name}\" flag: strconv.ParseInt: parsing {text:?}: invalid syntax"
            )
        })
    }
}

fn long(short: &str) -> Result<String, String> {
    let (letter, attached) = short.split_at(1);
    let name = match letter {
        "n" => "namespace",
        "o" => "output",
        "f" => "values",
        "i" => "install",
        "a" => "all",
        "d" => "destination",
        "l" => "selector",
        _ => return Err(format!("unknown shorthand flag: '{letter}' in -{short}")),
    };
    let attached = attached.trim_start_matches('=');
    Ok(if attached.is_empty() { name.to_owned() } else { format!("{name}={attached}") })
}

fn source_of(name: &str) -> Option<Source> {
    Some(match name {
        "values" => Source::File,
        "set-json" => Source::Json,
        "set" => Source::Set,
        "set-string" => Source::Text,
        "set-file" => Source::SetFile,
        "set-literal" => Source::Literal,
        _ => return None,
    })
}

/// Go's durations: `300s`, `5m0s`, `1h30m`, `1.5h`, `250ms`, `0`.
fn duration(text: &str) -> Option<Duration> {
    if text == "0" {
        return Some(Duration::ZERO);
    }
    let (mut rest, mut total) = (text, Duration::ZERO);
    while !rest.is_empty() {
        let digits = rest.find(|letter: char| !letter.is_ascii_digit() && letter != '.')?;
        let (number, tail) = rest.split_at(digits);
        let unit_end = tail.find(|letter: char| letter.is_ascii_digit()).unwrap_or(tail.len());
        let (unit, tail) = tail.split_at(unit_end);
        let seconds = match unit {
            "ms" => 0.001,
            "s" => 1.0,
            "m" => 60.0,
            "h" => 3600.0,
            _ => return None,
        };
        total += Duration::try_from_secs_f64(number.parse::<f64>().ok()? * seconds).ok()?;
        rest = tail;
    }
    (!text.is_empty()).then_some(total)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> Result<Argv, String> {
        Argv::parse(&line.split(' ').map(str::to_owned).collect::<Vec<_>>())
    }

    #[test]
    fn flags_take_values_as_helm_reads_them() {
        let argv = parse("upgrade --install r ./c.tgz -n kube-system --set a=b,c=d --wait=hookOnly --set-string x={a,b} --timeout 1m30s --dry-run=server").unwrap();
        assert_eq!(argv.words, ["upgrade", "r", "./c.tgz"]);
        assert_eq!(
            (argv.namespace(), argv.flag("wait"), argv.flag("dry-run")),
            ("kube-system", Some("hookOnly"), Some("server"))
        );
        assert_eq!(argv.values, [(Source::Set, "a=b,c=d".to_owned()), (Source::Text, "x={a,b}".to_owned())]);
        assert_eq!(argv.timeout().unwrap(), Duration::from_secs(90));
        assert!(argv.has("install") && !argv.has("no-hooks"));
    }

    #[test]
    fn an_unknown_flag_and_a_bad_duration_are_errors() {
        assert_eq!(parse("upgrade --reuse-valeus").unwrap_err(), "unknown flag: --reuse-valeus");
        assert!(parse("upgrade --timeout 300").unwrap().timeout().is_err());
        assert!(parse("upgrade --set").is_err());
    }
}
