//! Values that no message may quote: an error of helm's may repeat what it chokes on.

use std::cmp::Reverse;
use std::collections::BTreeMap;

use klm_core::values::Values;
use serde_json::Value;

/// Shorter texts, such as `true` or a namespace's name, are words of any message.
const SHORTEST: usize = 6;

/// Values that are words of many messages, and of objects' names.
const PUBLIC: [&str; 2] = ["deploymentMode", "env.multiInstallSuffix"];

/// Every text in such values, with its key.
#[derive(Clone, Debug, Default)]
pub struct Private(BTreeMap<String, String>);

impl Private {
    /// All in these values as well.
    pub fn add(&mut self, values: &Values) {
        values.iter().for_each(|(key, value)| self.collect(key, value));
    }

    /// The same message with the keys instead of the values.
    pub fn cut_out_of(&self, said: &str) -> String {
        let mut texts: Vec<_> = self.0.iter().collect();
        // One may be part of another.
        texts.sort_by_key(|(text, _)| Reverse(text.len()));
        texts
            .iter()
            .fold(said.to_owned(), |said, (text, key)| said.replace(text.as_str(), &format!("<value of {key}>")))
    }

    fn collect(&mut self, key: &str, value: &Value) {
        match value {
            Value::String(text) if text.len() >= SHORTEST && !PUBLIC.contains(&key) => {
                self.0.insert(text.clone(), key.to_owned());
            }
            Value::Array(items) => items.iter().for_each(|item| self.collect(key, item)),
            Value::Object(map) => map.iter().for_each(|(name, item)| self.collect(&format!("{key}.{name}"), item)),
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_longest_text_is_cut_out_first_and_what_objects_are_called_stays() {
        let mut private = Private::default();
        let values = json!({
            "proxy": {"user": "somebody", "url": "http://somebody:secret@proxy"},
            "deploymentMode": "daemonset", "env": {"multiInstallSuffix": "second"}, "debug": true, "mode": "short",
        });
        private.add(values.as_object().unwrap());
        let said = "daemonset kata-deploy-second: http://somebody:secret@proxy, somebody, short, true";
        let expected = "daemonset kata-deploy-second: <value of proxy.url>, <value of proxy.user>, short, true";
        assert_eq!(private.cut_out_of(said), expected);
    }
}
