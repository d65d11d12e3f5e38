//! A server on loopback whose every word is given: for what the stand-in does not do.

use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;

/// What the server says to a request: its number, from 0, in the order in which they arrived, and its body.
type Script = dyn Fn(usize, &str) -> Vec<u8> + Send + Sync;

/// The server. It ends when it is dropped.
pub(crate) struct Scripted {
    pub(crate) base_url: String,
    shared: Arc<Shared>,
    address: std::net::SocketAddr,
}

struct Shared {
    script: Box<Script>,
    bodies: Mutex<Vec<String>>,
    stopped: AtomicBool,
}

impl Scripted {
    pub(crate) fn start(script: impl Fn(usize, &str) -> Vec<u8> + Send + Sync + 'static) -> Self {
        Self::start_on(TcpListener::bind("127.0.0.1:0").expect("a free port"), script)
    }

    /// The same at the address of `listener`.
    pub(crate) fn start_on(
        listener: TcpListener,
        script: impl Fn(usize, &str) -> Vec<u8> + Send + Sync + 'static,
    ) -> Self {
        let address = listener.local_addr().expect("an address");
        let shared = Arc::new(Shared {
            script: Box::new(script),
            bodies: Mutex::new(Vec::new()),
            stopped: AtomicBool::new(false),
        });
        let for_accepted = Arc::clone(&shared);
        thread::spawn(move || {
            for stream in listener.incoming() {
                let shared = Arc::clone(&for_accepted);
                if shared.stopped.load(Ordering::SeqCst) {
                    return;
                }
                // A client that has gone away is no fault of the server.
                thread::spawn(move || stream.map(|stream| shared.serve(stream)));
            }
        });
        Self { base_url: format!("http://{address}/v1"), shared, address }
    }

    /// The bodies of the requests, in the order in which they arrived.
    pub(crate) fn bodies(&self) -> Vec<String> {
        self.shared.bodies.lock().expect("no panic").clone()
    }
}

impl Drop for Scripted {
    fn drop(&mut self) {
        self.shared.stopped.store(true, Ordering::SeqCst);
        // It waits for a connection, and looks then.
        let _ = TcpStream::connect(self.address);
    }
}

impl Shared {
    fn serve(&self, mut stream: TcpStream) -> Option<()> {
        loop {
            let body = read_request(&mut stream)?;
            let number = {
                let mut bodies = self.bodies.lock().expect("no panic");
                bodies.push(body.clone());
                bodies.len() - 1
            };
            stream.write_all(&(self.script)(number, &body)).ok()?;
        }
    }
}

/// The body of the next request; `None` when the client has closed.
fn read_request(stream: &mut TcpStream) -> Option<String> {
    let mut text = String::new();
    loop {
        let mut buffer = [0; 4096];
        let read = stream.read(&mut buffer).ok().filter(|read| *read > 0)?;
        text.push_str(&String::from_utf8_lossy(&buffer[..read]));
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let length =
                head.lines().find_map(|line| line.to_ascii_lowercase().strip_prefix("content-length: ")?.parse().ok());
            if body.len() >= length.unwrap_or(0) {
                return Some(body.to_owned());
            }
        }
    }
}

/// A response with these header lines beside its length.
pub(crate) fn response(status: u16, headers: &[&str], body: impl AsRef<[u8]>) -> Vec<u8> {
    let body = body.as_ref();
    let lines = headers.join("\r\n") + if headers.is_empty() { "" } else { "\r\n" };
    let head = format!("HTTP/1.1 {status} Scripted\r\n{lines}content-length: {}\r\n\r\n", body.len());
    [head.as_bytes(), body].concat()
}

/// A chat answer: the bytes of its JSON text without the quotes, and its usage as JSON.
pub(crate) fn answer(text: &[u8], usage: &str) -> Vec<u8> {
    let start = br#"{"object":"chat.completion","choices":[{"index":0,"message":{"role":"assistant","content":""#;
    let end = format!(r#""}},"finish_reason":"stop"}}],"usage":{usage}}}"#);
    response(200, &["content-type: application/json"], [start, text, end.as_bytes()].concat())
}

/// A usage that nobody doubts.
pub(crate) const USAGE: &str = r#"{"prompt_tokens":20,"completion_tokens":5,"total_tokens":25}"#;

/// An error as `OpenAI` words it.
pub(crate) fn error(status: u16, headers: &[&str], code: &str, message: &str) -> Vec<u8> {
    let body = serde_json::json!({ "error": { "message": message, "type": null, "param": null, "code": code } });
    response(status, headers, body.to_string())
}
