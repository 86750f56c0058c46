//! The parts hear what happens, and what they want is carried out.

use super::Core;
use crate::node::part::{Context, Effect, Event, Part};

impl Core {
    /// Every part hears of it.
    pub(super) fn tell_parts(&mut self, event: &Event) {
        let context = Context::now(self.born, &self.neighbors);
        let parts: [&mut dyn Part; 4] = [
            &mut self.members,
            &mut self.clocks,
            &mut self.app_roles,
            &mut self.positions,
        ];
        // All hear it before anything is done: an effect finds no part that does not know yet.
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
                    // More than the neighbours: of two processes with our key the overlay knows one,
                    // but who is connected with both can tell.
                    for peer in self.network.acquaintances() {
                        self.gossiper.ask_presence(peer, presence);
                    }
                }
                Effect::ShareRoles(peer, records) => self.gossiper.share_roles(peer, records),
                Effect::Forget(peer) => {
                    // Without one: the next finds these links unclaimed, and drops them after the grace.
                    if let Some(plane) = self.stage.plane() {
                        plane.forget(peer);
                    }
                }
                Effect::Readmit(peer) => {
                    if let Some(neighbor) = self.neighbors.seen().neighbor(&peer).cloned() {
                        self.link(&neighbor);
                    }
                }
                Effect::Follow(root) => {
                    // Else with the next look.
                    if self.network.follow(root.as_ref()) {
                        self.tree.follows(root);
                    }
                }
                Effect::TellPosition {
                    peer,
                    relation,
                    position,
                } => self.gossiper.tell_position(peer, relation, position),
                Effect::PassPosition(peer) => self.pass_position(&peer),
            }
        }
    }
}
