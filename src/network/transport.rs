//! How connections are made: TCP with Noise and Yamux, and QUIC; with a swarm key only TCP.

use std::{
    io,
    net::{SocketAddr, TcpListener, UdpSocket},
    time::Duration,
};

use libp2p::{
    Multiaddr, PeerId, Transport,
    core::{
        muxing::StreamMuxerBox,
        transport::{
            Boxed,
            timeout::{TransportTimeout, TransportTimeoutError},
        },
        upgrade::Version,
    },
    identity::Keypair,
    multiaddr::Protocol,
    noise,
    pnet::PnetConfig,
    quic, tcp, yamux,
};
use tracing::warn;

use super::{Error, SwarmKey};
use crate::discovery::{address, cause};

// The layers above show their own causes and hide those that they pass through; in a shell of
// its own a cause stays visible to whoever looks for the root of an error.

/// TCP could not connect or listen.
#[derive(Debug, thiserror::Error)]
#[error("tcp failed")]
struct TcpError(#[source] io::Error);

impl From<TransportTimeoutError<io::Error>> for TcpError {
    fn from(error: TransportTimeoutError<io::Error>) -> Self {
        Self(match error {
            TransportTimeoutError::Timeout => io::ErrorKind::TimedOut.into(),
            TransportTimeoutError::TimerError(error) | TransportTimeoutError::Other(error) => error,
        })
    }
}

/// QUIC could not connect or listen.
#[derive(Debug, thiserror::Error)]
#[error("quic failed")]
struct QuicError(#[source] quic::Error);

/// The transport of a node.
pub(super) fn build(
    keypair: &Keypair,
    swarm_key: Option<SwarmKey>,
    dial_timeout: Duration,
) -> Result<Boxed<(PeerId, StreamMuxerBox)>, Error> {
    let tcp = tcp::tokio::Transport::new(tcp::Config::default().nodelay(true));
    let tcp = TransportTimeout::with_outgoing_timeout(tcp, dial_timeout).map_err(TcpError::from);
    let mut quic = quic::Config::new(keypair);
    quic.handshake_timeout = dial_timeout;
    let noise = noise::Config::new(keypair).map_err(|error| Error::Key(error.to_string()))?;
    let streams = yamux::Config::default();
    let transport = match swarm_key {
        Some(key) => {
            let network = PnetConfig::new(key.pre_shared());
            tcp.and_then(move |socket, _| network.handshake(socket))
                .upgrade(Version::V1)
                .authenticate(noise)
                .multiplex(streams)
                .boxed()
        }
        None => tcp
            .upgrade(Version::V1Lazy)
            .authenticate(noise)
            .multiplex(streams)
            .map(|(peer, connection), _| (peer, StreamMuxerBox::new(connection)))
            .or_transport(
                quic::tokio::Transport::new(quic)
                    .map_err(QuicError)
                    .map(|(peer, connection), _| (peer, StreamMuxerBox::new(connection))),
            )
            .map(|either, _| either.into_inner())
            .boxed(),
    };
    // Reaching the peer has its own time-out below; this one strikes when somebody was reached
    // and the handshakes do not end.
    Ok(TransportTimeout::new(transport, dial_timeout * 2).boxed())
}

/// The addresses to listen on that the transport can serve. With a swarm key QUIC's are left
/// out, with a word of warning.
pub(super) fn usable(
    listen: &[Multiaddr],
    swarm_key: Option<&SwarmKey>,
) -> Result<Vec<Multiaddr>, Error> {
    let (quic, mut usable): (Vec<_>, Vec<_>) = listen.iter().cloned().partition(address::is_quic);
    if swarm_key.is_none() {
        usable.extend(quic);
        return Ok(usable);
    }
    for address in &quic {
        warn!(%address, "not listening: quic cannot carry a swarm key");
    }
    if usable.is_empty() && !listen.is_empty() {
        return Err(Error::KeyWithoutTcp);
    }
    Ok(usable)
}

/// Fails if another program has the port. Our listeners are open to sharing their port, and the
/// system would let two programs of one user do so, each getting some of the connections.
pub(super) fn check_free(address: &Multiaddr) -> Result<(), Error> {
    let Some((kind, socket)) = socket_of(address) else {
        return Err(Error::ListenAddress {
            address: address.clone(),
        });
    };
    // The system will pick one that is free.
    if socket.port() == 0 {
        return Ok(());
    }
    let bound = match kind {
        Kind::Tcp => TcpListener::bind(socket).map(drop),
        Kind::Quic => UdpSocket::bind(socket).map(drop),
    };
    bound.map_err(|source| listen_error(address, source))
}

/// What a failure to listen on `address` means.
pub(super) fn listen_error(address: &Multiaddr, source: io::Error) -> Error {
    let port = socket_of(address).map_or(0, |(_, socket)| socket.port());
    if source.kind() == io::ErrorKind::AddrInUse {
        return Error::PortInUse {
            address: address.clone(),
            port,
        };
    }
    Error::Listen {
        address: address.clone(),
        source,
    }
}

/// `error` with the kind of the operating system's error under the layers of a transport.
pub(super) fn with_root_kind(error: io::Error) -> io::Error {
    let kind = cause::layers(&error)
        .filter_map(|layer| layer.downcast_ref::<io::Error>())
        .last();
    io::Error::new(kind.map_or(error.kind(), io::Error::kind), error)
}

#[derive(Debug, PartialEq, Eq)]
enum Kind {
    Tcp,
    Quic,
}

fn socket_of(address: &Multiaddr) -> Option<(Kind, SocketAddr)> {
    let ip = address::ip(address)?;
    let mut rest = address.iter().skip(1);
    let (kind, port) = match (rest.next()?, rest.next()) {
        (Protocol::Tcp(port), None) => (Kind::Tcp, port),
        (Protocol::Udp(port), Some(Protocol::QuicV1)) => (Kind::Quic, port),
        _ => return None,
    };
    rest.next()
        .is_none()
        .then_some((kind, SocketAddr::new(ip, port)))
}

#[cfg(test)]
mod tests {
    use std::net::{TcpListener, UdpSocket};

    use libp2p::Multiaddr;

    use super::{Error, SwarmKey, check_free, usable};

    fn address(text: &str) -> Multiaddr {
        text.parse().unwrap()
    }

    #[test]
    fn a_port_that_another_has_is_named() {
        let tcp = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = tcp.local_addr().unwrap().port();
        for host in ["127.0.0.1", "0.0.0.0"] {
            let error = check_free(&address(&format!("/ip4/{host}/tcp/{port}"))).unwrap_err();
            assert!(matches!(error, Error::PortInUse { port: named, .. } if named == port));
        }
        let udp = UdpSocket::bind("127.0.0.1:0").unwrap();
        let port = udp.local_addr().unwrap().port();
        let error =
            check_free(&address(&format!("/ip4/127.0.0.1/udp/{port}/quic-v1"))).unwrap_err();
        assert!(error.to_string().contains(&port.to_string()), "{error}");
        check_free(&address("/ip4/127.0.0.1/tcp/0")).unwrap();
    }

    #[test]
    fn only_tcp_and_quic_at_an_ip_address_can_be_listened_on() {
        for text in [
            "/dns4/localhost/tcp/0",
            "/ip4/127.0.0.1/udp/5",
            "/ip4/127.0.0.1/tcp/5/ws",
            "/ip4/1.2.3.4",
        ] {
            let error = check_free(&address(text)).unwrap_err();
            assert!(matches!(error, Error::ListenAddress { .. }), "{text}");
        }
    }

    #[test]
    fn with_a_swarm_key_only_tcp_is_left() {
        let both = [
            address("/ip4/0.0.0.0/tcp/1"),
            address("/ip4/0.0.0.0/udp/1/quic-v1"),
        ];
        let key = SwarmKey::generate();
        assert_eq!(usable(&both, None).unwrap(), both);
        assert_eq!(usable(&both, Some(&key)).unwrap(), both[..1]);
        assert!(matches!(
            usable(&both[1..], Some(&key)),
            Err(Error::KeyWithoutTcp)
        ));
        assert!(
            usable(&[], Some(&key)).unwrap().is_empty(),
            "listening nowhere is a choice"
        );
    }
}
