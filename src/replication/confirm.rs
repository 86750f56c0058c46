//! Asks peers whether this store still is what it was: the one that wrote what they know of it.
//!
//! # The invariant
//!
//! A number of a site is given out once, in all copies of its store together. A store that was put back
//! to an earlier state, by whatever means, would give numbers out again, and would never take back what
//! it had written since, because its own operations that come in are dropped. So it must go on as
//! another site before it writes.
//!
//! # The argument
//!
//! What shows it is an operation of ours that a peer has, and that we neither have nor cover. There is
//! none unless we were put back: an operation leaves its store only once it is on its disk, and what is
//! on the disk and was covered here, was covered by something that is present here. One exception passes
//! by itself: a commit is shipped a moment before it is visible at home. So an operation that we miss is
//! looked for again when every transaction that ran meanwhile has ended. And a number beyond those that we
//! have given out is not ours even if its operation is here: an old subscription may have brought it while
//! the store was closed. (After a crash the server skips up to 32 numbers, so the numbers alone would not
//! show the loss of a few operations; nor would they be given out again.)
//!
//! Operations up to our own checkpoint need not be looked at: the checkpoint and all that it vouches for
//! are of one state of the store, in an older copy too. Of the others the peer names all that are present
//! there. If anything that we wrote since then and lost has reached it, it is among them, or a later one
//! is (a checkpoint follows every write within seconds), or a catch-up brings what covers it: that one is
//! seen by the numbers in its context, see `crdv.apply_catch_up`.
//!
//! Until all peers that live have answered, nothing is written here: the store is closed to local writers,
//! no catch-up and no checkpoint is made, and no link is opened in either direction. So no number is given
//! out that somebody may know already, and nothing has to be taken back when the answer is bad. Without
//! these answers in time the store goes on as another site, which is right whatever they would be. Who is
//! waited for, and for how long, is in `panel`.
//!
//! What these peers do not know another may: each is asked before it is linked with. An answer that is bad
//! then means that numbers may have been given out twice, by a copy of the whole machine that came back
//! where nobody could tell. The store goes on as another site all the same.
//!
//! Operations cannot tell of two copies of a store that have both written nothing yet. So the question names
//! the starts of the controller that the record beside the store knows of, and a peer that has heard of
//! another one, or sees another process with the same key, denies it: see `node::members::starts`.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use futures::future::join_all;
use tokio::{
    sync::watch,
    time::{Instant, sleep, timeout},
};
use tracing::{debug, info, warn};

use super::{
    Transport,
    context::Context,
    database::{Database, refused},
    error::Error,
    links::{desired::Desired, observed::own_site},
    protocol::Known,
    subscriber::Subscriber,
    vectors,
};
use crate::{
    identity::{NodeId, Site},
    postgres::{session::Session, visibility::await_visibility},
    vector::Seq,
};

mod panel;
mod state;

pub use panel::Members;
use panel::{Answer, Decision, Panel};
pub use state::Confirmation;
pub(crate) use state::ConfirmationState;

/// The most operations that a peer names at once.
const KNOWN_MAX: i64 = 500;

/// The most answers of one peer. There are more than one only if much was written after our checkpoint.
pub(crate) const ANSWERS_MAX: usize = 200;

/// The most bytes of an answer, so that it fits into one message of the link protocol.
const KNOWN_BYTES_MAX: usize = 64 * 1024;

/// A peer's answer takes one short query.
const ANSWER_LIMIT: Duration = Duration::from_secs(3);

/// Pause between two rounds of questions while nobody has answered.
const PAUSE: Duration = Duration::from_millis(100);

/// How long transactions are waited for that were running when a peer named what we miss.
const VISIBILITY_LIMIT: Duration = Duration::from_secs(60);

