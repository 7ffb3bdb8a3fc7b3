//! The API server's audit log, read as a list of requests: tests count by it what each program asked for.

use std::fs::File;
use std::io::{BufRead, BufReader, Seek, SeekFrom};
use std::path::PathBuf;

use anyhow::{Context, Result};
use serde::Deserialize;

/// The log of one cluster. Requests of kubelets, the scheduler and the server itself aren't in it.
#[derive(Clone, Debug)]
pub struct Audit {
    path: PathBuf,
}

/// A place in the log, to read on from.
#[derive(Clone, Copy, Debug)]
pub struct Mark(u64);

/// One answered request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// Who asked: a user or `system:serviceaccount:NAMESPACE:NAME`.
    pub user: String,
    /// The program, as it calls itself.
    pub agent: String,
    /// `get`, `list`, `watch`, `create`, `patch` and so on.
    pub verb: String,
    /// The resource with its subresource, such as `pods/eviction`; empty for other paths.
    pub resource: String,
    /// The namespace, if any.
    pub namespace: String,
    /// The object's name, if any.
    pub name: String,
    /// The path with its query.
    pub uri: String,
    /// The answer's status code.
    pub code: u16,
}

impl Audit {
    /// The log in this file.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self { path: path.into() }
    }

    /// The log's end now.
    pub fn mark(&self) -> Result<Mark> {
        let facts = std::fs::metadata(&self.path).with_context(|| format!("cannot read {}", self.path.display()))?;
        Ok(Mark(facts.len()))
    }

    /// Every request that was answered since then. A watch counts when it begins, not when it ends.
    pub fn since(&self, mark: Mark) -> Result<Vec<Request>> {
        self.read(mark, |_| true)
    }

    /// The same of one user: with thousands of nodes most of the log is about others.
    pub fn since_by(&self, mark: Mark, user: &str) -> Result<Vec<Request>> {
        self.read(mark, |line| line.contains(user))
    }

    fn read(&self, mark: Mark, may_count: impl Fn(&str) -> bool) -> Result<Vec<Request>> {
        let mut file = File::open(&self.path).with_context(|| format!("cannot open {}", self.path.display()))?;
        file.seek(SeekFrom::Start(mark.0))?;
        let mut requests = Vec::new();
        for line in BufReader::new(file).lines() {
            let line = line?;
            if !may_count(&line) {
                continue;
            }
            // The server may be writing the last line just now.
            if let Ok(event) = serde_json::from_str::<Event>(&line) {
                requests.extend(event.request());
            }
        }
        Ok(requests)
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Event {
    stage: String,
    verb: String,
    user: User,
    #[serde(default)]
    user_agent: String,
    #[serde(default)]
    object_ref: ObjectRef,
    #[serde(rename = "requestURI", default)]
    uri: String,
    #[serde(default)]
    response_status: Status,
}

#[derive(Deserialize)]
struct User {
    username: String,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct ObjectRef {
    resource: String,
    subresource: String,
    namespace: String,
    name: String,
}

#[derive(Deserialize, Default)]
struct Status {
    #[serde(default)]
    code: u16,
}

impl Event {
    /// A long request has two entries, one when it begins and one when it ends; the first one counts.
    fn request(self) -> Option<Request> {
        let long = self.verb == "watch" || self.uri.contains("follow=true");
        let counts = match self.stage.as_str() {
            "ResponseStarted" => long,
            "ResponseComplete" => !long,
            _ => false,
        };
        counts.then(|| Request {
            user: self.user.username,
            agent: self.user_agent,
            verb: self.verb,
            resource: match self.object_ref.subresource.as_str() {
                "" => self.object_ref.resource,
                below => format!("{}/{below}", self.object_ref.resource),
            },
            namespace: self.object_ref.namespace,
            name: self.object_ref.name,
            uri: self.uri,
            code: self.response_status.code,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;
    use std::io::Write;

    fn line(stage: &str, verb: &str, name: &str) -> String {
        json!({
            "stage": stage, "verb": verb, "user": {"username": "someone"}, "userAgent": "tool/1",
            "objectRef": {"resource": "pods", "subresource": "status", "namespace": "n", "name": name},
            "requestURI": "/api", "responseStatus": {"code": 200},
        })
        .to_string()
    }

    #[test]
    fn a_request_counts_once_and_only_after_the_mark() {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        writeln!(file, "{}", line("ResponseComplete", "get", "before")).unwrap();
        let audit = Audit::new(file.path());
        let mark = audit.mark().unwrap();
        writeln!(file, "{}", line("ResponseComplete", "get", "one")).unwrap();
        writeln!(file, "{}", line("ResponseStarted", "watch", "two")).unwrap();
        writeln!(file, "{}", line("ResponseComplete", "watch", "two")).unwrap();
        write!(file, "{{\"stage\": \"Respon").unwrap();
        let found = audit.since(mark).unwrap();
        let names: Vec<_> = found.iter().map(|request| request.name.as_str()).collect();
        assert_eq!(names, ["one", "two"]);
        assert_eq!(found[0].resource, "pods/status");
        assert_eq!(found[0].agent, "tool/1");
    }
}
