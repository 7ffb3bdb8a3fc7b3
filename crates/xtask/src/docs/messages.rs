//! What the program can say, read from its source: the texts of refusals, of failures and of left-out nodes, with `…`
//! for what differs from case to case.

use std::collections::{BTreeMap, BTreeSet};

use proc_macro2::{Delimiter, TokenStream, TokenTree};

/// What a call of this shape says, and in which of its arguments.
pub struct Sayer {
    /// The path as it is written, for example `Refusal::new`.
    pub path: &'static str,
    /// The argument, counted from 0.
    pub argument: usize,
    /// What it puts before its text.
    pub prefix: &'static str,
    /// Whether it may hand on what another one has said.
    pub hands_on: bool,
}

impl Sayer {
    pub const fn new(path: &'static str, argument: usize) -> Self {
        Self { path, argument, prefix: "", hands_on: false }
    }

    pub const fn handing_on(path: &'static str, argument: usize) -> Self {
        Self { path, argument, prefix: "", hands_on: true }
    }
}

/// Every text in a source file that one of these says, and complaints about those that can't be read.
pub fn said(source: &str, sayers: &[Sayer]) -> (BTreeSet<String>, Vec<String>) {
    let mut reader = Reader {
        sayers,
        lets: BTreeMap::new(),
        consts: BTreeMap::new(),
        said: BTreeSet::new(),
        unreadable: Vec::new(),
    };
    reader.read(source.parse().unwrap());
    (reader.said, reader.unreadable)
}

struct Reader<'a> {
    sayers: &'a [Sayer],
    /// Texts that were given a name in the function so far.
    lets: BTreeMap<String, String>,
    /// The same in the file.
    consts: BTreeMap<String, String>,
    said: BTreeSet<String>,
    unreadable: Vec<String>,
}

impl Reader<'_> {
    fn read(&mut self, tokens: TokenStream) {
        let tokens: Vec<TokenTree> = tokens.into_iter().collect();
        for (at, token) in tokens.iter().enumerate() {
            let before = &tokens[..at];
            match token {
                TokenTree::Ident(word) if word == "fn" => self.lets.clear(),
                TokenTree::Group(group) if !is_of_tests(before) => {
                    self.read_call(before, group.delimiter(), &group.stream());
                    self.read(group.stream());
                }
                TokenTree::Punct(sign) if sign.as_char() == '=' => self.read_let(before, &tokens[at + 1..]),
                _ => {}
            }
        }
    }

    fn read_let(&mut self, before: &[TokenTree], after: &[TokenTree]) {
        let end = after.iter().position(|token| is_sign(token, ';')).unwrap_or(after.len());
        let text = self.text(&after[..end]);
        let (texts, name) = match before {
            [.., TokenTree::Ident(word), TokenTree::Ident(name)] if word == "let" => (&mut self.lets, name),
            [.., TokenTree::Ident(word), TokenTree::Ident(name), _, _, TokenTree::Ident(of)]
                if word == "const" && of == "str" =>
            {
                (&mut self.consts, name)
            }
            _ => return,
        };
        // A name that is given anew no longer means what it meant.
        texts.remove(&name.to_string());
        texts.extend(text.map(|text| (name.to_string(), text)));
    }

    fn read_call(&mut self, before: &[TokenTree], delimiter: Delimiter, inside: &TokenStream) {
        if delimiter != Delimiter::Parenthesis {
            return;
        }
        let path = path_before(before);
        for sayer in self.sayers.iter().filter(|sayer| sayer.path == path) {
            let inside: Vec<TokenTree> = inside.clone().into_iter().collect();
            let arguments: Vec<&[TokenTree]> = inside.split(|token| is_sign(token, ',')).collect();
            match arguments.get(sayer.argument).and_then(|argument| self.text(argument)) {
                Some(text) => _ = self.said.insert(shown(&format!("{}{text}", sayer.prefix))),
                None if sayer.hands_on => {}
                None => self
                    .unreadable
                    .push(format!("{path}({})", inside.iter().map(ToString::to_string).collect::<String>())),
            }
        }
    }

    /// The text of an expression: a literal, a `format!`, or a name that was given to one of them.
    fn text(&self, tokens: &[TokenTree]) -> Option<String> {
        match tokens {
            [TokenTree::Punct(reference), rest @ ..] if reference.as_char() == '&' => self.text(rest),
            [TokenTree::Literal(literal), ..] => literal_text(&literal.to_string()).map(|text| self.filled(&text)),
            [TokenTree::Ident(format), TokenTree::Punct(_), TokenTree::Group(arguments)] if format == "format" => {
                self.text(&arguments.stream().into_iter().take(1).collect::<Vec<_>>())
            }
            [TokenTree::Ident(name)] => {
                let name = name.to_string();
                self.lets.get(&name).or_else(|| self.consts.get(&name)).cloned()
            }
            _ => None,
        }
    }

    /// A format string with the texts that it names put in, and `…` for everything else.
    fn filled(&self, format: &str) -> String {
        let mut text = String::new();
        let mut rest = format;
        while let Some(at) = rest.find('{') {
            text.push_str(&rest[..at]);
            let end = rest[at..].find('}').map_or(rest.len(), |end| at + end);
            let name = &rest[at + 1..end];
            text.push_str(self.lets.get(name).map_or("…", String::as_str));
            rest = rest.get(end + 1..).unwrap_or_default();
        }
        text + rest
    }
}

