//! What a wave waits for: listed once, then kept up to date by a watch. A look at it costs no request.
//!
//! The other way would have been a list for every look, narrowed by selectors. Labels narrow nodes, Jobs and verification
//! pods to a wave, but kata-deploy's pods carry nothing of ours, so that each look reads the whole fleet's; and a look
//! every few seconds is what a wave's end then waits for.

use std::collections::BTreeMap;
use std::marker::PhantomData;
use std::time::Duration;

use futures::StreamExt as _;
use k8s_openapi::api::core::v1::Pod;
use klm_core::pod::PodFacts;
use kube::api::{WatchEvent, WatchParams};
use serde_json::Value;
use tokio::sync::mpsc::error::TryRecvError;
use tokio::sync::mpsc::{Receiver, channel};
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::error::{ApiError, Cause};
use super::request::{Event, Events, listing};
use super::{Cluster, Kind, Query, malformed, path};

/// A watch is asked for this long. The server ends it well then, and it goes on where it was.
const LASTS: Duration = Duration::from_secs(240);

/// After this long without a word another watch is begun: the connection may be dead, and nobody told us. Servers send
/// a bookmark about every minute.
const SILENT_FOR: Duration = Duration::from_secs(90);

/// Events that are read before anybody looks. A pod's is some ten kilobytes.
const READ_AHEAD: usize = 256;

/// Objects as they are, by name (`namespace/name` where the view is of all namespaces), each reduced to what is needed of it.
pub struct View<K, T> {
    cluster: Cluster,
    namespace: Option<String>,
    query: Query,
    keep: Keep<T>,
    objects: BTreeMap<String, T>,
    /// Where the watch begins or goes on.
    version: String,
    watch: Option<Watch>,
    changed: bool,
    kind: PhantomData<K>,
}

/// Objects come as plain JSON: code that reads events of a whole typed kind would be a tenth of the program for each.
type Keep<T> = Box<dyn Fn(Value) -> Result<Option<T>, serde_json::Error>>;

/// Read by a task of its own: the server sends each event by itself, and a connection hands the next one over only after
/// it was waited for, which a look never does.
struct Watch {
    events: Receiver<Event>,
    heard: Instant,
    /// Ends with the watch.
    _reader: JoinSet<()>,
}

impl Watch {
    fn read(mut events: Events) -> Self {
        let (sender, receiver) = channel(READ_AHEAD);
        let mut reader = JoinSet::new();
        reader.spawn(async move {
            while let Some(event) = events.next().await {
                if sender.send(event).await.is_err() {
                    return;
                }
            }
        });
        Self { events: receiver, heard: Instant::now(), _reader: reader }
    }
}

/// What came of reading the events that are there.
enum Heard {
    /// All of them; more may come.
    Everything,
    /// The watch is over; the next goes on where it was.
    TheEnd,
    /// The server has forgotten where we were.
    Expired,
}

impl<K: Kind, T> View<K, T> {
    /// Lists the objects.
    pub async fn open(
        cluster: &Cluster,
        namespace: Option<&str>,
        query: Query,
        keep: impl Fn(K) -> Option<T> + 'static,
    ) -> Result<Self, ApiError> {
        let keep = move |object| Ok(keep(serde_json::from_value(object)?));
        Self::begun(cluster, namespace, query, Box::new(keep)).await
    }

    async fn begun(cluster: &Cluster, namespace: Option<&str>, query: Query, keep: Keep<T>) -> Result<Self, ApiError> {
        let mut view = Self {
            cluster: cluster.clone(),
            namespace: namespace.map(str::to_owned),
            query,
            keep,
            objects: BTreeMap::new(),
            version: String::new(),
            watch: None,
            changed: true,
            kind: PhantomData,
        };
        view.list_again().await?;
        Ok(view)
    }

    /// The objects as they were when [`Self::follow`] was called last.
    pub const fn objects(&self) -> &BTreeMap<String, T> {
        &self.objects
    }

    /// Lists them all again: for a verdict that must not rest on what a watch may not have told yet.
    pub async fn list_again(&mut self) -> Result<(), ApiError> {
        self.watch = None;
        let keep = |object: Value| {
            let key = self.key(&object);
            Some((self.keep)(object).transpose()?.map(|kept| (key, kept)))
        };
        let namespace = self.namespace.as_deref();
        let (objects, version) = self.cluster.list_as::<K, Value, _>(namespace, &self.query, keep).await?;
        let readable: Result<_, serde_json::Error> = objects.into_iter().collect();
        self.objects = readable.map_err(|error| malformed(listing::<K>(namespace), &error))?;
        self.version = version;
        self.changed = true;
        Ok(())
    }

    /// Takes in what has changed, without waiting for anything. Says whether it did since the last call.
    pub async fn follow(&mut self) -> Result<bool, ApiError> {
        if self.watch.is_none() {
            match self.begin().await {
                Ok(watch) => self.watch = Some(watch),
                // So much has changed since the list that its version is gone.
                Err(error) if error.cause.code() == Some(410) => self.list_again().await?,
                Err(error) => return Err(error),
            }
        }
        if let Some(mut watch) = self.watch.take() {
            match self.hear(&mut watch) {
                Heard::Everything if watch.heard.elapsed() < SILENT_FOR => self.watch = Some(watch),
                Heard::Everything | Heard::TheEnd => {}
                Heard::Expired => self.list_again().await?,
            }
        }
        Ok(std::mem::take(&mut self.changed))
    }

