//! Nodes that find each other on the local network by mDNS, without an address and without a store.
//!
//! Run it on two or more machines of one network, or in two terminals:
//!
//! ```text
//! cargo run --example lan -- DIR          # DIR keeps the identity; another one for each node
//! ```
#![expect(clippy::print_stdout, reason = "an example talks to its user")]

use std::path::PathBuf;

use starling::network::{self, Event, NeighborChange, Settings};

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let dir = PathBuf::from(
        std::env::args()
            .nth(1)
            .unwrap_or_else(|| "lan-data".to_owned()),
    );
    std::fs::create_dir_all(&dir)?;
    let key = network::identity(&dir)?;
    println!("I am {}", network::node_id(&key));

    let mut settings = Settings::new("lan-example", dir);
    settings.listen = vec!["/ip4/0.0.0.0/tcp/0".parse()?];
    let (handle, mut events) = network::start(settings, key).await?;
    println!("listening on {:?}", handle.listen_addresses());
    let mut neighbors = handle.neighbors();
    loop {
        tokio::select! {
            _ = tokio::signal::ctrl_c() => break,
            () = neighbors.changed() => for change in neighbors.look() {
                match change {
                    NeighborChange::Up(it) => println!("{} is here, at {:?}", it.peer, it.hosts),
                    NeighborChange::Down { peer, reason } => println!("{peer} is gone: {reason:?}"),
                }
            },
            Some(event) = events.recv() => match event {
                Event::Met { peer } => println!("{peer} is connected"),
                Event::Broadcast { from, content, .. } => {
                    println!("{from} tells all {} bytes", content.len());
                }
                Event::Request { from, reply, .. } => {
                    println!("{from} asks for what only a whole node knows");
                    drop(reply);
                }
            },
        }
    }
    handle.leave().await;
    handle.shutdown().await;
    Ok(())
}