/// Whether what follows belongs to the tests.
fn is_of_tests(before: &[TokenTree]) -> bool {
    matches!(before, [.., TokenTree::Ident(word), TokenTree::Ident(name)] if word == "mod" && name == "tests")
}

fn is_sign(token: &TokenTree, sign: char) -> bool {
    matches!(token, TokenTree::Punct(punct) if punct.as_char() == sign)
}

/// The path or macro that is called, as it is written; methods by their name alone.
fn path_before(before: &[TokenTree]) -> String {
    let of_path = |token: &&TokenTree| match token {
        TokenTree::Ident(word) => !matches!(word.to_string().as_str(), "return" | "match" | "in" | "if"),
        TokenTree::Punct(sign) => matches!(sign.as_char(), ':' | '!'),
        _ => false,
    };
    let path: Vec<String> = before.iter().rev().take_while(of_path).map(ToString::to_string).collect();
    path.into_iter().rev().collect()
}

/// What a string literal means.
fn literal_text(literal: &str) -> Option<String> {
    let inner = literal.strip_prefix('"')?.strip_suffix('"')?;
    let mut text = String::new();
    let mut letters = inner.chars().peekable();
    while let Some(letter) = letters.next() {
        match (letter, letters.peek()) {
            // A line that goes on in the next one, without its indent.
            ('\\', Some('\n')) => while letters.next_if(|letter| letter.is_whitespace()).is_some() {},
            ('\\', Some('n')) => {
                letters.next();
                text.push('\n');
            }
            ('\\', _) => text.extend(letters.next()),
            _ => text.push(letter),
        }
    }
    Some(text)
}

/// As a page shows it: what comes after another `…` adds nothing.
fn shown(text: &str) -> String {
    let mut shown = text.replace('\n', " ");
    while shown.contains("……") {
        shown = shown.replace("……", "…");
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    const SOURCE: &str = r#"
        const STOPPED: &str = "it was stopped";
        fn one(found: &str) -> Refusal {
            let what = format!("release `{}/{}`: its version", a, b);
            Refusal::new(format!("{what} is {found}, \
                                  but should not be")).hint("x")
        }
        fn two(what: &str) -> Refusal {
            Refusal::new(format!("{what} is missing"))
        }
        fn three() {
            let found = format!("is `{}`", x);
            vec![refuse("is no pod"), refuse(&found)];
            let found = text_of(it);
            refuse(&format!("is in `{found}`"));
            Turn::Fails(Box::new(node), why);
            Turn::Fails(Box::new(node), STOPPED);
            Turn::Fails(Box::new(node), format!("drain failed: {why}"))
        }
        #[cfg(test)]
        mod tests { fn four() { Refusal::new("of a test") } }
    "#;

    fn sayers() -> Vec<Sayer> {
        let refuse = Sayer { prefix: "the pod ", ..Sayer::new("refuse", 0) };
        vec![Sayer::new("Refusal::new", 0), refuse, Sayer::handing_on("Turn::Fails", 1)]
    }

    #[test]
    fn texts_are_found_wherever_they_are_put_together() {
        let (said, unreadable) = said(SOURCE, &sayers());
        let expected = [
            "drain failed: …",
            "it was stopped",
            "release `…/…`: its version is …, but should not be",
            "the pod is `…`",
            "the pod is in `…`",
            "the pod is no pod",
            "… is missing",
        ];
        assert_eq!(said.iter().map(String::as_str).collect::<Vec<_>>(), expected);
        assert_eq!(unreadable, Vec::<String>::new());
    }

    #[test]
    fn a_text_that_cannot_be_read_is_a_complaint() {
        let (said, unreadable) = said("fn a() { Refusal::new(text_of(it)) }", &sayers());
        assert!(said.is_empty() && unreadable.len() == 1, "{unreadable:?}");
    }
}
