//! Payloads sealed by their origins, so that nobody can speak in another's name (R11).
//!
//! A sealed payload is the signature's length in two bytes (big endian), the signature, and the content. Signed
//! are the protocol's name, the message's name and the content. The key is not sent: the id of a peer with an
//! Ed25519 key holds it.

use libp2p::{
    PeerId, StreamProtocol,
    identity::{Keypair, PublicKey},
};

use crate::message::{MessageId, Payload};

/// Bytes that a seal adds.
pub(crate) const SEAL_BYTES_MAX: usize = 2 + 64;

/// Multihash code of a key that is not hashed (multiformats table: identity).
const IDENTITY: u64 = 0;

/// Why a payload cannot be sealed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SealError {
    /// The id of this key does not hold it, so that others could not verify what it signs.
    #[error("only the ids of Ed25519 keys hold the key; this one does not")]
    KeyNotInId,
    /// The key does not sign.
    #[error("cannot sign with this key")]
    Signing(#[from] libp2p::identity::SigningError),
}

/// Seals our own payloads and opens those of others.
#[derive(Clone)]
pub(crate) struct Sealer {
    key: Keypair,
    protocol: StreamProtocol,
}

impl Sealer {
    pub(crate) fn new(key: Keypair, protocol: StreamProtocol) -> Result<Self, SealError> {
        match key_of(&key.public().to_peer_id()) {
            Some(_) => Ok(Self { key, protocol }),
            None => Err(SealError::KeyNotInId),
        }
    }

    /// Seals our message `id`.
    pub(crate) fn seal(
        &self,
        id: &MessageId<PeerId>,
        content: &[u8],
    ) -> Result<Payload, SealError> {
        let signature = self.key.sign(&self.signed(id, content))?;
        let length = u16::try_from(signature.len()).unwrap_or(u16::MAX);
        let mut sealed = Vec::with_capacity(2 + signature.len() + content.len());
        sealed.extend(length.to_be_bytes());
        sealed.extend(signature);
        sealed.extend(content);
        Ok(sealed.into())
    }

    /// Whether the origin of `id` has sealed this.
    pub(crate) fn verify(&self, id: &MessageId<PeerId>, sealed: &[u8]) -> bool {
        let Some((signature, content)) = split(sealed) else {
            return false;
        };
        key_of(&id.origin).is_some_and(|key| key.verify(&self.signed(id, content), signature))
    }

    /// What is signed. Every part but the last has a fixed length or its length before it.
    fn signed(&self, id: &MessageId<PeerId>, content: &[u8]) -> Vec<u8> {
        let name = self.protocol.as_ref().as_bytes();
        let origin = id.origin.to_bytes();
        let mut signed = Vec::with_capacity(name.len() + origin.len() + content.len() + 32);
        for part in [name, &origin] {
            signed.extend((part.len() as u64).to_be_bytes());
            signed.extend(part);
        }
        signed.extend(id.incarnation.to_be_bytes());
        signed.extend(id.seq.to_be_bytes());
        signed.extend(content);
        signed
    }
}

/// The content of a sealed payload that was verified, or is our own.
pub(crate) fn content(sealed: &[u8]) -> &[u8] {
    split(sealed).map_or(&[], |(_, content)| content)
}

fn split(sealed: &[u8]) -> Option<(&[u8], &[u8])> {
    let (length, rest) = sealed.split_first_chunk::<2>()?;
    rest.split_at_checked(u16::from_be_bytes(*length).into())
}

fn key_of(peer: &PeerId) -> Option<PublicKey> {
    let hash = peer.as_ref();
    if hash.code() != IDENTITY {
        return None;
    }
    PublicKey::try_decode_protobuf(hash.digest()).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const PROTOCOL: StreamProtocol = StreamProtocol::new("/test/broadcast/1.0.0");

    #[test]
    fn a_seal_holds_for_one_origin_one_message_one_content_and_one_cluster() {
        let key = Keypair::generate_ed25519();
        let sealer = Sealer::new(key.clone(), PROTOCOL).unwrap();
        let id = MessageId {
            origin: key.public().to_peer_id(),
            incarnation: 3,
            seq: 4,
        };
        let sealed = sealer.seal(&id, b"content").unwrap();
        assert!(sealer.verify(&id, &sealed));
        assert_eq!(content(&sealed), b"content");
        assert!(sealed.len() <= b"content".len() + SEAL_BYTES_MAX);

        let other = PeerId::random();
        for (origin, incarnation, seq) in [(other, 3, 4), (id.origin, 2, 4), (id.origin, 3, 5)] {
            assert!(!sealer.verify(
                &MessageId {
                    origin,
                    incarnation,
                    seq
                },
                &sealed
            ));
        }
        for at in 0..sealed.len() {
            let mut changed = sealed.to_vec();
            changed[at] ^= 1;
            assert!(!sealer.verify(&id, &changed), "byte {at}");
            assert!(!sealer.verify(&id, &sealed[..at]), "cut at {at}");
        }
        let elsewhere = StreamProtocol::new("/other/broadcast/1.0.0");
        assert!(!Sealer::new(key, elsewhere).unwrap().verify(&id, &sealed));
    }

    #[test]
    fn a_key_that_its_id_does_not_hold_is_refused() {
        // The id of a long key is a hash.
        assert!(key_of(&PeerId::random()).is_none());
    }
}
