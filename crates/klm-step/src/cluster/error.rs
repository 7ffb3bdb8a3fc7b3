//! What can go wrong with one request, and whether asking again may help.

use kube::core::Status;

/// A request that failed for good.
#[derive(Debug, thiserror::Error)]
#[error("failed to {action}: {cause}")]
pub struct ApiError {
    /// What we were doing to which object.
    pub action: String,
    /// Why it failed.
    pub cause: Cause,
}

/// Why a request failed.
#[derive(Debug, thiserror::Error)]
pub enum Cause {
    /// The API server said no.
    #[error("{}", said(.0))]
    Status(Box<Status>),
    /// No answer, or none in time.
    #[error("the API server can't be reached: {0}")]
    Unreachable(String),
    /// An answer that is not what was asked for, or a request that can't be built.
    #[error("{0}")]
    Malformed(String),
}

impl Cause {
    /// HTTP status, when there was an answer.
    pub fn code(&self) -> Option<u16> {
        match self {
            Self::Status(status) => Some(status.code),
            Self::Unreachable(_) | Self::Malformed(_) => None,
        }
    }

    /// Whether the same request may succeed later: throttled, overloaded, restarting, out of reach.
    pub fn may_pass(&self) -> bool {
        match self {
            Self::Status(status) => matches!(status.code, 429 | 500 | 502 | 503 | 504),
            Self::Unreachable(_) => true,
            Self::Malformed(_) => false,
        }
    }

    /// Whether the server doesn't know us, or of our rights.
    pub fn denies_rights(&self) -> bool {
        matches!(self.code(), Some(401 | 403))
    }

    /// What the server asks us to wait.
    pub fn retry_after(&self) -> Option<std::time::Duration> {
        match self {
            Self::Status(status) => {
                let seconds = status.details.as_ref().map_or(0, |details| details.retry_after_seconds);
                (seconds > 0).then(|| std::time::Duration::from_secs(seconds.into()))
            }
            Self::Unreachable(_) | Self::Malformed(_) => None,
        }
    }
}

impl ApiError {
    /// The object isn't there.
    pub fn is_not_found(&self) -> bool {
        self.cause.code() == Some(404)
    }

    /// The object changed under us, or a precondition didn't hold.
    pub fn is_conflict(&self) -> bool {
        self.cause.code() == Some(409) && !self.is_already_there()
    }

    /// An object of that name exists.
    pub fn is_already_there(&self) -> bool {
        matches!(&self.cause, Cause::Status(status) if status.reason == "AlreadyExists")
    }

    /// We may not do that.
    pub fn is_forbidden(&self) -> bool {
        self.cause.code() == Some(403)
    }

    /// The server understood and won't do it: a quota, an admission rule, an invalid object, a missing right.
    pub fn is_refusal(&self) -> bool {
        matches!(self.cause.code(), Some(400 | 403 | 404 | 413 | 422))
    }

    /// What the server said about it, without our own words around it.
    pub fn reason(&self) -> String {
        self.cause.to_string()
    }
}

fn said(status: &Status) -> String {
    match (status.message.as_str(), status.reason.as_str()) {
        ("", "") => format!("HTTP {}", status.code),
        ("", reason) => format!("{reason} (HTTP {})", status.code),
        (message, _) => message.to_owned(),
    }
}
