//! The production HyParView machine as a protocol of the simulator.

use std::{collections::VecDeque, time::Duration};

use hyparview::{
    Command, Config, Contact, DownReason, Epoch, Loss, Message, State, StateEvent, Timer, message,
};
use rand::rngs::SmallRng;

use crate::{
    Adversaries, Input, Membership, NodeId, Output, Place, Protocol, Said,
    adversary::Interceptor,
    book::Book,
    contact,
    defect::Defect,
    protocol::{InputOf, OutputOf},
};

/// Bytes of a peer's name, of a signed record with one address, and of the names of fields, as the
/// node's codec writes them.
const NAME: usize = 40;
const RECORD: usize = 200;
const EPOCH: usize = NAME + 30;
const PULSE: usize = NAME + 50;

/// What the machine asks the application for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Call {
    /// Any neighbour.
    Isolated,
    /// More neighbours.
    Wanting,
}

/// One node of HyParView, as in production but for its defect, if one is planted.
#[derive(Debug)]
pub struct Member {
    state: State<NodeId, Place>,
    defect: Option<Defect>,
    /// What makes it work against the others, if it does.
    interceptor: Option<Interceptor>,
    /// The relation that a peer has just ended here.
    ended: Option<(NodeId, Epoch<NodeId>)>,
    /// What the application keeps, and gives back when the machine calls for contacts.
    book: Book,
    call: Option<Call>,
    /// Outputs of a planted defect.
    planted: VecDeque<OutputOf<Member>>,
    /// Peers that a planted defect has the application join again.
    rejoined: Vec<NodeId>,
}

impl Member {
    /// A node without peers, started for the `incarnation`th time.
    #[must_use]
    pub fn new(id: NodeId, config: Config, incarnation: u32) -> Self {
        Self {
            state: State::new(contact(id), config, u64::from(incarnation)),
            defect: None,
            interceptor: None,
            ended: None,
            book: Book::default(),
            call: None,
            planted: VecDeque::new(),
            rejoined: Vec::new(),
        }
    }

    /// Plants a defect.
    #[must_use]
    pub fn with_defect(mut self, defect: Option<Defect>) -> Self {
        self.defect = defect;
        self
    }

    /// Puts it into a network with adversaries, of which it may be one.
    pub(crate) fn among(
        id: NodeId,
        config: Config,
        incarnation: u32,
        adversaries: Option<Adversaries>,
    ) -> Self {
        let Some(plan) = adversaries else {
            return Self::new(id, config, incarnation);
        };
        let config = plan.configure(id, config);
        Self {
            state: State::new(plan.contact(id), config, u64::from(incarnation)),
            interceptor: plan.contain(id).then(|| Interceptor::new(id, plan)),
            ..Self::new(id, Config::default(), incarnation)
        }
    }

    /// The machine.
    #[must_use]
    pub fn state(&self) -> &State<NodeId, Place> {
        &self.state
    }

    /// The relation that a peer has ended here, if that was the last input.
    pub(crate) fn ended(&self) -> Option<(NodeId, Epoch<NodeId>)> {
        self.ended
    }
}

impl Member {
    /// The application answers the machine's call for contacts.
    fn help(&mut self, call: Call, now: Duration, rng: &mut SmallRng) {
        let joined = if call == Call::Isolated {
            self.book.joined()
        } else {
            Vec::new()
        };
        let state = &self.state;
        let learnt = self.book.learnt(now, |peer| state.epoch(peer).is_none());
        let join = |id| Command::Join(contact(id));
        let learn = |id| Command::Learn {
            contact: contact(id),
            permanent: false,
        };
        let commands = joined.into_iter().map(join);
        for command in commands.chain(learnt.into_iter().map(learn)) {
            let command = hyparview::Input::Command(command);
            self.state.handle(now, command, rng);
        }
    }

    /// The application hears what the machine tells it.
    fn listen(&mut self, event: &StateEvent<NodeId, Place>) {
        match event {
            StateEvent::Isolated => self.call = Some(Call::Isolated),
            StateEvent::Wanting if self.defect == Some(Defect::ContentWithFew) => {}
            StateEvent::Wanting => self.call = Some(Call::Wanting),
            StateEvent::NeighborDown { .. } => self.book.lost(),
            StateEvent::NeighborUp(_) | StateEvent::NeighborMoved(_) => {}
        }
    }
}

impl Protocol for Member {
    type Message = Said;
    type Timer = Timer<NodeId>;
    type Command = Command<NodeId, Place>;
    type Event = StateEvent<NodeId, Place>;

    fn start(&mut self, now: Duration, rng: &mut SmallRng) {
        self.state.start(now, rng);
    }

