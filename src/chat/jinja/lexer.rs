//! Template source to tokens, with Jinja's rules for whitespace around tags.
//!
//! Set up as `transformers` does: the line break behind a block tag goes (`trim_blocks`), and so does
//! the indentation before one (`lstrip_blocks`); `-` strips all whitespace, `+` keeps it. Line ends are
//! made one kind first, and the last one of the file goes.

use super::fault::{Fault, Result};
use super::text::is_space;

/// A token.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Token {
    /// Text outside of tags.
    Data(String),
    VariableBegin,
    VariableEnd,
    BlockBegin,
    BlockEnd,
    Name(String),
    Str(String),
    Int(i128),
    Float(f64),
    /// An operator or a bracket.
    Op(&'static str),
    End,
}

/// Operators, longer ones first.
const OPERATORS: [&str; 26] = [
    "//", "**", "==", "!=", ">=", "<=", "+", "-", "/", "*", "%", "~", "[", "]", "(", ")", "{", "}", ">", "<",
    "=", ".", ":", "|", ",", ";",
];

/// Cuts a source into tokens, each with its line.
pub(super) fn tokens(source: &str) -> std::result::Result<Vec<(Token, usize)>, (Fault, usize)> {
    let mut source = source.replace("\r\n", "\n").replace('\r', "\n");
    if source.ends_with('\n') {
        source.pop();
    }
    let mut lexer = Lexer {
        rest: &source,
        source: &source,
        tokens: Vec::new(),
        at_line_start: true,
        line: 1,
        counted: 0,
    };
    lexer.run().map_err(|fault| (fault, lexer.line()))?;
    let line = lexer.line();
    lexer.tokens.push((Token::End, line));
    Ok(lexer.tokens)
}

struct Lexer<'a> {
    source: &'a str,
    rest: &'a str,
    tokens: Vec<(Token, usize)>,
    /// Whether nothing but a line break is before the text that comes.
    at_line_start: bool,
    /// The line at byte `counted`.
    line: usize,
    counted: usize,
}

/// The sign behind an opening or before a closing delimiter.
fn sign(text: &str) -> Option<char> {
    text.chars().next().filter(|c| matches!(c, '-' | '+'))
}

impl<'a> Lexer<'a> {
    fn line(&mut self) -> usize {
        let at = self.source.len() - self.rest.len();
        self.line += self.source[self.counted..at].matches('\n').count();
        self.counted = at;
        self.line
    }

    fn emit(&mut self, token: Token) {
        let line = self.line();
        self.tokens.push((token, line));
    }

    fn advance(&mut self, n: usize) {
        self.rest = &self.rest[n..];
    }

    fn run(&mut self) -> Result<()> {
        while !self.rest.is_empty() {
            let Some(at) = self.next_tag() else {
                self.data(self.rest.len(), None, false);
                return Ok(());
            };
            let is_variable = self.rest[at..].starts_with("{{");
            let is_comment = self.rest[at..].starts_with("{#");
            let strip = sign(&self.rest[at + 2..]);
            self.data(at, strip, !is_variable);
            let begin = 2 + usize::from(strip.is_some());
            if is_comment {
                self.advance(begin);
                self.comment()?;
            } else if is_variable {
                self.emit(Token::VariableBegin);
                self.advance(begin);
                self.inside("}}")?;
            } else if let Some(len) = raw_tag(&self.rest[begin..]) {
                self.advance(begin + len);
                self.raw()?;
            } else {
                self.emit(Token::BlockBegin);
                self.advance(begin);
                self.inside("%}")?;
            }
        }
        Ok(())
    }

    fn next_tag(&self) -> Option<usize> {
        let mut from = 0;
        while let Some(at) = self.rest[from..].find('{').map(|at| from + at) {
            if self.rest[at + 1..].starts_with(['{', '%', '#']) {
                return Some(at);
            }
            from = at + 1;
        }
        None
    }

    /// Emits the text up to `len`, stripped at its end as the tag behind it wants.
    fn data(&mut self, len: usize, strip: Option<char>, lstrip: bool) {
        let text = &self.rest[..len];
        let kept = match strip {
            Some('-') => text.trim_end_matches(is_space),
            None if lstrip => self.without_indentation(text),
            _ => text,
        };
        if !kept.is_empty() {
            self.emit(Token::Data(kept.to_owned()));
        }
        self.advance(len);
        self.at_line_start = false;
    }

