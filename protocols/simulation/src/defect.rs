//! Defects that are planted on purpose, to see which invariant or bound catches each. They are made
//! from outside, by what a node hears and says, so that the machine in production has no code for them.

use std::{collections::VecDeque, time::Duration};

use hyparview::{
    Command, Config, DisconnectReason, Input as Given, Message, Priority, Timer, message,
};

use crate::{
    Output,
    place::{Heard, Machine, MemberOutput},
};

/// A rule that is switched off, or a mistake that other implementations make.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Defect {
    /// Peers that do not answer are forgotten (iroh-gossip: the passive view empties in a cut).
    Forgets,
    /// Nobody asks after peers out of reach, or compares components.
    NeverProbes,
    /// A healed cut is bridged with low priority only, which full views refuse, and no switch crosses it by
    /// chance.
    HealsPolitely,
    /// No four-node switches: a crowd stays a crowd, halves stay halves.
    NeverMixes,
    /// After a refusal nobody else is asked for a long while (iroh-gossip).
    TakesNoForAnAnswer,
    /// Requests without an answer stay for ever (iroh-gossip: an entry nobody takes away).
    RequestsForEver,
    /// Neighbours may be silent for ever.
    WaitsForEver,
    /// A neighbour that is dropped is not told.
    LeavesWithoutAWord,
    /// A heartbeat of somebody who is no neighbour is ignored (asymmetric views stay so).
    IgnoresStrangers,
    /// A join's walk is sent on through two neighbours at each hop (episub: through all).
    WalksEverywhere,
    /// The active view has 14 places (episub, log2 of 10,000).
    Crowds,
    /// The end of a relation of the past ends the one that there is (Partisan before its epochs).
    HonoursOldDisconnects,
    /// The application joins again whoever drops the node (iroh-gossip #152).
    RejoinsWhenEvicted,
    /// A neighbour goes for a peer that has not shown that it hears.
    BelievesTheDeaf,
    /// A neighbour may go although it has no other.
    EvictsTheLast,
    /// Peers that do not answer are remembered without a bound.
    NeverForgets,
    /// Only who is alone asks its address book.
    ContentWithFew,
}

impl Defect {
    /// All of them.
    pub const ALL: [Self; 17] = [
        Self::Forgets,
        Self::NeverProbes,
        Self::HealsPolitely,
        Self::NeverMixes,
        Self::TakesNoForAnAnswer,
        Self::RequestsForEver,
        Self::WaitsForEver,
        Self::LeavesWithoutAWord,
        Self::IgnoresStrangers,
        Self::WalksEverywhere,
        Self::Crowds,
        Self::HonoursOldDisconnects,
        Self::RejoinsWhenEvicted,
        Self::BelievesTheDeaf,
        Self::EvictsTheLast,
        Self::NeverForgets,
        Self::ContentWithFew,
    ];

    /// The configuration of a node with this defect.
    #[must_use]
    pub fn spoil_config(self, config: Config) -> Config {
        // 34 years: beyond every scenario, and far from where sums of times would overflow.
        const NEVER: Duration = Duration::from_secs(1 << 30);
        match self {
            Self::Forgets => config.with_suspect_capacity(1).with_permanent_capacity(0),
            Self::NeverProbes => config
                .with_probe_interval_min(NEVER)
                .with_probe_interval_max(NEVER),
            Self::HealsPolitely => config.with_remix_interval(NEVER),
            Self::NeverMixes => config
                .with_remix_interval(NEVER)
                .with_remix_burst(0)
                .with_settle_time(Duration::ZERO),
            Self::TakesNoForAnAnswer => config
                .with_refill_parallel(1)
                .with_slot_hold(Duration::from_secs(60))
                .with_request_timeout(Duration::from_secs(60)),
            Self::WaitsForEver => config.with_silence_deadline(NEVER),
            Self::Crowds => config.with_active_capacity(14),
            Self::NeverForgets => config.with_suspect_capacity(1 << 20),
            // The others are planted in what is heard and said.
            _ => config,
        }
    }

