//! Scripted faults: which request goes wrong, how, and how often.

use std::time::Duration;

use ::http::Method;
use serde_json::Value;

use crate::api::call::Call;
use crate::api::status::ApiStatus;

/// How a request goes wrong.
#[derive(Debug, Clone)]
pub(crate) enum Effect {
    /// The server answers this instead of doing anything.
    Answer(ApiStatus),
    /// The connection breaks before the server has done anything.
    Disconnect,
    /// The server does it and the connection breaks before the answer arrives.
    LoseAnswer,
    /// No answer, ever.
    Hang,
    /// The answer takes this long.
    Slow(Duration),
}

/// A fault to be handed to [`crate::FakeCluster::inject`].
#[derive(Debug, Clone)]
pub struct Fault {
    method: Option<Method>,
    pattern: String,
    pub(crate) effect: Effect,
    watches_only: bool,
    skip: usize,
    left: usize,
}

impl Fault {
    fn new(method: impl Into<Option<Method>>, pattern: &str, effect: Effect) -> Self {
        Self { method: method.into(), pattern: pattern.to_owned(), effect, watches_only: false, skip: 0, left: 1 }
    }

    /// The server answers with this status and a plain message. `*` in the pattern stands for anything.
    pub fn status(method: impl Into<Option<Method>>, pattern: &str, code: u16) -> Self {
        Self::answer(method, pattern, ApiStatus::new(code, format!("injected fault {code}")))
    }

    /// The server answers with this `Status`.
    pub fn answer(method: impl Into<Option<Method>>, pattern: &str, status: ApiStatus) -> Self {
        Self::new(method, pattern, Effect::Answer(status))
    }

    /// API throttling: 429 with `Retry-After` and no disruption budget in it.
    pub fn throttled(method: impl Into<Option<Method>>, pattern: &str, retry_after: u64) -> Self {
        let why = "the server has received too many requests and has asked us to try again later";
        Self::answer(method, pattern, ApiStatus::new(429, why).retry_after(retry_after))
    }

    /// A `Status` with a body of its own.
    pub fn body(method: impl Into<Option<Method>>, pattern: &str, code: u16, body: Value) -> Self {
        let mut status = ApiStatus::new(code, "");
        status.body = body;
        Self::answer(method, pattern, status)
    }

    /// The connection breaks before the server has done anything.
    pub fn disconnect(method: impl Into<Option<Method>>, pattern: &str) -> Self {
        Self::new(method, pattern, Effect::Disconnect)
    }

    /// The server does it, but its answer is lost.
    pub fn lose_answer(method: impl Into<Option<Method>>, pattern: &str) -> Self {
        Self::new(method, pattern, Effect::LoseAnswer)
    }

    /// The request never comes back.
    pub fn hang(method: impl Into<Option<Method>>, pattern: &str) -> Self {
        Self::new(method, pattern, Effect::Hang)
    }

    /// The request takes this long.
    pub fn slow(method: impl Into<Option<Method>>, pattern: &str, time: Duration) -> Self {
        Self::new(method, pattern, Effect::Slow(time))
    }

    /// Happens this many times instead of once.
    #[must_use]
    pub fn times(mut self, times: usize) -> Self {
        self.left = times;
        self
    }

    /// Happens every time.
    #[must_use]
    pub fn always(self) -> Self {
        self.times(usize::MAX)
    }

    /// Strikes watches only: a list of the same objects has the same path.
    #[must_use]
    pub fn of_watches(mut self) -> Self {
        self.watches_only = true;
        self
    }

    /// Leaves the first requests that fit alone.
    #[must_use]
    pub fn after(mut self, requests: usize) -> Self {
        self.skip = requests;
        self
    }

    /// Whether it strikes this request; counts down when the request fits.
    pub(crate) fn strikes(&mut self, call: &Call) -> bool {
        let fits = self.method.as_ref().is_none_or(|method| *method == call.method)
            && glob(&self.pattern, &call.path)
            && (!self.watches_only || !call.parameter("watch").is_empty());
        if !fits || self.left == 0 {
            return false;
        }
        if self.skip > 0 {
            self.skip -= 1;
            return false;
        }
        self.left -= usize::from(self.left != usize::MAX);
        true
    }

    pub(crate) fn is_spent(&self) -> bool {
        self.left == 0
    }

    /// `METHOD pattern`, for the message about a fault that never struck.
    pub(crate) fn name(&self) -> String {
        let method = self.method.as_ref().map_or("*", Method::as_str);
        format!("{method} {}", self.pattern)
    }
}

/// `*` stands for any text, also for none.
pub(crate) fn glob(pattern: &str, text: &str) -> bool {
    let Some((head, rest)) = pattern.split_once('*') else {
        return pattern == text;
    };
    let Some(tail) = text.strip_prefix(head) else {
        return false;
    };
    (0..=tail.len()).filter(|at| tail.is_char_boundary(*at)).any(|at| glob(rest, &tail[at..]))
}

#[cfg(test)]
mod tests {
    use super::glob;

    #[test]
    fn a_star_stands_for_any_text() {
        assert!(glob("/api/v1/nodes/*", "/api/v1/nodes/worker-1"));
        assert!(glob("*/pods/*/eviction", "/api/v1/namespaces/a/pods/b/eviction"));
        assert!(!glob("/api/v1/nodes", "/api/v1/nodes/worker-1"));
        assert!(!glob("*/pods/*/eviction", "/api/v1/namespaces/a/pods/b"));
    }
}
