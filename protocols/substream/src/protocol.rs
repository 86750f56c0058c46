//! What a protocol tells the handler about itself.

use std::{fmt::Debug, time::Duration};

use libp2p::PeerId;

use crate::Fault;

/// The content of frames. A clone goes to every connection.
pub trait Protocol: Clone + Send + 'static {
    /// What peers say to each other.
    type Message: Debug + Send + 'static;
    /// Why a frame is refused: what the handler finds, or what decoding does.
    type Refusal: From<Fault> + Debug + Send + 'static;

    /// Decodes what `from` sent. Also says how much more work that was than usual, in frames: it is
    /// charged to the peer's allowance.
    ///
    /// # Errors
    ///
    /// The content is not a message. The connection is given up.
    fn decode(&self, content: &[u8], from: PeerId) -> Result<(Self::Message, u32), Self::Refusal>;
}

/// Bounds and time-outs of connections.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// How long one frame may take to be written, or to arrive once it has begun, and how long a
    /// stream may take to open.
    pub frame_timeout: Duration,
    /// How long a connection that nobody keeps is held after its last frame.
    pub linger: Duration,
    /// Most frames queued for one peer.
    pub queue_frames_max: usize,
    /// How many frames in a row may find the queue full before the peer counts as slow.
    pub full_pushes_max: u32,
    /// How fast one peer may send, in frames per second with a burst of twice that.
    pub frames_per_second_max: u32,
}