    /// What the machine hears instead of `input`.
    pub(crate) fn spoil_input(self, input: Heard, state: &Machine) -> Option<Heard> {
        match (self, input) {
            (
                Self::Forgets,
                Given::Command(Command::Learn {
                    permanent: true, ..
                }),
            )
            | (
                Self::TakesNoForAnAnswer,
                Given::Received {
                    message: Message::Refuse(_),
                    ..
                },
            )
            | (Self::RequestsForEver, Given::Timer(Timer::Request { .. })) => None,
            (
                Self::IgnoresStrangers,
                Given::Received {
                    from,
                    message: Message::Heartbeat(_),
                },
            ) if state.epoch(from).is_none() => None,
            (Self::HonoursOldDisconnects, Given::Received { from, message }) => {
                let message = match (message, state.epoch(from)) {
                    (
                        Message::Disconnect(message::Disconnect { reason, sample, .. }),
                        Some(epoch),
                    ) => Message::Disconnect(message::Disconnect {
                        epoch,
                        reason,
                        sample,
                    }),
                    (message, _) => message,
                };
                Some(Given::Received { from, message })
            }
            (Self::EvictsTheLast, Given::Received { from, mut message }) => {
                if let Message::Heartbeat(message::Heartbeat { pulse, .. })
                | Message::Join(message::Join { pulse, .. })
                | Message::Neighbor(message::Neighbor { pulse, .. })
                | Message::Accept(message::Accept { pulse, .. }) = &mut message
                {
                    // Nobody seems to be left without links, so nobody is spared for that.
                    pulse.degree = pulse.degree.max(5);
                }
                Some(Given::Received { from, message })
            }
            (_, input) => Some(input),
        }
    }

    /// What the machine hears right after `input`, though nobody said it.
    pub(crate) fn add_input(self, input: &Heard) -> Option<Heard> {
        let (
            Self::BelievesTheDeaf,
            Given::Received {
                from,
                message:
                    Message::Join(message::Join { epoch, pulse, .. })
                    | Message::Neighbor(message::Neighbor { epoch, pulse, .. }),
            },
        ) = (self, input)
        else {
            return None;
        };
        // This is what shows that a peer hears us: without it the relation stays half open.
        let message = Message::Heartbeat(message::Heartbeat {
            epoch: *epoch,
            pulse: *pulse,
            gauge: None,
        });
        Some(Given::Received {
            from: *from,
            message,
        })
    }

    /// Puts into `planted` what the node says instead of `output`.
    pub(crate) fn spoil_output(
        self,
        output: MemberOutput,
        state: &Machine,
        planted: &mut VecDeque<MemberOutput>,
    ) {
        match (self, output) {
            (
                Self::LeavesWithoutAWord,
                Output::Tell {
                    message:
                        Message::Disconnect(message::Disconnect {
                            reason: DisconnectReason::Evicted | DisconnectReason::Unwanted,
                            ..
                        }),
                    ..
                },
            ) => {}
            (
                Self::HealsPolitely,
                Output::Send {
                    to,
                    message:
                        Message::Neighbor(message::Neighbor {
                            epoch,
                            priority: Priority::High,
                            record,
                            pulse,
                        }),
                },
            ) if pulse.degree > 0 => {
                // Who has no neighbours is no healed cut: it joins, with high priority as always.
                let priority = Priority::Low;
                let message = Message::Neighbor(message::Neighbor {
                    epoch,
                    priority,
                    record,
                    pulse,
                });
                planted.push_back(Output::Send { to, message });
            }
            (
                Self::WalksEverywhere,
                Output::Tell {
                    message: Message::ForwardJoin(message::ForwardJoin { newcomer, ttl }),
                    ..
                },
            ) => {
                let others = state.active().filter(|peer| *peer != newcomer.id);
                for peer in others.take(2) {
                    let message = Message::ForwardJoin(message::ForwardJoin {
                        newcomer: newcomer.clone(),
                        ttl,
                    });
                    planted.push_back(Output::Tell { peer, message });
                }
            }
            (_, output) => planted.push_back(output),
        }
    }
}
