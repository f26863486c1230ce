//! HTTP as the hub wants it: one request at a time, redirects, and what a refusal means.
//!
//! A request runs on a separate thread that hands over what comes, so that the caller hears at once of an interrupt and
//! notices when nothing comes any more. The token goes to the hub itself and to no other address: redirects lead to
//! storage that has its own signatures.

mod parts;
mod refusal;

use std::io::{self, Read};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::thread;
use std::time::{Duration, Instant};

use ureq::http::{HeaderMap, Response};
use ureq::tls::{PemItem, RootCerts, TlsConfig, parse_pem};
use ureq::{Agent, Body, Proxy};

use super::Watch;
use super::settings::Settings;
use crate::error::{Error, Result};
pub(super) use refusal::Subject;

/// Redirects that are followed one after the other.
const MOST_REDIRECTS: usize = 10;

/// Failures in a row, without a byte in between, after which no other try is made.
const MOST_FAILURES: u32 = 5;

/// The longest wait for a hub that limits its rate.
const LONGEST_WAIT: Duration = Duration::from_secs(120);

/// The status of an answer to a request for bytes behind the end.
pub(super) const NO_SUCH_BYTES: u16 = 416;

/// Bytes handed over at a time, and pieces on their way.
const PIECE_BYTES: usize = 256 << 10;
const MOST_PIECES: usize = 8;

/// How long to look away from an interrupt.
const GLANCE: Duration = Duration::from_millis(50);

/// Why there is no answer.
#[derive(Debug)]
pub(super) enum Failure {
    /// The hub could not be asked.
    Unreachable(Error),
    /// It said no, or the user stopped.
    Refused(Error),
}

impl From<Failure> for Error {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::Unreachable(error) | Failure::Refused(error) => error,
        }
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self::Refused(error)
    }
}

/// What became of one try.
pub(super) enum Trouble {
    /// Another try may succeed, after so long if the hub says so.
    Passing { what: String, wait: Option<Duration>, is_unreachable: bool },
    /// None will.
    Lasting(Failure),
}

impl From<Error> for Trouble {
    fn from(error: Error) -> Self {
        Self::Lasting(Failure::Refused(error))
    }
}

impl Trouble {
    pub(super) fn passing(what: impl Into<String>) -> Self {
        Self::Passing { what: what.into(), wait: None, is_unreachable: true }
    }
}

/// Asks the hub.
pub(super) struct Client {
    pub(super) settings: Settings,
    agent: Agent,
}

/// The head of an answer, whose body follows.
pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) headers: HeaderMap,
    pieces: Receiver<Piece>,
    patience: Duration,
}

enum Piece {
    Head(u16, HeaderMap),
    Bytes(Vec<u8>),
    End,
    Failed(ureq::Error),
}

impl Client {
    pub(super) fn new(settings: &Settings) -> Result<Self> {
        let mut tls = TlsConfig::builder();
        if let Some((path, pem)) = &settings.certificates {
            let certificates = parse_pem(pem).filter_map(|item| match item {
                Ok(PemItem::Certificate(certificate)) => Some(certificate),
                _ => None,
            });
            let certificates: Vec<_> = certificates.collect();
            if certificates.is_empty() {
                return Err(Error::malformed(
                    path,
                    "SSL_CERT_FILE names it, and it holds no certificate in PEM form",
                ));
            }
            tls = tls.root_certs(RootCerts::Specific(Arc::new(certificates)));
        }
        let is_here = ["http://127.0.0.1", "http://localhost", "http://[::1]"];
        let proxy = match is_here.iter().any(|here| settings.endpoint.starts_with(here)) {
            true => None,
            false => Proxy::try_from_env(),
        };
        let config = Agent::config_builder()
            .tls_config(tls.build())
            .proxy(proxy)
            .http_status_as_error(false)
            .max_redirects(0)
            .max_redirects_will_error(false)
            .accept_encoding("identity")
            .user_agent(concat!("gguf-kit/", env!("CARGO_PKG_VERSION")))
            .timeout_connect(Some(settings.patience))
            .timeout_recv_response(Some(settings.patience))
            .timeout_per_read(Some(settings.patience))
            .build();
        Ok(Self { settings: settings.clone(), agent: config.into() })
    }

