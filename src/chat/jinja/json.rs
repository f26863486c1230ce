//! `tojson`: Python's `json.dumps`, as `transformers` calls it.

use super::args::CallArgs;
use super::fault::{Fault, Result};
use super::meter;
use super::ops;
use super::show::float_repr;
use super::text::Builder;
use super::value::{Kind, Value};

/// How JSON is laid out.
struct Layout {
    ascii: bool,
    /// What a level is indented by; all on one line without.
    indent: Option<String>,
    item: String,
    key: String,
    sorted: bool,
}

/// `value | tojson(ensure_ascii, indent, separators, sort_keys)`.
pub(super) fn tojson(value: &Value, args: CallArgs) -> Result<Value> {
    let [ascii, indent, separators, sorted] =
        args.bind("tojson", ["ensure_ascii", "indent", "separators", "sort_keys"])?;
    let is_true = |value: Option<Value>| value.is_some_and(|value| value.is_true());
    let indent = match indent {
        None | Some(Value::None) => None,
        Some(Value::Str(text)) => Some(text.to_string()),
        Some(value) => match value.as_int() {
            Some(n) => {
                let n = usize::try_from(n.max(0)).unwrap_or(usize::MAX);
                meter::room(n)?;
                Some(" ".repeat(n))
            }
            None => return Err(Fault::failed("tojson() wants a number or a string as indent")),
        },
    };
    let (item, key) = match separators {
        None | Some(Value::None) => (if indent.is_some() { "," } else { ", " }.to_owned(), ": ".to_owned()),
        Some(pair) => {
            let pair = pair.items()?;
            match pair.items.as_slice() {
                [Value::Str(item), Value::Str(key)] => (item.to_string(), key.to_string()),
                _ => return Err(Fault::failed("tojson() wants two strings as separators")),
            }
        }
    };
    let layout = Layout { ascii: is_true(ascii), indent, item, key, sorted: is_true(sorted) };
    let mut out = Builder::default();
    layout.write(&mut out, value, 1)?;
    Ok(Value::Str(out.finish()?))
}

impl Layout {
    fn write(&self, out: &mut Builder, value: &Value, level: usize) -> Result<()> {
        meter::steps(1)?;
        match value {
            Value::None => out.push("null"),
            Value::Bool(bool) => out.push(if *bool { "true" } else { "false" }),
            Value::Int(int) => out.push(&int.to_string()),
            Value::Float(float) => out.push(&number(*float)),
            Value::Str(text) => self.string(out, text),
            Value::Seq(Kind::List | Kind::Tuple | Kind::Group, list) => {
                if list.items.is_empty() {
                    return out.push("[]");
                }
                out.push("[")?;
                for (i, item) in list.items.iter().enumerate() {
                    self.between(out, i, level)?;
                    self.write(out, item, level + 1)?;
                }
                self.line(out, level - 1)?;
                out.push("]")
            }
            Value::Dict(dict) => {
                if dict.len() == 0 {
                    return out.push("{}");
                }
                let mut entries: Vec<(&Value, &Value)> = dict.iter().collect();
                if self.sorted {
                    super::filters::sort_by(&mut entries, |(a, _), (b, _)| ops::order(a, b, "<"))?;
                }
                out.push("{")?;
                for (i, (key, value)) in entries.into_iter().enumerate() {
                    self.between(out, i, level)?;
                    self.string(out, &key_text(key)?)?;
                    out.push(&self.key)?;
                    self.write(out, value, level + 1)?;
                }
                self.line(out, level - 1)?;
                out.push("}")
            }
            _ => Err(Fault::failed(format!("Object of type {} is not JSON serializable", value.type_name()))),
        }
    }

    fn between(&self, out: &mut Builder, i: usize, level: usize) -> Result<()> {
        out.push(if i > 0 { &self.item } else { "" })?;
        self.line(out, level)
    }

    fn line(&self, out: &mut Builder, level: usize) -> Result<()> {
        let Some(indent) = &self.indent else { return Ok(()) };
        out.push("\n")?;
        out.repeat(indent, level)
    }

    fn string(&self, out: &mut Builder, text: &str) -> Result<()> {
        out.push("\"")?;
        for c in text.chars() {
            match c {
                '"' => out.push("\\\"")?,
                '\\' => out.push("\\\\")?,
                '\n' => out.push("\\n")?,
                '\r' => out.push("\\r")?,
                '\t' => out.push("\\t")?,
                '\x08' => out.push("\\b")?,
                '\x0c' => out.push("\\f")?,
                c if c < ' ' || (self.ascii && !c.is_ascii()) => {
                    for unit in c.encode_utf16(&mut [0; 2]) {
                        out.push(&format!("\\u{unit:04x}"))?;
                    }
                }
                c => out.push_char(c)?,
            }
        }
        out.push("\"")
    }
}

fn number(float: f64) -> String {
    if float.is_nan() {
        return "NaN".to_owned();
    }
    if float.is_infinite() {
        return if float > 0.0 { "Infinity" } else { "-Infinity" }.to_owned();
    }
    float_repr(float)
}

fn key_text(key: &Value) -> Result<String> {
    Ok(match key {
        Value::Str(text) => text.to_string(),
        Value::None => "null".to_owned(),
        Value::Bool(bool) => bool.to_string(),
        Value::Int(int) => int.to_string(),
        Value::Float(float) => number(*float),
        _ => {
            let found = key.type_name();
            return Err(Fault::failed(format!("keys must be str, int, float, bool or None, not {found}")));
        }
    })
}
