//! From one kind of ids and records to another, over all messages.

use crate::{
    Bid, Contact, DisconnectReason, Epoch, Message, Pulse, Tag,
    message::{
        Accept, Disconnect, ForwardJoin, Heartbeat, Join, Moved, Neighbor, Probe, ProbeReply,
        Refuse, Shuffle, ShuffleReply, SwitchInvite, SwitchProposal, SwitchReady,
    },
};

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
/// The match is exhaustive on purpose, and so are the patterns below: a new kind of message, or a new
/// field, does not compile until its records are named here, and thereby verified.
pub(super) fn translate<I, A, J: Copy, B, E>(
    message: Message<I, A>,
    id: &impl Fn(I) -> J,
    record: &mut impl FnMut(Owner<J>, A) -> Result<B, E>,
) -> Result<Message<J, B>, E> {
    let mut with = With { id, record };
    Ok(match message {
        Message::Join(join) => Message::Join(with.join(join)?),
        Message::ForwardJoin(walk) => Message::ForwardJoin(with.forward_join(walk)?),
        Message::Neighbor(request) => Message::Neighbor(with.neighbor(request)?),
        Message::Accept(accept) => Message::Accept(with.accept(accept)?),
        Message::Refuse(refuse) => Message::Refuse(with.refuse(refuse)?),
        Message::Disconnect(disconnect) => Message::Disconnect(with.disconnect(disconnect)?),
        Message::Shuffle(walk) => Message::Shuffle(with.shuffle(walk)?),
        Message::ShuffleReply(reply) => Message::ShuffleReply(with.shuffle_reply(reply)?),
        Message::Heartbeat(heartbeat) => Message::Heartbeat(with.heartbeat(heartbeat)),
        Message::Moved(moved) => Message::Moved(with.moved(moved)?),
        Message::Probe(probe) => Message::Probe(with.probe(probe)?),
        Message::ProbeReply(reply) => Message::ProbeReply(with.probe_reply(reply)?),
        Message::SwitchProposal(step) => Message::SwitchProposal(with.switch_proposal(step)?),
        Message::SwitchInvite(step) => Message::SwitchInvite(with.switch_invite(step)?),
        Message::SwitchDecline(step) => Message::SwitchDecline(step),
        Message::SwitchConsent(step) => Message::SwitchConsent(step),
        Message::SwitchReady(step) => Message::SwitchReady(with.switch_ready(step)?),
    })
}

/// The two translations. They are called through pointers, so that the methods need no bounds: beside the
/// signature that is checked for a record, a call costs nothing.
struct With<'a, I, A, J, B, E> {
    id: &'a dyn Fn(I) -> J,
    record: &'a mut dyn FnMut(Owner<J>, A) -> Result<B, E>,
}

