//! Kubernetes label selectors, whole grammar: equality, sets, existence, comparison. And the choice by taint.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use serde_json::Value;

use crate::name::is_dns1123_subdomain;
use crate::node::Taint;
use crate::refusal::Refusal;

/// A label selector; without requirements it matches everything.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Selector(Vec<Requirement>);

#[derive(Clone, Debug, PartialEq, Eq)]
struct Requirement {
    key: String,
    test: Test,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Test {
    Exists,
    Absent,
    In(Vec<String>),
    NotIn(Vec<String>),
    Above(i64),
    Below(i64),
}

/// A text that Kubernetes would not take as a selector.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is not a label selector: {why}; write it like `pool=kata,zone in (a,b),!spot`")]
pub struct InvalidSelector {
    /// The whole text.
    pub text: String,
    /// What is wrong.
    pub why: String,
}

impl Selector {
    /// Whether it says anything at all.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether these labels fulfil every requirement.
    pub fn matches(&self, labels: &BTreeMap<String, String>) -> bool {
        self.0.iter().all(|requirement| requirement.matches(labels.get(&requirement.key)))
    }

    /// Reads a `LabelSelector` as API objects carry it: `matchLabels` and `matchExpressions`.
    pub fn from_json(selector: &Value) -> Result<Self, InvalidSelector> {
        let invalid = |why: &str| InvalidSelector { text: selector.to_string(), why: why.to_owned() };
        let labels = selector["matchLabels"].as_object().into_iter().flatten();
        let mut requirements: Vec<Requirement> = labels
            .map(|(key, value)| Requirement {
                key: key.clone(),
                test: Test::In(vec![value.as_str().unwrap_or_default().to_owned()]),
            })
            .collect();
        for expression in selector["matchExpressions"].as_array().into_iter().flatten() {
            let values = || -> Vec<String> {
                let values = expression["values"].as_array().into_iter().flatten();
                values.filter_map(Value::as_str).map(str::to_owned).collect()
            };
            let test = match expression["operator"].as_str() {
                Some("In") => Test::In(values()),
                Some("NotIn") => Test::NotIn(values()),
                Some("Exists") => Test::Exists,
                Some("DoesNotExist") => Test::Absent,
                _ => return Err(invalid("its operator is none that Kubernetes has")),
            };
            let key = expression["key"].as_str().ok_or_else(|| invalid("an expression has no key"))?;
            requirements.push(Requirement { key: key.to_owned(), test });
        }
        Ok(Self(requirements))
    }

    /// Whether a requirement looks at this label.
    pub fn mentions(&self, key: &str) -> bool {
        self.0.iter().any(|requirement| requirement.key == key)
    }
}

impl Requirement {
    fn matches(&self, value: Option<&String>) -> bool {
        match (&self.test, value) {
            (Test::Exists, value) => value.is_some(),
            (Test::Absent, value) => value.is_none(),
            (Test::In(_) | Test::Above(_) | Test::Below(_), None) => false,
            (Test::NotIn(_), None) => true,
            (Test::In(values), Some(value)) => values.contains(value),
            (Test::NotIn(values), Some(value)) => !values.contains(value),
            (Test::Above(limit), Some(value)) => value.parse::<i64>().is_ok_and(|number| number > *limit),
            (Test::Below(limit), Some(value)) => value.parse::<i64>().is_ok_and(|number| number < *limit),
        }
    }
}

impl FromStr for Selector {
    type Err = InvalidSelector;