    /// Asks for `url` from byte `first` on. Only good answers come back: 200, and if `first` is not 0 also 206 and
    /// [`NO_SUCH_BYTES`].
    pub(super) fn get(
        &self,
        url: &str,
        first: u64,
        subject: &Subject<'_>,
        watch: &dyn Watch,
    ) -> Result<Answer, Trouble> {
        let (sender, pieces) = sync_channel(MOST_PIECES);
        let request = Request {
            agent: self.agent.clone(),
            url: url.to_owned(),
            first,
            home: self.settings.endpoint.clone(),
            token: self.settings.token.as_ref().map(|token| token.text.clone()),
        };
        let spawned = thread::Builder::new().name("download".to_owned()).spawn(move || request.run(&sender));
        spawned.map_err(|e| Error::limit(format!("the system does not start a thread ({e})")))?;
        let mut answer =
            Answer { status: 0, headers: HeaderMap::new(), pieces, patience: self.settings.patience };
        match answer.next_piece(watch)? {
            Piece::Head(status, headers) => {
                (answer.status, answer.headers) = (status, headers);
                let is_good = status == 200 || [206, NO_SUCH_BYTES].contains(&status) && first > 0;
                if !is_good {
                    return Err(refusal::trouble(&self.settings, subject, &answer));
                }
                answer.check_first(first)?;
                Ok(answer)
            }
            Piece::Failed(error) => Err(refusal::of_network(url, error)),
            Piece::Bytes(_) | Piece::End => unreachable!("the head comes first"),
        }
    }

    /// Tries until `attempt` succeeds or fails for good. An attempt says whether it came further than those before it;
    /// `next_time` ends the advice to run again.
    pub(super) fn persist<T>(
        &self,
        (url, next_time): (&str, &str),
        watch: &dyn Watch,
        mut attempt: impl FnMut() -> (bool, Result<T, Trouble>),
    ) -> Result<T, Failure> {
        let mut n_failures = 0;
        loop {
            let (came_further, outcome) = attempt();
            let (what, wait, is_unreachable) = match outcome {
                Ok(value) => return Ok(value),
                Err(Trouble::Lasting(failure)) => return Err(failure),
                Err(Trouble::Passing { what, wait, is_unreachable }) => (what, wait, is_unreachable),
            };
            n_failures = if came_further { 1 } else { n_failures + 1 };
            let wait = wait.unwrap_or(self.settings.first_wait * 2u32.pow(n_failures - 1));
            if n_failures == MOST_FAILURES || wait > LONGEST_WAIT {
                let what = match wait > LONGEST_WAIT {
                    true => format!("{what}; it asks to wait {} s", wait.as_secs()),
                    false => format!("{what}, {n_failures} times in a row"),
                };
                let what = format!("{what}. Run again later{next_time}");
                let error = Error::io(url, "cannot download", io::Error::other(what));
                return Err(if is_unreachable {
                    Failure::Unreachable(error)
                } else {
                    Failure::Refused(error)
                });
            }
            if n_failures > 1 {
                watch.tell(&format!("{url}: {what}; trying again in {} s", wait.as_secs_f32().ceil()));
            }
            let start = Instant::now();
            while start.elapsed() < wait {
                if watch.is_cancelled() {
                    return Err(Failure::Refused(Error::Interrupted));
                }
                thread::sleep(GLANCE.min(wait));
            }
        }
    }
}

impl Answer {
    /// The next bytes of the body; `None` at its end.
    pub(super) fn next(&mut self, watch: &dyn Watch) -> Result<Option<Vec<u8>>, Trouble> {
        match self.next_piece(watch)? {
            Piece::Bytes(bytes) => Ok(Some(bytes)),
            Piece::End => Ok(None),
            Piece::Failed(error) => Err(Trouble::passing(format!("the connection broke ({error})"))),
            Piece::Head(..) => unreachable!("the head came"),
        }
    }

    /// The whole body, of at most `limit` bytes.
    pub(super) fn body(mut self, url: &str, limit: usize, watch: &dyn Watch) -> Result<Vec<u8>, Trouble> {
        let mut body = Vec::new();
        while let Some(bytes) = self.next(watch)? {
            body.extend(bytes);
            if body.len() > limit {
                return Err(Error::limit(format!("{url}: the answer is longer than {limit} bytes")).into());
            }
        }
        Ok(body)
    }

    /// A header, if it is text.
    pub(super) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }

    fn next_piece(&self, watch: &dyn Watch) -> Result<Piece, Trouble> {
        let start = Instant::now();
        loop {
            if watch.is_cancelled() {
                return Err(Error::Interrupted.into());
            }
            match self.pieces.recv_timeout(GLANCE) {
                Ok(piece) => return Ok(piece),
                // Reads time out on their own; this counts where they cannot, as when a name is looked up.
                Err(RecvTimeoutError::Timeout) if start.elapsed() < self.patience * 2 => {}
                Err(RecvTimeoutError::Timeout) => {
                    let seconds = start.elapsed().as_secs();
                    return Err(Trouble::passing(format!("nothing came for {seconds} s")));
                }
                Err(RecvTimeoutError::Disconnected) => {
                    return Err(Trouble::passing("the answer ended without an end"));
                }
            }
        }
    }
}

