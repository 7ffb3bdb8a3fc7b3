//! Helm's requests: raw, so that the fake sees what helm would send.

use http::{Method, Request, StatusCode};
use http_body_util::BodyExt as _;
use kube::Client;
use kube::client::Body;
use serde_json::Value;

use crate::api::kinds;
use crate::api::object;

async fn send(
    client: &Client,
    method: Method,
    path: &str,
    kind: &str,
    body: Option<&Value>,
) -> Result<(StatusCode, Value), String> {
    let bytes = body.map(|body| body.to_string().into_bytes()).unwrap_or_default();
    let request =
        Request::builder().method(method).uri(path).header("content-type", kind).header("user-agent", "Helm/4.2.4");
    let request = request.body(Body::from(bytes)).map_err(|error| error.to_string())?;
    let unreachable = |error: &dyn std::fmt::Display| format!("kubernetes cluster unreachable: {error}");
    let response = client.send(request).await.map_err(|error| unreachable(&error))?;
    let status = response.status();
    let bytes = response.into_body().collect().await.map_err(|error| unreachable(&error))?.to_bytes();
    let body = serde_json::from_slice(&bytes).unwrap_or(Value::Null);
    Ok((status, body))
}

fn expect(answer: (StatusCode, Value)) -> Result<Value, String> {
    let (status, body) = answer;
    if status.is_success() { Ok(body) } else { Err(object::text(&body, "/message").to_owned()) }
}

/// GET; nothing when it isn't there.
pub(super) async fn get(client: &Client, path: &str) -> Result<Option<Value>, String> {
    let answer = send(client, Method::GET, path, "application/json", None).await?;
    if answer.0 == StatusCode::NOT_FOUND { Ok(None) } else { expect(answer).map(Some) }
}

/// GET on a collection.
pub(super) async fn list(client: &Client, path: &str) -> Result<Vec<Value>, String> {
    let answer = expect(send(client, Method::GET, path, "application/json", None).await?)?;
    Ok(object::items(&answer, "/items").to_vec())
}

/// POST.
pub(super) async fn post(client: &Client, path: &str, body: &Value) -> Result<Value, String> {
    expect(send(client, Method::POST, path, "application/json", Some(body)).await?)
}

/// PUT.
pub(super) async fn put(client: &Client, path: &str, body: &Value) -> Result<Value, String> {
    expect(send(client, Method::PUT, path, "application/json", Some(body)).await?)
}

/// DELETE; an object that is gone is fine.
pub(super) async fn delete(client: &Client, path: &str, propagation: &str) -> Result<(), String> {
    let body = serde_json::json!({"kind": "DeleteOptions", "apiVersion": "v1", "propagationPolicy": propagation});
    let answer = send(client, Method::DELETE, path, "application/json", Some(&body)).await?;
    if answer.0 == StatusCode::NOT_FOUND { Ok(()) } else { expect(answer).map(drop) }
}

/// The path of an object.
pub(super) fn path_of(object: &Value, namespace: &str) -> Result<String, String> {
    let (version, kind) = (object::text(object, "/apiVersion"), object::text(object, "/kind"));
    let kind = kinds::by_manifest(version, kind)
        .ok_or_else(|| format!("no matches for kind {kind:?} in version {version:?}"))?;
    let root = if kind.group.is_empty() {
        format!("/api/{}", kind.version)
    } else {
        format!("/apis/{}/{}", kind.group, kind.version)
    };
    let own = object::namespace(object);
    let home = if own.is_empty() { namespace } else { own };
    let scope = if kind.namespaced { format!("/namespaces/{home}") } else { String::new() };
    Ok(format!("{root}{scope}/{}/{}", kind.plural, object::name(object)))
}

/// The object with the labels and annotations by which helm knows its own.
pub(crate) fn owned(release: (&str, &str), object: &Value) -> Value {
    let (name, namespace) = release;
    let mut ours = object.clone();
    object::set_label(&mut ours, "app.kubernetes.io/managed-by", "Helm");
    if object["kind"] == "RuntimeClass" {
        // The chart's own word for it wins.
        object::set_label(&mut ours, "app.kubernetes.io/managed-by", "kata-deploy");
    }
    object::set_annotation(&mut ours, "meta.helm.sh/release-name", name);
    object::set_annotation(&mut ours, "meta.helm.sh/release-namespace", namespace);
    ours
}

/// Server-side apply, with the labels and annotations by which helm knows its own objects.
pub(super) async fn apply(client: &Client, release: (&str, &str), object: &Value, force: bool) -> Result<(), String> {
    let (name, namespace) = release;
    let ours = owned(release, object);
    let path = path_of(object, namespace)?;
    // Helm looks first: the account needs `get`, and a foreign object is refused.
    if let Some(found) = get(client, &path).await? {
        let owner = object::annotation(&found, "meta.helm.sh/release-name");
        if owner.is_some_and(|owner| owner != name) {
            return Err(format!(
                "{} {:?} exists and cannot be imported into the current release: it belongs to release {:?}",
                object["kind"],
                object::name(object),
                owner.unwrap_or_default()
            ));
        }
    }
    apply_as_is(client, namespace, &ours, force).await
}

/// Server-side apply of an object that helm doesn't count as its own: a hook.
pub(super) async fn apply_as_is(client: &Client, namespace: &str, object: &Value, force: bool) -> Result<(), String> {
    let path = path_of(object, namespace)?;
    let path = format!("{path}?fieldManager=helm&fieldValidation=Strict&force={force}");
    let answer = send(client, Method::PATCH, &path, "application/apply-patch+yaml", Some(object)).await?;
    let conflicts = answer.0 == StatusCode::CONFLICT;
    expect(answer).map(drop).map_err(|error| {
        if !conflicts {
            return error;
        }
        let (version, kind) = (object::text(object, "/apiVersion"), object::text(object, "/kind"));
        format!(
            "conflict occurred while applying object {}/{} {version}, Kind={kind}: {error}",
            object::namespace(object),
            object::name(object)
        )
    })
}