    fn key(&self, object: &Value) -> String {
        let name = text(object, "name");
        match text(object, "namespace") {
            namespace if self.namespace.is_none() && !namespace.is_empty() => format!("{namespace}/{name}"),
            _ => name.to_owned(),
        }
    }

    async fn begin(&self) -> Result<Watch, ApiError> {
        let params = WatchParams {
            label_selector: self.query.labels.clone(),
            field_selector: self.query.fields.clone(),
            timeout: u32::try_from(LASTS.as_secs()).ok(),
            ..WatchParams::default()
        };
        let plural = K::plural(&());
        let request = path::<K>(self.namespace.as_deref()).watch(&params, &self.version);
        Ok(Watch::read(self.cluster.events(|| format!("watch {plural}"), request).await?))
    }

    fn hear(&mut self, watch: &mut Watch) -> Heard {
        loop {
            let event = match watch.events.try_recv() {
                Err(TryRecvError::Empty) => return Heard::Everything,
                Err(TryRecvError::Disconnected) => return Heard::TheEnd,
                Ok(event) => event,
            };
            watch.heard = Instant::now();
            match event {
                Ok(WatchEvent::Added(object) | WatchEvent::Modified(object)) => {
                    let (key, version) = (self.key(&object), text(&object, "resourceVersion").to_owned());
                    match (self.keep)(object) {
                        Ok(Some(kept)) => self.objects.insert(key, kept),
                        Ok(None) => self.objects.remove(&key),
                        Err(error) => {
                            tracing::warn!(object = %key, %error, "a watch told what can't be read");
                            return Heard::TheEnd;
                        }
                    };
                    self.version = version;
                    self.changed = true;
                }
                Ok(WatchEvent::Deleted(object)) => {
                    text(&object, "resourceVersion").clone_into(&mut self.version);
                    self.changed = true;
                    self.objects.remove(&self.key(&object));
                }
                Ok(WatchEvent::Bookmark(bookmark)) => self.version = bookmark.metadata.resource_version,
                Ok(WatchEvent::Error(status)) if status.code == 410 => return Heard::Expired,
                Ok(WatchEvent::Error(status)) => {
                    let cause = Cause::Status(status);
                    tracing::warn!(%cause, "a watch was ended by the server");
                    return Heard::TheEnd;
                }
                Err(error) => {
                    tracing::warn!(%error, "a watch broke");
                    self.cluster.has_lost_the_server();
                    return Heard::TheEnd;
                }
            }
        }
    }
}

impl View<Pod, PodFacts> {
    /// Pods as decisions about pods read them.
    pub async fn of_pods(cluster: &Cluster, namespace: Option<&str>, query: Query) -> Result<Self, ApiError> {
        Self::begun(cluster, namespace, query, Box::new(|pod| Ok(Some(PodFacts::from_json(&pod))))).await
    }
}

/// A text in an object's metadata.
fn text<'a>(object: &'a Value, field: &str) -> &'a str {
    object["metadata"][field].as_str().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use std::io;

    use k8s_openapi::api::core::v1::ConfigMap;
    use kube::{Client, Config};
    use serde_json::json;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::{TcpListener, TcpStream};
    use tokio::time::{sleep, timeout};

    use super::*;

    const EVENTS: usize = 100;
    const LOOK: Duration = Duration::from_millis(200);

    /// A real connection: what matters is how it hands over what comes piece by piece.
    async fn serve(listener: TcpListener) -> io::Result<()> {
        let mut asked = JoinSet::new();
        loop {
            let (connection, _) = listener.accept().await?;
            asked.spawn(answer(connection));
        }
    }

    async fn answer(mut connection: TcpStream) -> io::Result<()> {
        loop {
            let mut request = Vec::new();
            while !request.ends_with(b"\r\n\r\n") {
                request.push(connection.read_u8().await?);
            }
            if String::from_utf8_lossy(&request).contains("watch=true") {
                break;
            }
            let list = json!({"metadata": {"resourceVersion": "1"}, "items": []}).to_string();
            let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n", list.len());
            connection.write_all((head + &list).as_bytes()).await?;
        }
        connection.write_all(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n").await?;
        for number in 0..EVENTS {
            let object = json!({"metadata": {"name": format!("map-{number}"), "resourceVersion": "2"}});
            let event = format!("{}\n", json!({"type": "ADDED", "object": object}));
            connection.write_all(format!("{:x}\r\n{event}\r\n", event.len()).as_bytes()).await?;
        }
        std::future::pending().await
    }

    #[tokio::test]
    async fn a_look_takes_in_all_that_came_and_not_one_event() {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = format!("http://{}", listener.local_addr().expect("an address"));
        let client = Client::try_from(Config::new(address.parse().expect("an address"))).expect("a client");
        let mut server = JoinSet::new();
        server.spawn(serve(listener));
        let cluster = Cluster::new(client);
        let all = View::open(&cluster, None, Query::all(), |map: ConfigMap| map.metadata.name);
        let mut view = all.await.expect("a list");
        let mut looks = 0;
        let look = async {
            while view.objects().len() < EVENTS {
                looks += usize::from(view.follow().await.expect("a watch"));
                sleep(LOOK).await;
            }
        };
        timeout(100 * LOOK, look).await.expect("every event");
        assert!(looks < EVENTS / 4, "{looks} looks for {EVENTS} events that came at once");
    }
}