/// What a thread asks for.
struct Request {
    agent: Agent,
    url: String,
    first: u64,
    /// The hub, which is given the token.
    home: String,
    token: Option<String>,
}

impl Request {
    /// Sends the answer, until its end or until the receiver is gone.
    fn run(self, sender: &SyncSender<Piece>) {
        let response = match self.follow() {
            Ok(response) => response,
            Err(error) => {
                let _ = sender.send(Piece::Failed(error));
                return;
            }
        };
        let (head, body) = response.into_parts();
        if sender.send(Piece::Head(head.status.as_u16(), head.headers)).is_err() {
            return;
        }
        let mut reader = body.into_reader();
        loop {
            let mut bytes = vec![0; PIECE_BYTES];
            let piece = match reader.read(&mut bytes) {
                Ok(0) => Piece::End,
                Ok(n) => {
                    bytes.truncate(n);
                    Piece::Bytes(bytes)
                }
                Err(e) if e.kind() == io::ErrorKind::Interrupted => continue,
                Err(e) => Piece::Failed(ureq::Error::Io(e)),
            };
            let is_last = !matches!(piece, Piece::Bytes(_));
            if sender.send(piece).is_err() || is_last {
                return;
            }
        }
    }

    fn follow(&self) -> Result<Response<Body>, ureq::Error> {
        let mut url = self.url.clone();
        for _ in 0..MOST_REDIRECTS {
            let mut request = self.agent.get(&url);
            if self.first > 0 {
                request = request.header("range", format!("bytes={}-", self.first));
            }
            if let Some(token) = self.token.as_ref().filter(|_| origin(&url) == origin(&self.home)) {
                request = request.header("authorization", format!("Bearer {token}"));
            }
            let response = request.call()?;
            if !matches!(response.status().as_u16(), 301 | 302 | 303 | 307 | 308) {
                return Ok(response);
            }
            let target = response.headers().get("location").and_then(|location| location.to_str().ok());
            url = joined(&url, target.ok_or(ureq::Error::RedirectFailed)?);
        }
        Err(ureq::Error::TooManyRedirects)
    }
}

/// Where a reference to another address leads from `url` (RFC 3986, section 5.2; dots stay as they are).
fn joined(url: &str, reference: &str) -> String {
    let scheme_end = url.find("://").map_or(0, |at| at + 1);
    let is_absolute =
        reference.split_once("://").is_some_and(|(scheme, _)| !scheme.contains(['/', '?', '#']));
    match reference.as_bytes() {
        _ if is_absolute => reference.to_owned(),
        [b'/', b'/', ..] => format!("{}{reference}", &url[..scheme_end]),
        [b'/', ..] => format!("{}{reference}", origin(url)),
        _ => {
            let path = &url[..url.find(['?', '#']).unwrap_or(url.len())];
            let folder = path.rfind('/').filter(|&at| at >= origin(url).len()).map_or(path, |at| &path[..at]);
            format!("{folder}/{reference}")
        }
    }
}

/// Scheme, host and port of an address.
fn origin(url: &str) -> &str {
    let host = url.find("://").map_or(0, |at| at + 3);
    let end = url[host..].find(['/', '?', '#']).map_or(url.len(), |at| host + at);
    &url[..end]
}

/// `text` as a part of an address; slashes stay if `keeps_slashes`.
pub(super) fn escaped(text: &str, keeps_slashes: bool) -> String {
    let escape = |b: u8| match b {
        b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => char::from(b).to_string(),
        b'/' if keeps_slashes => "/".to_owned(),
        b => format!("%{b:02X}"),
    };
    text.bytes().map(escape).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_has_an_origin_and_escaped_parts() {
        assert_eq!(origin("https://hf.co:5/a/b"), "https://hf.co:5");
        assert_eq!(origin("http://h?x"), "http://h");
        for (reference, expected) in [
            ("http://o/x", "http://o/x"),
            ("//o/x?u=http://q", "https://o/x?u=http://q"),
            ("/x", "https://hf.co:5/x"),
            ("x/y?u=http://q", "https://hf.co:5/a/x/y?u=http://q"),
        ] {
            assert_eq!(joined("https://hf.co:5/a/b?c=/d", reference), expected);
        }
        assert_eq!(joined("https://hf.co", "x"), "https://hf.co/x");
        assert_eq!(escaped("a b/ü", true), "a%20b/%C3%BC");
        assert_eq!(escaped("refs/pr/1", false), "refs%2Fpr%2F1");
    }
}
