//! What the API server and helm answer, and what others put into objects: read without panic, shown without harm.

use klm_core::drain::{Answer, Budget, Outlook, next};
use klm_core::fleet_table::{Row, lines};
use klm_core::pod::PodFacts;
use klm_core::post_render::scope;
use klm_core::release::{history, metadata, user_values};
use klm_core::selector::Selector;
use proptest::prelude::*;
use serde_json::Value;

use crate::{config, json, text};

const KEYS: &[&str] = &[
    "metadata",
    "spec",
    "status",
    "name",
    "namespace",
    "labels",
    "annotations",
    "ownerReferences",
    "controller",
    "conditions",
    "type",
    "message",
    "containers",
    "initContainers",
    "containerStatuses",
    "state",
    "waiting",
    "terminated",
    "exitCode",
    "reason",
    "restartCount",
    "phase",
    "selector",
    "matchLabels",
    "matchExpressions",
    "operator",
    "key",
    "values",
    "disruptionsAllowed",
    "currentHealthy",
    "desiredHealthy",
    "expectedPods",
    "volumes",
    "emptyDir",
];

const DISPATCHER: &str = "---\n{\"kind\":\"Job\",\"metadata\":{\"name\":\"x-install-dispatcher\"},\"spec\":{\"template\":{\"spec\":{\"containers\":[{\"args\":[\"--nodes=a\"]}]}}}}\n";

proptest! {
    #![proptest_config(config())]

    #[test]
    fn pods_and_budgets_of_any_form_are_read(pod in json(KEYS), budget in json(KEYS), selector in json(KEYS)) {
        let (pod, budget) = (PodFacts::from_json(&pod), Budget::from_json(&budget));
        let _ = Outlook::of(&pod, &[budget.clone(), budget]);
        let _ = Selector::from_json(&selector);
    }

    #[test]
    fn every_answer_to_an_eviction_has_a_consequence(
        code in any::<u16>(), reason in text(), message in text(), causes in prop::collection::vec(text(), 0..3),
        retry_after in any::<Option<u64>>(), deleting in any::<bool>(),
    ) {
        let answer = Answer { code, reason, message, causes, retry_after };
        assert_eq!(next(&answer, deleting), next(&answer, deleting));
    }

    #[test]
    fn an_answer_of_helm_that_is_none_is_told_by_its_place_alone(secret in "[a-z]{12}", rest in text()) {
        for text in [format!("{{\"{secret}\": {rest}"), format!("{rest}\n[\"{secret}\""), format!("{secret}{rest}")] {
            let errors = [metadata(&text).err(), history(&text).err(), user_values(&text).err()];
            for error in errors.into_iter().flatten() {
                assert!(error.to_string().starts_with("`helm ") && !error.to_string().contains(&secret), "{error}");
            }
        }
    }

    #[test]
    fn helms_values_are_read_after_whatever_it_says_first(values in json(KEYS), said in "[A-Za-z: ]{0,20}") {
        if let Value::Object(values) = values {
            let printed = serde_json::to_string(&values).unwrap();
            let read = user_values(&format!("{said}\n{printed}\n")).unwrap();
            assert_eq!(serde_json::to_string(&read).unwrap(), printed);
        }
    }

    #[test]
    fn the_post_renderer_changes_nothing_but_the_dispatcher(before in text(), after in text()) {
        let read = |text: &str| serde_json::from_str::<Value>(text);
        // What begins a document of its own or names a dispatcher may be one.
        let others = [before, after].map(|text| text.replace("---", "").replace("install-dispatcher", ""));
        let stream = format!("{}\n{DISPATCHER}---\n{}\n", others[0], others[1]);
        let scoped = scope(&stream, false, read).unwrap();
        let (head, tail) = (format!("{}\n---\n", others[0]), format!("---\n{}\n", others[1]));
        assert!(scoped.starts_with(&head) && scoped.ends_with(&tail), "{scoped:?}");
        // Twice, or not at all, is nothing that can be trusted.
        assert!(scope(&format!("{stream}{DISPATCHER}"), false, read).is_err() && scope(&others[0], false, read).is_err());
    }

    #[test]
    fn what_a_pod_said_can_not_draw_on_the_terminal(reason in text(), remark in text(), version in text()) {
        let row = Row { reason: Some(reason), remarks: vec![remark], version: Some(version), ..Row::new("worker-1", None, None) };
        for line in lines(&[row]) {
            assert!(!line.plain().contains(char::is_control), "{:?}", line.plain());
        }
    }
}