    fn handle(&mut self, now: Duration, input: InputOf<Self>, rng: &mut SmallRng) {
        let input = match input {
            Input::Received { from, message } => hyparview::Input::Received { from, message },
            Input::Disconnected { peer, slow } => hyparview::Input::Disconnected {
                peer,
                cause: if slow { Loss::Slow } else { Loss::Closed },
            },
            Input::Unreachable { peer } => hyparview::Input::Unreachable { peer },
            Input::Timer(timer) => hyparview::Input::Timer(timer),
            Input::Command(command) => hyparview::Input::Command(command),
        };
        let input = match self.defect {
            None => Some(input),
            Some(defect) => defect.spoil_input(input, &self.state),
        };
        self.ended = None;
        let Some(input) = input else {
            return;
        };
        if let Some(interceptor) = &mut self.interceptor {
            for input in interceptor.hear(now, input, &self.state, &mut self.planted) {
                self.state.handle(now, input, rng);
            }
            return;
        }
        let shuffles = input == hyparview::Input::Timer(Timer::Shuffle);
        // Before the machine hears it: afterwards the relation may be gone.
        let parting = match &input {
            hyparview::Input::Received {
                from,
                message: Message::Disconnect(_),
            } => self.state.epoch(*from).map(|epoch| (*from, epoch)),
            _ => None,
        };
        let added = self.defect.and_then(|defect| defect.add_input(&input));
        self.state.handle(now, input, rng);
        if let Some(added) = added {
            self.state.handle(now, added, rng);
        }
        for peer in std::mem::take(&mut self.rejoined) {
            let join = Command::Join(contact(peer));
            self.state.handle(now, hyparview::Input::Command(join), rng);
        }
        if shuffles {
            self.book.write_down(&self.state.known());
        }
        if let Some(call) = self.call.take() {
            self.help(call, now, rng);
        }
        self.ended = parting.filter(|(from, epoch)| self.state.epoch(*from) != Some(*epoch));
    }

    fn poll_output(&mut self) -> Option<OutputOf<Self>> {
        loop {
            // First: they stand in the place of what the machine said before what it says next.
            if let Some(output) = self.planted.pop_front() {
                return Some(output);
            }
            let output = match self.state.poll_output()? {
                hyparview::Output::Send { to, message } => Output::Send { to: to.id, message },
                hyparview::Output::Tell { peer, message } => Output::Tell { peer, message },
                hyparview::Output::Release { peer } => Output::Release { peer },
                hyparview::Output::Cut { peer } => Output::Cut { peer },
                hyparview::Output::Schedule { after, timer } => Output::Schedule { after, timer },
                hyparview::Output::Event(event) => Output::Event(event),
            };
            if let Output::Event(event) = &output {
                self.listen(event);
            }
            if let Some(interceptor) = &mut self.interceptor {
                interceptor.say(output, &mut self.planted);
                continue;
            }
            let Some(defect) = self.defect else {
                return Some(output);
            };
            if let (
                Defect::RejoinsWhenEvicted,
                Output::Event(StateEvent::NeighborDown {
                    peer,
                    reason: DownReason::Dropped,
                }),
            ) = (defect, &output)
            {
                self.rejoined.push(*peer);
            }
            defect.spoil_output(output, &self.state, &mut self.planted);
        }
    }

    fn needs(&self, peer: NodeId) -> bool {
        self.state.epoch(peer).is_some()
    }

    fn bytes(message: &Said) -> usize {
        let contacts = |list: &[Contact<NodeId, Place>]| list.len() * (NAME + RECORD + 10);
        let content = match message {
            Message::Join(_) | Message::Neighbor(_) => EPOCH + RECORD + PULSE,
            Message::ForwardJoin(_) | Message::SwitchReady(_) => NAME + RECORD + 20,
            Message::Accept(message::Accept { sample, .. }) => {
                EPOCH + RECORD + PULSE + contacts(sample)
            }
            Message::Refuse(message::Refuse { sample, .. })
            | Message::Disconnect(message::Disconnect { sample, .. }) => EPOCH + contacts(sample),
            Message::Shuffle(message::Shuffle { list, .. }) => NAME + RECORD + 30 + contacts(list),
            Message::ShuffleReply(message::ShuffleReply { list, .. }) => 20 + contacts(list),
            Message::Heartbeat(message::Heartbeat { gauge, .. }) => {
                EPOCH + PULSE + gauge.map_or(0, |gauge| 30 + gauge.echo.map_or(0, |_| 25))
            }
            Message::Moved(_) => RECORD,
            Message::Probe(_) => RECORD + 10,
            Message::ProbeReply(message::ProbeReply { sample, .. }) => {
                RECORD + PULSE + 10 + contacts(sample)
            }
            Message::SwitchProposal(message::SwitchProposal { bid, .. }) => {
                RECORD + NAME + 10 + bid.as_ref().map_or(0, |_| RECORD + 30)
            }
            Message::SwitchInvite(message::SwitchInvite { bid, .. }) => {
                NAME + 10 + bid.as_ref().map_or(0, |_| RECORD + 30)
            }
            Message::SwitchDecline(_) | Message::SwitchConsent(_) => 10,
        };
        // The name of the variant, and the frame's length.
        content + 20
    }
}

impl Membership for Member {
    fn neighbors(&self, into: &mut Vec<NodeId>) {
        into.extend(self.state.active());
    }

    fn backups(&self, into: &mut Vec<NodeId>) {
        into.extend(self.state.passive().map(|contact| contact.id));
    }

    fn targets(&self, from: Option<NodeId>, into: &mut Vec<NodeId>, _: &mut SmallRng) {
        let passes_on = self.interceptor.as_ref().is_none_or(Interceptor::passes_on);
        if from.is_some() && !passes_on {
            return;
        }
        self.neighbors(into);
        into.retain(|peer| Some(*peer) != from);
    }

    fn came(event: &Self::Event) -> Option<NodeId> {
        match event {
            StateEvent::NeighborUp(contact) => Some(contact.id),
            _ => None,
        }
    }
}
