//! The API server's own behaviour: what a request does to the objects, without time, faults or transport.

pub mod admission;
pub mod apply;
pub mod authorize;
pub mod call;
pub mod create;
pub mod delete;
pub mod discovery;
pub mod escalate;
pub mod evict;
pub mod kinds;
pub mod list;
pub mod object;
pub mod patch;
pub mod review;
pub mod selector;
pub mod serve;
pub mod status;
pub mod store;
pub mod strategic;
pub mod update;
pub mod validate;
pub mod watch;
