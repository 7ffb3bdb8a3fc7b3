//! Helm's grammar of `--set` and `--set-string`, rule for rule, oddities included: what a user tried with `helm` by
//! hand must mean the same here. The golden table in `tests/data` was made with Helm's own parser.

use serde_json::{Map, Value};

/// Whether values get types, as `--set` gives them, or stay texts, as with `--set-string`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Style {
    /// `--set`: `true`, `null` and whole numbers are what they look like.
    Typed,
    /// `--set-string`: every value is a text.
    Text,
}

/// A text that Helm would not take. Says where, and never quotes: values may be secrets, and a comma that should have
/// been escaped makes a part of one look like a name.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("at character {at}: {why}")]
pub struct InvalidSet {
    /// Which character, from 1.
    pub at: usize,
    /// What is wrong.
    pub why: String,
}

/// Reads a `name=value,…` line as Helm does into an empty set of values.
pub fn parse(text: &str, style: Style) -> Result<Map<String, Value>, InvalidSet> {
    let mut data = Map::new();
    let mut parser = Parser { rest: text.chars().peekable(), at: 0, style, slots: 0 };
    loop {
        match parser.key(&mut data, 0) {
            Ok(()) => {}
            // Helm ends at the end of the text wherever that is, for example in an index that was never closed.
            Err(Stop::End) => return Ok(data),
            Err(Stop::Error(why)) => return Err(InvalidSet { at: parser.at, why }),
        }
    }
}

/// Helm's limit of dots in a name.
const MAX_NESTING: usize = 30;

/// Helm's limit of an index.
const MAX_INDEX: usize = 65_536;

/// Ours, on all lists together: a few short indices could otherwise ask for more memory than the pod has.
const MAX_SLOTS: usize = 1_000_000;

/// Why a rule ended early.
enum Stop {
    /// The text is over.
    End,
    /// Helm says no.
    Error(String),
}

fn error<T>(text: impl Into<String>) -> Result<T, Stop> {
    Err(Stop::Error(text.into()))
}

struct Parser<'a> {
    rest: std::iter::Peekable<std::str::Chars<'a>>,
    at: usize,
    style: Style,
    slots: usize,
}

