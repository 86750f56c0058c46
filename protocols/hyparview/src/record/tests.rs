use super::*;

fn address(text: &str) -> Multiaddr {
    text.parse().unwrap()
}

fn signed(key: &Keypair, seq: u64, addresses: &[Multiaddr]) -> (PeerId, Vec<u8>) {
    let record = Record::sign(key, seq, addresses).unwrap();
    (
        key.public().to_peer_id(),
        record.encoded().unwrap().to_vec(),
    )
}

#[test]
fn round_trip_keeps_everything() {
    let key = Keypair::generate_ed25519();
    let addresses = [
        address("/ip4/192.0.2.1/tcp/7400"),
        address("/dns4/a.example/udp/1/quic-v1"),
    ];
    let (peer, encoded) = signed(&key, 1_763_000_000_123, &addresses);
    let back = Signed::verify(peer, &encoded).unwrap();
    assert_eq!(back.seq, 1_763_000_000_123);
    assert_eq!(back.addresses, addresses);
    assert_eq!(back.encoded, encoded);
}

#[test]
fn libp2p_reads_our_encoding_and_we_read_its() {
    let key = Keypair::generate_ed25519();
    let addresses = [address("/ip4/192.0.2.1/tcp/7400")];
    let (peer, encoded) = signed(&key, 7, &addresses);
    let envelope = SignedEnvelope::from_protobuf_encoding(&encoded).unwrap();
    let record = PeerRecord::from_signed_envelope_interop(envelope).unwrap();
    assert_eq!((record.peer_id(), record.seq()), (peer, 7));
    assert_eq!(record.addresses(), addresses);

    let theirs = PeerRecord::new_interop(&key, addresses.to_vec()).unwrap();
    let encoded = theirs.into_signed_envelope().into_protobuf_encoding();
    assert_eq!(Signed::verify(peer, &encoded).unwrap().addresses, addresses);
}

#[test]
fn every_changed_byte_is_noticed() {
    let key = Keypair::generate_ed25519();
    let (peer, encoded) = signed(&key, 1, &[address("/ip4/192.0.2.1/tcp/7400")]);
    let good = Signed::verify(peer, &encoded).unwrap();
    for at in 0..encoded.len() {
        let mut bad = encoded.clone();
        bad[at] ^= 1;
        match Signed::verify(peer, &bad) {
            Err(_) => {}
            // An encoding may have slack; what was signed may not.
            Ok(record) => {
                assert_eq!(
                    (record.seq, &record.addresses),
                    (good.seq, &good.addresses),
                    "{at}"
                );
            }
        }
    }
}

#[test]
fn record_of_another_peer_is_refused() {
    let (signer, encoded) = signed(&Keypair::generate_ed25519(), 1, &[]);
    let error = Signed::verify(PeerId::random(), &encoded).unwrap_err();
    assert!(
        matches!(error, RecordError::OfAnotherPeer(peer) if peer == signer),
        "{error}"
    );
}

#[test]
fn record_signed_with_another_key_is_refused() {
    let victim = Keypair::generate_ed25519().public().to_peer_id();
    let forger = Keypair::generate_ed25519();
    let payload = encode_payload(victim, 1, &[address("/ip4/192.0.2.1/tcp/1")]);
    let envelope =
        SignedEnvelope::new(&forger, DOMAIN.to_owned(), PAYLOAD_TYPE.to_vec(), payload).unwrap();
    let error = Signed::verify(victim, &envelope.into_protobuf_encoding()).unwrap_err();
    assert!(matches!(error, RecordError::Forged(_)), "{error}");
}

#[test]
fn envelope_of_another_purpose_is_refused() {
    let key = Keypair::generate_ed25519();
    let peer = key.public().to_peer_id();
    let payload = encode_payload(peer, 1, &[]);
    for (domain, payload_type) in [
        ("another-domain", PAYLOAD_TYPE),
        (DOMAIN, &[0x03, 0x02][..]),
    ] {
        let envelope = SignedEnvelope::new(
            &key,
            domain.to_owned(),
            payload_type.to_vec(),
            payload.clone(),
        );
        let encoded = envelope.unwrap().into_protobuf_encoding();
        assert!(matches!(
            Signed::verify(peer, &encoded),
            Err(RecordError::Forged(_))
        ));
    }
}

#[test]
fn limits_hold_in_both_directions() {
    let key = Keypair::generate_ed25519();
    let peer = key.public().to_peer_id();
    let many: Vec<_> = (1..=40)
        .map(|n| address(&format!("/ip4/192.0.2.1/tcp/{n}")))
        .collect();
    let ours = Record::sign(&key, 1, &many).unwrap();
    assert_eq!(ours.addresses().count(), ADDRESSES_MAX);

    let theirs = PeerRecord::new_interop(&key, many[..=ADDRESSES_MAX].to_vec()).unwrap();
    let encoded = theirs.into_signed_envelope().into_protobuf_encoding();
    assert!(matches!(
        Signed::verify(peer, &encoded),
        Err(RecordError::TooManyAddresses(count)) if count == ADDRESSES_MAX + 1
    ));

    let long: Vec<_> = (1..=8)
        .map(|n| address(&format!("/dns4/{}.example/tcp/{n}", "a".repeat(200))))
        .collect();
    let ours = Record::sign(&key, 1, &long).unwrap();
    assert!(ours.encoded().unwrap().len() <= RECORD_BYTES_MAX);
    assert_eq!(
        ours.addresses().collect::<Vec<_>>(),
        long[..3].iter().collect::<Vec<_>>()
    );

    let theirs = PeerRecord::new_interop(&key, long).unwrap();
    let encoded = theirs.into_signed_envelope().into_protobuf_encoding();
    assert!(matches!(
        Signed::verify(peer, &encoded),
        Err(RecordError::TooLong(_))
    ));
}

#[test]
fn addresses_that_name_another_peer_are_dropped_and_repeats_merged() {
    let peer = PeerId::random();
    let plain = address("/ip4/192.0.2.1/tcp/1");
    let own = plain.clone().with_p2p(peer).unwrap();
    let foreign = address("/ip4/192.0.2.2/tcp/1")
        .with_p2p(PeerId::random())
        .unwrap();
    let record = Record::hint(peer, [own, foreign, plain.clone(), Multiaddr::empty()]);
    assert_eq!(record.addresses().collect::<Vec<_>>(), [&plain]);
    assert!(!record.is_signed());
    assert_eq!(record.encoded(), None);
}

#[test]
fn garbage_is_not_an_envelope() {
    let peer = PeerId::random();
    assert!(matches!(
        Signed::verify(peer, b"no protobuf"),
        Err(RecordError::Undecodable)
    ));
    assert!(Signed::verify(peer, &[]).is_err());
}