    fn without_indentation<'t>(&self, text: &'t str) -> &'t str {
        let start = text.rfind('\n').map_or(0, |at| at + 1);
        let is_first_in_line = start > 0 || self.at_line_start;
        if is_first_in_line && text[start..].chars().all(is_space) { &text[..start] } else { text }
    }

    /// Skips a closing delimiter and what it strips; `trims` says that it takes one line break along.
    fn close(&mut self, delimiter: &str, trims: bool) -> bool {
        let strip = sign(self.rest);
        let body = &self.rest[usize::from(strip.is_some())..];
        if !body.starts_with(delimiter) || (strip == Some('+') && !trims) {
            return false;
        }
        let mut n = usize::from(strip.is_some()) + delimiter.len();
        let behind = &self.rest[n..];
        match strip {
            Some('-') => n += behind.len() - behind.trim_start_matches(is_space).len(),
            None if trims && behind.starts_with('\n') => n += 1,
            _ => {}
        }
        self.at_line_start = self.rest[..n].ends_with('\n');
        self.advance(n);
        true
    }

    fn comment(&mut self) -> Result<()> {
        let Some(end) = self.rest.find("#}") else {
            return Err(Fault::failed("a comment has no end (#})"));
        };
        let signed = self.rest[..end].ends_with(['-', '+']);
        self.advance(end - usize::from(signed));
        self.close("#}", true);
        Ok(())
    }

    /// Text up to `{% endraw %}`.
    fn raw(&mut self) -> Result<()> {
        self.at_line_start = self.source[..self.source.len() - self.rest.len()].ends_with('\n');
        // Jinja does not miss an end where nothing follows.
        if self.rest.is_empty() {
            return Ok(());
        }
        let mut from = 0;
        while let Some(at) = self.rest[from..].find("{%").map(|at| from + at) {
            let strip = sign(&self.rest[at + 2..]);
            let begin = at + 2 + usize::from(strip.is_some());
            let tag = self.rest[begin..].trim_start_matches(is_space);
            if let Some(behind) = tag.strip_prefix("endraw") {
                let behind = behind.trim_start_matches(is_space);
                if behind[usize::from(sign(behind).is_some())..].starts_with("%}") {
                    let end = self.rest.len() - behind.len();
                    self.data(at, strip, true);
                    self.advance(end - at);
                    self.close("%}", true);
                    return Ok(());
                }
            }
            from = at + 2;
        }
        Err(Fault::failed("a raw block has no end ({% endraw %})"))
    }

    /// Tokens inside of a tag, up to its end.
    fn inside(&mut self, end: &'static str) -> Result<()> {
        let mut brackets = Vec::new();
        loop {
            self.rest = self.rest.trim_start_matches(is_space);
            if brackets.is_empty() && self.close(end, end == "%}") {
                self.emit(if end == "%}" { Token::BlockEnd } else { Token::VariableEnd });
                return Ok(());
            }
            let Some(c) = self.rest.chars().next() else {
                return Err(Fault::failed(format!("a tag has no end ({end})")));
            };
            if c == '"' || c == '\'' {
                let text = self.string(c)?;
                self.emit(Token::Str(text));
            } else if c.is_ascii_digit() {
                self.number()?;
            } else if c == '_' || c.is_alphanumeric() {
                let len =
                    self.rest.find(|c: char| c != '_' && !c.is_alphanumeric()).unwrap_or(self.rest.len());
                self.emit(Token::Name(self.rest[..len].to_owned()));
                self.advance(len);
            } else {
                self.operator(c, &mut brackets)?;
            }
        }
    }

    fn operator(&mut self, c: char, brackets: &mut Vec<char>) -> Result<()> {
        let Some(op) = OPERATORS.into_iter().find(|op| self.rest.starts_with(op)) else {
            return Err(Fault::failed(format!("unexpected character {c:?}")));
        };
        match c {
            '(' => brackets.push(')'),
            '[' => brackets.push(']'),
            '{' => brackets.push('}'),
            ')' | ']' | '}' if brackets.pop() != Some(c) => {
                return Err(Fault::failed(format!("unexpected '{c}'")));
            }
            _ => {}
        }
        self.emit(Token::Op(op));
        self.advance(op.len());
        Ok(())
    }

    fn string(&mut self, quote: char) -> Result<String> {
        let mut is_escaped = false;
        let end = self.rest[1..].find(|c| {
            let ends = c == quote && !is_escaped;
            is_escaped = c == '\\' && !is_escaped;
            ends
        });
        let Some(end) = end else {
            return Err(Fault::failed("a string has no end"));
        };
        let text = unescape(&self.rest[1..=end])?;
        self.advance(end + 2);
        Ok(text)
    }

    fn number(&mut self) -> Result<()> {
        let rest = self.rest;
        for (prefix, radix) in [("0x", 16), ("0X", 16), ("0o", 8), ("0O", 8), ("0b", 2), ("0B", 2)] {
            if let Some(digits) = rest.strip_prefix(prefix) {
                let len = digits.find(|c: char| c != '_' && !c.is_digit(radix)).unwrap_or(digits.len());
                let value = i128::from_str_radix(&digits[..len].replace('_', ""), radix);
                self.emit(Token::Int(value.map_err(|_| Fault::failed("a number is too large"))?));
                self.advance(2 + len);
                return Ok(());
            }
        }
        let whole = digits(rest);
        let mut len = whole;
        let after_dot = matches!(self.tokens.last(), Some((Token::Op("."), _)));
        if !after_dot {
            if rest[len..].starts_with('.') && rest[len + 1..].starts_with(|c: char| c.is_ascii_digit()) {
                len += 1 + digits(&rest[len + 1..]);
            }
            if rest[len..].starts_with(['e', 'E']) {
                let signed = 1 + usize::from(rest[len + 1..].starts_with(['+', '-']));
                let exponent = digits(rest.get(len + signed..).unwrap_or_default());
                len += if exponent > 0 { signed + exponent } else { 0 };
            }
        }
        if len == whole && rest.starts_with('0') {
            // Nothing but more zeros may follow one.
            let zeros = rest[..whole].find(|c| c != '0' && c != '_').unwrap_or(whole);
            len = rest[..zeros].trim_end_matches('_').len();
        }
        let text = rest[..len].replace('_', "");
        let is_float = rest[..len].contains(['.', 'e', 'E']);
        let token = if is_float {
            Token::Float(text.parse().map_err(|_| Fault::failed("invalid number"))?)
        } else {
            Token::Int(text.parse().map_err(|_| Fault::failed("a number is too large"))?)
        };
        self.emit(token);
        self.advance(len);
        Ok(())
    }
}

