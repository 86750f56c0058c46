//! Frames of the link protocol: a length and that many bytes, never more than the bound.
//!
//! What the bytes mean is the node's concern.

use std::{io, sync::Arc};

use futures::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use libp2p::{StreamProtocol, request_response};

use super::counters::{Counter, Counters};

/// Most bytes of a request. The largest are the node's gossip, which keeps well below, and
/// checkpoint vectors, which need some 20 bytes per member.
pub const REQUEST_BYTES_MAX: usize = 512 * 1024;
/// Most bytes of a reply.
pub const REPLY_BYTES_MAX: usize = 1024 * 1024;

/// Memory set aside before any byte of a body has arrived: what a peer merely claims to send
/// costs us no more than this.
const TRUST_BYTES: usize = 16 * 1024;

/// Reads and writes bounded frames.
#[derive(Debug, Clone)]
pub(super) struct Codec {
    counters: Arc<Counters>,
}

impl Codec {
    pub(super) fn new(counters: Arc<Counters>) -> Self {
        Self { counters }
    }

    async fn read<T>(&self, io: &mut T, most: usize) -> io::Result<Vec<u8>>
    where
        T: AsyncRead + Unpin + Send,
    {
        let mut length = [0; 4];
        io.read_exact(&mut length).await?;
        let length = usize::try_from(u32::from_be_bytes(length)).unwrap_or(usize::MAX);
        if length > most {
            return Err(self.oversized(length, most));
        }
        let mut body = Vec::with_capacity(length.min(TRUST_BYTES));
        let read = io.take(length as u64).read_to_end(&mut body).await?;
        // A stream that ends early is no error of reading.
        if read < length {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        Ok(body)
    }

    async fn write<T>(&self, io: &mut T, body: &[u8], most: usize) -> io::Result<()>
    where
        T: AsyncWrite + Unpin + Send,
    {
        let length = u32::try_from(body.len()).unwrap_or(u32::MAX);
        // The peer would refuse it, after all of it had been sent.
        if body.len() > most {
            return Err(self.oversized(body.len(), most));
        }
        io.write_all(&length.to_be_bytes()).await?;
        io.write_all(body).await
    }

    fn oversized(&self, length: usize, most: usize) -> io::Error {
        self.counters.count(Counter::Oversized);
        io::Error::new(
            io::ErrorKind::InvalidData,
            format!("a frame of {length} bytes is above the bound of {most}"),
        )
    }
}

impl request_response::Codec for Codec {
    type Protocol = StreamProtocol;
    type Request = Vec<u8>;
    type Response = Vec<u8>;

    async fn read_request<T>(&mut self, _: &Self::Protocol, io: &mut T) -> io::Result<Vec<u8>>
    where
        T: AsyncRead + Unpin + Send,
    {
        self.read(io, REQUEST_BYTES_MAX).await
    }

    async fn read_response<T>(&mut self, _: &Self::Protocol, io: &mut T) -> io::Result<Vec<u8>>
    where
        T: AsyncRead + Unpin + Send,
    {
        self.read(io, REPLY_BYTES_MAX).await
    }

    async fn write_request<T>(
        &mut self,
        _: &Self::Protocol,
        io: &mut T,
        request: Vec<u8>,
    ) -> io::Result<()>
    where
        T: AsyncWrite + Unpin + Send,
    {
        self.write(io, &request, REQUEST_BYTES_MAX).await
    }

    async fn write_response<T>(
        &mut self,
        _: &Self::Protocol,
        io: &mut T,
        reply: Vec<u8>,
    ) -> io::Result<()>
    where
        T: AsyncWrite + Unpin + Send,
    {
        self.write(io, &reply, REPLY_BYTES_MAX).await
    }
}

#[cfg(test)]
mod tests {
    use std::{io::ErrorKind, sync::Arc};

    use futures::io::Cursor;

    use super::{Codec, Counter, Counters};

    fn codec() -> Codec {
        Codec::new(Arc::new(Counters::default()))
    }

    #[tokio::test]
    async fn a_frame_comes_back() {
        for body in [&b""[..], b"x", &[7; 100_000]] {
            let mut wire = Cursor::new(Vec::new());
            codec().write(&mut wire, body, 100_000).await.unwrap();
            let mut wire = Cursor::new(wire.into_inner());
            assert_eq!(codec().read(&mut wire, 100_000).await.unwrap(), body);
        }
    }

    #[tokio::test]
    async fn oversized_frames_are_refused_on_both_sides_and_counted() {
        let codec = codec();
        let mut wire = Cursor::new(Vec::new());
        let error = codec.write(&mut wire, &[0; 11], 10).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidData);
        assert!(wire.into_inner().is_empty(), "nothing of it was sent");
        let mut wire = Cursor::new(u32::MAX.to_be_bytes().to_vec());
        let error = codec.read(&mut wire, 10).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidData);
        assert_eq!(codec.counters.get(Counter::Oversized), 2);
    }

    #[tokio::test]
    async fn a_cut_frame_is_an_error() {
        for wire in [&b""[..], &[0, 0], &[0, 0, 0, 5, 1, 2]] {
            let error = codec()
                .read(&mut Cursor::new(wire.to_vec()), 10)
                .await
                .unwrap_err();
            assert_eq!(error.kind(), ErrorKind::UnexpectedEof);
        }
    }
}
