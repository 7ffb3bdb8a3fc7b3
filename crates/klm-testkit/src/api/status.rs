//! The server's refusals: a `Status` body with the code, reason and wording of Kubernetes.

use serde_json::{Value, json};

use super::kinds::Kind;

/// An answer that is not the object asked for.
#[derive(Debug, Clone)]
pub struct ApiStatus {
    /// HTTP status.
    pub code: u16,
    /// The `Status` object.
    pub body: Value,
    /// `Retry-After` in seconds.
    pub retry_after: Option<u64>,
}

/// What every verb returns.
pub type Answer<T = Value> = Result<T, ApiStatus>;

/// The reason that the server gives for a code.
pub fn reason_of(code: u16) -> &'static str {
    match code {
        400 => "BadRequest",
        401 => "Unauthorized",
        403 => "Forbidden",
        404 => "NotFound",
        405 => "MethodNotAllowed",
        409 => "Conflict",
        410 => "Expired",
        415 => "UnsupportedMediaType",
        422 => "Invalid",
        429 => "TooManyRequests",
        503 => "ServiceUnavailable",
        504 => "Timeout",
        _ => "InternalError",
    }
}

impl ApiStatus {
    /// A failure with the reason that belongs to the code.
    pub fn new(code: u16, message: impl Into<String>) -> Self {
        Self::with_reason(code, reason_of(code), message)
    }

    /// A failure with a reason of its own.
    pub fn with_reason(code: u16, reason: &str, message: impl Into<String>) -> Self {
        let message: String = message.into();
        let body = json!({
            "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
            "message": message, "reason": reason, "code": code,
        });
        Self { code, body, retry_after: None }
    }

    fn about(mut self, kind: &Kind, name: &str) -> Self {
        self.body["details"] = json!({"name": name, "group": kind.group, "kind": kind.plural});
        self
    }

    /// Adds a machine-readable cause.
    #[must_use]
    pub fn because(mut self, reason: &str, message: impl Into<String>) -> Self {
        let message: String = message.into();
        self.body["details"]["causes"] = json!([{"reason": reason, "message": message}]);
        self
    }

    /// Adds a machine-readable cause about a field.
    #[must_use]
    pub fn because_of(self, reason: &str, message: impl Into<String>, field: &str) -> Self {
        let mut status = self.because(reason, message);
        status.body["details"]["causes"][0]["field"] = json!(field);
        status
    }

    /// Asks the client to come back later.
    #[must_use]
    pub fn retry_after(mut self, seconds: u64) -> Self {
        self.retry_after = Some(seconds);
        self.body["details"]["retryAfterSeconds"] = json!(seconds);
        self
    }

    /// 404.
    pub fn not_found(kind: &Kind, name: &str) -> Self {
        Self::new(404, format!("{} \"{name}\" not found", kind.qualified())).about(kind, name)
    }

    /// 409 on create.
    pub fn already_exists(kind: &Kind, name: &str) -> Self {
        let message = format!("{} \"{name}\" already exists", kind.qualified());
        Self::with_reason(409, "AlreadyExists", message).about(kind, name)
    }

    /// 409 with a cause of its own.
    pub fn conflict(kind: &Kind, name: &str, why: &str) -> Self {
        let message = format!("Operation cannot be fulfilled on {} \"{name}\": {why}", kind.qualified());
        Self::new(409, message).about(kind, name)
    }

    /// 409 because somebody else wrote first.
    pub fn modified(kind: &Kind, name: &str) -> Self {
        let why = "the object has been modified; please apply your changes to the latest version and try again";
        Self::conflict(kind, name, why)
    }

    /// 422.
    pub fn invalid(kind: &Kind, name: &str, why: &str) -> Self {
        Self::new(422, format!("{} \"{name}\" is invalid: {why}", kind.qualified_kind())).about(kind, name)
    }

    /// 403 with a cause of its own.
    pub fn forbidden(kind: &Kind, name: &str, why: &str) -> Self {
        Self::new(403, format!("{} \"{name}\" is forbidden: {why}", kind.qualified())).about(kind, name)
    }
}
