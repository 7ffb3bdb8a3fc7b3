//! From a request to its answer: the one place that knows which verb is which function.

use http::Method;
use serde_json::{Value, json};

use super::authorize::{self, Attributes, Identity};
use super::call::{Call, Target};
use super::delete::{self, DeleteOptions, Propagation};
use super::kinds::Kind;
use super::list::{self, ListOptions};
use super::patch::{self, PatchRequest};
use super::status::{Answer, ApiStatus};
use super::store::{Key, Store};
use super::update::{self, Door};
use super::watch::Watch;
use super::{create, discovery, escalate, evict, object, review};

/// A successful answer.
#[derive(Debug)]
pub struct Served {
    /// HTTP status.
    pub code: u16,
    /// The body.
    pub body: Body,
}

/// What a body holds.
#[derive(Debug)]
pub enum Body {
    /// An object or a list.
    Json(Value),
    /// A log.
    Text(String),
    /// Changes as they come.
    Watch(Watch),
}

/// Where pod logs come from.
pub type Logs<'a> = &'a dyn Fn(&Key, &str) -> String;

/// A path or query that the fake doesn't know: the test that asked must fail.
#[derive(Debug)]
pub struct Unknown(pub String);

/// Answers one request.
pub fn serve(
    store: &mut Store,
    call: &Call,
    who: &Identity,
    version: &str,
    logs: Logs<'_>,
) -> Result<Answer<Served>, Unknown> {
    let Some(target) = call.target() else {
        return Err(Unknown(format!("no such route: {} {}", call.method, call.path)));
    };
    let watches = !matches!(call.parameter("watch"), "" | "0" | "false");
    if let Some(asked) = authorize::attributes(call, &target)
        && let Err(refusal) = check(store, call, who, &asked)
    {
        return Ok(Err(refusal));
    }
    // Helm's own waits watch. The fake's helm polls, and asks for the watch once so that its right to it is needed.
    if watches && call.agent.starts_with("Helm/") {
        return Ok(Ok(Served { code: 200, body: Body::Text(String::new()) }));
    }
    if watches {
        let Target::Collection { kind, namespace } = &target else {
            return Err(Unknown(format!("a watch of what is no collection: {} {}", call.method, call.path)));
        };
        let options = options(call, namespace);
        return match call.parameter("resourceVersion").parse() {
            Ok(after) => Ok(Watch::new(kind, &options, after, call.parameter("timeoutSeconds"))
                .map(|watch| Served { code: 200, body: Body::Watch(watch) })),
            Err(_) => Err(Unknown(format!("a watch that doesn't say where to begin: {}", call.path))),
        };
    }
    let granting = escalate::concerns(call, &target).then(|| escalate::subject(call, &target)).flatten();
    let before = granting.as_ref().and_then(|key| store.find(key).cloned());
    let answer = route(store, call, who, &target, (version, logs));
    if let Some(key) = granting.filter(|_| answer.is_ok())
        && let Err(refusal) = escalate::check(store, who, before.as_ref(), &key)
    {
        escalate::undo(store, &key, before);
        return Ok(Err(refusal));
    }
    Ok(answer)
}

