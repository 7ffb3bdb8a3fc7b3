//! The same requests to the fake and to a real kube-apiserver: the snapshot holds the real one's answers.
//!
//! The fake is always asked. A real server (without controllers, with RBAC) is asked as well when `KLM_REAL_APISERVER` is
//! its address and `KLM_REAL_TOKEN` a token of `system:masters`; accept changed snapshots only from there.
#![allow(clippy::unwrap_used, clippy::needless_pass_by_value, reason = "a test stops at the first surprise")]

mod probe;
mod questions;

use probe::Probe;

#[tokio::test]
async fn the_fake_answers_as_a_real_api_server_does() {
    let mut probe = Probe::fake();
    questions::ask_all(&mut probe).await;
    insta::assert_snapshot!("answers", probe.report());
}

#[tokio::test]
async fn a_real_api_server_answers_as_recorded() {
    let Some(mut probe) = Probe::real() else { return };
    questions::ask_all(&mut probe).await;
    insta::assert_snapshot!("answers", probe.report());
}
