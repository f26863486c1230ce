//! What an answer that is not good means, and what to do about it.

use std::io;
use std::time::Duration;

use super::{Answer, Failure, Trouble};
use crate::error::Error;
use crate::hub::name::HubName;
use crate::hub::settings::Settings;

/// What is asked for.
pub(in crate::hub) struct Subject<'a> {
    pub(in crate::hub) url: &'a str,
    pub(in crate::hub) name: &'a HubName,
    /// The file, or none where the question is what there is.
    pub(in crate::hub) file: Option<&'a str>,
}

/// What an answer of another status than a good one means.
pub(super) fn trouble(settings: &Settings, subject: &Subject<'_>, answer: &Answer) -> Trouble {
    let status = answer.status;
    match status {
        429 => {
            let hint = match settings.token {
                None => "; with a token (HF_TOKEN) it allows more",
                Some(_) => "",
            };
            let what = format!("the hub limits how often it may be asked (status 429){hint}");
            Trouble::Passing { what, wait: wait_of(answer), is_unreachable: false }
        }
        408 | 425 | 500 | 502..=504 => {
            let what = format!("the server failed (status {status})");
            Trouble::Passing { what, wait: wait_of(answer), is_unreachable: true }
        }
        _ => {
            let what = lasting(settings, subject, answer);
            let error = Error::io(subject.url, "cannot download", io::Error::other(what));
            Trouble::Lasting(Failure::Refused(error))
        }
    }
}

fn lasting(settings: &Settings, subject: &Subject<'_>, answer: &Answer) -> String {
    let (status, code) = (answer.status, answer.header("x-error-code").unwrap_or_default());
    let (repository, revision) = (subject.name.repository(), subject.name.revision());
    let page = format!("{}/{repository}", settings.endpoint);
    let tokens = format!("{}/settings/tokens", settings.endpoint);
    match (status, code, &settings.token) {
        (401 | 403, "GatedRepo", None) => format!(
            "{repository} is gated: accept its conditions at {page}, then set HF_TOKEN to a token of that account ({tokens})"
        ),
        (401 | 403, "GatedRepo", Some(token)) => format!(
            "{repository} is gated, and the account of the token in {} has no access yet: ask for it at {page}; a \
             fine-grained token also needs the right to read gated repositories",
            token.source
        ),
        (401, _, None) | (404, "RepoNotFound", None) => format!(
            "there is no repository {repository}, or it is private: check the name at {page}; for a private one, set \
             HF_TOKEN to a token that may read it ({tokens})"
        ),
        (401 | 403, _, Some(token)) => format!(
            "the hub refuses the token in {} (status {status}): it is wrong or has expired, or may not read {repository}; \
             make another at {tokens}",
            token.source
        ),
        (403, _, None) => {
            format!("the server forbids it (status 403); a proxy may do so, or {repository} needs HF_TOKEN")
        }
        (404, "RevisionNotFound", _) => format!("{repository} has no revision {revision}; see {page}/tree/main for what there is"),
        (404, "EntryNotFound", _) => format!("{repository} has no file {} at {revision}", subject.file.unwrap_or_default()),
        (404, ..) => format!("{repository} was not found (status 404); check the name at {page}"),
        (407, ..) => "the proxy wants a name and a password: put them into HTTPS_PROXY, as in http://NAME:PASSWORD@HOST:PORT".to_owned(),
        (451, ..) => format!("{repository} was taken down (status 451)"),
        _ => match answer.header("x-error-message") {
            Some(message) => format!("the server says: {message} (status {status})"),
            None => format!("the server answers with status {status}"),
        },
    }
}

/// How long the server asks to wait.
fn wait_of(answer: &Answer) -> Option<Duration> {
    let seconds = match answer.header("retry-after") {
        Some(after) => after.trim().parse().ok(),
        // "api";r=0;t=55: no request is left for 55 seconds.
        None => answer
            .header("ratelimit")?
            .split(';')
            .find_map(|part| part.trim().strip_prefix("t=")?.parse().ok()),
    };
    seconds.map(Duration::from_secs)
}

/// What a request that got no answer means.
pub(super) fn of_network(url: &str, error: ureq::Error) -> Trouble {
    use ureq::Error as E;
    let proxy =
        ["ALL_PROXY", "HTTPS_PROXY", "HTTP_PROXY"].iter().find(|name| std::env::var_os(name).is_some());
    let via = proxy.map(|name| format!("; the proxy is what {name} says")).unwrap_or_default();
    let lasting = |what: String| {
        let error = Error::io(url, "cannot download", io::Error::other(what));
        Trouble::Lasting(Failure::Unreachable(error))
    };
    match error {
        E::ConnectProxyFailed(what) => lasting(format!(
            "the proxy does not connect ({what}){via}; correct it, or name the host in NO_PROXY"
        )),
        E::InvalidProxyUrl => lasting(format!("the proxy has no valid address{via}")),
        E::Rustls(_) | E::Tls(_) => lasting(untrusted(&error)),
        // What rustls finds wrong arrives as unusable data.
        E::Io(e) if e.kind() == io::ErrorKind::InvalidData => lasting(untrusted(&e)),
        E::BadUri(_) | E::Http(_) => {
            lasting(format!("not an address that can be asked ({error}); check HF_ENDPOINT and HF_TOKEN"))
        }
        E::RedirectFailed | E::TooManyRedirects => {
            lasting(format!("the server sends from address to address ({error})"))
        }
        other => Trouble::passing(format!("no connection ({other}): check the network and HF_ENDPOINT{via}")),
    }
}

fn untrusted(error: &dyn std::fmt::Display) -> String {
    format!(
        "the connection is not trusted ({error}); where a proxy or a firewall reads along, set SSL_CERT_FILE to its \
         certificates (PEM)"
    )
}
