//! DELETE: preconditions, grace, finalizers, and what becomes of the objects that the deleted one owned.

use serde_json::{Value, json};

use super::kinds::Kind;
use super::object;
use super::status::{Answer, ApiStatus};
use super::store::{Key, Store};

/// Holds an object until its dependents are gone.
const FOREGROUND: &str = "foregroundDeletion";

/// What becomes of dependents.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Propagation {
    /// Owner goes now, dependents some time later.
    Background,
    /// Dependents go first.
    Foreground,
    /// Dependents stay and lose their owner.
    Orphan,
}

/// `DeleteOptions`, from the body or the query.
#[derive(Debug, Clone, Default)]
pub struct DeleteOptions {
    /// Refuse unless the object has this uid.
    pub uid: Option<String>,
    /// Refuse unless the object has this resourceVersion.
    pub resource_version: Option<String>,
    /// Seconds to stop in.
    pub grace: Option<u64>,
    /// What becomes of dependents.
    pub propagation: Option<Propagation>,
    /// Whether to store nothing.
    pub dry_run: bool,
}

impl DeleteOptions {
    /// Reads a `DeleteOptions` object.
    pub fn of(body: &Value) -> Self {
        let text = |pointer| Some(object::text(body, pointer).to_owned()).filter(|text| !text.is_empty());
        Self {
            uid: text("/preconditions/uid"),
            resource_version: text("/preconditions/resourceVersion"),
            grace: body["gracePeriodSeconds"].as_u64(),
            propagation: Propagation::parse(object::text(body, "/propagationPolicy")),
            dry_run: !object::items(body, "/dryRun").is_empty(),
        }
    }

    /// Refuses an object that is not the one meant.
    pub fn check(&self, kind: &Kind, object: &Value) -> Answer<()> {
        let has = object::uid(object);
        let differs = |what: &str, wanted: &str, has: &str, hint: &str| {
            let why = format!(
                "Operation cannot be fulfilled on {} {:?}: the {what} in the precondition ({wanted}) does not match the \
                 {what} in record ({has}). The object might have been {hint}",
                kind.kind,
                object::name(object)
            );
            Err(ApiStatus::new(409, why))
        };
        if let Some(uid) = self.uid.as_deref().filter(|uid| *uid != has) {
            return differs("UID", uid, has, "deleted and then recreated");
        }
        let has = object::text(object, "/metadata/resourceVersion");
        if let Some(version) = self.resource_version.as_deref().filter(|version| *version != has) {
            return differs("ResourceVersion", version, has, "modified");
        }
        Ok(())
    }
}

impl Propagation {
    /// By its word in the API.
    pub fn parse(text: &str) -> Option<Self> {
        match text {
            "Background" => Some(Self::Background),
            "Foreground" => Some(Self::Foreground),
            "Orphan" => Some(Self::Orphan),
            _ => None,
        }
    }

    /// What the server does when the client doesn't say. Jobs orphan their pods: a trap of `batch/v1`.
    fn default_of(kind: &Kind) -> Self {
        if kind.plural == "jobs" { Self::Orphan } else { Self::Background }
    }
}

/// Begins the deletion of one object. The answer is the object while it is still there, else a `Status`.
pub fn delete(store: &mut Store, key: &Key, options: &DeleteOptions) -> Answer {
    let kind = key.kind();
    let object = store.find(key).cloned().ok_or_else(|| ApiStatus::not_found(kind, &key.name))?;
    options.check(kind, &object)?;
    if options.dry_run {
        return Ok(object);
    }
    let propagation = options.propagation.unwrap_or_else(|| Propagation::default_of(kind));
    match propagation {
        Propagation::Orphan => orphan_dependents(store, object::uid(&object)),
        Propagation::Foreground if has_dependents(store, object::uid(&object)) => {
            add_finalizer(store, key, FOREGROUND);
        }
        // A second deletion may take the first one's wish back.
        Propagation::Background => remove_finalizer(store, key, FOREGROUND),
        Propagation::Foreground => {}
    }
    let grace = grace_of(kind, &object, options);
    let held = store.find(key).is_some_and(|object| !object::finalizers(object).is_empty());
    if grace > 0 || held || kind.plural == "namespaces" {
        begin(store, key, grace);
        return store.find(key).cloned().ok_or_else(|| ApiStatus::not_found(kind, &key.name));
    }
    store.remove(key);
    Ok(json!({
        "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success",
        "details": {"name": key.name, "group": kind.group, "kind": kind.plural, "uid": object::uid(&object)},
    }))
}

/// Only pods that a kubelet runs take time to stop.
fn grace_of(kind: &Kind, object: &Value, options: &DeleteOptions) -> u64 {
    let finished = matches!(object::text(object, "/status/phase"), "Succeeded" | "Failed");
    if kind.plural != "pods" || object::text(object, "/spec/nodeName").is_empty() || finished {
        return 0;
    }
    options.grace.or(object["spec"]["terminationGracePeriodSeconds"].as_u64()).unwrap_or(30)
}

