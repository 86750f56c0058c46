//! CBOR, and the few values that our messages share.

use std::collections::TryReserveError;

use cbor4ii::{
    core::{dec::Read, utils::SliceReader},
    serde::{Deserializer, EncodeError, to_vec},
};
use libp2p::PeerId;
use serde::{
    Deserialize, Serialize, Serializer,
    de::{self, DeserializeOwned, Visitor},
};

use crate::FRAME_BYTES_MAX;

/// A message of ours that cannot be sent. It is a defect of the caller, not of a peer.
#[derive(Debug, thiserror::Error)]
pub enum Unencodable {
    /// Its encoded form, of this many bytes, is longer than [`FRAME_BYTES_MAX`].
    #[error("message of {0} bytes exceeds the limit of a frame")]
    TooLong(usize),
    /// It has no encoded form.
    #[error("message cannot be encoded")]
    Encoding(#[from] EncodeError<TryReserveError>),
}

/// Encodes a message as the content of a frame: at most [`FRAME_BYTES_MAX`] bytes of CBOR.
///
/// # Errors
///
/// [`Unencodable::TooLong`] with the length in bytes that it would have; [`Unencodable::Encoding`] if it has no form in
/// CBOR. Both are defects of the caller, and nothing was sent.
pub fn encode<T: Serialize>(message: &T) -> Result<Vec<u8>, Unencodable> {
    let content = to_vec(Vec::with_capacity(256), message)?;
    if content.len() > FRAME_BYTES_MAX {
        return Err(Unencodable::TooLong(content.len()));
    }
    Ok(content)
}

/// Decodes the whole content of a frame. Fields that `T` does not know are skipped.
///
/// # Errors
///
/// What is wrong with it, for people to read: it is no `T`, or bytes follow.
pub fn decode<T: DeserializeOwned>(content: &[u8]) -> Result<T, String> {
    let mut deserializer = Deserializer::new(SliceReader::new(content));
    let message = T::deserialize(&mut deserializer).map_err(|error| error.to_string())?;
    // What follows would be seen by one decoder and not by another.
    let Ok(rest) = deserializer
        .into_inner()
        .fill(1)
        .map(|rest| rest.as_ref().len());
    match rest {
        0 => Ok(message),
        _ => Err("bytes after the message".to_owned()),
    }
}

/// A peer id as a byte string.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct WireId(pub PeerId);

impl Serialize for WireId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(&self.0.to_bytes())
    }
}

impl<'de> Deserialize<'de> for WireId {
    fn deserialize<D: de::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let ByteString(bytes) = ByteString::deserialize(deserializer)?;
        PeerId::from_bytes(&bytes)
            .map(Self)
            .map_err(de::Error::custom)
    }
}

/// Bytes as a byte string; a list of numbers would take twice the room.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ByteString(pub Vec<u8>);

impl Serialize for ByteString {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(&self.0)
    }
}

impl<'de> Deserialize<'de> for ByteString {
    fn deserialize<D: de::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_bytes(Bytes).map(Self)
    }
}

/// Reads a byte string.
struct Bytes;

impl Visitor<'_> for Bytes {
    type Value = Vec<u8>;

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("a byte string")
    }

    fn visit_bytes<E: de::Error>(self, bytes: &[u8]) -> Result<Vec<u8>, E> {
        Ok(bytes.to_vec())
    }
}
