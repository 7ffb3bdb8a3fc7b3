//! The objects, their resource versions and uids.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use jiff::Timestamp;
use serde_json::{Value, json};

use super::kinds::{self, Kind};
use super::object;

/// Where an object lives.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Key {
    /// Plural name of the resource.
    pub plural: &'static str,
    /// Empty for cluster-scoped objects.
    pub namespace: String,
    /// Object name.
    pub name: String,
}

impl Key {
    /// A key from its parts.
    pub fn new(kind: &'static Kind, namespace: &str, name: &str) -> Self {
        let namespace = if kind.namespaced { namespace } else { "" };
        Self { plural: kind.plural, namespace: namespace.to_owned(), name: name.to_owned() }
    }

    /// The resource.
    pub fn kind(&self) -> &'static Kind {
        kinds::by_plural(self.plural).expect("keys are only made from known kinds")
    }
}

/// Everything that the server remembers.
#[derive(Debug)]
pub struct Store {
    objects: BTreeMap<Key, Value>,
    revision: u64,
    uids: u64,
    now: Timestamp,
    /// Uids that once existed and do not any more.
    gone: BTreeSet<String>,
    /// Uids of objects that a test put here, whose owners may be made up.
    seeded: BTreeSet<String>,
    /// Disruption budgets whose status a test wrote by hand.
    pub(crate) frozen_budgets: BTreeSet<String>,
    /// Who applied which leaf of which object, for server-side apply.
    pub(crate) appliers: BTreeMap<String, BTreeMap<String, String>>,
    /// Every change since [`Self::compacted`]: its revision, where, and what was there before.
    history: VecDeque<(u64, Key, Option<Value>)>,
    compacted: u64,
}

/// Changes that are remembered for watches.
const HISTORY: usize = 20_000;

impl Store {
    /// An empty store at a point in time.
    pub fn new(now: Timestamp) -> Self {
        Self {
            objects: BTreeMap::new(),
            revision: 1000,
            uids: 0,
            now,
            gone: BTreeSet::new(),
            seeded: BTreeSet::new(),
            frozen_budgets: BTreeSet::new(),
            appliers: BTreeMap::new(),
            history: VecDeque::new(),
            compacted: 0,
        }
    }

    /// The server's clock.
    pub fn now(&self) -> Timestamp {
        self.now
    }

    /// Moves the server's clock.
    pub fn set_now(&mut self, now: Timestamp) {
        self.now = now;
    }

    /// The clock as objects carry it: whole seconds.
    pub fn stamp(&self) -> Value {
        json!(whole_seconds(self.now))
    }

    /// Counts every change.
    pub fn revision(&self) -> u64 {
        self.revision
    }

    /// Looks an object up by the parts of its key.
    pub fn get(&self, plural: &str, namespace: &str, name: &str) -> Option<&Value> {
        self.find(&Key::new(kinds::by_plural(plural)?, namespace, name))
    }

    /// Looks an object up.
    pub fn find(&self, key: &Key) -> Option<&Value> {
        self.objects.get(key)
    }

