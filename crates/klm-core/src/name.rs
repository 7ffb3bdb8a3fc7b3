//! Names that were checked once: past this line no bare `String` means a node.

use std::fmt;

use serde::{Deserialize, Serialize};

/// The name of a node: a DNS-1123 subdomain, so it can stand in arguments, selectors and YAML as it is.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct NodeName(String);

/// A text that isn't a DNS-1123 name.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a name that Kubernetes allows: lower-case letters, digits, `-` and `.`, at most 253 characters")]
pub struct InvalidName(pub String);

impl NodeName {
    /// The text itself.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for NodeName {
    type Error = InvalidName;

    fn try_from(text: String) -> Result<Self, InvalidName> {
        if is_dns1123_subdomain(&text) { Ok(Self(text)) } else { Err(InvalidName(text)) }
    }
}

impl TryFrom<&str> for NodeName {
    type Error = InvalidName;

    fn try_from(text: &str) -> Result<Self, InvalidName> {
        text.to_owned().try_into()
    }
}

impl From<NodeName> for String {
    fn from(name: NodeName) -> Self {
        name.0
    }
}

impl fmt::Display for NodeName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Whether Kubernetes takes this as the name of a namespaced object such as a release's namespace.
pub fn is_dns1123_label(text: &str) -> bool {
    !text.is_empty()
        && text.len() <= 63
        && text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
        && !text.starts_with('-')
        && !text.ends_with('-')
}

/// Whether Helm takes this as the name of a release.
pub fn is_helm_release(text: &str) -> bool {
    text.len() <= MAX_HELM_RELEASE && is_dns1123_subdomain(text)
}

/// Characters of a Helm release's name.
pub const MAX_HELM_RELEASE: usize = 53;

/// Whether Kubernetes takes this as the name of a node, a Secret, a `ConfigMap` or a service account.
pub fn is_dns1123_subdomain(text: &str) -> bool {
    !text.is_empty() && text.len() <= 253 && text.split('.').all(is_dns1123_part)
}

fn is_dns1123_part(part: &str) -> bool {
    !part.is_empty()
        && part.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
        && !part.starts_with('-')
        && !part.ends_with('-')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_release_may_be_called_what_helm_allows() {
        let longest = "a".repeat(MAX_HELM_RELEASE);
        for text in ["kata-deploy", "kata.prod", "0.1", &longest] {
            assert!(is_helm_release(text), "{text}");
        }
        for text in ["", ".", "a.", ".a", "a..b", "a.-b", "A", "a_b", "--kube-token", &format!("{longest}a")] {
            assert!(!is_helm_release(text), "{text}");
        }
    }

    #[test]
    fn a_node_name_can_never_carry_an_argument_a_path_or_a_list() {
        for text in ["", "-rf", "a,b", "a/b", "{a}", "a b", "A", "a..b", "${NODE}", "a\n"] {
            assert!(NodeName::try_from(text).is_err(), "{text:?}");
        }
        for text in ["worker-1", "ip-10-0-0-1.eu-west-1.compute.internal", "0123"] {
            assert_eq!(NodeName::try_from(text).unwrap().as_str(), text);
        }
    }
}
