//! A hub of our own: repositories in folders, served on this machine, with the faults that a test asks for.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use sha1::Sha1;
use sha2::{Digest, Sha256};

/// The commit that every repository is at.
pub(crate) const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";

/// What goes wrong with one request for a file.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Fault {
    /// The connection ends after so many bytes of the body.
    CutAfter(usize),
    /// A status, and a header if it is not empty.
    Status(u16, &'static str),
    /// A byte is another one.
    Damaged,
    /// The length is stated one too long, and the whole file as well.
    WrongLength,
    /// The wish for a part is passed over: everything comes.
    NoRanges,
    /// Nothing comes for so long, in the middle of the body.
    Silent(Duration),
    /// So many bytes come at once, the others one by one, and the last one never.
    Trickle(usize),
    /// The file is elsewhere, at an address of the same hub under another name.
    Redirect,
}

/// What was asked for, in order: the path, the first byte and whether a token came along.
pub(crate) type Request = (String, u64, bool);

#[derive(Default)]
struct State {
    /// By repository and name.
    files: BTreeMap<String, Vec<u8>>,
    /// By the end of a path; taken in order.
    faults: Mutex<Vec<(String, Fault)>>,
    requests: Mutex<Vec<Request>>,
    is_over: AtomicBool,
    /// Bodies being sent now.
    n_bodies: AtomicUsize,
}

/// A running hub; it ends when dropped.
pub(crate) struct Hub {
    pub(crate) endpoint: String,
    state: Arc<State>,
}

impl Hub {
    /// Serves the files of a folder as repository `name`.
    pub(crate) fn serve(name: &str, folder: &Path) -> Self {
        let mut files = BTreeMap::new();
        collect(folder, name, &mut files);
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let endpoint = format!("http://{}", listener.local_addr().expect("bound"));
        let state = Arc::new(State { files, ..State::default() });
        let own = Arc::clone(&state);
        thread::spawn(move || {
            for stream in listener.incoming() {
                if own.is_over.load(Ordering::SeqCst) {
                    return;
                }
                let own = Arc::clone(&own);
                thread::spawn(move || own.answer_all(&stream.expect("a connection")));
            }
        });
        Self { endpoint, state }
    }

    /// Lets these things happen to the next requests for paths that end so, one after the other.
    pub(crate) fn with_faults(&self, end: &str, faults: &[Fault]) {
        self.state.faults.lock().expect("sound").extend(faults.iter().map(|&fault| (end.to_owned(), fault)));
    }

    /// How many bodies are being sent.
    pub(crate) fn n_bodies(&self) -> usize {
        self.state.n_bodies.load(Ordering::SeqCst)
    }

    /// What was asked for since the last time.
    pub(crate) fn requests(&self) -> Vec<Request> {
        std::mem::take(&mut self.state.requests.lock().expect("sound"))
    }
}

impl Drop for Hub {
    fn drop(&mut self) {
        self.state.is_over.store(true, Ordering::SeqCst);
        // Wakes the thread that waits for a connection.
        let _ = TcpStream::connect(self.endpoint.trim_start_matches("http://"));
    }
}

fn collect(folder: &Path, prefix: &str, files: &mut BTreeMap<String, Vec<u8>>) {
    for entry in std::fs::read_dir(folder).expect("a folder") {
        let entry = entry.expect("an entry");
        let name = format!("{prefix}/{}", entry.file_name().to_str().expect("UTF-8"));
        if entry.path().is_dir() {
            collect(&entry.path(), &name, files);
        } else {
            files.insert(name, std::fs::read(entry.path()).expect("readable"));
        }
    }
}

fn digits(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, b| {
        let _ = write!(text, "{b:02x}");
        text
    })
}

impl State {
    fn answer_all(&self, stream: &TcpStream) {
        let mut lines = BufReader::new(stream).lines();
        while let Some(Ok(first)) = lines.next() {
            let path = first.split(' ').nth(1).expect("a request").to_owned();
            let (mut start, mut has_token) = (0, false);
            for line in lines.by_ref().map_while(Result::ok).take_while(|line| !line.is_empty()) {
                let line = line.to_lowercase();
                if let Some(range) = line.strip_prefix("range: bytes=") {
                    start = range.trim_end_matches('-').parse().expect("a number");
                }
                has_token |= line.starts_with("authorization: bearer ");
            }
            self.requests.lock().expect("sound").push((path.clone(), start as u64, has_token));
            // What the other side gave up is not a failure of a test.
            match self.answer(stream, &path, start) {
                Ok(true) => {}
                Ok(false) | Err(_) => break,
            }
        }
        let _ = stream.shutdown(std::net::Shutdown::Both);
    }

