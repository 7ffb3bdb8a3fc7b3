//! Every answer that an API server can give to an eviction, through a whole wave: waited for, or the node is given back.

use http::Method;
use klm_step::exit::StepError;
use klm_testkit::Fault;
use klm_testkit::fixtures::{Fleet, node, pod};
use rstest::rstest;
use serde_json::{Value, json};

use crate::bed::Bed;

const EVICTION: &str = "*/pods/app/eviction";

fn bed() -> Bed {
    let bed = Bed::new(Fleet::new().workers(1));
    bed.cluster.add(pod("app").on("worker-1").owned_by("ReplicaSet", "app"));
    bed
}

fn answer(code: u16, message: &str, details: &Value) -> Fault {
    refusal(EVICTION, code, message, details)
}

fn refusal(path: &str, code: u16, message: &str, details: &Value) -> Fault {
    let status = json!({
        "kind": "Status", "apiVersion": "v1", "status": "Failure", "code": code, "message": message, "details": details,
    });
    Fault::body(Method::POST, path, code, status)
}

fn cause(reason: &str) -> Value {
    json!({"causes": [{"reason": reason, "message": "m"}]})
}

const NEEDS: &str =
    "Cannot evict pod as it would violate the pod's disruption budget: it needs 2 healthy pods and has 2";
const TWO: &str = "This pod has more than one PodDisruptionBudget, which the eviction subresource does not support.";
const ODD: &str = "pod disruption budget b has negative disruptions allowed";

#[rstest]
#[case::gone(answer(404, "pods \"app\" not found", &json!({})))]
#[case::another_pod_of_that_name(answer(409, "the UID in the precondition does not match", &json!({})))]
#[case::budget_is_used_up(answer(429, NEEDS, &cause("DisruptionBudget")).times(5))]
#[case::budget_is_not_counted_yet(answer(429, "not processed yet", &json!({"causes": [{"reason": "DisruptionBudget"}], "retryAfterSeconds": 10})).times(2))]
#[case::throttled(Fault::throttled(Method::POST, EVICTION, 3).times(4))]
#[case::odd_budget(answer(403, ODD, &json!({})).times(3))]
#[case::conflicts(answer(504, "timed out", &json!({"retryAfterSeconds": 10})).times(3))]
#[case::namespace_is_going(answer(403, "being terminated", &cause("NamespaceTerminating")).times(2))]
#[case::broken(Fault::status(Method::POST, EVICTION, 500).times(4))]
#[case::away(Fault::status(Method::POST, EVICTION, 503).times(4))]
#[case::disconnected(Fault::disconnect(Method::POST, EVICTION).times(3))]
#[case::answer_is_lost(Fault::lose_answer(Method::POST, EVICTION))]
#[case::no_answer(Fault::hang(Method::POST, EVICTION))]
#[tokio::test(start_paused = true)]
async fn what_may_pass_is_waited_for(#[case] fault: Fault) {
    let bed = bed();
    bed.cluster.inject(fault);
    let flow = bed.flow("up", &[("drain-enabled", "true"), ("drain-timeout", "5m")]);
    bed.plan(&flow, "4.0.0", &["worker-1"]).await;
    bed.rollout(&flow, 1).await.unwrap();
    assert_eq!(bed.cluster.clear_faults(), Vec::<String>::new(), "it struck as often as it was meant to");
    assert_eq!(bed.cluster.get("pods", "default", "app"), None);
    bed.assert_tidy();
}

#[rstest]
#[case::two_budgets(answer(500, TWO, &json!({})), TWO)]
#[case::no_right(answer(403, "pods \"app\" is forbidden", &json!({})), "pods \"app\" is forbidden")]
#[case::no_credentials(answer(401, "Unauthorized", &json!({})), "Unauthorized")]
#[case::a_budget_that_never_opens(answer(429, NEEDS, &cause("DisruptionBudget")), NEEDS)]
#[case::an_odd_budget_for_good(answer(403, ODD, &json!({})), ODD)]
#[tokio::test(start_paused = true)]
async fn what_does_not_pass_fails_the_drain_alone_and_is_said(#[case] fault: Fault, #[case] why: &str) {
    let bed = bed();
    let flow = bed.flow("up", &[("drain-enabled", "true"), ("drain-timeout", "5m")]);
    bed.plan(&flow, "4.0.0", &["worker-1"]).await;
    // Since the check; that one tries evictions out.
    bed.cluster.inject(fault.always());
    let outcome = bed.rollout(&flow, 1).await;
    let Err(StepError::Unverified(failures)) = outcome else { panic!("{outcome:?}") };
    let said = &failures[0].cause;
    assert!(said.contains("default/app") && said.contains(why), "{said}");
    assert_eq!((bed.installs("worker-1"), bed.installed("worker-1")), (1, "3.31.0".to_owned()), "nothing was changed");
    assert!(
        bed.cluster.get("pods", "default", "app").is_some_and(|pod| pod["metadata"]["deletionTimestamp"].is_null())
    );
    bed.assert_tidy();
}

#[tokio::test(start_paused = true)]
async fn each_node_of_a_large_wave_has_the_whole_time_and_none_is_polled() {
    // More than a step asks the server for at once; all but the last eight never drain.
    let names: Vec<String> = (1..=40).map(|number| format!("worker-{number:02}")).collect();
    let fleet = names.iter().fold(Fleet::new().workers(0), |fleet, name| fleet.node(node(name)));
    let bed = Bed::new(fleet);
    for (number, name) in names.iter().enumerate() {
        let app = if number < 32 { format!("stuck-{number}") } else { format!("app-{number}") };
        bed.cluster.add(pod(&app).on(name).owned_by("ReplicaSet", "app"));
    }
    let flow = bed.flow("up", &[("drain-enabled", "true"), ("drain-timeout", "5m"), ("batch-size", "40")]);
    bed.plan(&flow, "4.0.0", &names.iter().map(String::as_str).collect::<Vec<_>>()).await;
    bed.cluster.inject(refusal("*/pods/stuck-*/eviction", 429, NEEDS, &cause("DisruptionBudget")).always());
    let Err(StepError::Unverified(failures)) = bed.rollout(&flow, 1).await else { panic!("all went well") };
    assert_eq!(failures.len(), 32, "{failures:#?}");
    let of_a_node = |line: &&String| line.starts_with("GET /api/v1/pods?") && line.contains("spec.nodeName");
    let is_list = |line: &&String| !line.contains("watch=");
    let lists = bed.cluster.transcript().iter().filter(of_a_node).filter(is_list).count();
    assert!(lists <= 2 * names.len(), "{lists} lists of pods for {} nodes", names.len());
    bed.assert_tidy();
}
