//! Python's two ways to fill in a text: `'%s' % x` and `'{}'.format(x)`.

mod braces;
mod percent;

pub(super) use braces::str_format;
pub(super) use percent::printf;

use super::fault::{Fault, Result};
use super::show;
use super::text::{Builder, Text};
use super::value::Value;

/// How a value is laid out.
#[derive(Clone, Debug, Default)]
struct Spec {
    fill: Option<char>,
    align: Option<char>,
    sign: Option<char>,
    alternate: bool,
    zero: bool,
    width: usize,
    group: Option<char>,
    precision: Option<usize>,
    kind: Option<char>,
}

/// Digits behind the point that are computed; Python allows more.
const MAX_PRECISION: usize = 1000;

/// The number at the beginning of `rest`, which is consumed.
fn number(rest: &mut &str) -> Result<Option<usize>> {
    let len = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
    if len == 0 {
        return Ok(None);
    }
    let number = rest[..len].parse().map_err(|_| Fault::failed("a number in a format is too large"))?;
    *rest = &rest[len..];
    Ok(Some(number))
}

fn character(value: &Value) -> Result<String> {
    let code = value.as_int().and_then(|int| u32::try_from(int).ok()).and_then(char::from_u32);
    code.map(String::from).ok_or_else(|| Fault::failed("%c wants a character or its code"))
}

fn repr(value: &Value) -> Result<Text> {
    let mut out = Builder::default();
    show::write_repr(&mut out, value, 0)?;
    out.finish()
}

impl Spec {
    fn parse(spec: &str) -> Result<Self> {
        let mut parsed = Self::default();
        let mut rest = spec;
        let is_align = |c: char| "<>=^".contains(c);
        let mut chars = rest.chars();
        match (chars.next(), chars.next()) {
            (Some(fill), Some(align)) if is_align(align) => {
                (parsed.fill, parsed.align) = (Some(fill), Some(align));
                rest = chars.as_str();
            }
            (Some(align), _) if is_align(align) => {
                parsed.align = Some(align);
                rest = &rest[1..];
            }
            _ => {}
        }
        if let Some(sign) = rest.chars().next().filter(|c| "+- ".contains(*c)) {
            parsed.sign = Some(sign);
            rest = &rest[1..];
        }
        if let Some(behind) = rest.strip_prefix('#') {
            parsed.alternate = true;
            rest = behind;
        }
        if let Some(behind) = rest.strip_prefix('0') {
            parsed.zero = parsed.align.is_none();
            parsed.fill = parsed.fill.or(Some('0'));
            rest = behind;
        }
        parsed.width = number(&mut rest)?.unwrap_or(0);
        if let Some(group) = rest.chars().next().filter(|c| ",_".contains(*c)) {
            parsed.group = Some(group);
            rest = &rest[1..];
        }
        if let Some(behind) = rest.strip_prefix('.') {
            rest = behind;
            parsed.precision =
                Some(number(&mut rest)?.ok_or_else(|| Fault::failed("Format specifier missing precision"))?);
        }
        let mut chars = rest.chars();
        parsed.kind = chars.next();
        if chars.next().is_some() {
            return Err(Fault::failed(format!("Invalid format specifier '{spec}'")));
        }
        Ok(parsed)
    }

    /// Pads `text` to the width, at its beginning if `align` is `>`.
    fn pad(&self, out: &mut Builder, text: &str, align: char) -> Result<()> {
        let n = self.width.saturating_sub(text.chars().count());
        let fill = self.fill.unwrap_or(' ').to_string();
        let before = match align {
            '<' => 0,
            '^' => n / 2,
            _ => n,
        };
        out.repeat(&fill, before)?;
        out.push(text)?;
        out.repeat(&fill, n - before)
    }

    fn text(&self, out: &mut Builder, text: &str) -> Result<()> {
        let cut = match self.precision {
            Some(n) => text.char_indices().nth(n).map_or(text.len(), |(at, _)| at),
            None => text.len(),
        };
        if self.align == Some('=') {
            return Err(Fault::failed("'=' alignment not allowed in string format specifier"));
        }
        self.pad(out, &text[..cut], self.align.unwrap_or('<'))
    }

