//! The hyparview behaviour in a swarm of one's own.
//!
//! ```text
//! cargo run --example embed                                   # prints an address
//! cargo run --example embed -- /ip4/127.0.0.1/tcp/PORT/p2p/ID # joins through it
//! ```
#![expect(clippy::print_stdout, reason = "an example talks to its user")]

use anyhow::Context;
use futures::StreamExt;
use hyparview::{Behaviour, Config, Event, Settings};
use libp2p::{
    Multiaddr, StreamProtocol, SwarmBuilder, multiaddr::Protocol, noise, swarm::SwarmEvent, tcp,
    yamux,
};

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let started = std::time::UNIX_EPOCH.elapsed()?.as_millis().try_into()?;
    let name = StreamProtocol::new("/embed/hyparview/1.0.0");

    let mut swarm = SwarmBuilder::with_new_identity()
        .with_tokio()
        .with_tcp(
            tcp::Config::default(),
            noise::Config::new,
            yamux::Config::default,
        )?
        .with_behaviour(|key| {
            Ok(Behaviour::new(
                key.clone(),
                name,
                Config::default(),
                Settings::new(started),
            )?)
        })?
        .build();
    swarm.listen_on("/ip4/127.0.0.1/tcp/0".parse()?)?;
    if let Some(contact) = std::env::args().nth(1) {
        let contact: Multiaddr = contact.parse().context("not a multiaddr")?;
        let Some(Protocol::P2p(peer)) = contact.iter().last() else {
            anyhow::bail!("{contact} does not end in /p2p/ID");
        };
        swarm.behaviour_mut().join(peer, vec![contact]);
    }

    loop {
        let event = swarm.select_next_some().await;
        let neighbors = swarm.behaviour().active().count();
        match event {
            SwarmEvent::NewListenAddr { address, .. } => {
                println!("listening on {address}/p2p/{}", swarm.local_peer_id());
            }
            SwarmEvent::Behaviour(Event::NeighborUp { peer, addresses }) => {
                println!("{neighbors} neighbours; up {peer} at {addresses:?}");
            }
            SwarmEvent::Behaviour(Event::NeighborDown { peer, reason }) => {
                println!("{neighbors} neighbours; down {peer}: {reason:?}");
            }
            SwarmEvent::Behaviour(event) => println!("{event:?}"),
            _ => {}
        }
    }
}