fn route(
    store: &mut Store,
    call: &Call,
    who: &Identity,
    target: &Target,
    (version, logs): (&str, Logs<'_>),
) -> Answer<Served> {
    match target {
        Target::Discovery => discovery::discover(&call.path, version).map(ok),
        Target::Collection { kind, namespace } => match call.method {
            Method::GET => list_of(store, call, kind, namespace),
            Method::POST => post(store, call, who, kind, namespace),
            Method::DELETE => delete_all(store, call, kind, namespace),
            _ => Err(not_allowed()),
        },
        Target::Object { key, subresource } => match subresource.as_str() {
            "eviction" if call.method == Method::POST => eviction(store, call, key),
            "log" if call.method == Method::GET => log(store, call, key, logs),
            "eviction" | "log" => Err(not_allowed()),
            _ => on_object(store, call, key, Door::of(subresource)),
        },
    }
}

/// An apply that creates needs the right to create as well.
fn check(store: &Store, call: &Call, who: &Identity, asked: &Attributes) -> Answer<()> {
    who.check(asked)?;
    let is_apply = call.content_type == "application/apply-patch+yaml";
    if let Some(Target::Object { key, .. }) = call.target().filter(|_| is_apply)
        && store.find(&key).is_none()
    {
        who.check(&Attributes { verb: "create".to_owned(), ..asked.clone() })?;
    }
    Ok(())
}

fn ok(body: Value) -> Served {
    Served { code: 200, body: Body::Json(body) }
}

fn created(body: Value) -> Served {
    Served { code: 201, ..ok(body) }
}

fn not_allowed() -> ApiStatus {
    ApiStatus::new(405, "the server does not allow this method on the requested resource")
}

fn list_of(store: &Store, call: &Call, kind: &'static Kind, namespace: &str) -> Answer<Served> {
    let options = ListOptions {
        limit: call.parameter("limit").parse().ok(),
        after: call.parameter("continue"),
        ..options(call, namespace)
    };
    list::list(store, kind, &options, list::wants_metadata_only(&call.accept)).map(ok)
}

fn options<'a>(call: &'a Call, namespace: &'a str) -> ListOptions<'a> {
    let (labels, fields) = (call.parameter("labelSelector"), call.parameter("fieldSelector"));
    ListOptions { namespace, labels, fields, ..ListOptions::default() }
}

fn post(store: &mut Store, call: &Call, who: &Identity, kind: &'static Kind, namespace: &str) -> Answer<Served> {
    let body = call.json()?;
    if kind.group == "authorization.k8s.io" {
        return Ok(created(review::review(kind, &body, who)));
    }
    create::create(store, kind, namespace, body, call.is_dry_run()).map(|stored| created(shaped(call, stored)))
}

fn delete_all(store: &mut Store, call: &Call, kind: &'static Kind, namespace: &str) -> Answer<Served> {
    let options = options(call, namespace);
    let how = delete_options(call)?;
    let keys = list::select(store, kind, &options)?;
    let deleted: Vec<Value> = keys.iter().filter_map(|key| store.find(key).cloned()).collect();
    for key in &keys {
        delete::delete(store, key, &how)?;
    }
    let version = kind.api_version();
    Ok(ok(json!({"apiVersion": version, "kind": format!("{}List", kind.kind), "metadata": {}, "items": deleted})))
}

fn on_object(store: &mut Store, call: &Call, key: &Key, door: Door) -> Answer<Served> {
    match call.method {
        Method::GET => {
            let found = store.find(key).cloned().ok_or_else(|| ApiStatus::not_found(key.kind(), &key.name))?;
            Ok(ok(shaped(call, found)))
        }
        Method::PUT => update::replace(store, key, door, call.json()?, call.is_dry_run()).map(ok),
        Method::PATCH => {
            let existed = store.find(key).is_some();
            let request = PatchRequest {
                content_type: &call.content_type,
                body: patch_body(call)?,
                dry_run: call.is_dry_run(),
                field_manager: call.parameter("fieldManager"),
                force: call.parameter("force") == "true",
            };
            let stored = patch::patch(store, key, door, &request)?;
            Ok(if existed { ok(shaped(call, stored)) } else { created(shaped(call, stored)) })
        }
        Method::DELETE if door == Door::Main => delete::delete(store, key, &delete_options(call)?).map(ok),
        _ => Err(not_allowed()),
    }
}

/// An apply may be YAML; JSON is YAML too.
fn patch_body(call: &Call) -> Answer {
    if call.content_type != "application/apply-patch+yaml" {
        return call.json();
    }
    serde_yaml::from_slice(&call.body).map_err(|error| ApiStatus::new(400, format!("error decoding YAML: {error}")))
}

fn shaped(call: &Call, object: Value) -> Value {
    if list::wants_metadata_only(&call.accept) { list::partial(&object) } else { object }
}

fn eviction(store: &mut Store, call: &Call, key: &Key) -> Answer<Served> {
    let body = call.json()?;
    if body["kind"] != "Eviction" || body["apiVersion"] != "policy/v1" {
        return Err(ApiStatus::new(400, "the body must be a policy/v1 Eviction"));
    }
    if object::name(&body) != key.name {
        return Err(ApiStatus::new(400, "name in URL does not match name in Eviction object"));
    }
    evict::evict(store, key, &body, call.is_dry_run()).map(created)
}

fn log(store: &Store, call: &Call, key: &Key, logs: Logs<'_>) -> Answer<Served> {
    let pod = store.find(key).ok_or_else(|| ApiStatus::not_found(key.kind(), &key.name))?;
    let names: Vec<&str> = object::items(pod, "/spec/containers").iter().map(|it| object::text(it, "/name")).collect();
    let asked = call.parameter("container");
    let container = match (asked, names.as_slice()) {
        ("", [only]) => only,
        ("", several) => {
            let why = format!("a container name must be specified for pod {}, choose one of: {several:?}", key.name);
            return Err(ApiStatus::new(400, why));
        }
        (asked, _) => asked,
    };
    if object::text(pod, "/status/phase") == "Pending" {
        let why = format!("container \"{container}\" in pod \"{}\" is waiting to start: ContainerCreating", key.name);
        return Err(ApiStatus::new(400, why));
    }
    let whole = logs(key, container);
    let lines: Vec<&str> = whole.lines().collect();
    let last = call.parameter("tailLines").parse().unwrap_or(lines.len()).min(lines.len());
    let mut text = lines[lines.len() - last..].iter().fold(String::new(), |text, line| text + line + "\n");
    if let Ok(limit) = call.parameter("limitBytes").parse::<usize>() {
        while text.len() > limit {
            text.pop();
        }
    }
    Ok(Served { code: 200, body: Body::Text(text) })
}

/// `DeleteOptions` come in the body or as query parameters.
fn delete_options(call: &Call) -> Answer<DeleteOptions> {
    let mut options = DeleteOptions::of(&call.json()?);
    options.grace = options.grace.or(call.parameter("gracePeriodSeconds").parse().ok());
    options.propagation = options.propagation.or(Propagation::parse(call.parameter("propagationPolicy")));
    options.dry_run |= call.is_dry_run();
    Ok(options)
}
