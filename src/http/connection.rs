//! Bounds on connections: how many there are, and how long one may be silent.

use std::{
    future::Future,
    io,
    net::SocketAddr,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll},
    time::Duration,
};

use axum::{
    extract::connect_info::Connected,
    serve::{IncomingStream, Listener},
};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::{TcpListener, TcpStream},
    sync::{OwnedSemaphorePermit, Semaphore},
    time::{Instant, Sleep, sleep},
};

/// Browsers open six, a scraper one; the rest wait in the kernel's queue.
const CONNECTIONS_MAX: usize = 128;

/// The other end of a connection.
#[derive(Debug, Clone)]
pub(super) struct Peer {
    pub(super) address: SocketAddr,
    is_awaited: Arc<AtomicBool>,
}

impl Peer {
    /// For as long as the result lives the connection may be silent: an answer without a limit is waited for.
    /// A client that is gone without a word keeps its place until then.
    pub(super) fn awaits(&self) -> Awaited {
        self.is_awaited.store(true, Ordering::Relaxed);
        Awaited(Arc::clone(&self.is_awaited))
    }
}

impl Connected<IncomingStream<'_, Bounded>> for Peer {
    fn connect_info(stream: IncomingStream<'_, Bounded>) -> Self {
        Self {
            address: *stream.remote_addr(),
            is_awaited: Arc::clone(&stream.io().is_awaited),
        }
    }
}

/// See [`Peer::awaits`].
pub(super) struct Awaited(Arc<AtomicBool>);

impl Drop for Awaited {
    fn drop(&mut self) {
        self.0.store(false, Ordering::Relaxed);
    }
}

/// A listener that accepts a bounded number of connections at a time.
pub(super) struct Bounded {
    listener: TcpListener,
    permits: Arc<Semaphore>,
    limits: Limits,
}

/// How long a connection is put up with.
#[derive(Debug, Clone, Copy)]
pub(super) struct Limits {
    /// Nothing moves on it.
    pub(super) silence_max: Duration,
    /// A request is coming.
    pub(super) request_max: Duration,
}

impl Bounded {
    /// A connection that is beyond its limits ends.
    pub(super) fn new(listener: TcpListener, limits: Limits) -> Self {
        Self {
            listener,
            limits,
            permits: Arc::new(Semaphore::new(CONNECTIONS_MAX)),
        }
    }
}

impl Listener for Bounded {
    type Io = Connection;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Connection, SocketAddr) {
        // Before it accepts: who finds no place stays in the kernel's queue, and costs us nothing.
        let permit = loop {
            // The semaphore is never closed.
            if let Ok(permit) = Arc::clone(&self.permits).acquire_owned().await {
                break permit;
            }
        };
        let (stream, peer) = Listener::accept(&mut self.listener).await;
        (
            Connection {
                stream,
                silence: Box::pin(sleep(self.limits.silence_max)),
                limits: self.limits,
                coming_since: None,
                is_awaited: Arc::default(),
                _permit: permit,
            },
            peer,
        )
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }
}

/// A connection that ends when nothing moves on it for too long, or a request takes too long to come.
pub(super) struct Connection {
    stream: TcpStream,
    silence: Pin<Box<Sleep>>,
    limits: Limits,
    /// Since when a request has been coming that nothing was answered to.
    coming_since: Option<Instant>,
    is_awaited: Arc<AtomicBool>,
    _permit: OwnedSemaphorePermit,
}

impl Connection {
    /// `result`, unless it is "nothing yet" for too long.
    fn limit<T>(
        &mut self,
        context: &mut Context<'_>,
        result: Poll<io::Result<T>>,
    ) -> Poll<io::Result<T>> {
        if result.is_ready() {
            let end = self.silence_end();
            self.silence.as_mut().reset(end);
            return result;
        }
        while self.silence.as_mut().poll(context).is_ready() {
            if !self.is_awaited.load(Ordering::Relaxed) {
                return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
            }
            let end = self.silence_end();
            self.silence.as_mut().reset(end);
        }
        Poll::Pending
    }

    fn silence_end(&self) -> Instant {
        Instant::now() + self.limits.silence_max
    }
}

