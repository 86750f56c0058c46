//! What the sessions of a node's clients find, whenever they were opened.

use std::{net::TcpListener, path::Path, time::Duration};

use tokio_postgres::Client;

use crate::harness::process::{Node, PATIENCE, folder};

/// The first session that the server below `data` lets in.
async fn first_session(data: &Path, port: u16) -> Client {
    let mut config = tokio_postgres::Config::new();
    config
        .host_path(data.join("postgres/run"))
        .port(port)
        .user("starling")
        .dbname("starling");
    let connecting = async {
        loop {
            if let Ok(client) = starling::postgres::connect(&config).await {
                return client;
            }
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    tokio::time::timeout(PATIENCE, connecting).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_first_session_that_is_let_in_finds_the_functions() {
    let root = folder();
    let data = root.path().join("a");
    let free = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = free.local_addr().unwrap().port();
    drop(free);
    let (place, listen) = (data.clone(), format!("127.0.0.1:{port}"));
    let starting =
        tokio::task::spawn_blocking(move || Node::start(&place, &["--pg-listen", &listen]));
    let client = first_session(&data, port).await;
    let _node = starting.await.unwrap();
    client
        .batch_execute("select mapAdd('m', 'k', 'v')")
        .await
        .unwrap();
    let read = "select mapAwLwwValue('m', 'k')::text";
    let value: String = client.query_one(read, &[]).await.unwrap().get(0);
    assert_eq!(value, "v");
}