/// Messages.
impl<I, A, J: Copy, B, E> With<'_, I, A, J, B, E> {
    fn join(&mut self, join: Join<I, A>) -> Result<Join<J, B>, E> {
        let Join {
            epoch,
            record,
            pulse,
        } = join;
        Ok(Join {
            epoch: self.epoch(epoch),
            record: self.own(record)?,
            pulse: self.pulse(pulse),
        })
    }

    fn forward_join(&mut self, walk: ForwardJoin<I, A>) -> Result<ForwardJoin<J, B>, E> {
        let ForwardJoin { newcomer, ttl } = walk;
        Ok(ForwardJoin {
            newcomer: self.contact(newcomer)?,
            ttl,
        })
    }

    fn neighbor(&mut self, request: Neighbor<I, A>) -> Result<Neighbor<J, B>, E> {
        let Neighbor {
            epoch,
            priority,
            record,
            pulse,
        } = request;
        Ok(Neighbor {
            epoch: self.epoch(epoch),
            priority,
            record: self.own(record)?,
            pulse: self.pulse(pulse),
        })
    }

    fn accept(&mut self, accept: Accept<I, A>) -> Result<Accept<J, B>, E> {
        let Accept {
            epoch,
            incarnation,
            record,
            pulse,
            sample,
        } = accept;
        Ok(Accept {
            epoch: self.epoch(epoch),
            incarnation,
            record: self.own(record)?,
            pulse: self.pulse(pulse),
            sample: self.list(sample)?,
        })
    }

    fn refuse(&mut self, refuse: Refuse<I, A>) -> Result<Refuse<J, B>, E> {
        let Refuse { epoch, sample } = refuse;
        Ok(Refuse {
            epoch: self.epoch(epoch),
            sample: self.list(sample)?,
        })
    }

    fn disconnect(&mut self, disconnect: Disconnect<I, A>) -> Result<Disconnect<J, B>, E> {
        let Disconnect {
            epoch,
            reason,
            sample,
        } = disconnect;
        Ok(Disconnect {
            epoch: self.epoch(epoch),
            reason: self.reason(reason)?,
            sample: self.list(sample)?,
        })
    }

    fn shuffle(&mut self, walk: Shuffle<I, A>) -> Result<Shuffle<J, B>, E> {
        let Shuffle {
            serial,
            origin,
            list,
            ttl,
        } = walk;
        Ok(Shuffle {
            serial,
            origin: self.contact(origin)?,
            list: self.list(list)?,
            ttl,
        })
    }

    fn shuffle_reply(&mut self, reply: ShuffleReply<I, A>) -> Result<ShuffleReply<J, B>, E> {
        let ShuffleReply { serial, list } = reply;
        Ok(ShuffleReply {
            serial,
            list: self.list(list)?,
        })
    }

    fn heartbeat(&self, heartbeat: Heartbeat<I>) -> Heartbeat<J> {
        let Heartbeat {
            epoch,
            pulse,
            gauge,
        } = heartbeat;
        Heartbeat {
            epoch: self.epoch(epoch),
            pulse: self.pulse(pulse),
            gauge,
        }
    }

    fn moved(&mut self, moved: Moved<A>) -> Result<Moved<B>, E> {
        let Moved { record } = moved;
        Ok(Moved {
            record: self.own(record)?,
        })
    }

    fn probe(&mut self, probe: Probe<A>) -> Result<Probe<B>, E> {
        let Probe { serial, record } = probe;
        Ok(Probe {
            serial,
            record: self.own(record)?,
        })
    }

    fn probe_reply(&mut self, reply: ProbeReply<I, A>) -> Result<ProbeReply<J, B>, E> {
        let ProbeReply {
            serial,
            record,
            pulse,
            sample,
        } = reply;
        Ok(ProbeReply {
            serial,
            record: self.own(record)?,
            pulse: self.pulse(pulse),
            sample: self.list(sample)?,
        })
    }

    fn switch_proposal(&mut self, step: SwitchProposal<I, A>) -> Result<SwitchProposal<J, B>, E> {
        let SwitchProposal {
            token,
            record,
            old,
            bid,
        } = step;
        let old = (self.id)(old);
        Ok(SwitchProposal {
            token,
            record: self.own(record)?,
            old,
            bid: self.bid(old, bid)?,
        })
    }

    fn switch_invite(&mut self, step: SwitchInvite<I, A>) -> Result<SwitchInvite<J, B>, E> {
        let SwitchInvite {
            token,
            partner,
            bid,
        } = step;
        let partner = (self.id)(partner);
        Ok(SwitchInvite {
            token,
            partner,
            bid: self.bid(partner, bid)?,
        })
    }

    fn switch_ready(&mut self, step: SwitchReady<I, A>) -> Result<SwitchReady<J, B>, E> {
        let SwitchReady { token, partner } = step;
        Ok(SwitchReady {
            token,
            partner: self.contact(partner)?,
        })
    }
}

/// Parts of messages.
impl<I, A, J: Copy, B, E> With<'_, I, A, J, B, E> {
    fn own(&mut self, record: A) -> Result<B, E> {
        (self.record)(Owner::Sender, record)
    }

    fn contact(&mut self, contact: Contact<I, A>) -> Result<Contact<J, B>, E> {
        let Contact { id, record } = contact;
        let id = (self.id)(id);
        Ok(Contact {
            id,
            record: (self.record)(Owner::Peer(id), record)?,
        })
    }

    fn list(&mut self, list: Vec<Contact<I, A>>) -> Result<Vec<Contact<J, B>>, E> {
        list.into_iter()
            .map(|contact| self.contact(contact))
            .collect()
    }

    /// The record in a bid is that of o.
    fn bid(&mut self, old: J, bid: Option<Bid<A>>) -> Result<Option<Bid<B>>, E> {
        let Some(Bid {
            record,
            gained_micros,
            lost_micros,
        }) = bid
        else {
            return Ok(None);
        };
        Ok(Some(Bid {
            record: (self.record)(Owner::Peer(old), record)?,
            gained_micros,
            lost_micros,
        }))
    }

    fn reason(&mut self, reason: DisconnectReason<I, A>) -> Result<DisconnectReason<J, B>, E> {
        Ok(match reason {
            DisconnectReason::Evicted => DisconnectReason::Evicted,
            DisconnectReason::Unwanted => DisconnectReason::Unwanted,
            DisconnectReason::Leaving => DisconnectReason::Leaving,
            DisconnectReason::Switched { successor: None } => {
                DisconnectReason::Switched { successor: None }
            }
            DisconnectReason::Switched {
                successor: Some((token, contact)),
            } => DisconnectReason::Switched {
                successor: Some((token, self.contact(contact)?)),
            },
        })
    }

    fn epoch(&self, epoch: Epoch<I>) -> Epoch<J> {
        let Epoch {
            by,
            incarnation,
            serial,
        } = epoch;
        Epoch {
            by: (self.id)(by),
            incarnation,
            serial,
        }
    }

    fn pulse(&self, pulse: Pulse<I>) -> Pulse<J> {
        let Pulse {
            degree,
            tag:
                Tag {
                    root,
                    incarnation,
                    beat,
                },
            settled,
        } = pulse;
        Pulse {
            degree,
            tag: Tag {
                root: (self.id)(root),
                incarnation,
                beat,
            },
            settled,
        }
    }
}
