//! Connections to a server.

use tokio_postgres::{Client, Config, NoTls};
use tracing::debug;

/// Opens a connection and drives it in a task of its own, which ends with the client.
///
/// # Errors
///
/// When the server cannot be reached or does not admit us.
pub async fn connect(config: &Config) -> Result<Client, tokio_postgres::Error> {
    let (client, connection) = config.connect(NoTls).await?;
    tokio::spawn(async move {
        // The client's next query reports it too, to somebody who can act on it.
        if let Err(error) = connection.await {
            debug!(%error, "connection to postgres ended");
        }
    });
    Ok(client)
}
