//! The server: HTTP/1.1 on loopback, one task a connection.

use std::convert::Infallible;
use std::future::{pending, poll_fn};
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use http::{Request, Response};
use http_body_util::{BodyExt, LengthLimitError, Limited};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::oneshot;
use tokio::task::JoinSet;

use super::api::error::ApiError;
use super::exchange::{Exchange, exchange};
use super::log::Logged;
use super::options::Options;
use super::respond::Delivery;
use super::state::{Shared, Sink};
use super::wire;
use crate::count::Tokenizer;
use crate::tripwire;

/// Connections that may wait to be accepted: clients open thousands at once. The system may allow fewer (`net.core.somaxconn`).
const BACKLOG: u32 = 4_096;
/// The largest request body, in bytes: some room above the largest context window there is.
const LARGEST_BODY: usize = 64 << 20;

/// A stand-in that runs. It stops, and its connections are cut, when it is dropped.
pub struct Server {
    shared: Arc<Shared>,
    addr: SocketAddr,
    /// Dropping the sender ends the accept loop.
    stop: Option<oneshot::Sender<Infallible>>,
    thread: Option<JoinHandle<()>>,
    /// Where it serves on the runtime of its caller.
    task: Option<tokio::task::JoinHandle<()>>,
}

impl Server {
    /// Listens on `addr` (port 0: any free one) and serves on the current runtime, which must have I/O and time.
    ///
    /// An address that is not loopback is refused: the stand-in has no protection against strangers.
    pub fn start(addr: SocketAddr, options: Options) -> io::Result<Self> {
        Self::start_logging(addr, options, None)
    }

    /// As [`start`](Self::start) on `127.0.0.1` and any free port.
    pub fn start_local(options: Options) -> io::Result<Self> {
        Self::start(local(), options)
    }

    /// As [`start`](Self::start) with a listener that is open already; its backlog is what its maker chose.
    pub fn start_on(listener: std::net::TcpListener, options: Options) -> io::Result<Self> {
        listener.set_nonblocking(true)?;
        require_loopback(listener.local_addr()?)?;
        Self::spawn(TcpListener::from_std(listener)?, options, None)
    }

    /// Serves on `127.0.0.1` and any free port, on a thread of its own with a runtime of its own (one thread: one core), for synchronous callers.
    pub fn start_thread(options: Options) -> io::Result<Self> {
        Self::start_thread_with(options, ())
    }

    /// As [`start_thread`](Self::start_thread); `held` is dropped when the thread ends, also by a panic.
    pub fn start_thread_with(options: Options, held: impl Send + 'static) -> io::Result<Self> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let listener = {
            let _guard = runtime.enter();
            listen(local())?
        };
        warm();
        let addr = listener.local_addr()?;
        let shared = Arc::new(Shared::new(options, None));
        let (stop, stopped) = oneshot::channel();
        let serve = live(listener, addr, Arc::clone(&shared), stopped);
        let serve = move || {
            let _held = held;
            runtime.block_on(serve);
        };
        let thread = std::thread::Builder::new().name("standin".to_owned()).spawn(serve)?;
        Ok(Self { shared, addr, stop: Some(stop), thread: Some(thread), task: None })
    }

    /// As [`start`](Self::start), writing each request to `sink` as one line of JSON.
    pub(super) fn start_logging(addr: SocketAddr, options: Options, sink: Option<Sink>) -> io::Result<Self> {
        Self::spawn(listen(addr)?, options, sink)
    }

    fn spawn(listener: TcpListener, options: Options, sink: Option<Sink>) -> io::Result<Self> {
        warm();
        let addr = listener.local_addr()?;
        let shared = Arc::new(Shared::new(options, sink));
        let (stop, stopped) = oneshot::channel();
        let task = tokio::spawn(live(listener, addr, Arc::clone(&shared), stopped));
        Ok(Self { shared, addr, stop: Some(stop), thread: None, task: Some(task) })
    }

    /// Waits until it serves no more, though nobody stopped it: for one that serves on the current runtime.
    pub(super) async fn ended(&mut self) {
        match &mut self.task {
            // How is seen by the panic.
            Some(task) => drop(task.await),
            None => pending().await,
        }
    }

    /// Where it listens.
    #[must_use]
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// `http://127.0.0.1:PORT/v1`: what a client is given as its base URL.
    #[must_use]
    pub fn base_url(&self) -> String {
        format!("http://{}/v1", self.addr)
    }

    /// Changes how it behaves, from the next request on. A limit that changes keeps its used share; a new one starts full.
    pub fn set_options(&self, options: Options) {
        self.shared.set_options(options);
    }

    /// The requests so far, in the order of their arrival; a request is in it before its response leaves.
    #[must_use]
    pub fn log(&self) -> Vec<Logged> {
        self.shared.log()
    }

    /// Stops it, as dropping does. Of [`start_thread`](Self::start_thread) the port is free on return; else when the runtime next gets to it.
    pub fn stop(self) {
        drop(self);
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            // A panic of the thread has been printed already.
            let _ = thread.join();
        }
    }
}

fn local() -> SocketAddr {
    SocketAddr::from((Ipv4Addr::LOCALHOST, 0))
}

fn require_loopback(addr: SocketAddr) -> io::Result<()> {
    if addr.ip().is_loopback() {
        return Ok(());
    }
    let what = format!("the stand-in API listens on loopback only, not on {addr}; use 127.0.0.1 or [::1]");
    Err(io::Error::new(io::ErrorKind::InvalidInput, what))
}

