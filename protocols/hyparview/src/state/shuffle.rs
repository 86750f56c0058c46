//! Keeping the passive view fresh (paper 4.4).

use rand::Rng;

use super::{State, alarms::spread};
use crate::{
    Address, Contact, Id, Message, Timer,
    message::{Shuffle, ShuffleReply},
};

/// The shuffle that we have started last.
#[derive(Debug)]
pub(super) struct Offer<I> {
    serial: u64,
    /// Whom we told of: the first to go when the reply fills our view.
    sent: Vec<I>,
}

impl<I: Id, A: Address> State<I, A> {
    /// Sends a sample of what we know on a walk.
    pub(super) fn on_shuffle_timer<R: Rng>(&mut self, rng: &mut R) {
        let after = spread(self.config.shuffle_interval(), rng);
        self.wake(Timer::Shuffle, after);
        let Some(peer) = self.onward(&[], rng) else {
            return;
        };
        let (active, passive) = (self.config.shuffle_active(), self.config.shuffle_passive());
        // Oneself first, so that names spread of those who are alive; some neighbours, who are alive as well;
        // some backups, so that names travel on.
        let mut list = vec![self.me.clone()];
        list.extend(self.active_sample(peer, active, rng));
        list.extend(self.reserve.sample(peer, passive, rng));
        let serial = self.next_serial();
        // The reply to an earlier shuffle is of no use any more: what was sent then may have gone.
        self.offer = Some(Offer {
            serial,
            sent: ids(&list),
        });
        let (origin, ttl) = (self.me.clone(), self.config.shuffle_walk());
        self.tell(
            peer,
            Message::Shuffle(Shuffle {
                serial,
                origin,
                list,
                ttl,
            }),
        );
    }

    /// A walk passes or ends here. Only neighbours may send one here.
    pub(super) fn on_shuffle<R: Rng>(&mut self, from: I, walk: Shuffle<I, A>, rng: &mut R) {
        let Shuffle {
            serial,
            origin,
            mut list,
            ttl,
        } = walk;
        // A walk that came home would exchange our view with itself. Strangers could fill it. The allowance
        // is asked last: only what is served counts.
        if origin.id == self.me.id
            || !self.relations.active.contains_key(&from)
            || !self.guards.admission.shuffle(from, self.now)
        {
            return;
        }
        // Before it is passed on: a list too long must not grow the work of others.
        list.truncate(self.config.list_max());
        // No walk goes further here than an honest one would.
        let ttl = ttl.min(self.config.active_walk()).saturating_sub(1);
        if ttl > 0
            && let Some(next) = self.onward(&[from, origin.id], rng)
        {
            return self.tell(
                next,
                Message::Shuffle(Shuffle {
                    serial,
                    origin,
                    list,
                    ttl,
                }),
            );
        }
        // As many as came: it is an exchange. Backups only, since the neighbours name themselves in shuffles
        // of their own.
        let reply = self.reserve.sample(origin.id, list.len(), rng);
        let sent = ids(&reply);
        self.answer(
            origin,
            Message::ShuffleReply(ShuffleReply {
                serial,
                list: reply,
            }),
        );
        // After the reply is drawn, so that the origin does not get its own list back.
        self.learn_all(list, &sent, rng);
    }

    /// The reply goes straight to the origin of the walk, over a connection made for it if there
    /// is none.
    fn answer(&mut self, origin: Contact<I, A>, reply: Message<I, A>) {
        let peer = origin.id;
        if self.relations.active.contains_key(&peer) {
            self.tell(peer, reply);
        } else {
            // The connection is for this one message.
            self.send(origin, reply);
            self.release(peer);
        }
    }

    /// Anybody may answer a shuffle of ours, but only once.
    pub(super) fn on_shuffle_reply<R: Rng>(&mut self, reply: ShuffleReply<I, A>, rng: &mut R) {
        let ShuffleReply { serial, list } = reply;
        if let Some(offer) = self.offer.take_if(|offer| offer.serial == serial) {
            self.learn_all(list, &offer.sent, rng);
        }
    }
}

fn ids<I: Id, A>(list: &[Contact<I, A>]) -> Vec<I> {
    list.iter().map(|contact| contact.id).collect()
}
