//! The body of an answer: all at once, or a watch that goes on until it ends, breaks or its process is dead.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use http_body_util::Full;
use hyper::body::{Body, Bytes, Frame};
use tokio::time::{Instant, Sleep, sleep};

use crate::api::watch::Watch;
use crate::cluster::Inner;

/// What a request is answered with.
pub enum AnswerBody {
    /// An object, a list, a status, a log.
    Whole(Full<Bytes>),
    /// Events.
    Watch(Box<Watching>),
}

/// A watch on one connection.
pub struct Watching {
    inner: Arc<Inner>,
    incarnation: u64,
    breaks: u64,
    watch: Watch,
    until: Option<Instant>,
    /// The world tells nobody when it changes.
    next_look: Pin<Box<Sleep>>,
}

/// Time between two looks at the world.
const LOOK_EVERY: Duration = Duration::from_millis(200);

impl Watching {
    pub(crate) fn new(inner: Arc<Inner>, incarnation: u64, breaks: u64, watch: Watch) -> Self {
        let until = watch.lasts.map(|time| Instant::now() + time);
        Self { inner, incarnation, breaks, watch, until, next_look: Box::pin(sleep(LOOK_EVERY)) }
    }

    /// What the client gets now.
    fn look(&mut self) -> Poll<Option<std::io::Result<Bytes>>> {
        let state = self.inner.state();
        if state.incarnation > self.incarnation || state.watches_muted {
            return Poll::Pending;
        }
        if state.watch_breaks > self.breaks {
            return Poll::Ready(Some(Err(std::io::ErrorKind::ConnectionReset.into())));
        }
        let events = self.watch.events(&state.world.store);
        if !events.is_empty() {
            return Poll::Ready(Some(Ok(Bytes::from(events))));
        }
        let is_over = self.until.is_some_and(|until| Instant::now() >= until);
        if is_over { Poll::Ready(None) } else { Poll::Pending }
    }
}

impl Body for AnswerBody {
    type Data = Bytes;
    type Error = std::io::Error;

    fn poll_frame(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<std::io::Result<Frame<Bytes>>>> {
        match self.get_mut() {
            Self::Whole(body) => Pin::new(body).poll_frame(context).map_err(|never| match never {}),
            Self::Watch(watching) => loop {
                if let Poll::Ready(next) = watching.look() {
                    return Poll::Ready(next.map(|bytes| bytes.map(Frame::data)));
                }
                watching.next_look.as_mut().reset(Instant::now() + LOOK_EVERY);
                if watching.next_look.as_mut().poll(context).is_pending() {
                    return Poll::Pending;
                }
            },
        }
    }
}
