//! Sends requests and writes down what matters of the answers.

use std::fmt::Write as _;

use http::{Method, Request};
use http_body_util::BodyExt as _;
use klm_testkit::{FakeCluster, Identity, Rbac};
use kube::client::Body;
use serde_json::{Value, json};

/// One server under question.
pub struct Probe {
    fake: Option<FakeCluster>,
    real: Option<kube::Client>,
    report: String,
    accidental: Vec<(String, &'static str)>,
}

impl Probe {
    /// The fake.
    pub fn fake() -> Self {
        Self { fake: Some(FakeCluster::new()), real: None, report: String::new(), accidental: Vec::new() }
    }

    /// A real server, if the environment names one. Each run has namespaces of its own.
    pub fn real() -> Option<Self> {
        let url = std::env::var("KLM_REAL_APISERVER").ok()?;
        let mut config = kube::Config::new(url.parse().unwrap());
        config.accept_invalid_certs = true;
        config.auth_info.token = Some(std::env::var("KLM_REAL_TOKEN").unwrap().into());
        config.default_retry = false;
        let real = Some(kube::Client::try_from(config).unwrap());
        Some(Self { fake: None, real, report: String::new(), accidental: Vec::new() })
    }

    /// What was asked and answered.
    pub fn report(&self) -> &str {
        &self.report
    }

    /// Begins a chapter.
    pub fn about(&mut self, what: &str) {
        let _ = writeln!(self.report, "\n# {what}");
    }

    /// Sends a request that only prepares something; it must succeed.
    pub async fn prepare(&mut self, method: Method, path: &str, body: Value) -> Value {
        let kind = if method == Method::PATCH { "application/merge-patch+json" } else { "application/json" };
        let (code, answer) = self.send(None, method, path, kind, body).await;
        assert!(code < 300, "{path}: {code} {answer}");
        answer
    }

    /// Prepares a status with a patch in another language.
    pub async fn prepare_status(&mut self, language: &str, path: &str, body: Value) {
        let (code, answer) = self.send(None, Method::PATCH, path, language, body).await;
        assert!(code < 300, "{path}: {code} {answer}");
    }

    /// Prepares a disruption budget whose status no controller touches.
    pub async fn prepare_budget(&mut self, collection: &str, budget: Value, status: Value) {
        if let Some(fake) = &self.fake {
            let mut budget = budget;
            budget["apiVersion"] = json!("policy/v1");
            budget["kind"] = json!("PodDisruptionBudget");
            budget["metadata"]["namespace"] = json!("conformance");
            budget["status"] = status;
            fake.add(budget);
            return;
        }
        let stored = self.prepare(Method::POST, collection, budget).await;
        let path = format!("{collection}/{}/status", stored["metadata"]["name"].as_str().unwrap());
        self.prepare(Method::PATCH, &path, json!({"status": status})).await;
    }

    /// A real server learns of new rules some time after they are stored.
    pub async fn settle(&mut self) {
        if self.real.is_some() {
            tokio::time::sleep(std::time::Duration::from_secs(2)).await;
        }
    }

    /// Asks, and notes the code, the refusal, and the named fields of the answer.
    pub async fn ask(&mut self, method: Method, path: &str, body: Value, fields: &[&str]) -> Value {
        let kind = if method == Method::PATCH { "application/merge-patch+json" } else { "application/json" };
        self.ask_as(None, method, path, kind, body, fields).await
    }

    /// Asks, and notes the code alone: the words are too many to copy.
    pub async fn ask_code(&mut self, method: Method, path: &str, body: Value) {
        let kind = if method == Method::PATCH { "application/merge-patch+json" } else { "application/json" };
        let (code, _) = self.send(None, method.clone(), path, kind, body).await;
        let _ = writeln!(self.report, "{method} {path} -> {code}");
    }

    /// Asks with a patch in another language.
    pub async fn patch(&mut self, language: &str, path: &str, body: Value, fields: &[&str]) -> Value {
        self.ask_as(None, Method::PATCH, path, language, body, fields).await
    }

    /// Asks as a service account that holds `rules`.
    pub async fn ask_as(
        &mut self,
        account: Option<(&str, &[Value])>,
        method: Method,
        path: &str,
        kind: &str,
        body: Value,
        fields: &[&str],
    ) -> Value {
        let (code, answer) = self.send(account, method.clone(), path, kind, body).await;
        let mut line = format!("{method} {path} -> {code}");
        if answer["kind"] == "Status" && answer["status"] == "Failure" {
            let text = |field: &str| answer[field].as_str().unwrap_or_default().to_owned();
            let _ = write!(line, " {} {:?}", text("reason"), text("message"));
            if !answer["details"]["causes"].is_null() && answer["reason"] != "Invalid" {
                let _ = write!(line, " {}", answer["details"]["causes"]);
            }
            if !answer["details"]["retryAfterSeconds"].is_null() {
                let _ = write!(line, " after {}", answer["details"]["retryAfterSeconds"]);
            }
        }
        for field in fields {
            let _ = write!(line, " {field}={}", answer.pointer(field).unwrap_or(&Value::Null));
        }
        for (accidental, name) in &self.accidental {
            line = line.replace(accidental, name);
        }
        self.report.push_str(&line);
        self.report.push('\n');
        answer
    }

    /// A text that differs from run to run.
    pub fn hide(&mut self, text: &Value, name: &'static str) {
        self.accidental.push((text.as_str().unwrap().to_owned(), name));
    }

    async fn send(
        &mut self,
        account: Option<(&str, &[Value])>,
        method: Method,
        path: &str,
        kind: &str,
        body: Value,
    ) -> (u16, Value) {
        let mut request = Request::builder().method(method).uri(path).header("content-type", kind);
        if path.contains("partial") {
            request = request.header("accept", "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1");
        }
        let client = match (&self.fake, &self.real, account) {
            (Some(fake), _, None) => fake.admin(),
            (Some(fake), _, Some((name, rules))) => {
                let rbac = Rbac::of_manifests(rules, "conformance", name);
                fake.connect_as(Identity::service_account("conformance", name, rbac.into())).client()
            }
            (None, real, account) => {
                if let Some((name, _)) = account {
                    request = request.header("impersonate-user", format!("system:serviceaccount:conformance:{name}"));
                }
                real.clone().unwrap()
            }
        };
        let bytes = if body.is_null() { Vec::new() } else { body.to_string().into_bytes() };
        let response = client.send(request.body(Body::from(bytes)).unwrap()).await.unwrap();
        let code = response.status().as_u16();
        let bytes = response.into_body().collect().await.unwrap().to_bytes();
        (code, serde_json::from_slice(&bytes).unwrap_or(json!(null)))
    }
}
