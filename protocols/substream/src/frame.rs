//! Frames on a substream: four bytes of length (big endian), then as many bytes of CBOR.

use std::{io, time::Duration};

use futures::{
    AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt,
    future::{Either, select},
};
use futures_timer::Delay;

/// Longest content of a frame, in bytes. The four bytes of its length come on top.
pub const FRAME_BYTES_MAX: usize = 64 * 1024;

/// How a peer broke the rules of frames. Nothing of the frame was acted upon; its connection is closed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// The announced length is zero or beyond [`FRAME_BYTES_MAX`].
    #[error("frame of {0} bytes, allowed are 1 to {FRAME_BYTES_MAX}")]
    Size(u32),
    /// The stream ended, or nothing more came in time, inside a frame. A crash or a broken network
    /// does that too.
    #[error("frame was cut short")]
    Truncated,
    /// More frames per second than allowed.
    #[error("flood of frames")]
    Flood,
    /// Substreams opened again and again on one connection.
    #[error("too many substreams")]
    TooManyStreams,
}

/// Why no further frame can be read from a stream.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ReadError {
    #[error(transparent)]
    Refused(#[from] Fault),
    #[error("stream broke")]
    Io(#[source] io::Error),
}

/// Reads the next frame's content; `None` when the stream ends between two frames.
///
/// Waits for ever for the first byte, and `timeout` for the rest: a frame that was begun must come.
pub(crate) async fn read<S>(stream: &mut S, timeout: Duration) -> Result<Option<Vec<u8>>, ReadError>
where
    S: AsyncRead + Unpin,
{
    let mut header = [0; 4];
    // The end of a stream is in order only here, between two frames.
    if stream.read(&mut header[..1]).await.map_err(ReadError::Io)? == 0 {
        return Ok(None);
    }
    let rest = Box::pin(async {
        stream
            .read_exact(&mut header[1..])
            .await
            .map_err(cut_short)?;
        let announced = u32::from_be_bytes(header);
        let length = usize::try_from(announced).unwrap_or(usize::MAX);
        // Before the room for it is taken: the length is what a stranger says.
        if !(1..=FRAME_BYTES_MAX).contains(&length) {
            return Err(Fault::Size(announced).into());
        }
        let mut content = vec![0; length];
        stream.read_exact(&mut content).await.map_err(cut_short)?;
        Ok(Some(content))
    });
    match select(rest, Delay::new(timeout)).await {
        Either::Left((frame, _)) => frame,
        // Whether it stopped by intent or with its host cannot be told.
        Either::Right(((), _)) => Err(Fault::Truncated.into()),
    }
}

/// Writes one frame completely. After an error, also a time-out, the stream is of no further use.
pub(crate) async fn write<S>(stream: &mut S, content: &[u8], timeout: Duration) -> io::Result<()>
where
    S: AsyncWrite + Unpin,
{
    let length = u32::try_from(content.len())
        .ok()
        // The reader would not only refuse it, but take it for an offence.
        .filter(|_| content.len() <= FRAME_BYTES_MAX)
        .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidInput, "frame exceeds the limit"))?;
    let all = Box::pin(async {
        stream.write_all(&length.to_be_bytes()).await?;
        stream.write_all(content).await?;
        stream.flush().await
    });
    match select(all, Delay::new(timeout)).await {
        Either::Left((result, _)) => result,
        Either::Right(((), _)) => Err(io::ErrorKind::TimedOut.into()),
    }
}

fn cut_short(error: io::Error) -> ReadError {
    match error.kind() {
        io::ErrorKind::UnexpectedEof => Fault::Truncated.into(),
        _ => ReadError::Io(error),
    }
}

#[cfg(test)]
mod tests {
    use std::{
        pin::Pin,
        task::{Context, Poll},
    };

    use futures::{executor::block_on, io::Cursor};

    use super::*;

    const TIMEOUT: Duration = Duration::from_millis(50);

    fn read_all(bytes: &[u8]) -> Vec<Result<Option<Vec<u8>>, ReadError>> {
        let mut stream = Cursor::new(bytes);
        let mut frames = Vec::new();
        loop {
            let frame = block_on(read(&mut stream, TIMEOUT));
            let more = matches!(frame, Ok(Some(_)));
            frames.push(frame);
            if !more {
                return frames;
            }
        }
    }

    #[test]
    fn round_trip_up_to_the_limit() {
        let contents = [vec![1], vec![2; 300], vec![3; FRAME_BYTES_MAX]];
        let mut stream = Cursor::new(Vec::new());
        for content in &contents {
            block_on(write(&mut stream, content, TIMEOUT)).unwrap();
        }
        let frames = read_all(stream.get_ref());
        assert_eq!(frames.len(), 4);
        for (frame, content) in frames.iter().zip(&contents) {
            assert_eq!(frame.as_ref().unwrap().as_ref(), Some(content));
        }
        assert!(matches!(frames[3], Ok(None)));
    }

    #[test]
    fn oversized_is_refused_before_it_is_read() {
        let announced = u32::try_from(FRAME_BYTES_MAX).unwrap() + 1;
        for length in [announced, u32::MAX] {
            let frames = read_all(&length.to_be_bytes());
            assert!(matches!(frames[..], [Err(ReadError::Refused(Fault::Size(n)))] if n == length));
        }
    }

    #[test]
    fn empty_frame_is_refused() {
        assert!(matches!(
            read_all(&[0; 4])[..],
            [Err(ReadError::Refused(Fault::Size(0)))]
        ));
    }

    #[test]
    fn end_inside_a_frame_is_truncation() {
        for bytes in [&[0][..], &[0, 0, 0], &[0, 0, 0, 2], &[0, 0, 0, 2, 9]] {
            assert!(
                matches!(
                    read_all(bytes)[..],
                    [Err(ReadError::Refused(Fault::Truncated))]
                ),
                "{bytes:?}"
            );
        }
    }

    #[test]
    fn oversized_is_not_written() {
        let mut stream = Cursor::new(Vec::new());
        let error = block_on(write(&mut stream, &[0; FRAME_BYTES_MAX + 1], TIMEOUT)).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::InvalidInput);
        assert!(stream.get_ref().is_empty());
    }

    /// Gives some bytes, then nothing; takes nothing.
    struct Stuck(&'static [u8]);

    impl AsyncRead for Stuck {
        fn poll_read(
            mut self: Pin<&mut Self>,
            _: &mut Context<'_>,
            buffer: &mut [u8],
        ) -> Poll<io::Result<usize>> {
            let n = buffer.len().min(self.0.len());
            if n == 0 {
                return Poll::Pending;
            }
            buffer[..n].copy_from_slice(&self.0[..n]);
            self.0 = &self.0[n..];
            Poll::Ready(Ok(n))
        }
    }

    impl AsyncWrite for Stuck {
        fn poll_write(
            self: Pin<&mut Self>,
            _: &mut Context<'_>,
            _: &[u8],
        ) -> Poll<io::Result<usize>> {
            Poll::Pending
        }

        fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Pending
        }

        fn poll_close(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Pending
        }
    }

    #[test]
    fn nobody_waits_for_a_stuck_peer() {
        let error = block_on(write(&mut Stuck(&[]), b"x", TIMEOUT)).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        for begun in [&[0, 0][..], &[0, 0, 0, 9, 1, 2]] {
            let frame = block_on(read(&mut Stuck(begun), TIMEOUT));
            assert!(matches!(frame, Err(ReadError::Refused(Fault::Truncated))));
        }
    }
}
