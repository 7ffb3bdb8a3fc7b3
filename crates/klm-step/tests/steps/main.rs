//! Every step against the fake API server and the fake helm, on virtual time; what really happened on the nodes is the
//! oracle, not what labels say.
#![allow(
    clippy::large_futures,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    missing_docs,
    reason = "a test stops at the first surprise"
)]

mod bed;
mod daemonset;
mod evictions;
mod failures;
mod hostile;
mod job;
mod kill;
mod lent;
mod midrun;
mod names;
mod other_helms;
mod outage;
mod outside;
mod page;
mod rights;
mod taints;
mod watches;
mod ways_back;
