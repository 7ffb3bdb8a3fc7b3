//! Handlebars with two helpers, so that who evaluates what is a word on the page: `{{argo '…'}}` is for Argo at run
//! time, `{{helm '…'}}` for Helm at install time, everything else is for the generator now.

use std::collections::BTreeMap;

use anyhow::{Context as _, Result};
use handlebars::{
    Context, Handlebars, Helper, HelperDef, HelperResult, Output, RenderContext, RenderError, RenderErrorReason,
    Renderable, no_escape,
};
use serde::Serialize;

use crate::tree;

/// The templates, ready to render.
#[derive(Debug)]
pub struct Engine<'a> {
    handlebars: Handlebars<'a>,
    pages: Vec<String>,
}

impl Engine<'_> {
    /// Takes `templates` by path: `partials/*.hbs` are included by others, the rest are pages.
    pub fn new(templates: &BTreeMap<String, String>) -> Result<Self> {
        let mut handlebars = Handlebars::new();
        handlebars.set_strict_mode(true);
        handlebars.register_escape_fn(no_escape);
        handlebars.register_helper("argo", Box::new(Argo));
        handlebars.register_helper("helm", Box::new(Helm));
        let mut pages = Vec::new();
        for (path, text) in templates {
            let name = path.strip_suffix(".hbs").with_context(|| format!("templates/{path} isn't called *.hbs"))?;
            let (name, page) = match name.strip_prefix("partials/") {
                Some(partial) => (partial, false),
                None => (name, true),
            };
            handlebars.register_template_string(name, text).with_context(|| format!("templates/{path}"))?;
            if page {
                pages.push(name.to_owned());
            }
        }
        Ok(Self { handlebars, pages })
    }

    /// The files to render, by path below `chart/templates`.
    pub fn pages(&self) -> impl Iterator<Item = &str> {
        self.pages.iter().map(String::as_str)
    }

    /// One page as text.
    pub fn render(&self, page: &str, model: &impl Serialize) -> Result<String> {
        self.handlebars.render(page, model).with_context(|| format!("templates/{page}.hbs"))
    }
}

/// `{{argo 'x'}}` → an action that makes Helm write `{{x}}`. The backticks are Go's raw quotes: they are safe in
/// quoted and in block scalars alike.
struct Argo;

impl HelperDef for Argo {
    fn call<'reg: 'rc, 'rc>(
        &self,
        helper: &Helper<'rc>,
        _: &'reg Handlebars<'reg>,
        _: &'rc Context,
        _: &mut RenderContext<'reg, 'rc>,
        out: &mut dyn Output,
    ) -> HelperResult {
        let tag = text(helper, "argo")?;
        if tag.contains(['{', '}', '`']) || tag.trim() != tag || tag.is_empty() {
            return fail(format!("`{tag}` isn't a name that Argo knows"));
        }
        out.write(&format!("{{{{`{{{{{tag}}}}}`}}}}"))?;
        Ok(())
    }
}

/// `{{helm 'x'}}` → `{{ x }}`; `{{#helm 'if x'}}…{{/helm}}` → `{{- if x }}…{{- end }}`. Every `.Values.a.b` must exist.
struct Helm;

impl HelperDef for Helm {
    fn call<'reg: 'rc, 'rc>(
        &self,
        helper: &Helper<'rc>,
        handlebars: &'reg Handlebars<'reg>,
        context: &'rc Context,
        render: &mut RenderContext<'reg, 'rc>,
        out: &mut dyn Output,
    ) -> HelperResult {
        let action = text(helper, "helm")?;
        if let Some(path) = tree::unknown_values(action).first() {
            return fail(format!("`{path}` is not in the table of values"));
        }
        match helper.template() {
            None if trims(action) => out.write(&format!("{{{{- {action} }}}}"))?,
            None => out.write(&format!("{{{{ {action} }}}}"))?,
            Some(body) => {
                out.write(&format!("{{{{- {action} }}}}\n"))?;
                body.render(handlebars, context, render, out)?;
                out.write("{{- end }}\n")?;
            }
        }
        Ok(())
    }
}

/// What leaves no text behind takes its line with it; what begins with a new line takes the blank before it.
fn trims(action: &str) -> bool {
    let indented = action.rsplit('|').next().is_some_and(|last| last.trim().starts_with("nindent "));
    action.starts_with("else") || action.starts_with('$') && action.contains('=') || indented
}

fn text<'a>(helper: &'a Helper<'_>, name: &str) -> Result<&'a str, RenderError> {
    match helper.param(0).and_then(|parameter| parameter.value().as_str()) {
        Some(text) if helper.params().len() == 1 => Ok(text),
        _ => fail(format!("`{name}` takes one text")),
    }
}

fn fail<T>(reason: String) -> Result<T, RenderError> {
    Err(RenderErrorReason::Other(reason).into())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rendered(template: &str) -> Result<String, String> {
        let templates = BTreeMap::from([("page.hbs".to_owned(), template.to_owned())]);
        let engine = Engine::new(&templates).map_err(|error| format!("{error:#}"))?;
        engine.render("page", &serde_json::json!({ "name": "x" })).map_err(|error| format!("{error:#}"))
    }

    #[test]
    fn each_brace_says_who_evaluates_it() {
        let text = rendered(
            "{{name}} {{argo 'inputs.parameters.item'}} {{helm '.Values.argoNamespace | quote'}}\n\
             {{#helm 'if .Values.rbac.drain'}}\n  a: \"1\"\n{{helm 'else'}}\n  b: 2\n{{/helm}}\nend\n",
        );
        assert_eq!(
            text.unwrap(),
            "x {{`{{inputs.parameters.item}}`}} {{ .Values.argoNamespace | quote }}\n\
             {{- if .Values.rbac.drain }}\n  a: \"1\"\n{{- else }}\n  b: 2\n{{- end }}\nend\n"
        );
    }

    #[test]
    fn what_nobody_knows_is_an_error() {
        for (template, reason) in [
            ("{{nmae}}", "nmae"),
            ("{{helm '.Values.argoNamespce'}}", "`.Values.argoNamespce` is not in the table of values"),
            ("{{helm '.Values.rbac.drian | quote'}}", "`.Values.rbac.drian`"),
            ("{{> nothing}}", "nothing"),
            ("{{argoo 'x'}}", "argoo"),
            ("{{argo '{{x}}'}}", "isn't a name"),
            ("{{- if .Values.rbac.drain }}", ""),
        ] {
            let error = rendered(template).expect_err(template);
            assert!(error.contains(reason), "{template}: {error}");
        }
    }
}
