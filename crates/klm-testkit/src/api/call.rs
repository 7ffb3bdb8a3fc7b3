//! One request, read once: path, query and headers become a verb on a resource.

use std::collections::BTreeMap;

use http::{Method, Request};
use serde_json::Value;

use super::kinds::{self, Kind};
use super::status::{Answer, ApiStatus};
use super::store::Key;

/// What a path points at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Target {
    /// `/version`, `/api`, `/apis/…`: no object.
    Discovery,
    /// A collection, in one namespace or in all.
    Collection {
        /// The resource.
        kind: &'static Kind,
        /// Empty: cluster scope, or all namespaces.
        namespace: String,
    },
    /// One object, or one of its subresources.
    Object {
        /// Where it lives.
        key: Key,
        /// Empty for the object itself.
        subresource: String,
    },
}

/// A request with its body.
#[derive(Debug, Clone)]
pub struct Call {
    /// HTTP method.
    pub method: Method,
    /// Path without the query.
    pub path: String,
    /// Decoded query parameters.
    pub query: BTreeMap<String, String>,
    /// `Accept`.
    pub accept: String,
    /// `User-Agent`.
    pub agent: String,
    /// `Content-Type`, without parameters.
    pub content_type: String,
    /// The bytes of the body.
    pub body: Vec<u8>,
}

impl Call {
    /// Reads a request whose body has arrived.
    pub fn read<B>(request: &Request<B>, body: Vec<u8>) -> Self {
        let header = |name| request.headers().get(name).and_then(|value| value.to_str().ok()).unwrap_or_default();
        let content_type = header(http::header::CONTENT_TYPE).split(';').next().unwrap_or_default().trim();
        let query = request.uri().query().unwrap_or_default();
        Self {
            method: request.method().clone(),
            path: request.uri().path().trim_end_matches('/').to_owned(),
            query: form_urlencoded::parse(query.as_bytes()).into_owned().collect(),
            accept: header(http::header::ACCEPT).to_owned(),
            agent: header(http::header::USER_AGENT).to_owned(),
            content_type: content_type.to_owned(),
            body,
        }
    }

    /// A query parameter; empty when absent.
    pub fn parameter(&self, name: &str) -> &str {
        self.query.get(name).map_or("", String::as_str)
    }

    /// The body as JSON; an empty body is null.
    pub fn json(&self) -> Answer {
        if self.body.is_empty() {
            return Ok(Value::Null);
        }
        let malformed = |error| ApiStatus::new(400, format!("the body is not valid JSON: {error}"));
        serde_json::from_slice(&self.body).map_err(malformed)
    }

    /// Whether the client asked that nothing be stored.
    pub fn is_dry_run(&self) -> bool {
        let in_body =
            || self.json().is_ok_and(|body| !body["dryRun"].is_null() || !body["deleteOptions"]["dryRun"].is_null());
        self.parameter("dryRun") == "All" || (self.changes_state() && in_body())
    }

    /// Whether the method is one that stores something.
    pub fn changes_state(&self) -> bool {
        !matches!(self.method, Method::GET | Method::HEAD | Method::OPTIONS)
    }

    /// Whether this request counts as a write: reviews and dry runs change nothing.
    pub fn is_write(&self) -> bool {
        self.changes_state() && !self.is_dry_run() && !self.path.contains("/selfsubject")
    }

    /// `METHOD path?query body`, for the transcript.
    pub fn line(&self) -> String {
        let mut line = format!("{} {}", self.method, self.path);
        for (at, (name, value)) in self.query.iter().enumerate() {
            line.push(if at == 0 { '?' } else { '&' });
            line.push_str(name);
            if !value.is_empty() {
                line.push('=');
                line.push_str(value);
            }
        }
        if !self.body.is_empty() {
            line.push(' ');
            line.push_str(&String::from_utf8_lossy(&self.body));
        }
        line
    }

    /// What the path points at; nothing when it is not a route that we know.
    pub fn target(&self) -> Option<Target> {
        let parts: Vec<&str> = self.path.split('/').skip(1).collect();
        let (group, version, rest) = match parts.as_slice() {
            ["version" | "api" | "apis"] | ["api", "v1"] | ["apis", _] | ["apis", _, _] => {
                return Some(Target::Discovery);
            }
            ["api", version, rest @ ..] => ("", *version, rest),
            ["apis", group, version, rest @ ..] => (*group, *version, rest),
            _ => return None,
        };
        let (namespace, rest) = match rest {
            ["namespaces", name] => return object(group, version, "namespaces", "", name, ""),
            ["namespaces", name, "status"] => {
                return object(group, version, "namespaces", "", name, "status");
            }
            ["namespaces", namespace, rest @ ..] => (*namespace, rest),
            rest => ("", rest),
        };
        match rest {
            [plural] => {
                let kind = kinds::by_path(group, version, plural)?;
                let namespace = namespace.to_owned();
                (kind.namespaced || namespace.is_empty()).then_some(Target::Collection { kind, namespace })
            }
            [plural, name] => object(group, version, plural, namespace, name, ""),
            [plural, name, subresource] => object(group, version, plural, namespace, name, subresource),
            _ => None,
        }
    }
}

fn object(group: &str, version: &str, plural: &str, namespace: &str, name: &str, sub: &str) -> Option<Target> {
    let kind = kinds::by_path(group, version, plural)?;
    let known = sub.is_empty() || kind.subresources.contains(&sub);
    let name = percent_encoding::percent_decode_str(name).decode_utf8().ok()?;
    (known && kind.namespaced != namespace.is_empty())
        .then(|| Target::Object { key: Key::new(kind, namespace, &name), subresource: sub.to_owned() })
}
