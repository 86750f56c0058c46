//! The parts hear what happens, and what they want is carried out.

use super::Core;
use crate::node::part::{Context, Effect, Event, Part};

impl Core {
    /// Every part hears of it.
    pub(super) fn tell_parts(&mut self, event: &Event) {
        let context = Context::now(self.born, &self.neighbors);
        let parts: [&mut dyn Part; 3] = [&mut self.members, &mut self.clocks, &mut self.app_roles];
        let effects = parts.map(|part| part.on(event, &context));
        self.carry_out(effects.into_iter().flatten());
    }

    pub(super) fn carry_out(&mut self, effects: impl IntoIterator<Item = Effect>) {
        for effect in effects {
            match effect {
                Effect::SpeakSoon => self.gossiper.speak_soon(),
                Effect::ExchangeSoon => self.gossiper.exchange_soon(),
                Effect::AskClock { peer, after } => self.gossiper.ask_clock(peer, after),
                Effect::AskPresence(peer) => {
                    let presence = self.members.presence();
                    self.gossiper.ask_presence(peer, presence);
                }
                Effect::AskAllPresence => {
                    let presence = self.members.presence();
                    for peer in self.network.acquaintances() {
                        self.gossiper.ask_presence(peer, presence);
                    }
                }
                Effect::ShareRoles(peer, records) => self.gossiper.share_roles(peer, records),
                Effect::Forget(peer) => {
                    if let Some(plane) = self.stage.plane() {
                        plane.forget(peer);
                    }
                }
                Effect::Readmit(peer) => {
                    if let Some(neighbor) = self.neighbors.seen().neighbor(&peer).cloned() {
                        self.link(&neighbor);
                    }
                }
            }
        }
    }
}