fn listen(addr: SocketAddr) -> io::Result<TcpListener> {
    require_loopback(addr)?;
    bind(addr)?.listen(BACKLOG)
}

/// Takes the port; connections are refused until it is listened on.
fn bind(addr: SocketAddr) -> io::Result<TcpSocket> {
    let socket = if addr.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    // A restart on the same port does not wait for the old connections to be forgotten.
    #[cfg(not(windows))]
    socket.set_reuseaddr(true)?;
    socket.bind(addr)?;
    Ok(socket)
}

/// Serves until `stopped`'s sender is dropped; then all connections end.
async fn live(listener: TcpListener, addr: SocketAddr, shared: Arc<Shared>, stopped: oneshot::Receiver<Infallible>) {
    tokio::select! {
        () = serve_and_rest(listener, addr, &shared) => {}
        _ = stopped => {}
    }
}

/// Accepts connections, but in the second half of an outage: then those that stand are cut, and new ones are refused.
async fn serve_and_rest(mut listener: TcpListener, addr: SocketAddr, shared: &Arc<Shared>) {
    loop {
        let mut connections = JoinSet::new();
        tokio::select! {
            () = accept(&listener, shared, &mut connections) => {}
            () = shared.until_closed() => {}
        }
        drop(listener);
        // Held without listening, so that connections are refused and nobody else gets the port.
        let socket = bind(addr);
        connections.shutdown().await;
        shared.until_open().await;
        listener = match socket.and_then(|socket| socket.listen(BACKLOG)) {
            Ok(listener) => listener,
            Err(error) => {
                tracing::warn!("the stand-in cannot listen on {addr} again after its outage: {error}");
                return;
            }
        };
    }
}

async fn accept(listener: &TcpListener, shared: &Arc<Shared>, connections: &mut JoinSet<()>) {
    loop {
        tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => {
                    connections.spawn(serve(stream, Arc::clone(shared)));
                }
                Err(error) => {
                    // Mostly: no file descriptors left. It passes when connections close.
                    tracing::debug!("the stand-in cannot accept a connection: {error}");
                    tokio::time::sleep(Duration::from_millis(10)).await;
                }
            },
            // A panic is heard of where the server runs.
            Some(Err(error)) = connections.join_next() => {
                if error.is_panic() {
                    std::panic::resume_unwind(error.into_panic());
                }
            }
        }
    }
}

/// Ends a connection without a response.
#[derive(Debug, thiserror::Error)]
enum Ended {
    #[error("the connection is reset, as the fault asks")]
    Reset,
    #[error("the request's body ended early")]
    Body,
}

async fn serve(stream: TcpStream, shared: Arc<Shared>) {
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!("no TCP_NODELAY: {error}");
    }
    let service = service_fn(move |request| Box::pin(handle(request, Arc::clone(&shared))));
    let mut builder = http1::Builder::new();
    let mut connection = builder.timer(TokioTimer::new()).serve_connection(TokioIo::new(stream), service);
    let ended = poll_fn(|cx| connection.poll_without_shutdown(cx)).await;
    let Err(error) = ended else { return };
    let cause = std::error::Error::source(&error).and_then(|cause| cause.downcast_ref::<Ended>());
    if let Some(Ended::Reset) = cause {
        let stream = connection.into_parts().io.into_inner();
        // With nothing to linger for, closing sends RST in place of FIN.
        if let Err(error) = stream.set_zero_linger() {
            tracing::debug!("the connection closes without a reset: {error}");
        }
    }
}

async fn handle(request: Request<Incoming>, shared: Arc<Shared>) -> Result<Response<wire::Body>, Ended> {
    tripwire::here("standin");
    let (head, body) = request.into_parts();
    let body = match Limited::new(body, LARGEST_BODY).collect().await {
        Ok(body) => Ok(body.to_bytes()),
        Err(error) if error.is::<LengthLimitError>() => Err(ApiError::too_long()),
        Err(_) => return Err(Ended::Body),
    };
    let Exchange { reply, arrival, works, request_id } = exchange(&head, body, &shared);
    let _work = works.then(|| Work(shared));
    match reply.delivery {
        Delivery::Reset => {
            pause(arrival.latency).await;
            return Err(Ended::Reset);
        }
        // Ends when the client closes the connection: hyper drops this future then.
        Delivery::Never => pending().await,
        Delivery::Whole | Delivery::Cut => {}
    }
    // What is turned away is turned away at once, as a real gateway does it.
    let took = if (400..500).contains(&reply.status) { Duration::ZERO } else { arrival.latency };
    pause(took).await;
    Ok(wire::response(reply, arrival.options.rate_limit_headers, &request_id, arrival.wall, took))
}

async fn pause(latency: Duration) {
    if !latency.is_zero() {
        tokio::time::sleep(latency).await;
    }
}

/// One of the requests that are worked on. Dropping it makes room for another: before its response leaves, or when its client goes away.
struct Work(Arc<Shared>);

impl Drop for Work {
    fn drop(&mut self) {
        self.0.leave();
    }
}

/// Loads the tokenizer of today's models: the first request is not to wait for that, and those behind it.
fn warm() {
    Tokenizer::for_model("gpt-4o-mini").warm();
}