fn begin(store: &mut Store, key: &Key, grace: u64) {
    let deadline = store.now() + jiff::SignedDuration::from_secs(i64::try_from(grace).unwrap_or(i64::MAX));
    let stamp = json!(super::store::whole_seconds(deadline));
    let is_namespace = key.plural == "namespaces";
    store.edit(key, |object| {
        if !object::is_terminating(object) {
            let metadata = object::metadata(object);
            metadata.insert("deletionTimestamp".to_owned(), stamp);
            metadata.insert("deletionGracePeriodSeconds".to_owned(), json!(grace));
        }
        if is_namespace {
            object["status"]["phase"] = json!("Terminating");
        }
    });
}

/// What the kubelet does last: the pod has stopped and its object may go, unless a finalizer holds it.
pub fn confirm_stopped(store: &mut Store, key: &Key) {
    let Some(object) = store.find(key) else {
        return;
    };
    if object::finalizers(object).is_empty() {
        store.remove(key);
    } else {
        store.edit(key, |object| {
            object["metadata"]["deletionGracePeriodSeconds"] = json!(0);
        });
    }
}

/// An object that was only held by finalizers goes when the last one is removed.
pub fn finish_if_released(store: &mut Store, key: &Key) {
    let Some(object) = store.find(key) else {
        return;
    };
    let stopped = key.plural != "pods" || object["metadata"]["deletionGracePeriodSeconds"] == 0;
    if object::is_terminating(object) && object::finalizers(object).is_empty() && stopped && key.plural != "namespaces"
    {
        store.remove(key);
    }
}

fn add_finalizer(store: &mut Store, key: &Key, finalizer: &str) {
    store.edit(key, |object| {
        let mut held: Vec<String> = object::finalizers(object).into_iter().map(str::to_owned).collect();
        held.push(finalizer.to_owned());
        object["metadata"]["finalizers"] = json!(held);
    });
}

fn remove_finalizer(store: &mut Store, key: &Key, finalizer: &str) {
    store.edit(key, |object| {
        if let Some(held) = object["metadata"]["finalizers"].as_array_mut() {
            held.retain(|it| it != finalizer);
        }
    });
}

fn dependents(store: &Store, uid: &str) -> Vec<Key> {
    let owned = |object: &Value| object::items(object, "/metadata/ownerReferences").iter().any(|it| it["uid"] == uid);
    store.all().filter(|(_, object)| owned(object)).map(|(key, _)| key.clone()).collect()
}

fn has_dependents(store: &Store, uid: &str) -> bool {
    !dependents(store, uid).is_empty()
}

fn orphan_dependents(store: &mut Store, uid: &str) {
    for key in dependents(store, uid) {
        store.edit(&key, |object| {
            if let Some(owners) = object["metadata"]["ownerReferences"].as_array_mut() {
                owners.retain(|owner| owner["uid"] != uid);
            }
        });
    }
}

/// One round of the garbage collector: what has lost its owners goes, what waited for its dependents goes.
pub fn collect_garbage(store: &mut Store) {
    let lost: Vec<Key> =
        store.all().filter(|(key, object)| is_lost(store, key, object)).map(|(key, _)| key.clone()).collect();
    for key in lost {
        let options = DeleteOptions { propagation: Some(Propagation::Background), ..DeleteOptions::default() };
        let already = store.find(&key).is_some_and(object::is_terminating);
        if !already {
            // The object may have gone with another one in this round; then there is nothing left to do.
            let _ = delete(store, &key, &options);
        }
    }
    let waiting: Vec<(Key, String)> = store
        .all()
        .filter(|(_, object)| object::finalizers(object).contains(&FOREGROUND))
        .map(|(key, object)| (key.clone(), object::uid(object).to_owned()))
        .collect();
    for (key, uid) in waiting {
        let left = dependents(store, &uid);
        for dependent in &left {
            if store.find(dependent).is_some_and(|object| !object::is_terminating(object)) {
                let options = DeleteOptions { propagation: Some(Propagation::Background), ..DeleteOptions::default() };
                let _ = delete(store, dependent, &options);
            }
        }
        if dependents(store, &uid).is_empty() {
            remove_finalizer(store, &key, FOREGROUND);
            finish_if_released(store, &key);
        }
    }
}

/// Whether the garbage collector has anything to do: it acts some time after this becomes true.
pub fn has_garbage(store: &Store) -> bool {
    store.all().any(|(key, object)| {
        (is_lost(store, key, object) && !object::is_terminating(object))
            || object::finalizers(object).contains(&FOREGROUND)
    })
}

/// Every owner is gone. An owner in another namespace counts as gone, as on a real server: that object is deleted.
fn is_lost(store: &Store, key: &Key, object: &Value) -> bool {
    let owners = object::items(object, "/metadata/ownerReferences");
    if owners.is_empty() {
        return false;
    }
    owners.iter().all(|owner| {
        let uid = object::text(owner, "/uid");
        let kind = super::kinds::by_manifest(object::text(owner, "/apiVersion"), object::text(owner, "/kind"));
        let found = kind
            .and_then(|kind| store.get(kind.plural, &key.namespace, object::text(owner, "/name")))
            .is_some_and(|found| object::uid(found) == uid);
        // Fixtures may name owners that no test needs; those are left alone until they really disappear.
        !found && (store.is_gone(uid) || !store.is_seeded(object::uid(object)))
    })
}