/// What the store at hand has of `site` beyond `upto` and below `below`, newest first, and whether there
/// is more.
pub(crate) async fn known_of(
    database: &Database,
    site: Site,
    upto: Seq,
    below: Seq,
) -> Result<(Vec<Known>, bool), Error> {
    let session = database.session().await?;
    let rows = session
        .query(
            "select type::text, id::text, key::text, seq from crdv.element
              where site = $1 and seq > $2 and seq < $3 order by seq desc limit $4",
            // One more than is told: it says whether there are more.
            &[&site.get(), &upto.get(), &below.get(), &(KNOWN_MAX + 1)],
        )
        .await
        .map_err(refused("tell what it has of a peer"))?;
    let mut bytes = 0;
    let known = rows.iter().map(|row| Known {
        kind: row.get(0),
        id: row.get(1),
        key: row.get(2),
        seq: Seq::new(row.get(3)),
    });
    let known: Vec<Known> = known
        .take(usize::try_from(KNOWN_MAX).unwrap_or(usize::MAX))
        .take_while(|known| {
            // However long the first is, it is told: an answer that names none would pass for the last one.
            let is_first = bytes == 0;
            bytes += known.id.len() + known.key.len() + 32;
            is_first || bytes <= KNOWN_BYTES_MAX
        })
        .collect();
    let more = known.len() < rows.len();
    Ok((known, more))
}

/// What we say of ourselves when we ask.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Claim {
    pub(crate) site: Site,
    /// Our own checkpoint.
    pub(crate) upto: Seq,
}

/// Our site and how far it vouches for itself.
pub(crate) async fn claim(database: &Database) -> Result<Claim, Error> {
    let session = database.session().await?;
    let site = own_site(&session).await?;
    let vector = vectors::read(&session, "crdv.vector")
        .await
        .map_err(refused("read the vector"))?;
    Ok(Claim {
        site,
        upto: vector.get(site),
    })
}

/// How many of these operations of `site`, our own, this store neither has nor covers.
pub(crate) async fn unknown(
    database: &Database,
    site: Site,
    known: &[Known],
) -> Result<i64, Error> {
    if known.is_empty() {
        return Ok(0);
    }
    let session = database.patient(VISIBILITY_LIMIT).await?;
    // Mostly nothing is unknown, and nobody is waited for. What is unknown may only not be visible yet.
    match count_unknown(&session, site, known).await? {
        0 => Ok(0),
        _ => {
            timeout(VISIBILITY_LIMIT, await_visibility(&session))
                .await
                .map_err(|_| Error::Timeout("waiting for local transactions to end"))?
                .map_err(refused("read a snapshot"))?;
            count_unknown(&session, site, known).await
        }
    }
}

async fn count_unknown(session: &Session, site: Site, known: &[Known]) -> Result<i64, Error> {
    let column = |text: fn(&Known) -> &str| known.iter().map(text).collect::<Vec<_>>();
    let seqs: Vec<i64> = known.iter().map(|known| known.seq.get()).collect();
    // A number beyond those given out is not ours even if it is here: an old subscription may have brought it.
    let row = session
        .query_one(
            "select count(*) from unnest($1::text[], $2::text[], $3::text[], $4::bigint[])
                    as k (type, id, key, seq)
              where k.seq > (select s.last_value from crdv.seq s) or not exists (
                select from crdv.element e
                 where e.type = k.type::\"char\" and e.id = k.id and e.key = k.key
                   and (e.site = $5 and e.seq >= k.seq
                        or crdv.holds(e.ctx_sites, e.ctx_seqs, $5, k.seq)))",
            &[
                &column(|known| &known.kind),
                &column(|known| &known.id),
                &column(|known| &known.key),
                &seqs,
                &site.get(),
            ],
        )
        .await
        .map_err(refused("look for its own operations"))?;
    Ok(row.get(0))
}

/// What the task reads and changes that gets the store confirmed.
pub(crate) struct Confirmer<T> {
    pub(crate) context: Arc<Context>,
    pub(crate) state: Arc<ConfirmationState>,
    pub(crate) desired: watch::Receiver<Desired>,
    /// Who else may know of our site.
    pub(crate) members: watch::Receiver<Members>,
    pub(crate) subscriber: Arc<Subscriber<T>>,
}

