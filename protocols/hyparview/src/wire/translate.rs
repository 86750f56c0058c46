//! From one kind of ids and records to another, over all messages.

use crate::{Bid, Contact, Epoch, Farewell, Message, Pulse, Tag};

/// Whose record it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Owner<I> {
    /// The sender of the message.
    Sender,
    /// This peer, be it the sender or not.
    Peer(I),
}

/// Rebuilds `message` with every id passed through `id` and every record through `record`, which is told
/// whose it is. Stops at the first record that fails.
///
/// The match is exhaustive on purpose: a new kind of message does not compile until its
/// records are named here, and thereby verified.
#[expect(
    clippy::too_many_lines,
    reason = "a table: one arm for each kind of message"
)]
pub(super) fn translate<I, A, J: Copy, B, E>(
    message: Message<I, A>,
    id: &impl Fn(I) -> J,
    record: &mut impl FnMut(Owner<J>, A) -> Result<B, E>,
) -> Result<Message<J, B>, E> {
    let mut with = With { id, record };
    Ok(match message {
        Message::Join {
            epoch,
            record,
            pulse,
        } => Message::Join {
            epoch: with.epoch(epoch),
            record: with.own(record)?,
            pulse: with.pulse(pulse),
        },
        Message::ForwardJoin { newcomer, ttl } => Message::ForwardJoin {
            newcomer: with.contact(newcomer)?,
            ttl,
        },
        Message::Neighbor {
            epoch,
            priority,
            record,
            pulse,
        } => Message::Neighbor {
            epoch: with.epoch(epoch),
            priority,
            record: with.own(record)?,
            pulse: with.pulse(pulse),
        },
        Message::Accept {
            epoch,
            life,
            record,
            pulse,
            sample,
        } => Message::Accept {
            epoch: with.epoch(epoch),
            life,
            record: with.own(record)?,
            pulse: with.pulse(pulse),
            sample: with.list(sample)?,
        },
        Message::Refuse { epoch, sample } => Message::Refuse {
            epoch: with.epoch(epoch),
            sample: with.list(sample)?,
        },
        Message::Disconnect {
            epoch,
            farewell,
            sample,
        } => Message::Disconnect {
            epoch: with.epoch(epoch),
            farewell: with.farewell(farewell)?,
            sample: with.list(sample)?,
        },
        Message::Shuffle {
            serial,
            origin,
            list,
            ttl,
        } => Message::Shuffle {
            serial,
            origin: with.contact(origin)?,
            list: with.list(list)?,
            ttl,
        },
        Message::ShuffleReply { serial, list } => Message::ShuffleReply {
            serial,
            list: with.list(list)?,
        },
        Message::Heartbeat {
            epoch,
            pulse,
            gauge,
        } => Message::Heartbeat {
            epoch: with.epoch(epoch),
            pulse: with.pulse(pulse),
            gauge,
        },
        Message::Moved { record } => Message::Moved {
            record: with.own(record)?,
        },
        Message::Probe { serial, record } => Message::Probe {
            serial,
            record: with.own(record)?,
        },
        Message::ProbeReply {
            serial,
            record,
            pulse,
            sample,
        } => Message::ProbeReply {
            serial,
            record: with.own(record)?,
            pulse: with.pulse(pulse),
            sample: with.list(sample)?,
        },
        Message::SwitchProposal {
            token,
            record,
            old,
            bid,
        } => {
            let old = (with.id)(old);
            Message::SwitchProposal {
                token,
                record: with.own(record)?,
                old,
                bid: with.bid(old, bid)?,
            }
        }
        Message::SwitchInvite {
            token,
            partner,
            bid,
        } => {
            let partner = (with.id)(partner);
            Message::SwitchInvite {
                token,
                partner,
                bid: with.bid(partner, bid)?,
            }
        }
        Message::SwitchConsent { token } => Message::SwitchConsent { token },
        Message::SwitchDecline { token } => Message::SwitchDecline { token },
        Message::SwitchReady { token, partner } => Message::SwitchReady {
            token,
            partner: with.contact(partner)?,
        },
    })
}

/// The two translations, applied to the parts of a message.
struct With<'a, F, G> {
    id: &'a F,
    record: &'a mut G,
}

impl<F, G> With<'_, F, G> {
    fn own<A, J, B, E>(&mut self, record: A) -> Result<B, E>
    where
        G: FnMut(Owner<J>, A) -> Result<B, E>,
    {
        (self.record)(Owner::Sender, record)
    }

    fn contact<I, A, J: Copy, B, E>(&mut self, contact: Contact<I, A>) -> Result<Contact<J, B>, E>
    where
        F: Fn(I) -> J,
        G: FnMut(Owner<J>, A) -> Result<B, E>,
    {
        let id = (self.id)(contact.id);
        Ok(Contact {
            id,
            record: (self.record)(Owner::Peer(id), contact.record)?,
        })
    }

    fn list<I, A, J: Copy, B, E>(
        &mut self,
        list: Vec<Contact<I, A>>,
    ) -> Result<Vec<Contact<J, B>>, E>
    where
        F: Fn(I) -> J,
        G: FnMut(Owner<J>, A) -> Result<B, E>,
    {
        list.into_iter()
            .map(|contact| self.contact(contact))
            .collect()
    }

    fn bid<A, J, B, E>(&mut self, old: J, bid: Option<Bid<A>>) -> Result<Option<Bid<B>>, E>
    where
        G: FnMut(Owner<J>, A) -> Result<B, E>,
    {
        bid.map(
            |Bid {
                 record,
                 gained,
                 lost,
             }| {
                Ok(Bid {
                    record: (self.record)(Owner::Peer(old), record)?,
                    gained,
                    lost,
                })
            },
        )
        .transpose()
    }

    fn farewell<I, A, J: Copy, B, E>(
        &mut self,
        farewell: Farewell<I, A>,
    ) -> Result<Farewell<J, B>, E>
    where
        F: Fn(I) -> J,
        G: FnMut(Owner<J>, A) -> Result<B, E>,
    {
        Ok(match farewell {
            Farewell::Evicted => Farewell::Evicted,
            Farewell::Unwanted => Farewell::Unwanted,
            Farewell::Leaving => Farewell::Leaving,
            Farewell::Switched { successor: None } => Farewell::Switched { successor: None },
            Farewell::Switched {
                successor: Some((token, contact)),
            } => Farewell::Switched {
                successor: Some((token, self.contact(contact)?)),
            },
        })
    }

    fn epoch<I, J>(&self, epoch: Epoch<I>) -> Epoch<J>
    where
        F: Fn(I) -> J,
    {
        Epoch {
            by: (self.id)(epoch.by),
            life: epoch.life,
            serial: epoch.serial,
        }
    }

    fn pulse<I, J>(&self, pulse: Pulse<I>) -> Pulse<J>
    where
        F: Fn(I) -> J,
    {
        let Tag { root, life, beat } = pulse.tag;
        Pulse {
            degree: pulse.degree,
            tag: Tag {
                root: (self.id)(root),
                life,
                beat,
            },
            settled: pulse.settled,
        }
    }
}
