//! The verification pod: the user's manifest made safe for one node, and what its end means.

mod credentials;
mod manifest;
mod verdict;

pub use credentials::guarded;
pub use manifest::{
    NODE_ANNOTATION, Placement, Template, is_verification_pod, pod_name, readable, text_of, verification_pods,
};
pub use verdict::{Cause, EventFacts, Failure, Verdict, refused, verdict};