impl Parser<'_> {
    /// One `name=value`, into `data`.
    fn key(&mut self, data: &mut Map<String, Value>, nesting: usize) -> Result<(), Stop> {
        let (name, stop) = self.until(&['=', '[', ',', '.']);
        match stop {
            None if name.is_empty() => Err(Stop::End),
            None | Some(',') => error("a name has no value; a comma inside a value is written `\\,`"),
            Some('[') => {
                let index = self.index()?;
                let mut list = match data.remove(&name) {
                    None => Vec::new(),
                    Some(Value::Array(list)) => list,
                    Some(_) => return error("a name gets an index, but has a value that is no list"),
                };
                let outcome = self.item(&mut list, index, nesting, 0);
                set(data, name, Value::Array(list));
                outcome
            }
            Some('=') => match self.value() {
                Ok(value) => {
                    set(data, name, value);
                    Ok(())
                }
                Err(Stop::End) => {
                    set(data, name, Value::from(""));
                    Err(Stop::End)
                }
                Err(why) => Err(why),
            },
            Some(_) => {
                if nesting >= MAX_NESTING {
                    return error(format!("names may have at most {MAX_NESTING} dots"));
                }
                let mut inner = match data.remove(&name) {
                    None => Map::new(),
                    Some(Value::Object(inner)) => inner,
                    Some(_) => return error("a name gets a dot, but has a value that is no map"),
                };
                let outcome = self.key(&mut inner, nesting + 1);
                if outcome.is_ok() && inner.is_empty() {
                    return error("a name has no value; a comma inside a value is written `\\,`");
                }
                if !inner.is_empty() {
                    set(data, name, Value::Object(inner));
                }
                outcome
            }
        }
    }

    /// What follows `name[index]`.
    fn item(&mut self, list: &mut Vec<Value>, index: usize, nesting: usize, depth: usize) -> Result<(), Stop> {
        let (name, stop) = self.until(&['[', '.', '=']);
        if !name.is_empty() {
            return error("after an index only `=`, `.` or `[` can follow");
        }
        match stop {
            None => Err(Stop::End),
            Some('=') => match self.value() {
                Ok(value) => self.put(list, index, value),
                Err(Stop::End) => self.put(list, index, Value::from("")),
                Err(why) => Err(why),
            },
            Some('[') => {
                if depth >= MAX_NESTING {
                    return error(format!("lists may be nested at most {MAX_NESTING} deep"));
                }
                let next = self.index()?;
                match list.get_mut(index) {
                    Some(Value::Array(inner)) => self.item(inner, next, nesting, depth + 1),
                    None | Some(Value::Null) => {
                        let mut inner = Vec::new();
                        self.item(&mut inner, next, nesting, depth + 1)?;
                        self.put(list, index, Value::Array(inner))
                    }
                    Some(_) => error("an item gets an index, but is no list"),
                }
            }
            Some(_) => {
                if let Some(item) = list.get_mut(index) {
                    if !item.is_object() {
                        *item = Value::Object(Map::new());
                    }
                    let Value::Object(inner) = item else { return error("not a map") };
                    return self.key(inner, nesting);
                }
                let mut inner = Map::new();
                self.key(&mut inner, nesting)?;
                self.put(list, index, Value::Object(inner))
            }
        }
    }

    fn put(&mut self, list: &mut Vec<Value>, index: usize, value: Value) -> Result<(), Stop> {
        if index > MAX_INDEX {
            return error(format!("an index is more than {MAX_INDEX}"));
        }
        if list.len() <= index {
            self.slots += index + 1 - list.len();
            if self.slots > MAX_SLOTS {
                return error(format!("all lists together may have at most {MAX_SLOTS} items"));
            }
            list.resize(index + 1, Value::Null);
        }
        list[index] = value;
        Ok(())
    }

    /// The number between `[` and `]`.
    fn index(&mut self) -> Result<usize, Stop> {
        let (digits, stop) = self.until(&[']']);
        if stop.is_none() {
            return Err(Stop::End);
        }
        match digits.parse::<i64>() {
            Ok(number) if number < 0 => error("an index is negative"),
            Ok(number) => Ok(usize::try_from(number).unwrap_or(usize::MAX)),
            Err(_) => error("an index is not a number"),
        }
    }

    /// What follows `=`: a list in braces or one value up to the next comma.
    fn value(&mut self) -> Result<Value, Stop> {
        match self.rest.peek() {
            None => Err(Stop::End),
            Some('{') => {
                self.next();
                self.list()
            }
            Some(_) => {
                let (text, _) = self.until(&[',']);
                Ok(self.typed(text))
            }
        }
    }

    fn list(&mut self) -> Result<Value, Stop> {
        let mut list = Vec::new();
        loop {
            let (text, stop) = self.until(&[',', '}']);
            let Some(stop) = stop else { return error("a list must end with `}`") };
            list.push(self.typed(text));
            if stop == '}' {
                if self.rest.peek() == Some(&',') {
                    self.next();
                }
                return Ok(Value::Array(list));
            }
        }
    }

    /// The text up to one of `stops`, which is taken as well; a backslash takes away the next character's meaning.
    fn until(&mut self, stops: &[char]) -> (String, Option<char>) {
        let mut text = String::new();
        while let Some(c) = self.next() {
            if stops.contains(&c) {
                return (text, Some(c));
            }
            if c != '\\' {
                text.push(c);
            } else if let Some(next) = self.next() {
                text.push(next);
            }
        }
        (text, None)
    }

    fn next(&mut self) -> Option<char> {
        self.at += 1;
        self.rest.next()
    }

    fn typed(&self, text: String) -> Value {
        if self.style == Style::Text {
            return Value::String(text);
        }
        match text.to_ascii_lowercase().as_str() {
            "true" => return Value::Bool(true),
            "false" => return Value::Bool(false),
            "null" => return Value::Null,
            "0" => return Value::from(0),
            _ => {}
        }
        // A leading zero stays a text: `010` may be a version or a mode.
        if !text.starts_with('0')
            && let Ok(number) = text.parse::<i64>()
        {
            return Value::from(number);
        }
        Value::String(text)
    }
}

/// An empty name sets nothing.
fn set(data: &mut Map<String, Value>, name: String, value: Value) {
    if !name.is_empty() {
        data.insert(name, value);
    }
}
