//! The server: binds, serves, stops.

use std::{io, net::SocketAddr, time::Duration};

use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tracing::{debug, info};

use super::{
    connection::{Bounded, Limits, Peer},
    limits::{REQUEST_MAX, SILENCE_MAX},
    routes::router,
    view::{Settings, View},
};

/// Answers on their way get this long once the node stops.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(3);

/// The API's address cannot be listened on.
#[derive(Debug, thiserror::Error)]
pub enum BindError {
    /// Somebody has it.
    #[error(
        "HTTP address {0} is in use: stop the other program, or choose another address with \
         --http ADDR:PORT (port 0 means any free one)"
    )]
    InUse(SocketAddr),
    /// Another reason.
    #[error("cannot listen on HTTP address {address}: {source}")]
    Other {
        /// The address tried.
        address: SocketAddr,
        /// The system's reason.
        source: io::Error,
    },
}

/// Listens on `address`; port 0 means any free one, which `local_addr` of the result tells.
///
/// # Errors
///
/// The address is in use, not ours, or not permitted.
pub async fn bind(address: SocketAddr) -> Result<TcpListener, BindError> {
    TcpListener::bind(address)
        .await
        .map_err(|source| match source.kind() {
            io::ErrorKind::AddrInUse => BindError::InUse(address),
            _ => BindError::Other { address, source },
        })
}

/// Serves until `shutdown`; then finishes the answers that are on their way.
///
/// # Errors
///
/// The listener broke.
pub async fn serve(
    listener: TcpListener,
    view: View,
    settings: Settings,
    shutdown: CancellationToken,
) -> io::Result<()> {
    let address = listener.local_addr()?;
    info!(%address, "http api listening");
    let server = axum::serve(
        Bounded::new(
            listener,
            Limits {
                silence_max: SILENCE_MAX,
                request_max: REQUEST_MAX,
            },
        ),
        router(view, settings).into_make_service_with_connect_info::<Peer>(),
    )
    .with_graceful_shutdown(shutdown.clone().cancelled_owned());
    // A client that keeps an idle connection open must not hold up the end.
    let drained = async {
        shutdown.cancelled().await;
        tokio::time::sleep(DRAIN_TIMEOUT).await;
    };
    tokio::select! {
        result = server => result,
        () = drained => {
            debug!("http connections cut: their answers took too long");
            Ok(())
        }
    }
}