    fn from_str(text: &str) -> Result<Self, InvalidSelector> {
        Parser { tokens: tokens(text), at: 0 }.selector().map_err(|why| InvalidSelector { text: text.to_owned(), why })
    }
}

impl fmt::Display for Selector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (number, Requirement { key, test }) in self.0.iter().enumerate() {
            if number > 0 {
                f.write_str(",")?;
            }
            match test {
                Test::Exists => write!(f, "{key}")?,
                Test::Absent => write!(f, "!{key}")?,
                Test::In(values) => match values.as_slice() {
                    [one] => write!(f, "{key}={one}")?,
                    many => write!(f, "{key} in ({})", many.join(","))?,
                },
                Test::NotIn(values) => match values.as_slice() {
                    [one] => write!(f, "{key}!={one}")?,
                    many => write!(f, "{key} notin ({})", many.join(","))?,
                },
                Test::Above(limit) => write!(f, "{key}>{limit}")?,
                Test::Below(limit) => write!(f, "{key}<{limit}")?,
            }
        }
        Ok(())
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Token {
    Word(String),
    Sign(&'static str),
}

/// Longer signs first where one is the beginning of another.
const SIGNS: [&str; 9] = ["==", "!=", "=", "!", "(", ")", ",", ">", "<"];

fn tokens(text: &str) -> Vec<Token> {
    let mut tokens = Vec::new();
    let mut rest = text.trim_start();
    while let Some(first) = rest.chars().next() {
        let length = if let Some(sign) = SIGNS.into_iter().find(|sign| rest.starts_with(sign)) {
            tokens.push(Token::Sign(sign));
            sign.len()
        } else {
            let end = |c: char| c.is_whitespace() || "=!(),><".contains(c);
            let length = rest.find(end).unwrap_or(rest.len()).max(first.len_utf8());
            tokens.push(Token::Word(rest[..length].to_owned()));
            length
        };
        rest = rest[length..].trim_start();
    }
    tokens
}

struct Parser {
    tokens: Vec<Token>,
    at: usize,
}

impl Parser {
    fn selector(&mut self) -> Result<Selector, String> {
        let mut requirements = Vec::new();
        while self.peek().is_some() {
            requirements.push(self.requirement()?);
            match self.next() {
                None => break,
                Some(Token::Sign(",")) if self.peek().is_some() => {}
                Some(Token::Sign(",")) => return Err("a requirement is missing after the last `,`".to_owned()),
                Some(other) => return Err(format!("found {other} where `,` or the end should be")),
            }
        }
        Ok(Selector(requirements))
    }

    fn requirement(&mut self) -> Result<Requirement, String> {
        let absent = self.peek() == Some(&Token::Sign("!"));
        if absent {
            self.at += 1;
        }
        let key = self.word("a label's key")?;
        check_key(&key)?;
        let ends = matches!(self.peek(), None | Some(Token::Sign(",")));
        let test = match (absent, ends) {
            (true, true) => Test::Absent,
            (false, true) => Test::Exists,
            (true, false) => return Err(format!("`!{key}` takes no value")),
            (false, false) => self.test()?,
        };
        Ok(Requirement { key, test })
    }

    fn test(&mut self) -> Result<Test, String> {
        match self.next() {
            Some(Token::Sign("=" | "==")) => Ok(Test::In(vec![self.value()?])),
            Some(Token::Sign("!=")) => Ok(Test::NotIn(vec![self.value()?])),
            Some(Token::Sign(">")) => Ok(Test::Above(self.number()?)),
            Some(Token::Sign("<")) => Ok(Test::Below(self.number()?)),
            Some(Token::Word(word)) if word == "in" => Ok(Test::In(self.set()?)),
            Some(Token::Word(word)) if word == "notin" => Ok(Test::NotIn(self.set()?)),
            Some(other) => Err(format!("found {other} where `=`, `==`, `!=`, `in`, `notin`, `>` or `<` should be")),
            None => Err("it ends too early".to_owned()),
        }
    }

    /// One value; nothing at all is the empty value.
    fn value(&mut self) -> Result<String, String> {
        if matches!(self.peek(), None | Some(Token::Sign(","))) {
            return Ok(String::new());
        }
        let value = self.word("a value")?;
        check_value(&value)?;
        Ok(value)
    }

    fn number(&mut self) -> Result<i64, String> {
        let value = self.value()?;
        value.parse().map_err(|_| format!("`{value}` is not a whole number"))
    }

    /// `(a,b)`; nothing between two signs is the empty value. Sorted and without doubles, as Kubernetes keeps it.
    fn set(&mut self) -> Result<Vec<String>, String> {
        if self.next() != Some(Token::Sign("(")) {
            return Err("`in` and `notin` take values in parentheses".to_owned());
        }
        let mut values = Vec::new();
        loop {
            values.push(match self.peek() {
                Some(Token::Sign("," | ")")) => String::new(),
                _ => self.word("a value")?,
            });
            match self.next() {
                Some(Token::Sign(",")) => {}
                Some(Token::Sign(")")) => break,
                _ => return Err("values in parentheses are separated by `,` and end with `)`".to_owned()),
            }
        }
        values.sort();
        values.dedup();
        values.iter().try_for_each(|value| check_value(value))?;
        Ok(values)
    }

    fn word(&mut self, what: &str) -> Result<String, String> {
        match self.next() {
            Some(Token::Word(word)) => Ok(word),
            Some(other) => Err(format!("found {other} where {what} should be")),
            None => Err(format!("it ends where {what} should be")),
        }
    }

    fn peek(&self) -> Option<&Token> {
        self.tokens.get(self.at)
    }

    fn next(&mut self) -> Option<Token> {
        self.at += 1;
        self.tokens.get(self.at - 1).cloned()
    }
}

impl fmt::Display for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Word(word) => write!(f, "`{word}`"),
            Self::Sign(sign) => write!(f, "`{sign}`"),
        }
    }
}

