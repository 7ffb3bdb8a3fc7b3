//! GET on a collection with `watch`: what has changed since a revision, as lines of events.

use std::time::Duration;

use serde_json::{Value, json};

use super::kinds::Kind;
use super::list::ListOptions;
use super::status::Answer;
use super::store::{Key, Store};

type IsChosen = Box<dyn Fn(&Key, &Value) -> bool + Send>;

/// A watch as it was asked for, and how far it has come.
pub struct Watch {
    kind: &'static Kind,
    is_chosen: IsChosen,
    after: u64,
    /// It ends after this, well.
    pub lasts: Option<Duration>,
}

impl std::fmt::Debug for Watch {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_struct("Watch").field("kind", &self.kind.kind).field("after", &self.after).finish_non_exhaustive()
    }
}

impl Watch {
    /// A watch from a revision on.
    pub fn new(kind: &'static Kind, options: &ListOptions<'_>, after: u64, seconds: &str) -> Answer<Self> {
        let is_chosen = Box::new(options.filter(kind)?);
        Ok(Self { kind, is_chosen, after, lasts: seconds.parse().ok().map(Duration::from_secs) })
    }

    /// The events since the last call, one in each line, each object at most once; empty when there are none. A change
    /// that somebody else has undone by then is not seen, which a watch never promises.
    pub fn events(&mut self, store: &Store) -> String {
        let Some(changed) = store.since(self.after) else {
            let why = format!("too old resource version: {}", self.after);
            let status = json!({"kind": "Status", "apiVersion": "v1", "status": "Failure", "reason": "Expired", "code": 410, "message": why});
            self.after = store.revision();
            return line("ERROR", &status);
        };
        let of_kind = changed.into_iter().filter(|(key, _)| key.plural == self.kind.plural);
        let mut lines = String::new();
        for (key, before) in of_kind {
            let was = before.filter(|before| (self.is_chosen)(key, before));
            let now = store.find(key).filter(|now| (self.is_chosen)(key, now));
            match (was, now) {
                (None, Some(now)) => lines += &line("ADDED", now),
                (Some(was), Some(now)) if was["metadata"]["uid"] != now["metadata"]["uid"] => {
                    lines += &(line("DELETED", was) + &line("ADDED", now));
                }
                (Some(_), Some(now)) => lines += &line("MODIFIED", now),
                (Some(was), None) => {
                    let mut last = store.find(key).unwrap_or(was).clone();
                    last["metadata"]["resourceVersion"] = json!(store.revision().to_string());
                    lines += &line("DELETED", &last);
                }
                (None, None) => {}
            }
        }
        self.after = store.revision();
        lines
    }
}

fn line(word: &str, object: &Value) -> String {
    format!("{}\n", json!({"type": word, "object": object}))
}