impl AsyncRead for Connection {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let result = Pin::new(&mut self.stream).poll_read(context, buffer);
        // A byte now and then is no silence, and would hold a place for ever.
        if buffer.filled().len() > before {
            let since = *self.coming_since.get_or_insert_with(Instant::now);
            if since.elapsed() > self.limits.request_max {
                return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
            }
        }
        self.limit(context, result)
    }
}

impl AsyncWrite for Connection {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let result = Pin::new(&mut self.stream).poll_write(context, bytes);
        if result.is_ready() {
            self.coming_since = None;
        }
        self.limit(context, result)
    }

    // On a socket this and the next are done at once: there is no silence to limit.
    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use axum::{Router, middleware, routing::post};
    use tokio::{
        io::{AsyncReadExt, AsyncWriteExt},
        net::{TcpListener, TcpStream},
        sync::Notify,
        time::{sleep, timeout},
    };

    use super::{Bounded, Duration, Limits, Listener as _, Peer, io};
    use crate::http::{
        Settings, Token,
        guard::{LEAVE, guard},
        token,
    };

    /// Far more than it takes.
    const PATIENCE: Duration = Duration::from_mins(1);

    #[tokio::test]
    async fn a_request_that_does_not_get_on_is_cut_off_though_it_is_never_silent() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let limits = Limits {
            silence_max: 2 * PATIENCE,
            request_max: Duration::from_millis(200),
        };
        let mut bounded = Bounded::new(listener, limits);
        let mut slow = TcpStream::connect(address).await.unwrap();
        let (mut connection, _) = bounded.accept().await;
        let mut byte = [0];
        let dripping = async {
            loop {
                slow.write_all(b"G").await.unwrap();
                if let Err(error) = connection.read(&mut byte).await {
                    break error;
                }
                sleep(Duration::from_millis(20)).await;
            }
        };
        let cut = timeout(PATIENCE, dripping).await.expect("it is cut off");
        assert_eq!(cut.kind(), io::ErrorKind::TimedOut);
        // One that is answered begins anew with its next request.
        let mut quick = TcpStream::connect(address).await.unwrap();
        let (mut connection, _) = bounded.accept().await;
        for _ in 0..3 {
            quick.write_all(b"G").await.unwrap();
            connection.read_exact(&mut byte).await.unwrap();
            sleep(limits.request_max).await;
            connection.write_all(b"A").await.unwrap();
        }
    }

    #[tokio::test]
    async fn who_waits_for_a_departure_is_not_cut_off_for_being_silent() {
        let dir = tempfile::tempdir().unwrap();
        let settings = Settings {
            hosts: Vec::new(),
            token: Token::open(dir.path()).unwrap(),
        };
        let token = token::read(settings.token.path()).unwrap();
        let (begun, end) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
        let signals = (Arc::clone(&begun), Arc::clone(&end));
        let departure = || async move {
            let (begun, end) = signals;
            begun.notify_one();
            end.notified().await;
            "left"
        };
        let router = Router::new()
            .route(LEAVE, post(departure))
            .layer(middleware::from_fn_with_state(Arc::new(settings), guard));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let limits = Limits {
            silence_max: Duration::from_millis(200),
            request_max: PATIENCE,
        };
        let bounded = Bounded::new(listener, limits);
        let service = router.into_make_service_with_connect_info::<Peer>();
        tokio::spawn(async move { axum::serve(bounded, service).await });

        let mut asker = TcpStream::connect(address).await.unwrap();
        let request = format!(
            "POST {LEAVE} HTTP/1.1\r\nhost: {address}\r\nauthorization: Bearer {token}\r\n\
             content-length: 0\r\nconnection: close\r\n\r\n"
        );
        asker.write_all(request.as_bytes()).await.unwrap();
        begun.notified().await;
        // Silent from later on, and cut: the one that asked has been silent for too long as well.
        let mut idle = TcpStream::connect(address).await.unwrap();
        let mut nothing = Vec::new();
        let _ = idle.read_to_end(&mut nothing).await;
        assert!(nothing.is_empty());

        end.notify_one();
        let mut answer = String::new();
        asker.read_to_string(&mut answer).await.unwrap();
        assert!(
            answer.starts_with("HTTP/1.1 200") && answer.ends_with("left"),
            "{answer}"
        );
    }
}
