//! What people and Argo hand over as parameters.

use std::time::Duration;

use klm_core::contract::PARAMETERS;
use klm_core::duration;
use klm_core::name::NodeName;
use klm_core::refusal::nearest;
use klm_core::selector::{Selector, TaintChoice};
use klm_core::set_values::UserValues;
use klm_core::settings::{Given, Settings};
use klm_core::version;
use proptest::prelude::*;

use crate::{config, text};

/// What no word that helm, a path or a list may take apart can contain.
const SPECIAL: [char; 14] = ['$', '`', '{', '}', '(', ')', '\n', '\0', '\u{1b}', ' ', '\'', '"', '\\', ';'];

proptest! {
    #![proptest_config(config())]

    #[test]
    fn a_duration_is_read_or_named(text in text()) {
        match duration::parse(&text) {
            Ok(read) if read >= Duration::from_secs(1) => {
                let whole = Duration::from_secs(read.as_secs());
                assert_eq!(duration::parse(&duration::format(read)), Ok(whole));
            }
            Ok(_) => {}
            Err(error) => assert!(error.to_string().starts_with(&format!("`{text}` is not"))),
        }
    }

    #[test]
    fn a_duration_is_the_sum_of_its_parts(parts in prop::collection::vec((0u32..100_000, 0usize..3), 1..4)) {
        let units = [("h", 3600), ("m", 60), ("s", 1)];
        let text = parts.iter().map(|(number, unit)| format!("{number}{}", units[*unit].0)).collect::<Vec<_>>().concat();
        let seconds: u64 = parts.iter().map(|(number, unit)| u64::from(*number) * units[*unit].1).sum();
        assert_eq!(duration::parse(&text).map_or(0, |read| read.as_secs()), seconds);
    }

    #[test]
    fn a_version_is_read_as_it_is_written_or_named(text in prop_oneof![text(), "[0-9]{1,3}\\.[0-9]{1,3}\\.[0-9]{1,3}(-[a-z0-9.]{1,5})?"]) {
        match version::parse("parameter `target-version`", &text) {
            Ok(version) => {
                assert_eq!(version.to_string(), text.as_str());
                assert!(!text.starts_with('-') && !text.contains(SPECIAL));
            }
            Err(refusal) => assert!(refusal.what.contains(&text), "{refusal}"),
        }
    }

    #[test]
    fn a_parameter_is_read_or_refused_by_its_name(which in 0..PARAMETERS.len(), text in text()) {
        let parameter = &PARAMETERS[which];
        let given: Given = [(parameter.name.to_owned(), text)].into();
        match Settings::parse(&given) {
            Ok(settings) => {
                // What reaches helm's command line is one word there.
                for word in [&settings.helm_release, &settings.helm_namespace, &settings.kata_deploy_chart, &settings.verification_namespace] {
                    assert!(!word.starts_with('-') && !word.contains(['\n', '\0', '\u{1b}', ' ']), "{word:?}");
                }
                for word in [&settings.helm_release, &settings.helm_namespace, &settings.verification_namespace] {
                    assert!(!word.contains(SPECIAL) && !word.contains('/'), "{word:?}");
                }
                let stored = serde_json::to_string(&settings).unwrap();
                assert_eq!(serde_json::from_str::<Settings>(&stored).unwrap(), settings);
            }
            Err(refusals) => {
                assert_eq!(refusals.len(), 1);
                assert!(refusals[0].what.starts_with(&format!("parameter `{}` is", parameter.name)));
            }
        }
    }

    #[test]
    fn a_taint_is_read_or_named(key in text(), value in text()) {
        match TaintChoice::parse(&key, &value) {
            Ok(None) => assert!(key.is_empty() && value.is_empty()),
            Ok(Some(choice)) => assert!(!choice.to_string().contains(SPECIAL)),
            Err(refusal) => assert!(refusal.what.starts_with("parameter `node-taint-")),
        }
    }

    #[test]
    fn a_selector_carries_nothing_but_a_selector(text in text()) {
        if let Ok(selector) = text.parse::<Selector>() {
            let written = selector.to_string();
            assert!(!written.contains(['$', '`', '{', '}', '\n', '\0', '\u{1b}', '\'', '"', '\\', ';']), "{written}");
        }
    }

    #[test]
    fn a_node_name_is_a_name_and_nothing_else(text in text()) {
        match NodeName::try_from(text.as_str()) {
            Ok(name) => {
                assert_eq!(name.as_str(), text.as_str());
                assert!(!text.starts_with('-') && !text.contains(SPECIAL) && !text.contains(['/', ',', '=', '\u{7f}']));
            }
            Err(error) => assert!(error.to_string().contains(&text)),
        }
    }

    #[test]
    fn values_are_read_or_refused_without_a_quote_of_them(key in "[a-z]{1,5}", secret in "[a-z]{12}", rest in text()) {
        if let Err(refusals) = UserValues::parse(&format!("{key}={secret},{rest}")) {
            for refusal in refusals {
                assert!(refusal.what.contains("`helm-set-values`") && !refusal.to_string().contains(&secret));
            }
        }
    }

    #[test]
    fn the_nearest_word_is_one_of_the_known(text in text()) {
        let known = ["batch-size", "drain-timeout"];
        assert!(nearest(&text, known).is_none_or(|word| known.contains(&word)));
    }
}