    fn number(&self, out: &mut Builder, value: &Value) -> Result<()> {
        let precision = self.precision.unwrap_or(6);
        if precision > MAX_PRECISION {
            return Err(Fault::Limit(format!("formats a number with more than {MAX_PRECISION} digits")));
        }
        let (is_negative, mut body) = match (value.as_int(), self.kind) {
            (Some(int), None | Some('d' | 'n' | 'b' | 'o' | 'x' | 'X' | 'c')) => {
                if self.precision.is_some() && self.kind.is_some_and(|kind| kind != 'd') {
                    return Err(Fault::failed("Precision not allowed in integer format specifier"));
                }
                (int < 0, self.integer(int.unsigned_abs())?)
            }
            _ => {
                let float = value.as_float().unwrap_or(f64::NAN);
                (float.is_sign_negative() && !float.is_nan(), self.float(float.abs())?)
            }
        };
        if let Some(group) = self.group {
            body = grouped(&body, group);
        }
        let sign = match (is_negative, self.sign) {
            (true, _) => "-",
            (false, Some('+')) => "+",
            (false, Some(' ')) => " ",
            _ => "",
        };
        if self.zero || self.align == Some('=') {
            let n = self.width.saturating_sub(sign.len() + body.chars().count());
            out.push(sign)?;
            let fill = if self.zero { '0' } else { self.fill.unwrap_or(' ') };
            out.repeat(&fill.to_string(), n)?;
            return out.push(&body);
        }
        self.pad(out, &format!("{sign}{body}"), self.align.unwrap_or('>'))
    }

    fn integer(&self, int: u128) -> Result<String> {
        let (prefix, digits) = match self.kind {
            Some('b') => ("0b", format!("{int:b}")),
            Some('o') => ("0o", format!("{int:o}")),
            Some('x') => ("0x", format!("{int:x}")),
            Some('X') => ("0X", format!("{int:X}")),
            Some('c') => return character(&Value::Int(int as i128)),
            _ => ("", int.to_string()),
        };
        let digits = match self.precision {
            Some(n) => format!("{digits:0>n$}"),
            None => digits,
        };
        Ok(if self.alternate { format!("{prefix}{digits}") } else { digits })
    }

    fn float(&self, float: f64) -> Result<String> {
        let precision = self.precision.unwrap_or(6);
        let kind = self.kind.unwrap_or(if self.precision.is_some() { 'g' } else { 'r' });
        let text = match kind {
            _ if !float.is_finite() => show::float_repr(float),
            'r' => show::float_repr(float),
            'f' | 'F' => format!("{float:.precision$}"),
            '%' => format!("{:.precision$}%", float * 100.0),
            'e' | 'E' => exponential(float, precision),
            'g' | 'G' | 'n' => general(float, precision.max(1), self.kind.is_none(), self.alternate),
            other => return Err(Fault::failed(format!("Unknown format code '{other}' for a number"))),
        };
        Ok(if kind.is_uppercase() { text.to_uppercase() } else { text })
    }
}

fn exponential(float: f64, precision: usize) -> String {
    let text = format!("{float:.precision$e}");
    let (digits, exponent) = text.split_once('e').unwrap_or((&text, "0"));
    let exponent: i32 = exponent.parse().unwrap_or(0);
    format!("{digits}e{}{:02}", if exponent < 0 { '-' } else { '+' }, exponent.abs())
}

/// `%g`: `precision` digits in all, without zeros at the end.
fn general(float: f64, precision: usize, keeps_point: bool, keeps_zeros: bool) -> String {
    let scientific = format!("{float:.*e}", precision - 1);
    let exponent: i32 = scientific.split_once('e').and_then(|(_, e)| e.parse().ok()).unwrap_or(0);
    let without_zeros = |digits: &str| {
        if keeps_zeros || !digits.contains('.') {
            return digits.to_owned();
        }
        digits.trim_end_matches('0').trim_end_matches('.').to_owned()
    };
    let most = i32::try_from(precision).unwrap_or(i32::MAX) - i32::from(keeps_point);
    if exponent < -4 || exponent >= most.max(1) {
        let text = exponential(float, precision - 1);
        let (digits, exponent) = text.split_once('e').unwrap_or((&text, "+00"));
        return format!("{}e{exponent}", without_zeros(digits));
    }
    let n = usize::try_from(i32::try_from(precision).unwrap_or(i32::MAX) - 1 - exponent).unwrap_or(0);
    let mut text = without_zeros(&format!("{float:.n$}"));
    if keeps_point && !text.contains('.') {
        text.push_str(".0");
    }
    text
}

/// Digits in groups of three, those before the point.
fn grouped(digits: &str, separator: char) -> String {
    let whole = digits.find(|c: char| !c.is_ascii_digit()).unwrap_or(digits.len());
    let mut out = String::new();
    for (i, c) in digits[..whole].chars().enumerate() {
        if i > 0 && (whole - i) % 3 == 0 {
            out.push(separator);
        }
        out.push(c);
    }
    out + &digits[whole..]
}
