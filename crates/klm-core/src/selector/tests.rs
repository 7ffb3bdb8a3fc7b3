use proptest::prelude::*;
use rstest::rstest;

use super::*;

fn labels(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
    pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
}

#[rstest]
#[case("", true)]
#[case("pool=kata", true)]
#[case("pool==kata", true)]
#[case("pool = kata", true)]
#[case("pool=runc", false)]
#[case("pool!=runc", true)]
#[case("pool!=kata", false)]
#[case("gone!=x", true)]
#[case("gone=x", false)]
#[case("pool", true)]
#[case("gone", false)]
#[case("!gone", true)]
#[case("!pool", false)]
#[case("! pool", false)]
#[case("pool in (kata,runc)", true)]
#[case("pool in(runc)", false)]
#[case("pool notin (runc)", true)]
#[case("pool notin (kata)", false)]
#[case("gone notin (kata)", true)]
#[case("gone in (kata)", false)]
#[case("empty=", true)]
#[case("empty=,pool=kata", true)]
#[case("empty in ()", true)]
#[case("pool in (,kata)", true)]
#[case("cores>8", true)]
#[case("cores>16", false)]
#[case("cores<17", true)]
#[case("pool>1", false)]
#[case("gone<1", false)]
#[case("example.com/in=in", true)]
#[case("pool=kata,cores=16,!gone", true)]
#[case("pool=kata,cores=15", false)]
fn a_selector_matches_as_kubernetes_does(#[case] text: &str, #[case] matches: bool) {
    let node = labels(&[("pool", "kata"), ("cores", "16"), ("empty", ""), ("example.com/in", "in")]);
    assert_eq!(text.parse::<Selector>().unwrap().matches(&node), matches);
}

#[rstest]
#[case("pool=kata,")]
#[case(",")]
#[case("=x")]
#[case("pool=a=b")]
#[case("pool in kata")]
#[case("pool in (kata")]
#[case("pool in (a b)")]
#[case("pool in")]
#[case("!pool=kata")]
#[case("pool kata")]
#[case("pool=a/b")]
#[case("-pool=kata")]
#[case("a/b/c=x")]
#[case("/b=x")]
#[case("a/=x")]
#[case("cores>many")]
#[case("cores>")]
#[case("pool=${NODE}")]
#[case("pool=ä")]
#[case("pool=aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa")]
fn what_kubernetes_refuses_is_refused_with_the_text(#[case] text: &str) {
    assert!(text.parse::<Selector>().unwrap_err().to_string().starts_with(&format!("`{text}` is not")));
}

#[test]
fn a_selector_is_written_in_its_shortest_form() {
    for (text, written) in [
        ("a == b , c != d", "a=b,c!=d"),
        ("z in (b,a,b)", "z in (a,b)"),
        ("z notin (a,b),!x,y", "z notin (a,b),!x,y"),
        ("n>3,m<4", "n>3,m<4"),
    ] {
        assert_eq!(text.parse::<Selector>().unwrap().to_string(), written);
    }
}

#[test]
fn a_selector_inside_an_object_means_the_same() {
    let object = serde_json::json!({
        "matchLabels": {"a": "1"},
        "matchExpressions": [
            {"key": "b", "operator": "In", "values": ["x", "y"]}, {"key": "c", "operator": "NotIn", "values": ["z"]},
            {"key": "d", "operator": "Exists"}, {"key": "e", "operator": "DoesNotExist"}
        ]
    });
    assert_eq!(Selector::from_json(&object).unwrap().to_string(), "a=1,b in (x,y),c!=z,d,!e");
    assert!(Selector::from_json(&serde_json::json!({})).unwrap().is_empty(), "an empty one matches everything");
    let unknown = serde_json::json!({"matchExpressions": [{"key": "a", "operator": "Gt"}]});
    assert!(Selector::from_json(&unknown).is_err());
}

#[test]
fn a_taint_is_chosen_by_key_and_by_value_when_one_is_given() {
    let taint = |value: Option<&str>| Taint {
        key: "window".into(),
        value: value.map(str::to_owned),
        effect: "NoSchedule".into(),
        time_added: None,
    };
    let any = TaintChoice::parse("window", "").unwrap().unwrap();
    let pending = TaintChoice::parse("window", "pending").unwrap().unwrap();
    assert!(any.matches(&taint(None)) && any.matches(&taint(Some("x"))) && pending.matches(&taint(Some("pending"))));
    assert!(!pending.matches(&taint(None)) && !pending.matches(&taint(Some("x"))));
    assert_eq!((any.to_string(), pending.to_string()), ("window".into(), "window=pending".into()));
    assert_eq!(TaintChoice::parse("", ""), Ok(None));
    assert!(TaintChoice::parse("", "x").is_err() && TaintChoice::parse("a b", "").is_err());
    assert!(TaintChoice::parse("a", "b c").is_err());
}

proptest! {
    #[test]
    fn what_is_written_reads_back(text in "(!?[a-z]{1,3}|[a-z]{1,3}(=|!=)[a-z]{0,3}|[a-z]{1,3} (not)?in \\([a-z,]{0,6}\\))(,[a-z]{1,3}[<>][0-9]{1,3})?") {
        if let Ok(selector) = text.parse::<Selector>() {
            prop_assert_eq!(selector.to_string().parse::<Selector>().unwrap(), selector);
        }
    }

    #[test]
    fn no_text_makes_the_parser_panic(text in ".{0,60}") {
        let _ = text.parse::<Selector>();
    }
}