/// The length of the digits at the beginning, single underscores between them.
fn digits(text: &str) -> usize {
    let len = text.find(|c: char| c != '_' && !c.is_ascii_digit()).unwrap_or(text.len());
    let len = text[..len].find("__").unwrap_or(len);
    text[..len].trim_end_matches('_').len()
}

/// The length of what is left of a `{% raw %}` tag, if it is one.
fn raw_tag(tag: &str) -> Option<usize> {
    let behind = tag.trim_start_matches(is_space).strip_prefix("raw")?.trim_start_matches(is_space);
    if let Some(text) = behind.strip_prefix("-%}") {
        return Some(tag.len() - text.trim_start_matches(is_space).len());
    }
    behind.strip_prefix("%}").map(|text| tag.len() - text.len())
}

/// Resolves the escapes of a string literal, Python's.
fn unescape(text: &str) -> Result<String> {
    let mut out = String::with_capacity(text.len());
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        if c != '\\' {
            out.push(c);
            continue;
        }
        let Some(escape) = chars.next() else { return Err(Fault::failed("a string ends in a backslash")) };
        let code = |chars: &mut std::str::Chars<'_>, n: usize| {
            let hex: String = chars.by_ref().take(n).collect();
            let code = u32::from_str_radix(&hex, 16).ok().filter(|_| hex.len() == n);
            code.ok_or_else(|| Fault::failed(format!("invalid escape \\{escape}{hex}")))
        };
        match escape {
            '\n' => {}
            'n' => out.push('\n'),
            't' => out.push('\t'),
            'r' => out.push('\r'),
            'a' => out.push('\x07'),
            'b' => out.push('\x08'),
            'f' => out.push('\x0c'),
            'v' => out.push('\x0b'),
            '\\' | '\'' | '"' => out.push(escape),
            'N' => return Err(Fault::failed("characters by their names (\\N{...}) are not supported")),
            'x' | 'u' | 'U' => {
                let n = if escape == 'x' {
                    2
                } else if escape == 'u' {
                    4
                } else {
                    8
                };
                let mut value = code(&mut chars, n)?;
                // A pair of surrogates is one character.
                if (0xd800..0xdc00).contains(&value) && chars.as_str().starts_with("\\u") {
                    let low =
                        u32::from_str_radix(chars.as_str().get(2..6).unwrap_or_default(), 16).unwrap_or(0);
                    if (0xdc00..0xe000).contains(&low) {
                        value = 0x10000 + ((value - 0xd800) << 10) + (low - 0xdc00);
                        chars = chars.as_str()[6..].chars();
                    }
                }
                out.push(char::from_u32(value).unwrap_or('\u{fffd}'));
            }
            '0'..='7' => {
                let mut value = escape.to_digit(8).unwrap_or(0);
                for _ in 0..2 {
                    let Some(digit) = chars.clone().next().and_then(|c| c.to_digit(8)) else { break };
                    value = value * 8 + digit;
                    chars.next();
                }
                out.push(char::from_u32(value).unwrap_or('\u{fffd}'));
            }
            other => {
                out.push('\\');
                out.push(other);
            }
        }
    }
    Ok(out)
}