    /// All objects of a kind in key order.
    pub fn of<'a>(&'a self, plural: &'a str) -> impl Iterator<Item = (&'a Key, &'a Value)> {
        let first = kinds::by_plural(plural).map(|kind| Key::new(kind, "", ""));
        first
            .into_iter()
            .flat_map(move |first| self.objects.range(first..).take_while(move |(key, _)| key.plural == plural))
    }

    /// All objects.
    pub fn all(&self) -> impl Iterator<Item = (&Key, &Value)> {
        self.objects.iter()
    }

    /// Whether an object with this uid once lived and is gone.
    pub fn is_gone(&self, uid: &str) -> bool {
        self.gone.contains(uid)
    }

    /// Whether a test put the object here.
    pub fn is_seeded(&self, uid: &str) -> bool {
        self.seeded.contains(uid)
    }

    /// Notes that a test put the object here.
    pub fn mark_seeded(&mut self, uid: &str) {
        self.seeded.insert(uid.to_owned());
    }

    /// The next uid.
    pub fn fresh_uid(&mut self) -> String {
        self.uids += 1;
        format!("00000000-0000-4000-8000-{:012x}", self.uids)
    }

    /// Five letters for `generateName`, different every time.
    pub fn fresh_suffix(&mut self) -> String {
        // The server's alphabet leaves out vowels and look-alikes.
        const ALPHABET: &[u8] = b"bcdfghjklmnpqrstvwxz2456789";
        self.uids += 1;
        let mut rest = usize::try_from(self.uids).unwrap_or(0).wrapping_mul(7919);
        let letter = |rest: &mut usize| {
            let letter = char::from(ALPHABET[*rest % ALPHABET.len()]);
            *rest /= ALPHABET.len();
            letter
        };
        (0..5).map(|_| letter(&mut rest)).collect()
    }

    /// Writes an object; nothing happens when it is what is there already. Says whether it changed.
    pub fn put(&mut self, key: Key, mut object: Value) -> bool {
        let old = self.objects.get(&key);
        if let Some(old) = old {
            object["metadata"]["resourceVersion"] = old["metadata"]["resourceVersion"].clone();
            if *old == object {
                return false;
            }
        }
        let kind = key.kind();
        if kind.counts_generations() {
            let before = old.map_or(0, |old| old["metadata"]["generation"].as_u64().unwrap_or(0));
            let changed = old.is_none_or(|old| old["spec"] != object["spec"]);
            let kept = object["metadata"]["generation"].as_u64().unwrap_or(1).max(1);
            object["metadata"]["generation"] = json!(match (old.is_some(), changed) {
                (true, true) => before + 1,
                (true, false) => before,
                (false, _) => kept,
            });
        }
        if key.plural == "daemonsets" && old.is_none_or(|old| old["spec"]["template"] != object["spec"]["template"]) {
            const GENERATION: &str = "deprecated.daemonset.template.generation";
            let before =
                old.and_then(|old| object::annotation(old, GENERATION)).and_then(|text| text.parse::<u64>().ok());
            object::set_annotation(&mut object, GENERATION, &(before.unwrap_or(0) + 1).to_string());
        }
        self.revision += 1;
        object["metadata"]["resourceVersion"] = json!(self.revision.to_string());
        let before = self.objects.insert(key.clone(), object);
        self.remember(key, before);
        true
    }

    /// Changes an object in place; absent objects are left absent.
    pub fn edit(&mut self, key: &Key, change: impl FnOnce(&mut Value)) -> bool {
        let Some(mut object) = self.objects.get(key).cloned() else {
            return false;
        };
        change(&mut object);
        self.put(key.clone(), object)
    }

    /// Takes an object away for good.
    pub fn remove(&mut self, key: &Key) -> Option<Value> {
        let object = self.objects.remove(key)?;
        self.revision += 1;
        self.gone.insert(object::uid(&object).to_owned());
        self.appliers.remove(object::uid(&object));
        self.remember(key.clone(), Some(object.clone()));
        Some(object)
    }

    fn remember(&mut self, key: Key, before: Option<Value>) {
        self.history.push_back((self.revision, key, before));
        if self.history.len() > HISTORY
            && let Some((oldest, ..)) = self.history.pop_front()
        {
            self.compacted = oldest;
        }
    }

    /// Forgets every change so far, as etcd does after some minutes.
    pub fn compact(&mut self) {
        self.history.clear();
        self.compacted = self.revision;
    }

    /// What has changed after a revision, each object once, with what it was then; nothing when that is forgotten.
    pub fn since(&self, revision: u64) -> Option<BTreeMap<&Key, Option<&Value>>> {
        if revision < self.compacted {
            return None;
        }
        let mut changed = BTreeMap::new();
        let first = self.history.partition_point(|(at, ..)| *at <= revision);
        for (_, key, before) in self.history.range(first..) {
            changed.entry(key).or_insert(before.as_ref());
        }
        Some(changed)
    }
}

/// RFC 3339 in whole seconds, as `metadata` carries times.
pub fn whole_seconds(at: Timestamp) -> String {
    let seconds = Timestamp::from_second(at.as_second()).unwrap_or(at);
    seconds.to_string()
}