    /// Whether the connection may go on.
    fn answer(&self, stream: &TcpStream, path: &str, start: usize) -> std::io::Result<bool> {
        let mut faults = self.faults.lock().expect("sound");
        let fault =
            faults.iter().position(|(end, _)| path.ends_with(end.as_str())).map(|i| faults.remove(i).1);
        drop(faults);
        let head = |mut stream: &TcpStream, status: u16, headers: &str| {
            write!(stream, "HTTP/1.1 {status} Some reason\r\n{headers}\r\n")
        };
        if let Some(Fault::Status(status, header)) = fault {
            head(
                stream,
                status,
                &format!("{header}{}content-length: 0\r\n", if header.is_empty() { "" } else { "\r\n" }),
            )?;
            return Ok(true);
        }
        if let Some(repository) = path.strip_prefix("/api/models/") {
            return self.list(stream, repository);
        }
        let key =
            path.trim_start_matches('/').replace(&format!("resolve/{COMMIT}/"), "").replace("moved/", "");
        let Some(content) = self.files.get(&key) else {
            head(stream, 404, "x-error-code: EntryNotFound\r\ncontent-length: 0\r\n")?;
            return Ok(true);
        };
        if let Some(Fault::Redirect) = fault {
            // The same machine under another name: a stranger to the hub.
            let port = stream.local_addr()?.port();
            head(
                stream,
                302,
                &format!("location: http://localhost:{port}/moved/{key}\r\ncontent-length: 0\r\n"),
            )?;
            return Ok(true);
        }
        let mut content = content.clone();
        if let Some(Fault::Damaged) = fault {
            *content.last_mut().expect("not empty") ^= 1;
        }
        if let Some(Fault::WrongLength) = fault {
            content.push(0);
        }
        let n = content.len();
        let is_part = start > 0 && !matches!(fault, Some(Fault::NoRanges));
        if is_part && start >= n {
            head(stream, 416, "content-length: 0\r\n")?;
            return Ok(true);
        }
        let start = if is_part { start } else { 0 };
        let range =
            if is_part { format!("content-range: bytes {start}-{}/{n}\r\n", n - 1) } else { String::new() };
        head(stream, if is_part { 206 } else { 200 }, &format!("{range}content-length: {}\r\n", n - start))?;
        let body = &content[start..];
        self.n_bodies.fetch_add(1, Ordering::SeqCst);
        let sent = Self::send(stream, body, fault);
        self.n_bodies.fetch_sub(1, Ordering::SeqCst);
        sent
    }

    /// Whether the connection may go on.
    fn send(mut stream: &TcpStream, body: &[u8], fault: Option<Fault>) -> std::io::Result<bool> {
        match fault {
            Some(Fault::Trickle(n)) => {
                stream.write_all(&body[..n])?;
                for byte in &body[n..body.len() - 1] {
                    thread::sleep(Duration::from_millis(2));
                    stream.write_all(&[*byte])?;
                }
                return stream.read(&mut [0]).map(|_| false);
            }
            Some(Fault::CutAfter(n)) => {
                stream.write_all(&body[..n])?;
                return Ok(false);
            }
            Some(Fault::Silent(time)) => {
                stream.write_all(&body[..1])?;
                thread::sleep(time);
                stream.write_all(&body[1..])?;
            }
            _ => stream.write_all(body)?,
        }
        Ok(true)
    }

    fn list(&self, mut stream: &TcpStream, repository: &str) -> std::io::Result<bool> {
        let name = repository.split("/revision/").next().expect("a name");
        let prefix = format!("{name}/");
        let of_name =
            self.files.iter().filter_map(|(key, content)| Some((key.strip_prefix(&prefix)?, content)));
        let listed: Vec<serde_json::Value> = of_name
            .map(|(name, content)| {
                let git = Sha1::new().chain_update(format!("blob {}\0", content.len())).chain_update(content).finalize();
                let mut file = serde_json::json!({ "rfilename": name, "size": content.len(), "blobId": digits(&git) });
                if [".safetensors", ".gguf", ".bin"].iter().any(|end| name.ends_with(end)) {
                    file["lfs"] = serde_json::json!({ "sha256": digits(&Sha256::digest(content)), "size": content.len() });
                }
                file
            })
            .collect();
        if listed.is_empty() {
            write!(stream, "HTTP/1.1 404 None\r\nx-error-code: RepoNotFound\r\ncontent-length: 0\r\n\r\n")?;
            return Ok(true);
        }
        let body = serde_json::json!({ "sha": COMMIT, "siblings": listed }).to_string();
        write!(stream, "HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{body}", body.len())?;
        Ok(true)
    }
}
