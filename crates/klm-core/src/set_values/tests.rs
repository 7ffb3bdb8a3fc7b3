use proptest::prelude::*;
use rstest::rstest;
use serde::Deserialize;
use serde_json::json;

use super::*;

/// One line of the golden table: a text, and what Helm's own parser made of it; nothing where it refused.
#[derive(Deserialize)]
struct Golden {
    text: String,
    typed: Option<Values>,
    strings: Option<Values>,
}

#[test]
fn every_text_means_what_it_means_to_helm() {
    let table = include_str!("../../tests/data/strvals.jsonl");
    let rows: Vec<Golden> = table.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert!(rows.len() >= 1_000, "the table is there");
    for Golden { text, typed, strings } in rows {
        assert_eq!(parse(&text, Style::Typed).ok(), typed, "--set {text}");
        assert_eq!(parse(&text, Style::Text).ok(), strings, "--set-string {text}");
    }
}

#[rstest]
#[case("job.nodes={a}", "job.nodes")]
#[case("job.nodes[0]=a", "job.nodes")]
#[case("job=null", "job.nodes")]
#[case("job.parallelism=3", "job.parallelism")]
#[case("deploymentMode=job", "deploymentMode")]
#[case("updateStrategy.type=RollingUpdate", "updateStrategy")]
#[case("env.multiInstallSuffix=x", "env.multiInstallSuffix")]
#[case("env=", "env.multiInstallSuffix")]
#[case("a=b,verification.pod=x", "verification.pod")]
fn what_the_run_sets_itself_is_refused_by_name(#[case] text: &str, #[case] key: &str) {
    let refusals = UserValues::parse(text).unwrap_err();
    assert!(refusals.iter().any(|refusal| refusal.what.contains(&format!("`{key}`"))), "{refusals:?}");
}

#[test]
fn neighbours_of_reserved_keys_are_the_users() {
    for text in ["job.ttlSecondsAfterFinished=60", "env.installationPrefix=/x", "verification.timeout=9", "debug=true"]
    {
        assert_eq!(UserValues::parse(text).unwrap().notices, Vec::<String>::new(), "{text}");
    }
}

#[test]
fn the_documented_custom_image_does_what_it_says() {
    let given = "image.repository=myregistry.io/kata-deploy,image.tag=my-custom-tag";
    let user = UserValues::parse(given).unwrap();
    let expected = json!({"image": {"reference": "myregistry.io/kata-deploy", "tag": "my-custom-tag"}});
    assert_eq!(Value::Object(user.values), expected);
    assert_eq!(user.notices.len(), 1);
    assert!(user.notices[0].contains("image.reference"));
}

#[test]
fn a_reference_of_the_users_own_is_never_replaced() {
    let user = UserValues::parse("image.repository=a,image.reference=b").unwrap();
    assert_eq!(values::text(&user.values, "image.reference"), Some("b"));
    assert!(user.notices[0].contains("no effect"));
}

#[test]
fn no_message_quotes_what_may_be_a_secret() {
    for text in
        ["password=hunter2,hunter3", "token={hunter2", "hunter2", "a=1,a.hunter2=x", "a[hunter2]=1", "a[0]hunter2=1"]
    {
        for refusal in UserValues::parse(text).unwrap_err() {
            assert!(!refusal.to_string().contains("hunter"), "{refusal}");
        }
    }
}

#[test]
fn a_text_that_sets_nothing_is_refused() {
    for text in ["a[0", "=x", "[0]=x"] {
        assert!(UserValues::parse(text).unwrap_err()[0].what.contains("sets nothing"), "{text}");
    }
    assert_eq!(UserValues::parse("").unwrap(), UserValues::default());
}

#[test]
fn a_few_indices_can_not_ask_for_all_memory() {
    let text = (0..40).map(|n| format!("a{n}[65536]=1")).collect::<Vec<_>>().join(",");
    assert!(parse(&text, Style::Typed).is_err());
    assert!(parse(&format!("a{}=1", "[0]".repeat(40_000)), Style::Typed).is_err(), "nor for all of the stack");
}

#[test]
fn no_wave_makes_no_list() {
    assert_eq!(quote_list(&[]), None);
}

proptest! {
    #[test]
    fn a_quoted_list_of_nodes_reads_back(names in prop::collection::vec("[a-z0-9]([a-z0-9.-]{0,20}[a-z0-9])?", 1..40)) {
        let nodes: Vec<NodeName> = names.iter().filter_map(|name| NodeName::try_from(name.as_str()).ok()).collect();
        prop_assume!(!nodes.is_empty());
        let text = format!("job.nodes={}", quote_list(&nodes).unwrap());
        let read = parse(&text, Style::Text).unwrap();
        let expected: Vec<&str> = nodes.iter().map(NodeName::as_str).collect();
        prop_assert_eq!(&read["job"]["nodes"], &json!(expected));
    }

    #[test]
    fn an_escaped_value_arrives_whole(value in "[^\u{0}]{0,30}") {
        let escaped = value.replace('\\', "\\\\").replace(',', "\\,").replace('{', "\\{");
        let read = parse(&format!("a.b={escaped}"), Style::Text).unwrap();
        prop_assert_eq!(&read["a"]["b"], &json!(value));
    }

    #[test]
    fn no_text_makes_the_parser_fail_in_any_other_way(text in ".{0,200}") {
        let _ = parse(&text, Style::Typed);
    }
}