impl<T: Transport> Confirmer<T> {
    /// Gets the store confirmed, within `limit`, and opens it to writers. Runs until that is decided.
    pub(crate) async fn run(self, limit: Duration) {
        let stopped = self.context.cancel.clone();
        tokio::select! {
            () = stopped.cancelled() => {}
            () = self.confirm(limit) => {}
        }
    }

    async fn confirm(&self, limit: Duration) {
        let began = Instant::now();
        let mut panel = Panel::default();
        info!(
            ?limit,
            "the store waits for its peers to confirm it before it takes writes"
        );
        loop {
            let (neighbors, members) = self.ask_all(&mut panel, began).await;
            match panel.decide(&neighbors, &members, began.elapsed(), limit) {
                Decision::Confirmed => break,
                Decision::Wait => sleep(PAUSE).await,
                Decision::Another(why) => return self.state.mark_behind(why),
            }
        }
        // Before it counts as confirmed: the checkpointer waits for that, and would write into a closed store.
        while let Err(error) = self.open_to_writers().await {
            warn!(%error, "the store cannot be opened to writers yet");
            sleep(PAUSE).await;
        }
        info!(
            took = ?began.elapsed(),
            "all peers have confirmed the store: it takes writes"
        );
        self.state.mark_confirmed();
    }

    /// One round of questions, to all at once that have not said yes; gives who was there to be asked.
    async fn ask_all(&self, panel: &mut Panel, began: Instant) -> (BTreeSet<NodeId>, Members) {
        let desired = self.desired.borrow().clone();
        let neighbors: BTreeSet<NodeId> = desired.present().map(|it| it.name.clone()).collect();
        let members = self.members.borrow().clone();
        let due = panel.due(&neighbors, &members, began.elapsed());
        let answers = join_all(due.into_iter().map(|peer| async {
            let answer = timeout(ANSWER_LIMIT, self.subscriber.ask_to_confirm(&peer)).await;
            let answer = answer.unwrap_or(Err(Error::Timeout("asking a peer about our store")));
            if let Err(error) = &answer {
                debug!(%peer, %error, "a peer could not confirm our store");
            }
            (peer, answer)
        }))
        .await;
        for (peer, answer) in answers {
            let answer = match answer {
                Ok(()) => Answer::Good,
                // It has been taken note of, and outweighs good ones: the node takes another site, and
                // this data plane ends.
                Err(Error::Behind(_)) => std::future::pending().await,
                // Who says nothing may be gone. Who says anything else is there, and is waited for.
                Err(Error::Transport(_) | Error::Timeout(_)) => Answer::Silent,
                Err(_) => Answer::Cannot,
            };
            panel.answered(peer, answer, began.elapsed());
        }
        self.compare(&members).await;
        (neighbors, members)
    }

    /// What members say of their vectors needs no question: who has a later checkpoint of our site than we
    /// have ourselves has seen us further on.
    async fn compare(&self, members: &Members) {
        let Some((vouched, member)) = &members.vouched else {
            return;
        };
        match claim(&self.context.database).await {
            Ok(Claim { site, upto }) if *vouched > upto => {
                self.state.mark_behind(format!(
                "member {member} has the operations of site {site} up to {vouched}, and this store \
                 only up to {upto}"
            ));
                // As after a denial: nothing may confirm this store any more.
                std::future::pending::<()>().await;
            }
            Ok(_) => {}
            Err(error) => debug!(%error, "our own checkpoint is not known"),
        }
    }

    async fn open_to_writers(&self) -> Result<(), Error> {
        let session = self.context.database.session().await?;
        session
            .batch_execute("select crdv.open_to_writers()")
            .await
            .map_err(refused("open to writers"))
    }
}