/// Kubernetes' rule for label and taint keys: an optional DNS subdomain and `/`, then a name.
fn check_key(key: &str) -> Result<(), String> {
    let (prefix, name) = key.rsplit_once('/').map_or((None, key), |(prefix, name)| (Some(prefix), name));
    if prefix.is_none_or(is_dns1123_subdomain) && !name.is_empty() && is_label_text(name) {
        Ok(())
    } else {
        Err(format!("`{key}` is not a key that a label can have"))
    }
}

/// Kubernetes' rule for label and taint values.
fn check_value(value: &str) -> Result<(), String> {
    if is_label_text(value) { Ok(()) } else { Err(format!("`{value}` is not a value that a label can have")) }
}

/// At most 63 letters, digits, `-`, `_` and `.`, with a letter or digit at both ends; or nothing.
pub fn is_label_text(text: &str) -> bool {
    let inside = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.');
    let edge = |b: Option<u8>| b.is_none_or(|b| b.is_ascii_alphanumeric());
    text.len() <= 63 && text.bytes().all(inside) && edge(text.bytes().next()) && edge(text.bytes().last())
}

/// Which taint a node must carry to be chosen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TaintChoice {
    /// Its key.
    pub key: String,
    /// Its value; `None`: any.
    pub value: Option<String>,
}

impl TaintChoice {
    /// Reads `node-taint-key` and `node-taint-value`; an empty key means no choice by taint.
    pub fn parse(key: &str, value: &str) -> Result<Option<Self>, Refusal> {
        match (key, value) {
            ("", "") => Ok(None),
            ("", _) => Err(Refusal::new("parameter `node-taint-value` needs `node-taint-key`")),
            (key, value) => {
                check_key(key).map_err(|_| {
                    Refusal::new(format!("parameter `node-taint-key` is `{key}`, which no taint can have"))
                })?;
                check_value(value).map_err(|_| {
                    Refusal::new(format!("parameter `node-taint-value` is `{value}`, which no taint can have"))
                })?;
                let value = Some(value).filter(|value| !value.is_empty()).map(str::to_owned);
                Ok(Some(Self { key: key.to_owned(), value }))
            }
        }
    }

    /// Whether this taint is the one; its effect doesn't matter.
    pub fn matches(&self, taint: &Taint) -> bool {
        taint.key == self.key
            && self.value.as_deref().is_none_or(|value| taint.value.as_deref().unwrap_or_default() == value)
    }
}

impl fmt::Display for TaintChoice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.value {
            Some(value) => write!(f, "{}={value}", self.key),
            None => f.write_str(&self.key),
        }
    }
}

#[cfg(test)]
mod tests;
