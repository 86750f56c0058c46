//! Those who write at a node, as long as its door is open.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use rand::{RngExt as _, SeedableRng as _, rngs::StdRng};
use tokio::{sync::RwLock, task::JoinSet, time::sleep};
use tokio_postgres::{Client, Error, NoTls};
use tokio_util::sync::CancellationToken;

const WRITERS: u64 = 2;

/// Where a store is reached; nowhere while nobody may write. A transaction holds it.
pub(super) type Door = Arc<RwLock<Option<String>>>;

/// The tokens of the transactions that the store has acknowledged to all clients of one door.
pub(super) type Acknowledged = Arc<Mutex<Vec<String>>>;

/// The clients of one door.
#[derive(Debug)]
pub(super) struct Clients {
    /// Who they are: part of each of their tokens.
    pub(super) name: String,
    pub(super) door: Door,
    pub(super) acknowledged: Acknowledged,
    stop: CancellationToken,
    tasks: JoinSet<()>,
}

impl Clients {
    /// Clients in front of a door that is shut.
    pub(super) fn gather(name: String, seed: u64) -> Self {
        let mut clients = Self {
            name,
            ..Self::nobody()
        };
        for number in 0..WRITERS {
            let writer = Writer {
                name: format!("{}.{number}", clients.name),
                rng: StdRng::seed_from_u64(seed + number),
                round: 0,
                acknowledged: Arc::clone(&clients.acknowledged),
            };
            let (door, stop) = (Arc::clone(&clients.door), clients.stop.clone());
            clients.tasks.spawn(work(writer, door, stop));
        }
        let (door, stop) = (Arc::clone(&clients.door), clients.stop.clone());
        clients.tasks.spawn(work(Answerer, door, stop));
        clients
    }

    /// In the place of those who are no longer there.
    pub(super) fn nobody() -> Self {
        Self {
            name: String::new(),
            door: Door::default(),
            acknowledged: Acknowledged::default(),
            stop: CancellationToken::new(),
            tasks: JoinSet::new(),
        }
    }

    pub(super) async fn open(&self, url: &str) {
        *self.door.write().await = Some(url.to_owned());
    }

    /// Waits for the transactions that are under way: afterwards there are none.
    pub(super) async fn shut(&self) {
        *self.door.write().await = None;
    }

    /// What was acknowledged in all.
    pub(super) async fn disperse(self) -> Vec<String> {
        self.stop.cancel();
        self.tasks.join_all().await;
        self.acknowledged.lock().unwrap().clone()
    }
}

/// What a client does again and again.
trait Work: Send + 'static {
    fn turn(&mut self, client: &Client) -> impl Future<Output = Result<(), Error>> + Send;
    fn pause(&mut self) -> Duration;
}

async fn work(mut work: impl Work, door: Door, stop: CancellationToken) {
    let mut session: Option<(String, Client)> = None;
    while !stop.is_cancelled() {
        let place = door.read().await;
        if let Some(url) = place.as_deref()
            && turn(&mut work, &mut session, url).await.is_err()
        {
            session = None;
        }
        drop(place);
        sleep(work.pause()).await;
    }
}

async fn turn(
    work: &mut impl Work,
    session: &mut Option<(String, Client)>,
    url: &str,
) -> Result<(), Error> {
    let client = match session {
        Some((to, client)) if to == url => client,
        _ => {
            let (client, connection) = tokio_postgres::connect(url, NoTls).await?;
            tokio::spawn(connection);
            &mut session.insert((url.to_owned(), client)).1
        }
    };
    work.turn(client).await
}

/// Writes transactions, each with a token that says by how much it raises the counter.
struct Writer {
    name: String,
    rng: StdRng,
    round: u64,
    acknowledged: Acknowledged,
}

impl Work for Writer {
    async fn turn(&mut self, client: &Client) -> Result<(), Error> {
        self.round += 1;
        let (name, by) = (&self.name, self.rng.random_range(1..=5));
        let (token, hot) = (
            format!("{name}.{}.{by}", self.round),
            self.rng.random_range(0..5),
        );
        client.batch_execute("begin").await?;
        let written = client
            .batch_execute(&format!(
                "select crdv.setAdd('log', '{token}');
                 select crdv.counterInc('sum', {by});
                 select crdv.mapAdd('hot', 'h{hot}', '{token}');
                 select crdv.registerSet('register', '{token}')"
            ))
            .await;
        if written.is_err() || self.rng.random_ratio(1, 20) {
            client.batch_execute("rollback").await?;
            return written;
        }
        if self.rng.random_ratio(1, 10) {
            sleep(Duration::from_millis(self.rng.random_range(0..300))).await;
        }
        client.batch_execute("commit").await?;
        self.acknowledged.lock().unwrap().push(token);
        // Somebody else removes it, as soon as it is there.
        if self.rng.random_ratio(1, 4) {
            let chat = format!("select crdv.setAdd('chat', '{name}.{}')", self.round);
            client.batch_execute(&chat).await?;
        }
        Ok(())
    }

    fn pause(&mut self) -> Duration {
        Duration::from_millis(self.rng.random_range(30..120))
    }
}

/// Removes what others have added, as soon as it is here: it may come to them before what it answers is
/// visible there.
struct Answerer;

impl Work for Answerer {
    async fn turn(&mut self, client: &Client) -> Result<(), Error> {
        let newest = "select crdv.setRmv('chat', n.key) from (
              select e.key from crdv.element e
               where e.type = 's' and e.id = 'chat' and e.op = 'a' and e.site <> crdv.siteId()
               order by e.hlc desc limit 1) n";
        client.batch_execute(newest).await
    }

    fn pause(&mut self) -> Duration {
        Duration::from_millis(20)
    }
}
